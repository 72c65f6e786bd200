# Prints what moonlatch is meant to reach beside what it did, after table.awk (text) or markdown.awk (`markdown` set).

# `excuse` is why a bound cannot be reached on this machine.
function line(what, value, relation, bound, excuse,    reached) {
  if (value == "" || bound == "") return
  reached = relation == "at most" ? value <= bound : value >= bound
  printf (markdown ? "| %s | %s | %s %s | %s |\n" : "  %-72s %10s  %s %s: %s\n"), what, number(value), relation, \
    number(bound), reached ? "yes" : excuse ? excuse : "no, " off(value / bound)
}

function off(factor) {
  return sprintf("%+.0f %%", 100 * (factor - 1))
}

# CPU time against another server's.
function cpu_line(scenario, server, other, bound) {
  line(title(scenario) ": CPU, " server " / " other, cpu_against(scenario, server, other), "at most", bound)
}

function against_ceiling(pattern, bound,    s) {
  for (s = 1; s <= scenario_count; s++)
    if (scenarios[s] ~ pattern) cpu_line(scenarios[s], "moonlatch", "ceiling", bound)
}

# Two times luajit's, and what OpenSSL's initialisation adds to a program that does nothing.
function start_up_bound(    luajit, init, nothing) {
  luajit = median("start-up", "luajit", "cpu_us")
  init = median("start-up", "openssl-init", "cpu_us")
  nothing = median("start-up", "true", "cpu_us")
  return luajit == "" || init == "" || nothing == "" ? "" : 2 * luajit + init - nothing
}

# Two workers: the rate where the machine has cores enough, and that no CPU time is lost between them.
function workers(    s, excuse) {
  for (s = 1; s <= note_count; s++)
    if (note_subjects[s] == "workers") excuse = "not on this machine, see above"
  line("two workers against one: handshakes/s", against("workers", "moonlatch+2", "moonlatch+1", "rate"), \
    "at least", 1.8, excuse)
  line("two workers against one: CPU per handshake", cpu_against("workers", "moonlatch+2", "moonlatch+1"), \
    "at most", 2 / 1.8)
}

END {
  print markdown ? "\n| target | measured | bound | reached |\n| --- | ---: | ---: | --- |" : "\ntargets"
  against_ceiling("^(full|resumed)", 1)
  cpu_line("callbacks-1.3", "moonlatch+sni", "ceiling", 1)
  cpu_line("callbacks-1.2", "moonlatch+sni", "ceiling", 1)
  cpu_line("callbacks-1.3", "moonlatch+all", "moonlatch", 1.05)
  cpu_line("callbacks-1.2", "moonlatch+all", "moonlatch", 1.05)
  if (cpu("full-1.3-ecdsa", "bun") != "")
    line(title("full-1.3-ecdsa") ": CPU us, half way from ceiling to bun", cpu("full-1.3-ecdsa", "moonlatch"), \
      "at most", (cpu("full-1.3-ecdsa", "ceiling") + cpu("full-1.3-ecdsa", "bun")) / 2)
  for (s = 64; s <= 1000; s += 936) {
    cpu_line("request-" s, "moonlatch", "ceiling", 1.2)
    cpu_line("request-" s, "moonlatch", "bun", 1)
    cpu_line("request-" s, "moonlatch", "nginx", 0.9)
  }
  against_ceiling("^(echo|bulk)", 1.03)
  line(title("echo-16k") ": MB/s, moonlatch / bun", against("echo-16k", "moonlatch", "bun", "mb_per_s"), "at least", 1)
  line(title("idle") ": bytes", median("idle", "moonlatch", "private_per_conn"), "at most", \
    median("idle", "nginx", "private_per_conn"))
  line("the same, stretch", median("idle", "moonlatch", "private_per_conn"), "at most", 10000)
  line("mixed: p99 in ms, against haproxy's", median("mixed", "moonlatch", "p99_ms"), "at most", \
    median("mixed", "haproxy", "p99_ms"))
  line("mixed: handshakes/s, against nginx's", median("mixed", "moonlatch", "handshakes_per_s"), "at least", \
    median("mixed", "nginx", "handshakes_per_s"))
  workers()
  line("start-up: us of CPU, against two luajit and OpenSSL's own", median("start-up", "moonlatch", "cpu_us"), \
    "at most", start_up_bound())
}
