# Reads the figures that bench/run wrote and prints, for every scenario, medians over the rounds and their ratios.
# `order` lists the servers as they are to appear. A column "x nginx" is the row's value divided by nginx's. A server
# with callbacks is called like the plain one with a plus and their kind behind it.

function median(text,    n, list, i, j, t, value) {
  n = split(text, list, " ")
  if (n == 0) return ""
  for (i = 2; i <= n; i++) {
    t = list[i] + 0
    for (j = i - 1; j >= 1 && list[j] + 0 > t; j--) list[j + 1] = list[j]
    list[j + 1] = t
  }
  value = n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
  return value + 0
}

function median_of(key, field) {
  return median(values[key, field])
}

function main_field(scenario) {
  if (scenario ~ /^(echo|bulk)/) return "mb_per_s"
  if (scenario == "idle") return "private_per_conn"
  return "rate"
}

function title(scenario) {
  if (scenario ~ /^callbacks-/) return scenario ": full handshakes per second with callbacks, TLS " versions_of(scenario)
  if (scenario ~ /^full-/) return scenario ": full handshakes per second, " names_of(scenario)
  if (scenario ~ /^resumed-/) return scenario ": resumed handshakes per second, TLS " substr(scenario, 9)
  if (scenario ~ /^request-/) return scenario ": small requests per second, connections kept: " substr(scenario, 9)
  if (scenario ~ /^echo-/) return scenario ": 16 KiB messages echoed, MB/s each way, 16 connections"
  if (scenario ~ /^bulk-/) return scenario ": MB/s from the server, connections: " substr(scenario, 6)
  if (scenario == "idle") return scenario ": bytes of private memory per idle connection (less is better)"
  if (scenario == "mixed") return scenario ": small requests per second on 64 connections while a second client storms full handshakes"
  return scenario
}

function names_of(scenario,    part) {
  split(scenario, part, "-")
  return "TLS " part[2] ", " (part[3] == "rsa" ? "RSA-2048" : "ECDSA P-256")
}

function versions_of(scenario) {
  return substr(scenario, 11, 3) (scenario ~ /-ids$/ ? ", session ids instead of tickets" : "")
}

function plain(server) {
  sub(/\+.*/, "", server)
  return server
}

# Against the plain server: the ratio in each round, and their median, since a machine is not equally fast for long.
function paired(scenario, server, field,    n, i, mine, other, text) {
  n = split(values[scenario, server, field], mine, " ")
  split(values[scenario, plain(server), field], other, " ")
  for (i = 1; i <= n; i++)
    if (other[i] > 0) text = text " " mine[i] / other[i]
  return text ? sprintf("%.3f", median(text)) : "-"
}

function ratio(a, b) {
  return a != "" && b > 0 ? sprintf("%.2f", a / b) : "-"
}

function number(x) {
  if (x == "") return "-"
  return x >= 100 ? sprintf("%.0f", x) : sprintf("%.2f", x)
}

# Why a row should be read with care.
function remark(key,    text) {
  if (median_of(key, "client_cpu") >= 0.95 && median_of(key, "server_cpu") < 0.90) text = "client-bound"
  else if (key !~ /-1\034/ && median_of(key, "server_cpu") != "" && median_of(key, "server_cpu") < 0.90)
    text = "neither end was busy: the machine was"
  if (errors[key] > 0) text = text (text ? ", " : "") errors[key] " errors"
  return text
}

function field_of(scenario, server, field) {
  return median_of(scenario SUBSEP server, field)
}

# What is compared: every server with every other, or those with callbacks with the plain ones.
function print_heading(scenario,    j) {
  printf "  %-18s %10s", "", "median"
  if (scenario ~ /^callbacks/) printf " %11s", "x plain"
  else
    for (j = 1; j <= server_count; j++)
      if ((scenario, server_names[j]) in seen) printf " %11s", "x " server_names[j]
  if (scenario != "idle")
    printf " %9s %9s %9s %10s %8s %7s %7s", "p50 ms", "p99 ms", "p99.9 ms", "CPU us/op", "x ceil.", "server", "client"
  if (scenario ~ /^callbacks/) printf " %11s", "CPU x plain"
  print ""
}

function print_ratios(scenario, server, value,    j) {
  if (scenario ~ /^callbacks/) {
    printf " %11s", server == plain(server) ? "1" : paired(scenario, server, "rate")
    return
  }
  for (j = 1; j <= server_count; j++)
    if ((scenario, server_names[j]) in seen)
      printf " %11s", server == server_names[j] ? "1" : \
        ratio(value, field_of(scenario, server_names[j], main_field(scenario)))
}

function print_costs(scenario, server,    key) {
  key = scenario SUBSEP server
  printf " %9.3f %9.3f %9.3f %10s %8s %6.0f%% %6.0f%%", median_of(key, "p50_ms"), median_of(key, "p99_ms"), \
    median_of(key, "p999_ms"), number(median_of(key, "server_us")), \
    ratio(median_of(key, "server_us"), field_of(scenario, "ceiling", "server_us")), \
    100 * median_of(key, "server_cpu"), 100 * median_of(key, "client_cpu")
  if (scenario ~ /^callbacks/) printf " %11s", server == plain(server) ? "1" : paired(scenario, server, "server_us")
  if (scenario == "mixed") printf "  and %d handshakes/s", median_of(key, "storm_rate")
}

function print_scenario(scenario,    i, server, value) {
  print ""
  print title(scenario)
  print_heading(scenario)
  for (i = 1; i <= server_count; i++) {
    server = server_names[i]
    if (!((scenario, server) in seen)) continue
    value = field_of(scenario, server, main_field(scenario))
    printf "  %-18s %10s", server, number(value)
    print_ratios(scenario, server, value)
    if (scenario != "idle") print_costs(scenario, server)
    print (remark(scenario SUBSEP server) ? "  " remark(scenario SUBSEP server) : "")
  }
}

BEGIN {
  FS = "\t"
  server_count = split(order, server_names, " ")
}

FNR == 1 {
  for (i = 1; i <= NF; i++) field_name[i] = $i
  next
}

{
  scenario = $1
  server = $3
  if (!(scenario in known_scenario)) { known_scenario[scenario] = 1; scenario_names[++scenario_count] = scenario }
  seen[scenario, server] = 1
  for (i = 4; i <= NF; i++)
    if ($i != "") values[scenario SUBSEP server, field_name[i]] = values[scenario SUBSEP server, field_name[i]] " " $i
  errors[scenario SUBSEP server] += $NF
}

END {
  for (s = 1; s <= scenario_count; s++) print_scenario(scenario_names[s])
  print ""
  print "client-bound: the load generator used its core up while the server did not; the rate is the client's."
  print "CPU us/op is the server's CPU time per operation (MiB for bulk); x ceil. is that against the server in C."
}
