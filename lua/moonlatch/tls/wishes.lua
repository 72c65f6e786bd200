--- What a TLSSocket wishes of its peer once the handshake is over, one thing at a time: the native side can wait for
--- one only, and may be busy with what the peer has begun.
local errors = require 'moonlatch.errors'
local nextTick = require('moonlatch.tick').nextTick

local remove = table.remove

local wishes = {}

-- Begins the first wish that can be begun. Those that cannot be granted at all are told so.
local function proceed(self)
  local queue = self._wishes
  while queue and queue[1] and not queue[1].begun and self._handle do
    local wish = queue[1]
    local begun, err = wish.begin(self._handle)
    if begun == false then
      return -- busy: wishes.renewed comes back
    end
    wish.begun = true
    if begun then
      return
    end
    remove(queue, 1)
    if wish.callback then
      nextTick(wish.callback, err)
    end
  end
end

--- Why nothing can be wished of this socket, if so: it is closed, its handshake is not over, or its connection carries
--- another one now.
---@param self tls.TLSSocket
---@return moonlatch.Error?
function wishes.refusal(self)
  if self.destroyed then
    return errors.codes.ERR_SOCKET_CLOSED()
  elseif not self._established or not self._handle then
    return errors.codes.ERR_TLS_INVALID_STATE()
  end
end

--- Adds a wish. `begin(handle)` gives true, false while the connection is busy with another one, or nil and an Error.
--- Returns false when it cannot be granted; the callback hears why, and of everything else when it is over.
---@param self tls.TLSSocket
---@param begin fun(handle: table): boolean?, moonlatch.Error?
---@param callback? fun(err: moonlatch.Error?)
---@return boolean
function wishes.add(self, begin, callback)
  local refused = wishes.refusal(self)
  if refused then
    if callback then
      nextTick(callback, refused)
    end
    return false
  end
  local queue = self._wishes or {}
  local wish = { begin = begin, callback = callback }
  self._wishes = queue
  queue[#queue + 1] = wish
  proceed(self)
  for i = 1, #queue do
    if queue[i] == wish then
      return true
    end
  end
  return false
end

--- The native side has done what it was at, for us or for the peer.
---@param self tls.TLSSocket
function wishes.renewed(self)
  local first = self._wishes and self._wishes[1]
  if first and first.begun then
    remove(self._wishes, 1)
  end
  proceed(self)
  if first and first.begun and first.callback then
    first.callback()
  end
end

--- The socket closes: no wish will come true.
---@param self tls.TLSSocket
---@param err? moonlatch.Error
function wishes.drop(self, err)
  local queue = self._wishes
  if not queue then
    return
  end
  self._wishes = nil
  for _, wish in ipairs(queue) do
    if wish.callback then
      nextTick(wish.callback, err or errors.codes.ERR_SOCKET_CLOSED())
    end
  end
end

return wishes
