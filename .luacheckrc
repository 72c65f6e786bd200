std = "luajit"
max_line_length = 120
-- Methods take self whether or not they need it.
self = false
globals = { "process", "console", "Error", "TypeError", "RangeError" }
read_globals = {
  "setTimeout", "clearTimeout", "setInterval", "clearInterval", "setImmediate", "clearImmediate",
  "queueMicrotask", "AbortController", "AbortSignal",
}
files["spec"] = { std = "luajit+busted" }
exclude_files = { "build*/" }
