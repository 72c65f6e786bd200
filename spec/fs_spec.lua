local fs = require 'fs'
local errors = require 'moonlatch.errors'
local native = require 'moonlatch.native'
local spec = require 'moonlatch.spec'
local timers = require 'timers'

local function failsWith(code, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.is_true(errors.isError(err))
  assert.equal(code, err.code)
  return err
end

describe('fs', function()
  local directory

  before_each(function()
    directory = spec.tempdir()
  end)

  after_each(function()
    spec.remove(directory)
  end)

  local function path(name)
    return directory .. '/' .. (name or 'file')
  end

  describe('readFileSync and writeFileSync', function()
    it('keep every byte', function()
      local bytes = {}
      for i = 0, 255 do bytes[#bytes + 1] = string.char(i) end
      local data = table.concat(bytes):rep(400)
      fs.writeFileSync(path(), data)
      assert.equal(data, fs.readFileSync(path()))
      fs.writeFileSync(path(), '')
      assert.equal('', fs.readFileSync(path()))
    end)

    it('take encodings', function()
      fs.writeFileSync(path(), '6869', 'hex')
      assert.equal('hi', fs.readFileSync(path(), 'utf8'))
      assert.equal('aGk=', fs.readFileSync(path(), { encoding = 'base64' }))
      failsWith('ERR_INVALID_ARG_VALUE', fs.readFileSync, path(), 'nope')
    end)

    it('work on descriptors', function()
      local fd = fs.openSync(path(), 'w+')
      fs.writeFileSync(fd, 'abc')
      assert.equal('bc', fs.readSync(fd, 10, 1))
      assert.equal(1, fs.writeSync(fd, 'X', 1))
      fs.closeSync(fd)
      assert.equal('aXc', fs.readFileSync(path()))
      failsWith('EBADF', fs.closeSync, fd)
    end)

    it('refuse lengths and places that make no sense', function()
      local fd = fs.openSync(path(), 'w+')
      failsWith('ERR_OUT_OF_RANGE', fs.readSync, fd, 2 ^ 40)
      failsWith('ERR_OUT_OF_RANGE', fs.readSync, fd, -1)
      failsWith('ERR_INVALID_ARG_TYPE', fs.readSync, fd, 1, 'first')
      failsWith('ERR_INVALID_ARG_TYPE', fs.writeSync, fd, 'x', {})
      fs.closeSync(fd)
    end)

    it('leave no descriptor open when they fail', function()
      failsWith('EISDIR', fs.readFileSync, directory)
      local before = #fs.readdirSync('/proc/self/fd')
      for _ = 1, 5 do failsWith('EISDIR', fs.readFileSync, directory) end
      assert.equal(before, #fs.readdirSync('/proc/self/fd'))
    end)

    it('appendFileSync adds', function()
      fs.appendFileSync(path(), 'a')
      fs.appendFileSync(path(), 'b')
      assert.equal('ab', fs.readFileSync(path()))
    end)

    it('obey flag and mode', function()
      fs.writeFileSync(path(), 'a', { mode = '600' })
      assert.equal(384, fs.statSync(path()).mode % 512)
      failsWith('EEXIST', fs.writeFileSync, path(), 'b', { flag = 'wx' })
      failsWith('ERR_INVALID_ARG_VALUE', fs.writeFileSync, path(), 'b', { flag = 'zz' })
    end)
  end)

  describe('errors', function()
    it('read as in Node and carry code, errno, syscall and path', function()
      local err = failsWith('ENOENT', fs.readFileSync, path 'none')
      assert.equal(("ENOENT: no such file or directory, open '%s'"):format(path 'none'), err.message)
      assert.equal(-2, err.errno)
      assert.equal('open', err.syscall)
      assert.equal(path 'none', err.path)
    end)

    it('name both paths of rename', function()
      local err = failsWith('ENOENT', fs.renameSync, path 'a', path 'b')
      assert.truthy(err.message:find(("rename '%s' -> '%s'"):format(path 'a', path 'b'), 1, true))
      assert.equal(path 'b', err.dest)
    end)

    it('are raised at the call for wrong types', function()
      for _, fn in ipairs { fs.readFileSync, fs.statSync, fs.unlinkSync, fs.mkdirSync, fs.readdirSync, fs.rmSync } do
        local err = failsWith('ERR_INVALID_ARG_TYPE', fn, {})
        assert.truthy(err.message:find('"path" argument', 1, true))
      end
      failsWith('ERR_INVALID_ARG_VALUE', fs.readFileSync, 'a\0b')
      failsWith('ERR_INVALID_ARG_TYPE', fs.writeFileSync, path(), 5)
      failsWith('ERR_INVALID_ARG_TYPE', fs.readFile, path())
      failsWith('ERR_INVALID_ARG_TYPE', fs.readFile, {}, print)
      failsWith('ERR_INVALID_ARG_TYPE', fs.writeFile, path(), 5, print)
    end)
  end)

  describe('stat', function()
    it('tells sizes, times and kinds', function()
      fs.writeFileSync(path(), '12345')
      local stats = fs.statSync(path())
      assert.equal(5, stats.size)
      assert.is_true(stats:isFile())
      assert.is_false(stats:isDirectory())
      assert.is_true(math.abs(stats.mtimeMs / 1000 - os.time()) < 60)
      assert.is_true(fs.statSync(directory):isDirectory())
      assert.is_true(fs.statSync('/dev/null'):isCharacterDevice())
    end)

    it('lstat sees a link, stat what it points to', function()
      fs.writeFileSync(path(), '')
      fs.symlinkSync(path(), path 'link')
      assert.is_true(fs.lstatSync(path 'link'):isSymbolicLink())
      assert.is_true(fs.statSync(path 'link'):isFile())
      assert.equal(fs.realpathSync(path()), fs.realpathSync(path 'link'))
    end)

    it('throwIfNoEntry = false gives nil', function()
      assert.is_nil(fs.statSync(path 'none', { throwIfNoEntry = false }))
    end)

    it('existsSync never raises', function()
      assert.is_true(fs.existsSync(directory))
      assert.is_false(fs.existsSync(path 'none'))
      assert.is_false(fs.existsSync())
      assert.is_false(fs.existsSync('a\0b'))
    end)
  end)

  describe('directories', function()
    it('are made, listed in order and removed', function()
      fs.mkdirSync(path 'd')
      fs.writeFileSync(path 'd/b', '')
      fs.writeFileSync(path 'd/a', '')
      assert.same({ 'a', 'b' }, fs.readdirSync(path 'd'))
      failsWith('EEXIST', fs.mkdirSync, path 'd')
      failsWith('ENOTEMPTY', fs.rmdirSync, path 'd')
      failsWith('ERR_FS_EISDIR', fs.rmSync, path 'd')
      fs.rmSync(path 'd', { recursive = true })
      assert.is_false(fs.existsSync(path 'd'))
      failsWith('ENOENT', fs.rmSync, path 'd')
      fs.rmSync(path 'd', { force = true })
    end)

    it('are made with those above them', function()
      assert.equal(path 'x', fs.mkdirSync(path 'x/y//z/', { recursive = true }))
      assert.is_true(fs.statSync(path 'x/y/z'):isDirectory())
      assert.is_nil(fs.mkdirSync(path 'x/y/z', { recursive = true }))
      fs.writeFileSync(path 'f', '')
      failsWith('ENOTDIR', fs.mkdirSync, path 'f/g', { recursive = true })
    end)

    it('mkdtempSync adds six characters', function()
      local made = fs.mkdtempSync(path 'tmp-')
      assert.equal(#path 'tmp-' + 6, #made)
      assert.is_true(fs.statSync(made):isDirectory())
    end)

    it('are not followed through links when they are removed', function()
      fs.mkdirSync(path 'keep')
      fs.writeFileSync(path 'keep/file', '')
      fs.mkdirSync(path 'd')
      fs.symlinkSync(path 'keep', path 'd/link')
      fs.rmSync(path 'd', { recursive = true })
      assert.is_true(fs.existsSync(path 'keep/file'))
    end)
  end)

  describe('with callbacks', function()
    it('give the result after the call has returned', spec.async(function(_, expect)
      local returned = false
      fs.writeFile(path(), 'text', expect(function(err)
        assert.is_nil(err)
        assert.is_true(returned)
        fs.readFile(path(), 'utf8', expect(function(problem, text)
          assert.is_nil(problem)
          assert.equal('text', text)
        end))
        fs.stat(path(), expect(function(_, stats) assert.equal(4, stats.size) end))
      end))
      returned = true
    end))

    it('give failures as the first argument', spec.async(function(_, expect)
      fs.readFile(path 'none', expect(function(err, data)
        assert.equal('ENOENT', err.code)
        assert.is_nil(data)
      end))
    end))
  end)

  describe('streams', function()
    it('read a file in pieces of at most 64 KiB', spec.async(function(_, expect)
      local data = ('0123456789'):rep(20000)
      fs.writeFileSync(path(), data)
      local stream, pieces = fs.createReadStream(path()), {}
      stream:on('open', expect(function(fd) assert.is_number(fd) end))
      stream:on('data', function(chunk)
        assert.is_true(#chunk <= 65536)
        pieces[#pieces + 1] = chunk
      end)
      stream:on('end', expect(function()
        assert.equal(data, table.concat(pieces))
        assert.equal(#data, stream.bytesRead)
      end))
      stream:on('close', expect(function() assert.is_nil(stream.fd) end))
    end))

    it('read from start to end, both included', spec.async(function(_, expect)
      fs.writeFileSync(path(), '0123456789')
      local text = ''
      local stream = fs.createReadStream(path(), { start = 2, ['end'] = 5, highWaterMark = 3, encoding = 'utf8' })
      stream:on('data', function(chunk) text = text .. chunk end)
      stream:on('end', expect(function() assert.equal('2345', text) end))
    end))

    it('write a file', spec.async(function(_, expect)
      local stream = fs.createWriteStream(path())
      stream:write('one ')
      stream:write('two ')
      stream:finish('three')
      stream:on('finish', expect(function() assert.equal(13, stream.bytesWritten) end))
      stream:on('close', expect(function() assert.equal('one two three', fs.readFileSync(path())) end))
    end))

    it('copy with pipe', spec.async(function(_, expect)
      local data = ('x'):rep(300000)
      fs.writeFileSync(path(), data)
      fs.createReadStream(path()):pipe(fs.createWriteStream(path 'copy')):on('close', expect(function()
        assert.equal(data, fs.readFileSync(path 'copy'))
      end))
    end))

    it('emit an error for a file that is not there', spec.async(function(_, expect)
      for _, open in ipairs { fs.createReadStream, fs.createWriteStream } do
        local stream = open(path 'no/such')
        stream:on('error', expect(function(err) assert.equal('ENOENT', err.code) end))
        stream:on('close', expect())
      end
    end))

    it('may be destroyed before they are open', spec.async(function(_, expect)
      local stream = fs.createReadStream(path 'none')
      stream:on('close', expect())
      stream:destroy()
    end))

    it('check the range', function()
      failsWith('ERR_OUT_OF_RANGE', fs.createReadStream, path(), { start = 5, ['end'] = 2 })
      failsWith('ERR_INVALID_ARG_TYPE', fs.createReadStream, path(), { start = 'x' })
    end)
  end)

  describe('watch', function()
    it('tells which entry of a directory appeared and changed', spec.async(function(done)
      local seen = {}
      local watcher
      watcher = fs.watch(directory, function(event, name)
        seen[event .. ' ' .. name] = true
        if seen['rename new'] and seen['change new'] then
          watcher:close()
        end
      end)
      watcher:on('close', done)
      fs.writeFileSync(path 'new', 'x')
    end))

    -- Does something to the directory, and gives the events until the file `last` appears.
    local function eventsOf(act)
      return function(await)
        local seen = {}
        local watcher = fs.watch(directory, function(event, name)
          seen[#seen + 1] = event .. ' ' .. name
          if name == 'last' then
            seen.watcher:close()
          end
        end)
        seen.watcher = watcher
        act()
        fs.writeFileSync(path 'last', '')
        await(watcher, 'close')
        seen.watcher = nil
        while seen[#seen]:find(' last$') do
          seen[#seen] = nil
        end
        return seen
      end
    end

    it('tells a rename by the old and the new name', spec.coroutine(function(await)
      fs.writeFileSync(path 'old', '')
      assert.same({ 'rename old', 'rename new' }, eventsOf(function()
        fs.renameSync(path 'old', path 'new')
      end)(await))
    end))

    it('tells that an entry has gone', spec.coroutine(function(await)
      fs.writeFileSync(path 'old', '')
      assert.same({ 'rename old' }, eventsOf(function()
        fs.unlinkSync(path 'old')
      end)(await))
    end))

    it('tells a new directory, and nothing of what is in it', spec.coroutine(function(await)
      assert.same({ 'rename sub' }, eventsOf(function()
        fs.mkdirSync(path 'sub')
        fs.writeFileSync(path 'sub/file', '')
      end)(await))
    end))

    it('tells a change for each write', spec.coroutine(function(await)
      fs.writeFileSync(path 'log', '')
      local seen = eventsOf(function()
        local fd = fs.openSync(path 'log', 'a')
        fs.writeSync(fd, 'one')
        fs.closeSync(fd)
      end)(await)
      assert.same({ 'change log' }, seen)
    end))

    it('tells everything of a burst', spec.coroutine(function(await)
      local seen = eventsOf(function()
        for i = 1, 500 do
          fs.writeFileSync(path('file' .. i), '')
        end
      end)(await)
      local created = {}
      for _, event in ipairs(seen) do
        created[event] = true
      end
      for i = 1, 500 do
        assert.is_true(created['rename file' .. i])
      end
    end))

    it('tells the end of a file that is watched itself', spec.async(function(done)
      fs.writeFileSync(path(), '')
      local watcher
      watcher = fs.watch(path(), function(event)
        if event == 'rename' then
          watcher:close()
          done()
        end
      end)
      fs.unlinkSync(path())
    end))

    it('may be many at once, on one place or several', spec.coroutine(function(await)
      local left, watchers = 200, {}
      await(function(done)
        for i = 1, 200 do
          watchers[i] = fs.watch(directory)
          watchers[i]:once('change', function()
            left = left - 1
            if left == 0 then
              done()
            end
          end)
        end
        fs.writeFileSync(path 'new', '')
      end)
      for _, watcher in ipairs(watchers) do
        watcher:close()
      end
    end))

    it('names the file itself when that is watched', spec.async(function(done)
      fs.writeFileSync(path(), '')
      local watcher = fs.watch(path())
      watcher:once('change', function(event, name)
        assert.equal('change file', event .. ' ' .. name)
        watcher:close()
        watcher:close()
        done()
      end)
      fs.appendFileSync(path(), 'x')
    end))

    it('ends with its signal', spec.async(function(_, expect)
      local controller = require('events').AbortController or require('moonlatch.abort').AbortController
      controller = controller()
      fs.watch(directory, { signal = controller.signal }):on('close', expect())
      timers.setImmediate(function() controller:abort() end)
    end))

    it('raises for what is not there', function()
      local err = failsWith('ENOENT', fs.watch, path 'none')
      assert.equal('watch', err.syscall)
    end)

    it('raises for what inotify cannot do', function()
      failsWith('ERR_FEATURE_UNAVAILABLE_ON_PLATFORM', fs.watch, directory, { recursive = true })
    end)

    it('does not keep the loop open when it is not persistent', function()
      local watcher = fs.watch(directory, { persistent = false })
      assert.is_false(native.step(false))
      watcher:close()
      native.step(false)
    end)

    it('delivers nothing after it was closed by its own listener', spec.async(function(_, expect)
      local watcher
      watcher = fs.watch(directory, expect(function() watcher:close() end))
      fs.writeFileSync(path 'a', 'x')
      fs.writeFileSync(path 'b', 'x')
    end))
  end)
end)
