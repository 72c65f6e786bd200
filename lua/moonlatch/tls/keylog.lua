--- The key log of the whole program: --tls-keylog=FILE or SSLKEYLOGFILE. One line per secret in the NSS key log
--- format, as Wireshark and tshark read it. Whoever has the file can decrypt the connections.
local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'

local keylog = { enabled = false }

local file

--- Begins to log when the command line or the environment asks for it.
function keylog.start()
  local path = (native.options or {})['tls-keylog'] or os.getenv 'SSLKEYLOGFILE'
  if not path or path == '' then
    return
  end
  local opened, reason = io.open(path, 'a')
  if not opened then
    errors.emitWarning(('The TLS key log cannot be written: %s'):format(reason))
    return
  end
  opened:setvbuf('line')
  file, keylog.enabled = opened, true
  if (native.options or {})['tls-keylog'] then
    errors.emitWarning('Using --tls-keylog makes TLS connections insecure by writing secret key material to file '
      .. path)
  end
end

---@param line string  with its newline
function keylog.write(line)
  file:write(line)
end

return keylog
