# Prints figures as text, a table for each scenario: medians over the rounds and how moonlatch compares.

function heading(scenario) {
  printf "\n%s: %s, %s", scenario, title(scenario), unit(scenario)
  print less_is_better(scenario) ? " (less is better)" : ""
  printf "  %-20s %10s %10s", "", "median", "moonlatch/"
  if (scenario == "contexts") printf " %10s %10s %10s %10s", "first ms", "KiB each", "dropped MiB", "again MiB"
  else if (scenario == "start-up") printf " %10s", "elapsed us"
  else if (scenario != "idle")
    printf " %9s %9s %9s %10s %8s %10s %7s %7s", "p50 ms", "p99 ms", "p99.9 ms", \
      scenario ~ /echo|bulk/ ? "CPU us/MiB" : "CPU us/op", "x ceil.", "moonlatch/", "server", "client"
  if (scenario == "mixed") printf " %12s", "handshakes/s"
  if (scenario ~ /^callbacks/) printf " %8s %11s", "x plain", "CPU x plain"
  print ""
}

function costs(scenario, server) {
  printf " %9.3f %9.3f %9.3f %10s %8s %10s %6.0f%% %6.0f%%", median(scenario, server, "p50_ms"), \
    median(scenario, server, "p99_ms"), median(scenario, server, "p999_ms"), number(cpu(scenario, server)), \
    ratio(cpu_against(scenario, server, "ceiling")), ratio(cpu_against(scenario, "moonlatch", server)), \
    100 * median(scenario, server, "server_cpu"), 100 * median(scenario, server, "client_cpu")
  if (scenario == "mixed") printf " %12.0f", median(scenario, server, "handshakes_per_s")
  if (scenario ~ /^callbacks/)
    printf " %8s %11s", ratio(against(scenario, server, plain(server), "rate")), \
      ratio(cpu_against(scenario, server, plain(server)))
}

function row(scenario, server,    main) {
  main = main_figure(scenario)
  printf "  %-20s %10s %10s", server, number(median(scenario, server, main)), \
    ratio(against(scenario, "moonlatch", server, main))
  if (scenario == "contexts")
    printf " %10s %10s %10s %10s", number(median(scenario, server, "first_ms")), \
      number(median(scenario, server, "each_kib")), number(median(scenario, server, "dropped_mib")), \
      number(median(scenario, server, "again_mib"))
  else if (scenario == "start-up") printf " %10s", number(median(scenario, server, "wall_us"))
  else if (scenario != "idle") costs(scenario, server)
  print (remark(scenario, server) ? "  " remark(scenario, server) : "")
}

END {
  for (s = 1; s <= note_count; s++) printf "%s: %s\n", note_subjects[s], notes[s]
  for (s = 1; s <= scenario_count; s++) {
    heading(scenarios[s])
    for (i = 1; i <= server_counts[scenarios[s]]; i++) row(scenarios[s], members[scenarios[s], i])
  }
  print "\nmoonlatch/: its figure divided by the row's. x ceil.: the row's CPU time divided by that of the server in C."
  print "client-bound: the load generator used its core up while the server did not; the rate is the client's."
}
