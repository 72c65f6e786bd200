# Draws the figures that bench/run wrote as one SVG: a panel of horizontal bars per scenario, medians over the rounds.
# `order` lists the servers as they are to appear.

function median_of(key,    n, list, i, j, t) {
  n = split(values[key], list, " ")
  if (n == 0) return 0
  for (i = 2; i <= n; i++) {
    t = list[i] + 0
    for (j = i - 1; j >= 1 && list[j] + 0 > t; j--) list[j + 1] = list[j]
    list[j + 1] = t
  }
  return n % 2 ? list[(n + 1) / 2] + 0 : (list[n / 2] + list[n / 2 + 1]) / 2
}

function unit(scenario) {
  if (scenario ~ /^(echo|bulk)/) return "MB/s"
  if (scenario == "idle") return "bytes per connection, less is better"
  if (scenario ~ /^(request|mixed)/) return "requests/s"
  return "handshakes/s"
}

function text(x, y, anchor, fill, weight, what) {
  printf "<text x=\"%d\" y=\"%d\" text-anchor=\"%s\" fill=\"%s\" font-weight=\"%s\">%s</text>\n", x, y, anchor, fill, weight, what
}

function panel(scenario, x, y,    i, server, value, most, row) {
  for (i = 1; i <= server_count; i++)
    if (median_of(scenario SUBSEP server_names[i]) > most) most = median_of(scenario SUBSEP server_names[i])
  text(x, y + 14, "start", "#1b1b1b", "bold", scenario)
  text(x + PANEL - 20, y + 14, "end", "#5c5c5c", "normal", unit(scenario))
  for (i = 1; i <= server_count; i++) {
    server = server_names[i]
    if (!((scenario, server) in seen) || most == 0) continue
    value = median_of(scenario SUBSEP server)
    row = y + 22 + 20 * shown++
    text(x + 66, row + 12, "end", "#1b1b1b", "normal", server)
    printf "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"15\" fill=\"%s\"/>\n", x + 72, row, (PANEL - 170) * value / most, \
      server == "moonlatch" ? "#2b5fad" : "#b9c3d0"
    text(x + 78 + (PANEL - 170) * value / most, row + 12, "start", "#1b1b1b", "normal", sprintf("%.0f", value))
  }
  shown = 0
}

BEGIN {
  FS = "\t"
  PANEL = 400
  server_count = split(order, server_names, " ")
}

FNR == 1 {
  for (i = 1; i <= NF; i++) column[$i] = i
  next
}

{
  field = $1 ~ /^(echo|bulk)/ ? "mb_per_s" : $1 == "idle" ? "private_per_conn" : "rate"
  if (!($1 in known)) { known[$1] = 1; scenarios[++count] = $1 }
  seen[$1, $3] = 1
  values[$1, $3] = values[$1, $3] " " $column[field]
}

END {
  height = 36 + 20 * server_count
  rows = int((count + 1) / 2)
  printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n", \
    2 * PANEL + 20, rows * height + 20
  print "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>"
  for (i = 1; i <= count; i++) panel(scenarios[i], 20 + PANEL * ((i - 1) % 2), 10 + height * int((i - 1) / 2))
  print "</svg>"
}
