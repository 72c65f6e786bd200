# shellcheck shell=bash disable=SC2154
# Sourced by run, whose variables it uses: one measurement of one server, and its figures.

line=   # the figures of the last measurement, as name=value; empty when it failed
cores=$(nproc)
load_core=$((cores > 1 ? 1 : 0))
server_core=0

load() { taskset -c "$load_core" "$build/bench-load" "$@"; }

# Where the servers of a scenario run. Two workers have two cores, and the load two others where there are so many.
server_cores() {
  if [[ $1 != workers ]]; then
    echo "$server_core"
  elif ((cores < 4)); then
    echo "0-$((cores - 1))"
  else
    echo 0,1
  fi
}

# Options that name the processes of a server: workers are the children of theirs.
processes() {
  # shellcheck disable=SC2046 # pids are words
  printf -- '--pid=%s ' "${pid[$1]}" $(pgrep -P "${pid[$1]}" || true)
}

# measure_server SCENARIO NAME WORDS: `load` with WORDS.
measure_server() {
  local scenario=$1 name=$2 words=$3 common
  common="--port=$(port_for "$name" "$words") --seconds=$seconds --warmup=$warmup $(processes "$name")"
  if [[ $scenario == idle ]]; then
    # What the first connections make a process allocate for good is not theirs.
    load --mode=request --conns=64 --count=1000 --port="${port[$name]}" >/dev/null || return 0
  fi
  # shellcheck disable=SC2086 # both are words
  if [[ $scenario == workers ]]; then line=$(two_loads $common $words); else line=$(load $common $words); fi || line=
}

# One client keeps one core of server busy with handshakes, not two. Prints the sum of both.
two_loads() {
  local other
  local first=(taskset -c $((cores < 4 ? 0 : 2)) "$build/bench-load" "$@")
  local second=(taskset -c $((cores < 4 ? 1 : 3)) "$build/bench-load" "$@")
  "${first[@]}" >"$dir/first" &
  other=$!
  "${second[@]}" >"$dir/second" || return 1
  wait "$other" || return 1
  cat "$dir/first" "$dir/second" | tr ' ' '\n' | awk -F= '
    $1 ~ /^(rate|ops|client_cpu|errors)$/ { sum[$1] += $2; next }
    NF == 2 { sum[$1] = $2 }
    END {
      sum["server_us"] = sum["server_cpu"] / sum["rate"] * 1e6
      for (name in sum) printf "%s=%s ", name, sum[name]
    }'
}

spawn() { taskset -c "$server_core" "$build/bench-spawn" 20 "$@"; }

# measure_program SCENARIO NAME: what needs no load.
measure_program() {
  local scenario=$1 name=$2 program
  program=$(program_of "$name")
  case $scenario:$name in
    contexts:moonlatch) line=$("${plain[@]}" "$program" "$bench/contexts.lua" "$dir" "$contexts") ;;
    contexts:*) line=$("${plain[@]}" "$program" --expose-gc "$bench/contexts.js" "$dir" "$contexts") ;;
    start-up:true | start-up:openssl-init) line=$(spawn "$program") ;;
    start-up:bun) line=$(spawn "$program" -e ';') ;; # nothing at all makes it print its help
    start-up:*) line=$(spawn "$program" -e '') ;;
  esac || line=
}

# Extra certificates would be read by each program in ways of its own.
plain=(env -u MOONLATCH_EXTRA_CA_CERTS -u NODE_EXTRA_CA_CERTS)

# record SCENARIO ROUND NAME: `line` into the file of figures.
record() {
  local pair
  for pair in $line; do
    printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "${pair%%=*}" "${pair#*=}"
  done >>"$tsv"
}
