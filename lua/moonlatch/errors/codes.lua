--- The library's own error codes with Node's wording: errors.codes.ERR_X(…) builds the Error. Called with the table
--- to put them into.

local received = require 'moonlatch.errors.received'

local type, tostring, select = type, tostring, select
local concat, format = table.concat, string.format

return function(errors, codes)
  local Error, TypeError, RangeError = errors.Error, errors.TypeError, errors.RangeError

  -- "a", "a" and "b", "a", "b", and "c"; a list in one argument joins with "or".
  local function missing(...)
    local names = { ... }
    for i, name in ipairs(names) do
      if type(name) == 'table' then
        names[i] = '"' .. concat(name, '" or "') .. '"'
      else
        names[i] = '"' .. tostring(name) .. '"'
      end
    end
    local count = #names
    local subject
    if count <= 2 then
      subject = concat(names, ' and ')
    else
      subject = concat(names, ', ', 1, count - 1) .. ', and ' .. names[count]
    end
    return format('The %s argument%s must be specified', subject, count > 1 and 's' or '')
  end

  local function badPort(name, port, allowZero)
    return format('%s should be %s 0 and < 65536. Received %s.', name, allowZero == false and '>' or '>=',
      received.describe(port))
  end

  -- code: { class, message }, where message is text, a format of the arguments, or a function of them
  -- that returns the text and the error's extra fields.
  local specs = {
    ERR_CONSOLE_WRITABLE_STREAM = { TypeError, 'Console expects a writable stream instance for %s' },
    ERR_CRYPTO_CUSTOM_ENGINE_NOT_SUPPORTED = { Error, 'Custom engines not supported by this OpenSSL' },
    ERR_CRYPTO_HASH_FINALIZED = { Error, 'Digest already called' },
    ERR_CRYPTO_INVALID_DIGEST = { TypeError, 'Invalid digest: %s' },
    ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH = { RangeError, 'Input buffers must have the same byte length' },
    ERR_DNS_SET_SERVERS_FAILED = { Error, 'c-ares failed to set servers: "%s" [%s]' },
    ERR_FEATURE_UNAVAILABLE_ON_PLATFORM = { TypeError,
      'The feature %s is unavailable on the current platform, which is being used to run moonlatch' },
    ERR_ILLEGAL_CONSTRUCTOR = { TypeError, 'Illegal constructor' },
    ERR_INVALID_ADDRESS_FAMILY = { RangeError, function(family, host, port)
      return format('Invalid address family: %s %s:%s', tostring(family), tostring(host), tostring(port)),
        { host = host, port = port }
    end },
    ERR_INVALID_IP_ADDRESS = { TypeError, 'Invalid IP address: %s' },
    ERR_INVALID_STATE = { Error, 'Invalid state: %s' },
    ERR_IPC_CHANNEL_CLOSED = { Error, 'Channel closed' },
    ERR_METHOD_NOT_IMPLEMENTED = { Error, 'The %s method is not implemented' },
    ERR_MISSING_ARGS = { TypeError, missing },
    ERR_MULTIPLE_CALLBACK = { Error, 'Callback called multiple times' },
    ERR_SERVER_ALREADY_LISTEN = { Error, 'Listen method has been called more than once without closing.' },
    ERR_SERVER_NOT_RUNNING = { Error, 'Server is not running.' },
    ERR_SOCKET_BAD_PORT = { RangeError, badPort },
    ERR_SOCKET_CLOSED = { Error, 'Socket is closed' },
    ERR_SOCKET_CLOSED_BEFORE_CONNECTION = { Error, 'Socket closed before the connection was established' },
    ERR_STREAM_ALREADY_FINISHED = { Error, 'Cannot call %s after a stream was finished' },
    ERR_STREAM_CANNOT_PIPE = { Error, 'Cannot pipe, not readable' },
    ERR_STREAM_DESTROYED = { Error, 'Cannot call %s after a stream was destroyed' },
    ERR_STREAM_NULL_VALUES = { TypeError, 'May not write null values to stream' },
    ERR_STREAM_PREMATURE_CLOSE = { Error, 'Premature close' },
    ERR_STREAM_PUSH_AFTER_EOF = { Error, 'stream.push() after EOF' },
    ERR_STREAM_UNSHIFT_AFTER_END_EVENT = { Error, 'stream.unshift() after end event' },
    ERR_STREAM_WRAP = { Error, 'Stream has StringDecoder set or is in objectMode' },
    ERR_STREAM_WRITE_AFTER_END = { Error, 'write after end' },
    ERR_TLS_ALPN_CALLBACK_INVALID_RESULT = { TypeError, function(value, offered)
      return format('ALPN callback returned a value (%s) that did not match any of the client\'s offered '
        .. 'protocols (%s)', tostring(value), concat(offered or {}, ', '))
    end },
    ERR_TLS_ALPN_CALLBACK_WITH_PROTOCOLS = { TypeError,
      'The ALPNCallback and ALPNProtocols TLS options are mutually exclusive' },
    ERR_TLS_CERT_ALTNAME_FORMAT = { errors.SyntaxError, 'Invalid subject alternative name string' },
    ERR_TLS_CERT_ALTNAME_INVALID = { Error, function(reason, host, cert)
      return "Hostname/IP does not match certificate's altnames: " .. tostring(reason),
        { reason = reason, host = host, cert = cert }
    end },
    ERR_TLS_DH_PARAM_SIZE = { Error, 'DH parameter size %s is less than 2048' },
    ERR_TLS_HANDSHAKE_TIMEOUT = { Error, 'TLS handshake timeout' },
    ERR_TLS_INVALID_CONTEXT = { TypeError, '%s must be a SecureContext' },
    ERR_TLS_INVALID_PROTOCOL_METHOD = { TypeError, '%s' },
    ERR_TLS_INVALID_PROTOCOL_VERSION = { TypeError, '"%s" is not a valid %s TLS protocol version' },
    ERR_TLS_INVALID_STATE = { Error, 'TLS socket connection must be securely established' },
    ERR_TLS_PROTOCOL_VERSION_CONFLICT = { TypeError,
      'TLS protocol version "%s" conflicts with secureProtocol "%s"' },
    ERR_TLS_PSK_ANSWER_TOO_LATE = { Error,
      'Under %s a pskCallback must answer before it returns: the handshake cannot wait for it there' },
    ERR_TLS_PSK_SET_IDENTITY_HINT_FAILED = { Error, 'Failed to set PSK identity hint' },
    ERR_TLS_RENEGOTIATION_DISABLED = { Error, 'TLS session renegotiation disabled for this socket' },
    ERR_TLS_REQUIRED_SERVER_NAME = { Error, '"servername" is required parameter for Server.addContext' },
    ERR_TLS_SESSION_ATTACK = { Error, 'TLS session renegotiation attack detected' },
    ERR_TLS_SNI_FROM_SERVER = { Error, 'Cannot issue SNI from a TLS server-side socket' },
    ERR_UNHANDLED_ERROR = { Error, function(shown, context)
      return shown and format('Unhandled error. (%s)', shown) or 'Unhandled error.', { context = context }
    end },
    ERR_UNKNOWN_ENCODING = { TypeError, 'Unknown encoding: %s' },
    ERR_UNKNOWN_SIGNAL = { TypeError, 'Unknown signal: %s' },
  }

  local function fill(text, ...)
    local arguments = { ... }
    for i = 1, select('#', ...) do
      arguments[i] = tostring(arguments[i])
    end
    return format(text, unpack(arguments))
  end

  for code, spec in pairs(specs) do
    local cls, message = spec[1], spec[2]
    if type(message) == 'function' then
      codes[code] = function(...)
        local text, fields = message(...)
        return errors.coded(cls, code, text, fields)
      end
    elseif message:find('%%s') then
      codes[code] = function(...)
        return errors.coded(cls, code, fill(message, ...))
      end
    else
      codes[code] = function()
        return errors.coded(cls, code, message)
      end
    end
  end
end
