--- ref and unref: whether what stands on a native handle, in its field _handle, keeps the program running.

---@param Class moonlatch.Class
return function(Class)
  Class._unrefed = false

  --- Lets it keep the program running, as it does from the start.
  ---@return self
  function Class:ref()
    self._unrefed = false
    if self._handle then
      self._handle:ref()
    end
    return self
  end

  --- Lets the program end although it is open. Counts for the handle it may get later too.
  ---@return self
  function Class:unref()
    self._unrefed = true
    if self._handle then
      self._handle:unref()
    end
    return self
  end
end
