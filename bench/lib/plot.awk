# Draws figures as one SVG: a panel of horizontal bars per scenario, medians over the rounds, with CPU time or latency
# behind the bars.

# What stands behind a bar besides its value.
function aside(scenario, server) {
  if (scenario ~ /^(request|mixed)/)
    return sprintf(", p99 %s ms%s", number(median(scenario, server, "p99_ms")), \
      scenario == "mixed" ? sprintf(", %.0f handshakes/s", median(scenario, server, "handshakes_per_s")) : "")
  if (cpu(scenario, server) != "")
    return sprintf(", CPU %s us%s", number(cpu(scenario, server)), scenario ~ /echo|bulk/ ? "/MiB" : "")
  return ""
}

function text(x, y, anchor, fill, weight, what) {
  gsub(/&/, "\\&amp;", what)
  printf "<text x=\"%d\" y=\"%d\" text-anchor=\"%s\" fill=\"%s\" font-weight=\"%s\">%s</text>\n", x, y, anchor, \
    fill, weight, what
}

function panel(scenario, x, y,    i, server, value, most, width) {
  for (i = 1; i <= server_counts[scenario]; i++) {
    value = median(scenario, members[scenario, i], main_figure(scenario))
    if (value > most) most = value
  }
  text(x, y + 14, "start", "#1b1b1b", "bold", title(scenario))
  text(x, y + 30, "start", "#5c5c5c", "normal", unit(scenario) (less_is_better(scenario) ? ", less is better" : ""))
  for (i = 1; i <= server_counts[scenario]; i++) {
    server = members[scenario, i]
    value = median(scenario, server, main_figure(scenario))
    width = most > 0 && value > 0 ? BAR * value / most : 0
    text(x + LABEL - 6, y + 30 + ROW * i, "end", "#1b1b1b", "normal", server)
    printf "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"15\" fill=\"%s\"/>\n", x + LABEL, y + 18 + ROW * i, width, \
      plain(server) == "moonlatch" ? "#2b5fad" : "#b9c3d0"
    text(x + LABEL + width + 6, y + 30 + ROW * i, "start", "#1b1b1b", "normal", number(value) aside(scenario, server))
  }
  return HEADING + ROW * server_counts[scenario]
}

# Two columns; the next panel goes where there is more room.
END {
  PANEL = 560; LABEL = 130; BAR = 175; ROW = 20; HEADING = 58
  for (i = 1; i <= scenario_count; i++) total += HEADING + ROW * server_counts[scenarios[i]]
  height[0] = height[1] = 14
  for (i = 1; i <= scenario_count; i++) {
    side = height[1] < height[0]
    place[i] = side
    top[i] = height[side]
    height[side] += HEADING + ROW * server_counts[scenarios[i]]
  }
  printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\"", \
    2 * PANEL + 20, (height[0] > height[1] ? height[0] : height[1])
  print " font-size=\"12\">"
  print "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>"
  for (i = 1; i <= scenario_count; i++) panel(scenarios[i], 20 + PANEL * place[i], top[i])
  print "</svg>"
}
