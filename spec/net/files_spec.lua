-- Files that are sent over a connection: fs.createReadStream(path):pipe(socket).

local crypto = require 'crypto'
local fs = require 'fs'
local net = require 'net'
local spec = require 'moonlatch.spec'
local stream = require 'stream'
local timers = require 'timers'
local program = require 'spec.support.program'
local T = require 'spec.support.tls'

local MIB = 1024 * 1024
local BLOCK = crypto.randomBytes(MIB)

-- Tools that look after memory need some themselves.
local WATCHED = spec.slowness > 1
local LIMIT = (WATCHED and 48 or 12) * 1024 -- KiB

-- A file of so many different megabytes, and its SHA-256.
local function writeFile(path, megabytes)
  local hash, fd = crypto.createHash('sha256'), fs.openSync(path, 'w')
  for i = 1, megabytes do
    local block = ('%08d'):format(i) .. BLOCK:sub(9)
    fs.writeSync(fd, block)
    hash:update(block)
  end
  fs.closeSync(fd)
  return hash:digest('hex')
end

-- To be called twice.
local function both(done)
  local left = 2
  return function()
    left = left - 1
    if left == 0 then
      done()
    end
  end
end

local ends = {
  net = {
    listen = function(onSocket)
      return net.createServer(onSocket):listen(0, '127.0.0.1')
    end,
    connect = function(port)
      return net.connect(port, '127.0.0.1')
    end,
  },
  TLS = {
    listen = function(onSocket)
      return T.serve({}, onSocket, function() end)
    end,
    connect = function(port)
      return T.connect(port)
    end,
  },
}

-- The program that sends a file to each who connects, and then says by how much its peak memory has grown.
local SENDER = [[
  local fs, net, process, tls = require 'fs', require 'net', require 'process', require 'tls'
  local env = process.env
  local function peak()
    return tonumber(fs.readFileSync('/proc/self/status', 'utf8'):match('VmHWM:%s*(%d+)'))
  end
  local before
  local function send(socket)
    before = before or peak()
    socket:on('close', function()
      print(('grew %d'):format(peak() - before))
      process.exit()
    end)
    fs.createReadStream(env.FILE):pipe(socket)
  end
  local server = env.SECURE and tls.createServer({ key = fs.readFileSync(env.SECURE .. '/key'),
    cert = fs.readFileSync(env.SECURE .. '/cert') }, send) or net.createServer(send)
  server:listen(0, '127.0.0.1', function()
    io.write('port ', server:address().port, '\n')
    io.flush()
  end)
]]

-- Sends a file from a program of its own: its hash as it arrives, and the KiB by which the sender's peak has grown.
local function transfer(await, directory, kind, read)
  local command
  await(function(done)
    command = spec.command({ program.path, '-e', SENDER }, { timeout = 120000, env = {
      FILE = directory .. '/file', SECURE = kind == 'TLS' and directory,
      -- What was freed counts as memory, otherwise.
      ASAN_OPTIONS = (os.getenv 'ASAN_OPTIONS' or '') .. ':quarantine_size_mb=1',
    } })
    command:waitFor('stdout', 'port %d+', function()
      done()
    end)
  end)
  local socket = ends[kind].connect(tonumber(command.stdout:match('port (%d+)')))
  local hash = crypto.createHash('sha256')
  read(socket, hash)
  await(function(done)
    local over = both(done)
    command:on('exit', over)
    socket:on('close', over)
  end)
  assert.equal(0, command.status, command.stderr)
  return hash:digest('hex'), tonumber(command.stdout:match('grew (%d+)'))
end

local function atOnce(socket, hash)
  socket:on('data', function(chunk)
    hash:update(chunk)
  end)
end

-- Takes a chunk, then nothing for a few turns of the loop.
local function slowly(socket, hash)
  local function rest(turns)
    if turns == 0 then
      socket:resume()
    else
      timers.setImmediate(rest, turns - 1)
    end
  end
  socket:on('data', function(chunk)
    hash:update(chunk)
    socket:pause()
    rest(3)
  end)
end

for kind, side in pairs(ends) do
  describe('a file piped into a socket (' .. kind .. ')', function()
    local directory, path

    before_each(function()
      directory = spec.tempdir()
      path = directory .. '/file'
      fs.writeFileSync(directory .. '/key', T.localhost.key)
      fs.writeFileSync(directory .. '/cert', T.localhost.cert)
    end)

    after_each(function()
      spec.remove(directory)
    end)

    -- Sends with `send(socket)`; gives what came, the client and the server's socket, both closed.
    local function sent(await, send)
      local accepted
      local server = side.listen(function(socket)
        accepted = socket
        send(socket)
      end)
      await(server, 'listening')
      local client = side.connect(server:address().port)
      local parts = {}
      client:on('data', function(chunk)
        parts[#parts + 1] = chunk
      end)
      await(client, 'close')
      if not accepted.destroyed then
        await(accepted, 'close')
      end
      server:close()
      return table.concat(parts)
    end

    it('arrives whole, and takes little memory whatever its size', spec.coroutine(function(await)
      local expected = writeFile(path, WATCHED and 96 or 256)
      local hash, grown = transfer(await, directory, kind, atOnce)
      assert.equal(expected, hash)
      assert(grown < LIMIT, grown .. ' KiB')
    end, { timeout = 120000 }))

    it('takes no more for a reader who takes his time', spec.coroutine(function(await)
      local expected = writeFile(path, WATCHED and 96 or 32)
      local hash, grown = transfer(await, directory, kind, slowly)
      assert.equal(expected, hash)
      assert(grown < LIMIT, grown .. ' KiB')
    end, { timeout = 120000 }))

    it('may be a part of it', spec.coroutine(function(await)
      local data = BLOCK:sub(1, 300000)
      fs.writeFileSync(path, data)
      for _, part in ipairs { { 0, 0 }, { 1, 200000 }, { 65535, 65536 }, { 250000, 400000 }, { 123456 }, { 300000 },
        { nil, 99999 } } do
        local text = sent(await, function(socket)
          fs.createReadStream(path, { start = part[1], ['end'] = part[2] }):pipe(socket)
        end)
        assert.is_true(text == data:sub((part[1] or 0) + 1, part[2] and part[2] + 1))
      end
    end))

    it('ends where the file ends, should that become shorter meanwhile', spec.coroutine(function(await)
      fs.writeFileSync(path, BLOCK)
      local text = sent(await, function(socket)
        local file = fs.createReadStream(path)
        file:once('data', function()
          fs.writeFileSync(path, BLOCK:sub(1, 100000))
        end)
        file:pipe(socket)
      end)
      assert.is_true(text == BLOCK:sub(1, 100000))
    end))

    -- The memory of this process as a file: readable up to where the stack ends.
    local function unreadable()
      local last = tonumber(fs.readFileSync('/proc/self/maps', 'utf8'):match('%x+%-(%x+)[^\n]*%[stack%]'), 16)
      return fs.createReadStream('/proc/self/mem', { start = last - 100000 })
    end

    it('leaves the socket to the script when reading fails', spec.coroutine(function(await)
      local failure
      local text = sent(await, function(socket)
        local file = unreadable()
        file:on('error', function(err)
          failure = err
          assert.is_true(file.destroyed)
          assert.is_false(socket.destroyed)
          socket:finish('sorry')
        end)
        file:pipe(socket)
      end)
      assert.equal('EIO', failure.code)
      assert.equal(100000 + 5, #text)
      assert.equal('sorry', text:sub(-5))
    end))

    it('ends the socket when reading fails in a pipeline', spec.coroutine(function(await)
      local failure
      sent(await, function(socket)
        stream.pipeline(unreadable(), socket, function(err)
          failure = err
          assert.is_true(socket.destroyed)
        end)
      end)
      assert.equal('EIO', failure.code)
    end))

    -- A client that reads some and resets the connection.
    local function leave(await, send)
      local server = side.listen(send)
      await(server, 'listening')
      local client = side.connect(server:address().port)
      client:once('data', function()
        client:resetAndDestroy()
      end)
      await(client, 'close')
      server:close()
    end

    it('is let go when the client leaves', spec.coroutine(function(await)
      writeFile(path, 32)
      local file, code
      leave(await, function(socket)
        file = fs.createReadStream(path)
        socket:on('error', function(err)
          code = err.code
        end)
        socket:on('close', function()
          assert.is_false(file.destroyed)
          assert.is_false(file.readableFlowing or false)
          file:destroy()
        end)
        file:pipe(socket)
      end)
      await(file, 'close')
      assert.is_true(code == 'ECONNRESET' or code == 'EPIPE', code)
      assert.is_nil(file.fd)
      assert.is_true(file.bytesRead < 32 * MIB)
    end))

    it('is closed by a pipeline when the client leaves', spec.coroutine(function(await)
      writeFile(path, 32)
      local file, failure
      await(function(done)
        local over = both(done)
        leave(await, function(socket)
          file = fs.createReadStream(path)
          file:on('close', over)
          stream.pipeline(file, socket, function(err)
            failure = err
            over()
          end)
        end)
      end)
      assert.is_true(failure.code == 'ECONNRESET' or failure.code == 'EPIPE', failure.code)
      assert.is_nil(file.fd)
      assert.is_true(file.bytesRead < 32 * MIB)
    end))
  end)
end
