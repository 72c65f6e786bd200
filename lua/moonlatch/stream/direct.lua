--- Methods that need no callback of their own.
---
--- A `_final` or `_destroy` is given a function to call when it is done, and making one for each call costs twice: the
--- closure itself, and LuaJIT, which does not compile what makes closures. For a method that is a key here, its value
--- is called instead. A method put in its place by a script or a subclass is no key, and so is called as any other.
---
--- `_final`: `(self, done)`, and `_destroy`: `(self, done, err, callback)`. They call `done(self, failure)`, or
--- `done(self, failure, callback)`, once.
---
--- `_write`: `(self, chunk)`. What it returns says what became of the chunk. True: it is taken, and nothing is left to
--- be told of it. False and a boolean: it is under way (_adoptWrite), and the boolean is what write() returns. Nil and
--- an error: it cannot be written. Nil: `_write` is to be called.

---@type table<function, function>
return {}
