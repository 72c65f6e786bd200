--- Methods that need no callback of their own.
---
--- A `_final` or `_destroy` is given a function to call when it is done, and making one for each call costs twice: the
--- closure itself, and LuaJIT, which does not compile what makes closures. For a method that is a key here, its value
--- is called instead: `(self, done)` for `_final` and `(self, done, err, callback)` for `_destroy`. It calls
--- `done(self, failure)`, or `done(self, failure, callback)`, once. A method put in its place by a script or a subclass
--- is no key, and so is called as any other.

---@type table<function, function>
return {}
