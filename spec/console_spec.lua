local errors = require 'moonlatch.errors'
local console = require 'console'

describe('console', function()
  local out, err, con

  local function sink(lines)
    return { write = function(_, text) lines[#lines + 1] = text end }
  end

  before_each(function()
    out, err = {}, {}
    con = console.Console { stdout = sink(out), stderr = sink(err) }
  end)

  it('log, info and debug format to stdout', function()
    con.log('%s!', 'a')
    con.info({ a = 1 })
    con.debug('x', nil, 1)
    assert.same({ 'a!\n', '{ a: 1 }\n', 'x nil 1\n' }, out)
  end)

  it('error and warn format to stderr', function()
    con.error('e')
    con.warn('w', 1)
    assert.same({ 'e\n', 'w 1\n' }, err)
    assert.same({}, out)
  end)

  it('prints an empty line for nothing, and nil for nil', function()
    con.log()
    con.log(nil)
    assert.same({ '\n', 'nil\n' }, out)
  end)

  it('may be called with a dot or a colon', function()
    con:log('x')
    assert.same({ 'x\n' }, out)
  end)

  it('uses stdout for errors when there is no stderr', function()
    console.Console({ stdout = sink(out) }).error('e')
    assert.same({ 'e\n' }, out)
  end)

  it('assert speaks up only when the value is false or nil', function()
    con.assert(true, 'no')
    con.assert(false)
    con.assert(nil, 'because %d', 5)
    con.assert(false, { a = 1 })
    assert.same({ 'Assertion failed\n', 'Assertion failed: because 5\n', 'Assertion failed: { a: 1 }\n' }, err)
  end)

  it('time and timeEnd tell how long it took', function()
    con.time('t')
    con.timeLog('t', 'so far')
    con.timeEnd('t')
    assert.matches('^t: [%d.]+ms so far\n$', out[1])
    assert.matches('^t: [%d.]+ms\n$', out[2])
  end)

  it('warns of a timer that does not exist, or exists already', function()
    local warnings, original = {}, errors.warn
    errors.warn = function(warning) warnings[#warnings + 1] = warning.message end
    con.timeEnd('none')
    con.time('t')
    con.time('t')
    errors.warn = original
    assert.same({ "No such label 'none' for console.timeEnd()", "Label 't' already exists for console.time()" },
      warnings)
  end)

  it('count counts by label until reset', function()
    con.count()
    con.count()
    con.count('x')
    con.countReset()
    con.count()
    assert.same({ 'default: 1\n', 'default: 2\n', 'x: 1\n', 'default: 1\n' }, out)
  end)

  it('warns of a count that does not exist', function()
    local warnings, original = {}, errors.warn
    errors.warn = function(warning) warnings[#warnings + 1] = warning.message end
    con.countReset 'never counted'
    errors.warn = original
    assert.same({ "Count for 'never counted' does not exist" }, warnings)
  end)

  it('takes its streams one by one, too', function()
    local both = console.Console(sink(out), sink(err))
    both.log 'a'
    both.error 'b'
    assert.same({ 'a\n' }, out)
    assert.same({ 'b\n' }, err)
    console.Console(sink(out)).error 'c'
    assert.same({ 'a\n', 'c\n' }, out)
  end)

  it('group indents what follows, every line of it', function()
    con.group('head')
    con.log('a\nb')
    con.group()
    con.log('c')
    con.groupEnd()
    con.groupEnd()
    con.groupEnd()
    con.log('d')
    assert.same({ 'head\n', '  a\n  b\n', '    c\n', 'd\n' }, out)
  end)

  it('dir inspects with options', function()
    con.dir({ a = { b = 1 } }, { depth = 0 })
    assert.same({ '{ a: [Object] }\n' }, out)
  end)

  it('trace prints where it was called', function()
    con.trace('here %d', 1)
    assert.matches('^Trace: here 1\n', err[1])
    assert.matches('console_spec', err[1])
  end)

  it('table draws rows and columns', function()
    con.table { { a = 1, b = 'x' }, { a = 2 } }
    assert.equal(table.concat({
      '┌─────────┬───┬─────┐',
      '│ (index) │ a │ b   │',
      '├─────────┼───┼─────┤',
      "│ 1       │ 1 │ 'x' │",
      '│ 2       │ 2 │     │',
      '└─────────┴───┴─────┘',
    }, '\n') .. '\n', out[1])
  end)

  it('table shows plain values in a column of their own, and anything else as log does', function()
    con.table { 'a' }
    assert.matches('Values', out[1])
    con.table(5)
    assert.equal('5\n', out[2])
  end)

  it('refuses a sink that cannot be written to', function()
    local _, e = pcall(console.Console, { stdout = {} })
    assert.equal('ERR_CONSOLE_WRITABLE_STREAM', e.code)
    _, e = pcall(console.Console)
    assert.equal('ERR_INVALID_ARG_TYPE', e.code)
  end)
end)
