-- Set as LUA_INIT: a collector that starts over whenever the heap has grown by a hundredth, and then finishes in one
-- go. Starting over at every allocation would take hours.
if jit then
  collectgarbage('setpause', 101)
  collectgarbage('setstepmul', 1000000)
end
