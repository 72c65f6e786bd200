local class = require 'moonlatch.class'
local errors = require 'moonlatch.errors'
local util = require 'util'

local inspect = util.inspect

describe('util.inspect', function()
  local cyclic = { name = 'x' }
  cyclic.self = cyclic
  local cases = {
    { 'a string in single quotes', 'abc', "'abc'" },
    { 'a string with an apostrophe in double quotes', "it's", '"it\'s"' },
    { 'a string with both in backticks', [[it's "x"]], '`it\'s "x"`' },
    { 'escapes', 'a\nb\tc\\\0', [['a\nb\tc\\\x00']] },
    { 'whole numbers without a point', 42, '42' },
    { 'fractions', 1.5, '1.5' }, { 'tenths exactly', 0.1, '0.1' },
    { 'not a number', 0 / 0, 'NaN' }, { 'infinity', math.huge, 'Infinity' }, { 'negative zero', -0.0, '-0' },
    { 'large numbers', 1e21, '1e+21' },
    { 'booleans', true, 'true' },
    { 'a function', print, '[Function (anonymous)]' },
    { 'an empty table', {}, '{}' },
    { 'a sequence', { 1, 2, 3 }, '[ 1, 2, 3 ]' },
    { 'a table with its keys sorted', { b = 1, a = 2 }, '{ a: 2, b: 1 }' },
    { 'keys that are no names in quotes', { ['a-b'] = 1 }, "{ 'a-b': 1 }" },
    { 'a mixed table', { 1, 2, x = 3 }, '[ 1, 2, x: 3 ]' },
    { 'nested tables', { a = { b = { 1 } } }, '{ a: { b: [ 1 ] } }' },
    { 'tables too deep by kind', { a = { b = { c = {}, d = { 1 } } } },
      '{ a: { b: { c: [Object], d: [Array] } } }' },
    { 'a cycle', cyclic, "<ref *1> { name: 'x', self: [Circular *1] }" },
    { 'a class', errors.TypeError, '[class TypeError extends Error]' },
    { 'gaps by their keys', { [1] = 'a', [5] = 'b' }, "[ 'a', 5: 'b' ]" },
  }
  for _, case in ipairs(cases) do
    it('shows ' .. case[1], function()
      assert.equal(case[3], inspect(case[2]))
    end)
  end

  it('shows nil', function()
    assert.equal('nil', inspect(nil))
  end)

  it('shows an instance under its class\'s name, without what begins with an underscore', function()
    local Point = class('Point')
    local point = Point()
    point.x, point._secret = 1, 2
    assert.equal('Point { x: 1 }', inspect(point))
    assert.equal('Point { _secret: 2, x: 1 }', inspect(point, { showHidden = true }))
    assert.equal('Point {}', inspect(Point()))
  end)

  it('goes as deep as it is told', function()
    local deep = { a = { b = { c = { d = 1 } } } }
    assert.equal('{ a: [Object] }', inspect(deep, { depth = 0 }))
    assert.matches('d: 1', inspect(deep, { depth = math.huge }))
    assert.matches('d: 1', inspect(deep, { depth = false }))
  end)

  it('breaks long ones into lines', function()
    local long = ('a'):rep(40)
    assert.equal(("{\n  x: '%s',\n  y: '%s'\n}"):format(long, long), inspect { x = long, y = long })
  end)

  it('breaks what is nested more than three deep', function()
    assert.matches('\n', inspect({ a = { b = { c = { d = 1 } } } }, { depth = 9 }))
  end)

  it('cuts long sequences and strings short', function()
    assert.matches('%.%.%. 2 more items', inspect({ 1, 2, 3 }, { maxArrayLength = 1 }))
    assert.equal("'ab'... 1 more character", inspect('abc', { maxStringLength = 2 }))
  end)

  it('shows an error with its stack and extra fields', function()
    local text = inspect(errors.new('boom', { code = 'X' }))
    assert.matches('^Error: boom\n', text)
    assert.matches("code: 'X'", text)
  end)

  it('asks a table that knows how to show itself', function()
    local value = { [inspect.custom] = function(_, depth) return 'custom ' .. depth end }
    assert.equal('custom 2', inspect(value))
    assert.equal('{ v: custom 1 }', inspect { v = value })
  end)

  it('colours on request', function()
    assert.equal('\27[33m1\27[39m', inspect(1, { colors = true }))
  end)
end)

describe('util.format', function()
  local cases = {
    { 'a b', 'a', 'b' }, { 'x: 5', 'x: %s', 5 }, { 'str', '%s', 'str' },
    { '42.5', '%d', 42.5 }, { 'NaN', '%d', 'x' }, { '42', '%i', '42.9' }, { 'NaN', '%i', 'x' },
    { '1.5', '%f', '1.5' }, { '{"a":[1,2]}', '%j', { a = { 1, 2 } } }, { '"q\\""', '%j', 'q"' },
    { "[ 'x' ]", '%o', { 'x' } }, { '{ a: 1 }', '%O', { a = 1 } }, { '100%', '%d%%', 100 },
    { '%s', '%s' }, { '%x 1', '%x', 1 }, { 'a 1', 'a%c', 'css', 1 }, { '1 2', 1, 2 },
    { 'a { b: 1 } c', 'a', { b = 1 }, 'c' },
    { 'nil true', '%s', nil, true }, { '{ a: [Object] }', '%s', { a = { b = 1 } } },
  }
  for _, case in ipairs(cases) do
    it('gives ' .. case[1], function()
      assert.equal(case[1], util.format(select(2, unpack(case, 1, #case == 1 and 1 or table.maxn(case)))))
    end)
  end

  it('leaves a lone template as it is', function()
    assert.equal('100%%', util.format('100%%'))
  end)

  it('shows a cycle in JSON instead of failing', function()
    local t = {}
    t.t = t
    assert.equal('[Circular]', util.format('%j', t))
  end)

  it('shows an error by its first line for %s', function()
    assert.equal('Error: x', util.format('%s', errors.Error('x')))
  end)

  it('takes options for inspect', function()
    assert.equal('\27[33m1\27[39m', util.formatWithOptions({ colors = true }, 1))
  end)
end)

describe('util', function()
  it('isInstance is the test for classes', function()
    assert.is_true(util.isInstance(errors.TypeError('x'), errors.Error))
    assert.is_false(util.isInstance({}, errors.Error))
  end)

  it('isDeepStrictEqual compares member by member', function()
    assert.is_true(util.isDeepStrictEqual({ a = { 1, 2 } }, { a = { 1, 2 } }))
    assert.is_false(util.isDeepStrictEqual({ a = 1 }, { a = 1, b = 2 }))
    assert.is_false(util.isDeepStrictEqual({ 1 }, { '1' }))
    assert.is_true(util.isDeepStrictEqual(0 / 0, 0 / 0))
    local a, b = {}, {}
    a.x, b.x = a, b
    assert.is_true(util.isDeepStrictEqual(a, b))
  end)

  it('deprecate warns at the first call, once for a code', function()
    local warnings, original = {}, errors.warn
    errors.warn = function(warning) warnings[#warnings + 1] = warning end
    local old = util.deprecate(function(x) return x * 2 end, 'old() is old', 'DEP_SPEC_1')
    local older = util.deprecate(function() end, 'also', 'DEP_SPEC_1')
    assert.equal(4, old(2))
    assert.equal(6, old(3))
    older()
    errors.warn = original
    assert.equal(1, #warnings)
    assert.equal('DeprecationWarning', warnings[1].name)
    assert.equal('DEP_SPEC_1', warnings[1].code)
    assert.equal('old() is old', warnings[1].message)
  end)

  it('stripVTControlCharacters takes escape sequences out', function()
    assert.equal('value', util.stripVTControlCharacters('\27[4;31mvalue\27[0m'))
  end)

  it('tells kinds of values', function()
    assert.is_true(util.types.isNativeError(errors.Error('x')))
    assert.is_false(util.types.isNativeError({}))
    assert.is_true(util.types.isCoroutine(coroutine.create(print)))
    assert.is_true(util.types.isClass(errors.Error))
    assert.is_true(util.isArray { 1, 2 })
    assert.is_false(util.isArray { a = 1 })
  end)

  it('debuglog prints only for sections asked for', function()
    assert.is_false(util.debuglog('no-such-section').enabled)
  end)
end)
