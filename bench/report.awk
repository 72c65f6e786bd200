# Reads the figures that bench/run wrote and prints, for every scenario, medians over the rounds and their ratios.
# `order` lists the servers as they are to appear. A column "x nginx" is the row's value divided by nginx's.

function median_of(key, field,    n, list, i, j, t, value) {
  n = split(values[key, field], list, " ")
  if (n == 0) return ""
  for (i = 2; i <= n; i++) {
    t = list[i] + 0
    for (j = i - 1; j >= 1 && list[j] + 0 > t; j--) list[j + 1] = list[j]
    list[j + 1] = t
  }
  value = n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
  return value + 0
}

function main_field(scenario) {
  if (scenario ~ /^(echo|bulk)/) return "mb_per_s"
  if (scenario == "idle") return "private_per_conn"
  return "rate"
}

function title(scenario) {
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

function print_scenario(scenario,    i, j, key, value, reference, line) {
  print ""
  print title(scenario)
  line = sprintf("  %-11s %10s", "", "median")
  for (j = 1; j <= server_count; j++)
    if ((scenario, server_names[j]) in seen) line = line sprintf(" %11s", "x " server_names[j])
  if (scenario != "idle") line = line sprintf(" %9s %9s %9s %10s %8s %7s %7s", "p50 ms", "p99 ms", "p99.9 ms", "CPU us/op", "x ceil.", "server", "client")
  print line
  for (i = 1; i <= server_count; i++) {
    if (!((scenario, server_names[i]) in seen)) continue
    key = scenario SUBSEP server_names[i]
    value = median_of(key, main_field(scenario))
    line = sprintf("  %-11s %10s", server_names[i], number(value))
    for (j = 1; j <= server_count; j++) {
      if (!((scenario, server_names[j]) in seen)) continue
      reference = median_of(scenario SUBSEP server_names[j], main_field(scenario))
      line = line sprintf(" %11s", i == j ? "1" : ratio(value, reference))
    }
    if (scenario != "idle")
      line = line sprintf(" %9.3f %9.3f %9.3f %10s %8s %6.0f%% %6.0f%%", median_of(key, "p50_ms"), median_of(key, "p99_ms"), \
        median_of(key, "p999_ms"), number(median_of(key, "server_us")), \
        ratio(median_of(key, "server_us"), median_of(scenario SUBSEP "ceiling", "server_us")), \
        100 * median_of(key, "server_cpu"), 100 * median_of(key, "client_cpu"))
    if (scenario == "mixed") line = line sprintf("  and %d handshakes/s", median_of(key, "storm_rate"))
    print line (remark(key) ? "  " remark(key) : "")
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
