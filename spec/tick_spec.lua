local tick = require 'moonlatch.tick'

describe('nextTick', function()
  before_each(function()
    tick.drain()
  end)

  it('runs functions in the order in which they were queued', function()
    local order = {}
    for i = 1, 5 do
      tick.nextTick(function() order[i] = #order + 1 end)
    end
    tick.drain()
    assert.same({ 1, 2, 3, 4, 5 }, order)
  end)

  it('does not run anything before drain', function()
    local ran = false
    tick.nextTick(function() ran = true end)
    assert.is_false(ran)
    tick.drain()
    assert.is_true(ran)
  end)

  for count = 0, 7 do
    it(('passes %d arguments, nil and false included, and no more'):format(count), function()
      local values = { nil, false, 3, nil, 'five', false, nil }
      local got, n
      tick.nextTick(function(...)
        got, n = { ... }, select('#', ...)
      end, unpack(values, 1, count))
      tick.drain()
      assert.equal(count, n)
      for i = 1, count do
        assert.equal(values[i], got[i])
      end
    end)
  end

  it('runs ticks queued by ticks in the same drain', function()
    local depth = 0
    local function go()
      depth = depth + 1
      if depth < 5000 then
        tick.nextTick(go)
      end
    end
    tick.nextTick(go)
    tick.drain()
    assert.equal(5000, depth)
  end)

  it('keeps the rest queued when one raises', function()
    local ran = false
    tick.nextTick(function() error('x', 0) end)
    tick.nextTick(function() ran = true end)
    assert.has_error(tick.drain, 'x')
    assert.is_false(ran)
    tick.drain()
    assert.is_true(ran)
  end)

  it('says so each time the queue becomes non-empty, and not otherwise', function()
    tick.waiting[1] = false
    tick.nextTick(function() end)
    assert.is_true(tick.waiting[1])
    tick.waiting[1] = false
    tick.nextTick(function() end) -- who has been told knows of this one too
    assert.is_false(tick.waiting[1])
    tick.drain()
    tick.nextTick(function() end)
    assert.is_true(tick.waiting[1])
    tick.drain()
  end)

  it('keeps the order over a burst of thousands', function()
    local n, ok = 0, true
    for i = 1, 20000 do
      tick.nextTick(function(k)
        n = n + 1
        ok = ok and k == n
      end, i)
    end
    tick.drain()
    assert.is_true(ok)
    assert.equal(20000, n)
  end)

  it('may drain inside a tick', function()
    local order = {}
    tick.nextTick(function()
      order[#order + 1] = 'outer'
      tick.drain()
      order[#order + 1] = 'after'
    end)
    tick.nextTick(function() order[#order + 1] = 'inner' end)
    tick.drain()
    assert.same({ 'outer', 'inner', 'after' }, order)
  end)

  it('refuses what cannot be called', function()
    local ok, err = pcall(tick.nextTick, 5)
    assert.is_false(ok)
    assert.equal('ERR_INVALID_ARG_TYPE', err.code)
  end)
end)
