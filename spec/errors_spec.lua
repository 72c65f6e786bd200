local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local codes = errors.codes

describe('Error', function()
  it('has name, message and a stack that begins with its first line', function()
    local err = errors.Error('boom')
    assert.equal('Error', err.name)
    assert.equal('boom', err.message)
    assert.equal('Error: boom', tostring(err))
    assert.equal(1, (err.stack:find('Error: boom\n', 1, true)))
    assert.truthy(err.stack:find('errors_spec', 1, true))
  end)

  it('reads as its name alone without a message', function()
    assert.equal('TypeError', tostring(errors.TypeError()))
  end)

  it('keeps a cause', function()
    local cause = errors.Error('inner')
    assert.equal(cause, errors.Error('outer', { cause = cause }).cause)
  end)

  it('can be joined to a string', function()
    assert.equal('failed: Error: x', 'failed: ' .. errors.Error('x'))
  end)

  it('has subclasses that are instances of Error', function()
    for _, name in ipairs { 'TypeError', 'RangeError', 'SyntaxError', 'AbortError' } do
      assert.is_true(class.isInstance(errors[name]('x'), errors.Error))
      assert.equal(name, errors[name]('x').name)
    end
  end)

  it('merges fields into a plain error', function()
    local err = errors.new('no', { code = 'ENOENT', errno = -2 })
    assert.equal('ENOENT', err.code)
    assert.equal(-2, err.errno)
    assert.equal('Error: no', tostring(err))
  end)

  it('shows the code of the library\'s own errors in the first line', function()
    local err = errors.coded(errors.RangeError, 'ERR_X', 'bad')
    assert.equal('RangeError [ERR_X]: bad', tostring(err))
    assert.equal('RangeError', err.name)
    assert.is_true(class.isInstance(err, errors.RangeError))
  end)

  it('makes an AbortError with Node\'s message and code', function()
    local err = errors.AbortError(nil, { cause = 7 })
    assert.equal('AbortError: The operation was aborted', tostring(err))
    assert.equal('ABORT_ERR', err.code)
    assert.equal(7, err.cause)
  end)

  it('wraps a raised string, and leaves a raised table alone', function()
    assert.equal('x', errors.from('x').message)
    local thrown = { any = 1 }
    assert.equal(thrown, errors.from(thrown))
  end)
end)

describe('wrong types', function()
  local function message(name, expected, actual)
    return errors.argType(name, expected, actual).message
  end

  it('tells an argument from a property by the dot', function()
    assert.equal('The "port" argument must be of type number. Received nil', message('port', 'number'))
    assert.equal('The "options.port" property must be of type number. Received nil',
      message('options.port', 'number'))
    assert.equal('The first argument must be of type number. Received nil', message('first argument', 'number'))
  end)

  it('lists types, instances and other words as Node does', function()
    assert.equal('The "x" argument must be one of type string or number. Received nil',
      message('x', { 'string', 'number' }))
    assert.equal('The "x" argument must be one of type string, number, or boolean. Received nil',
      message('x', { 'string', 'number', 'boolean' }))
    assert.equal('The "x" argument must be of type string or an instance of Buffer or Object. Received nil',
      message('x', { 'string', 'Buffer', 'object' }))
    assert.equal('The "x" argument must be an instance of AbortSignal. Received nil', message('x', 'AbortSignal'))
  end)

  local received = {
    { 5, 'type number (5)' }, { 1.5, 'type number (1.5)' }, { 'a', "type string ('a')" },
    { true, 'type boolean (true)' }, { {}, 'an instance of Object' }, { errors.Error, 'function Error' },
    { errors.Error('x'), 'an instance of Error' }, { ("it's"), 'type string ("it\'s")' },
    { ('a'):rep(40), "type string ('" .. ('a'):rep(25) .. "...')" },
    { 0 / 0, 'type number (NaN)' }, { -math.huge, 'type number (-Infinity)' },
  }
  for _, case in ipairs(received) do
    it('names what came: ' .. case[2], function()
      assert.equal('The "x" argument must be of type function. Received ' .. case[2],
        message('x', 'function', case[1]))
    end)
  end

  it('says only function of a function', function()
    assert.matches('Received function', message('x', 'number', print))
  end)
end)

describe('wrong values', function()
  it('quotes the value and the reason', function()
    local err = errors.argValue('options.x', 'y', 'must be shorter')
    assert.equal("The property 'options.x' must be shorter. Received 'y'", err.message)
    assert.equal('ERR_INVALID_ARG_VALUE', err.code)
    assert.equal("The argument 'x' is invalid. Received 1", errors.argValue('x', 1).message)
  end)

  it('states the range, and groups the digits of big numbers', function()
    assert.equal('The value of "n" is out of range. It must be >= 0. Received -1',
      errors.range('n', '>= 0', -1).message)
    assert.equal('The value of "n" is out of range. It must be >= 0. Received 12_345_678_901',
      errors.range('n', '>= 0', 12345678901).message)
    assert.equal('RangeError', errors.range('n', '>= 0', -1).name)
  end)
end)

describe('codes', function()
  local wording = {
    { codes.ERR_STREAM_DESTROYED('write'),
      'Error [ERR_STREAM_DESTROYED]: Cannot call write after a stream was destroyed' },
    { codes.ERR_STREAM_WRITE_AFTER_END(), 'Error [ERR_STREAM_WRITE_AFTER_END]: write after end' },
    { codes.ERR_SERVER_NOT_RUNNING(), 'Error [ERR_SERVER_NOT_RUNNING]: Server is not running.' },
    { codes.ERR_MISSING_ARGS('a'), 'TypeError [ERR_MISSING_ARGS]: The "a" argument must be specified' },
    { codes.ERR_MISSING_ARGS('a', 'b'), 'TypeError [ERR_MISSING_ARGS]: The "a" and "b" arguments must be specified' },
    { codes.ERR_MISSING_ARGS('a', 'b', 'c'),
      'TypeError [ERR_MISSING_ARGS]: The "a", "b", and "c" arguments must be specified' },
    { codes.ERR_MISSING_ARGS({ 'a', 'b', 'c' }),
      'TypeError [ERR_MISSING_ARGS]: The "a" or "b" or "c" argument must be specified' },
    { codes.ERR_SOCKET_BAD_PORT('Port', 99999, true),
      'RangeError [ERR_SOCKET_BAD_PORT]: Port should be >= 0 and < 65536. Received type number (99999).' },
    { codes.ERR_TLS_INVALID_PROTOCOL_VERSION('x', 'minimum'),
      'TypeError [ERR_TLS_INVALID_PROTOCOL_VERSION]: "x" is not a valid minimum TLS protocol version' },
    { codes.ERR_TLS_DH_PARAM_SIZE(512), 'Error [ERR_TLS_DH_PARAM_SIZE]: DH parameter size 512 is less than 2048' },
    { codes.ERR_METHOD_NOT_IMPLEMENTED('_read()'),
      'Error [ERR_METHOD_NOT_IMPLEMENTED]: The _read() method is not implemented' },
  }
  for _, case in ipairs(wording) do
    it('read like Node\'s: ' .. case[1].code, function()
      assert.equal(case[2], tostring(case[1]))
    end)
  end

  it('carry reason, host and certificate with a name mismatch', function()
    local err = codes.ERR_TLS_CERT_ALTNAME_INVALID('why', 'host', { 1 })
    assert.equal("Hostname/IP does not match certificate's altnames: why", err.message)
    assert.equal('why', err.reason)
    assert.equal('host', err.host)
    assert.same({ 1 }, err.cert)
  end)
end)

describe('fromNative', function()
  it('keeps a system error\'s fields and drops empty ones', function()
    local err = errors.fromNative { origin = 'system', errno = -111, code = 'ECONNREFUSED', syscall = 'connect',
      message = 'connect ECONNREFUSED 127.0.0.1:1', address = '127.0.0.1', port = 1, library = '', reason = '' }
    assert.equal('Error: connect ECONNREFUSED 127.0.0.1:1', tostring(err))
    assert.equal(-111, err.errno)
    assert.equal('127.0.0.1', err.address)
    assert.equal(1, err.port)
    assert.is_nil(err.library)
    assert.is_nil(err.reason)
  end)

  it('calls the address of a look-up hostname', function()
    local err = errors.fromNative { origin = 'dns', errno = 4, code = 'ENOTFOUND', syscall = 'getaddrinfo',
      message = 'getaddrinfo ENOTFOUND x.invalid', address = 'x.invalid', port = 0 }
    assert.equal('x.invalid', err.hostname)
    assert.is_nil(err.address)
    assert.is_nil(err.port)
  end)

  it('carries library, reason and alert of a TLS failure', function()
    local err = errors.fromNative { origin = 'tls', code = 'ERR_SSL_X', message = 'm', library = 'SSL routines',
      reason = 'x', alert = 48, alertFrom = 'peer', state = 'SSLv3 read' }
    assert.equal('SSL routines', err.library)
    assert.equal(48, err.alert)
    assert.equal('peer', err.alertFrom)
  end)

  it('shows the code of misuse', function()
    assert.equal('Error [ERR_X]: m', tostring(errors.fromNative { origin = 'misuse', code = 'ERR_X', message = 'm' }))
  end)
end)

describe('validate', function()
  local function codeOf(name, ...)
    local ok, err = pcall(errors.validate[name], ...)
    return ok and 'ok' or err.code
  end

  local cases = {
    { 'string', 'ok', 'x', 'n' }, { 'string', 'ERR_INVALID_ARG_TYPE', 1, 'n' },
    { 'boolean', 'ok', false, 'n' }, { 'boolean', 'ERR_INVALID_ARG_TYPE', nil, 'n' },
    { 'number', 'ok', 1.5, 'n' }, { 'number', 'ERR_INVALID_ARG_TYPE', '1', 'n' },
    { 'number', 'ERR_OUT_OF_RANGE', 0 / 0, 'n', 0 }, { 'number', 'ERR_OUT_OF_RANGE', -1, 'n', 0 },
    { 'integer', 'ok', 3, 'n' }, { 'integer', 'ERR_OUT_OF_RANGE', 1.5, 'n' },
    { 'integer', 'ERR_OUT_OF_RANGE', 11, 'n', 0, 10 }, { 'integer', 'ERR_OUT_OF_RANGE', math.huge, 'n' },
    { 'func', 'ok', print, 'n' }, { 'func', 'ok', setmetatable({}, { __call = print }), 'n' },
    { 'func', 'ERR_INVALID_ARG_TYPE', {}, 'n' }, { 'table', 'ok', {}, 'n' },
    { 'table', 'ERR_INVALID_ARG_TYPE', 'x', 'n' }, { 'port', 'ok', 0, 'Port' }, { 'port', 'ok', '8000', 'Port' },
    { 'port', 'ERR_SOCKET_BAD_PORT', 65536, 'Port' }, { 'port', 'ERR_SOCKET_BAD_PORT', 1.5, 'Port' },
    { 'port', 'ERR_SOCKET_BAD_PORT', 0, 'Port', false }, { 'port', 'ERR_SOCKET_BAD_PORT', 'abc', 'Port' },
    { 'abortSignal', 'ok', nil, 'signal' }, { 'abortSignal', 'ERR_INVALID_ARG_TYPE', {}, 'signal' },
    { 'oneOf', 'ok', 'a', 'n', { 'a', 'b' } }, { 'oneOf', 'ERR_INVALID_ARG_VALUE', 'c', 'n', { 'a', 'b' } },
  }
  for _, case in ipairs(cases) do
    it(('.%s of %s: %s'):format(case[1], tostring(case[3]), case[2]), function()
      assert.equal(case[2], codeOf(case[1], case[3], case[4], case[5], case[6]))
    end)
  end

  it('lists the values allowed', function()
    local _, err = pcall(errors.validate.oneOf, 'c', 'n', { 'a', 4 })
    assert.equal("The argument 'n' must be one of: 'a', 4. Received 'c'", err.message)
  end)
end)
