# Reads the figures that bench/run wrote: scenario, round, server, name of the figure, value. Used before table.awk,
# markdown.awk, plot.awk and targets.awk, which print.

BEGIN { FS = "\t" }

$1 == "#" {
  note_subjects[++note_count] = $2
  notes[note_count] = $3
  next
}

{
  if (!(($1, $3) in seen)) {
    seen[$1, $3] = 1
    if (!($1 in server_counts)) scenarios[++scenario_count] = $1
    members[$1, ++server_counts[$1]] = $3
  }
  figures[$1, $3, $4, $2] = $5
  if ($2 + 0 > rounds) rounds = $2 + 0
}

# The median over the rounds; "" when there is none. It is `list[1]` to `list[n]` afterwards that is in order.
function median_of(list, n,    i, j, t) {
  if (n == 0) return ""
  for (i = 2; i <= n; i++) {
    t = list[i]
    for (j = i - 1; j >= 1 && list[j] > t; j--) list[j + 1] = list[j]
    list[j + 1] = t
  }
  return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

function median(scenario, server, figure,    round, n, list) {
  for (round = 1; round <= rounds; round++)
    if ((scenario, server, figure, round) in figures) list[++n] = figures[scenario, server, figure, round] + 0
  return median_of(list, n)
}

# One server against another: the ratio in each round, and their median, since a machine is not equally fast for long.
function against(scenario, server, other, figure,    round, n, list) {
  for (round = 1; round <= rounds; round++)
    if ((scenario, server, figure, round) in figures && figures[scenario, other, figure, round] > 0)
      list[++n] = figures[scenario, server, figure, round] / figures[scenario, other, figure, round]
  return median_of(list, n)
}

function errors_of(scenario, server,    round, sum) {
  for (round = 1; round <= rounds; round++) sum += figures[scenario, server, "errors", round]
  return sum
}

# A server without the variant behind its plus.
function plain(server) {
  sub(/\+.*/, "", server)
  return server
}

# ---- What a scenario is about ----

function main_figure(scenario) {
  if (scenario ~ /^(echo|bulk|native)/) return "mb_per_s"
  if (scenario == "idle") return "private_per_conn"
  if (scenario == "contexts") return "each_us"
  if (scenario == "start-up") return "cpu_us"
  return "rate"
}

function unit(scenario) {
  if (scenario ~ /^(echo|native-pipe-echo)/) return "MB/s each way"
  if (scenario ~ /^(bulk|native)/) return "MB/s"
  if (scenario == "idle") return "bytes per connection"
  if (scenario == "contexts") return "us per context"
  if (scenario == "start-up") return "us of CPU"
  if (scenario ~ /^(request|mixed)/) return "requests/s"
  return "handshakes/s"
}

function less_is_better(scenario) {
  return scenario ~ /^(idle|contexts|start-up)$/
}

function title(scenario,    part) {
  split(scenario, part, "-")
  if (scenario ~ /^callbacks-/) return "full handshakes with callbacks, TLS " part[2] (part[3] ? ", session ids" : "")
  if (scenario ~ /^full-/) return "full handshakes, TLS " part[2] ", " (part[3] == "rsa" ? "RSA-2048" : "ECDSA P-256")
  if (scenario ~ /^resumed-/) return "resumed handshakes, TLS " part[2]
  if (scenario ~ /^request-/) return "small requests, " part[2] " connection" (part[2] > 1 ? "s" : "")
  if (scenario ~ /^echo-/) return "16 KiB echoed, 16 connections"
  if (scenario ~ /^bulk-/) return "bulk, " part[2] " connection" (part[2] > 1 ? "s" : "")
  if (scenario == "idle") return "memory of an idle connection"
  if (scenario == "mixed") return "small requests, 64 connections, while handshakes storm"
  if (scenario == "native-pipe-echo") return "TLS to TCP proxy, 16 KiB echoed, 16 connections"
  if (scenario == "native-pipe-bulk") return "TLS to TCP proxy, bulk, 16 connections"
  if (scenario == "workers") return "full handshakes, one worker and two"
  if (scenario == "contexts") return "building a secure context"
  if (scenario == "start-up") return "start-up and end of an empty script"
  return scenario
}

# ---- Values ----

# CPU time of the server per operation in us; of what moves data, per MiB.
function cpu(scenario, server,    value) {
  value = median(scenario, server, "server_us")
  return value != "" && scenario ~ /echo/ ? value * 64 : value
}

function cpu_against(scenario, server, other) {
  return against(scenario, server, other, "server_us")
}

function number(value) {
  if (value == "") return "-"
  return sprintf(value >= 100 ? "%.0f" : value >= 10 ? "%.1f" : "%.2f", value)
}

function ratio(value) {
  return value == "" ? "-" : sprintf("%.2f", value)
}

# Why a row should be read with care.
function remark(scenario, server,    text, client, busy) {
  client = median(scenario, server, "client_cpu")
  busy = median(scenario, server, "server_cpu")
  if (busy != "" && busy < 0.90 && scenario !~ /^(request-1|mixed|workers)$/) {
    if (scenario ~ /^native/) text = "client-bound: it shares its core with the backend"
    else text = client >= 0.95 ? "client-bound" : "neither end was busy: the machine was"
  }
  if (errors_of(scenario, server) > 0) text = text (text ? ", " : "") errors_of(scenario, server) " errors"
  return text
}
