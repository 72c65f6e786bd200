--- The table that `require 'tls'` returns, filled by its parts. A module of its own because the parts read the
--- defaults a script may have changed (DEFAULT_CIPHERS, createSecureContext, …) at the time of use.
return {}
