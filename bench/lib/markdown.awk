# Prints figures as tables in Markdown, for docs/benchmarks.md: scenarios as rows and servers as columns.

# What all of `what` has in a cell: "main", "cpu", "latency", "both".
function cell(what, scenario, server) {
  if (!((scenario, server) in seen)) return "–"
  if (what == "cpu") return number(cpu(scenario, server))
  if (what == "latency")
    return sprintf("%.2f / %.2f / %.2f", median(scenario, server, "p50_ms"), median(scenario, server, "p99_ms"), \
      median(scenario, server, "p999_ms"))
  if (what == "both")
    return sprintf("%.0f + %.0f", median(scenario, server, "rate"), median(scenario, server, "handshakes_per_s"))
  return number(median(scenario, server, main_figure(scenario))) (remark(scenario, server) ~ /client-bound/ ? "*" : "")
}

function print_row(what, label, scenario, names, count,    i) {
  printf "| %s |", label
  for (i = 1; i <= count; i++) printf " %s |", cell(what, scenario, names[i])
  print ""
}

# The rows of `pattern`'s scenarios, a column for every server that any of them has.
function table(what, pattern, corner,    s, i, names, count, known) {
  for (s = 1; s <= scenario_count; s++)
    if (scenarios[s] ~ pattern)
      for (i = 1; i <= server_counts[scenarios[s]]; i++)
        if (!(members[scenarios[s], i] in known)) {
          names[++count] = members[scenarios[s], i]
          known[names[count]] = 1
        }
  if (!count) return
  printf "\n| %s |", corner
  for (i = 1; i <= count; i++) printf " %s |", names[i]
  printf "\n| --- |"
  for (i = 1; i <= count; i++) printf " ---: |"
  print ""
  for (s = 1; s <= scenario_count; s++)
    if (scenarios[s] ~ pattern)
      print_row(what, title(scenarios[s]) (what == "main" ? ", " unit(scenarios[s]) : ""), scenarios[s], names, count)
}

END {
  print "\n| | |\n| --- | --- |"
  for (s = 1; s <= note_count; s++) printf "| %s | %s |\n", note_subjects[s], notes[s]
  print "\n![the same as bars](benchmarks.svg)"
  web = "^(full|resumed|request|echo|bulk|idle|mixed)"
  table("main", web, "")
  print "\n\\* client-bound: the load generator used its core up while the server did not."
  table("cpu", "^(full|resumed|request|echo|bulk|mixed)", "CPU us per operation, per MiB of echo and bulk")
  table("latency", "^(request|mixed)", "p50 / p99 / p99.9 in ms")
  table("both", "^mixed", "requests/s + handshakes/s")
  table("main", "^native", "")
  table("cpu", "^native", "CPU us per MiB")
  table("main", "^callbacks", "handshakes/s")
  table("cpu", "^callbacks", "CPU us per handshake")
  table("main", "^workers", "")
  table("cpu", "^workers", "CPU us per handshake")
  table("main", "^contexts", "")
  table("main", "^start-up", "")
}
