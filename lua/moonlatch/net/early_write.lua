--- The write that waits for the connection. Where there comes none, its callback is called among the listeners of
--- 'close', as in Node.

local codes = require('moonlatch.errors').codes

local earlyWrite = {}

--- Calls the callback of a write that is not going to be made, if that has not been done.
---@param socket net.Socket
function earlyWrite.fail(socket)
  local callback = socket._lostCallback
  if callback then
    socket._lostCallback = false
    callback(codes.ERR_SOCKET_CLOSED_BEFORE_CONNECTION())
  end
end

--- The socket is connecting: the write waits.
---@param socket net.Socket
---@param data string|string[]
---@param callback function
function earlyWrite.wait(socket, data, callback)
  local function onClose()
    earlyWrite.fail(socket)
  end
  socket._pendingData, socket._pendingCallback, socket._pendingClose = data, callback, onClose
  socket:once('close', onClose)
end

--- There is a connection: the write, if there is one, for the socket to make it now.
---@param socket net.Socket
---@return string|string[]|false data, function|false callback
function earlyWrite.take(socket)
  local data, callback = socket._pendingData, socket._pendingCallback
  if callback then
    socket:removeListener('close', socket._pendingClose)
    socket._pendingData, socket._pendingCallback, socket._pendingClose = false, false, false
  end
  return data, callback
end

--- The socket is destroyed, and 'close' will come.
---@param socket net.Socket
function earlyWrite.lose(socket)
  if socket._pendingCallback then
    socket._lostCallback = socket._pendingCallback
    socket._pendingData, socket._pendingCallback, socket._pendingClose = false, false, false
  end
end

return earlyWrite
