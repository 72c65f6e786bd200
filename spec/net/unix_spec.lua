-- Unix sockets.

local net = require 'net'
local spec = require 'moonlatch.spec'
local fs = require 'fs'

describe('a unix socket', function()
  local directory

  before_each(function()
    directory = spec.tempdir()
  end)
  after_each(function()
    spec.remove(directory)
  end)

  local function echo(address, options)
    return spec.async(function(_, expect)
      local server
      server = net.createServer(function(socket)
        assert.is_nil(socket.remoteAddress)
        assert.is_nil(socket.localPort)
        assert.same({}, socket:address())
        socket:pipe(socket)
      end)
      server:listen(options and options() or address(), expect(function()
        assert.equal(address(), server:address())
        local client = net.connect(address(), expect())
        client:finish('through a path')
        client:on('data', expect(function(chunk)
          assert.equal('through a path', chunk)
        end))
        client:on('close', expect(function()
          server:close(expect(function()
            assert.is_false(address():sub(1, 1) == '/' and fs.existsSync(address()))
          end))
        end))
      end))
    end)
  end

  local function path()
    return directory .. '/socket'
  end

  it('listens on a path and removes it when closed', echo(path))
  it('takes options', echo(path, function()
    return { path = path(), readableAll = true, writableAll = true }
  end))
  it('may be abstract', echo(function()
    return '\0moonlatch-spec-' .. require('process').pid
  end))

  it('is in use when the file exists', spec.async(function(_, expect)
    fs.writeFileSync(path(), '')
    net.createServer():listen(path()):on('error', expect(function(err)
      assert.equal('listen EADDRINUSE: address already in use ' .. path(), err.message)
      assert.equal(path(), err.address)
      assert.is_nil(err.port)
    end))
  end))

  it('refuses when nobody listens any more', spec.async(function(_, expect)
    fs.writeFileSync(path(), '')
    net.connect(path()):on('error', expect(function(err)
      assert.equal('connect ECONNREFUSED ' .. path(), err.message)
    end))
  end))

  it('may not have too long a path', spec.async(function(_, expect)
    net.createServer():listen('/' .. ('x'):rep(200)):on('error', expect(function(err)
      assert.equal('ENAMETOOLONG', err.code)
      assert.equal('listen', err.syscall)
    end))
  end))
end)
