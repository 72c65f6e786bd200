# shellcheck shell=bash
# Sourced first by the scripts of bench/: where things are, and what several of them do.
set -euo pipefail

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=$(dirname "$bench")
build=$root/build/bench
moonlatch=${MOONLATCH:-}
export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja} # what script/bootstrap installs

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "${0##*/}: $*"
  exit 1
}

# Sets `moonlatch` to the first of these that there is: what was named, the builds of this checkout, the one in PATH.
find_moonlatch() {
  local candidate
  for candidate in "$moonlatch" "$root/build/moonlatch" "$root/build-release/moonlatch" \
    "$(command -v moonlatch || true)"; do
    if [[ -n $candidate && -x $candidate ]]; then
      moonlatch=$candidate
      return 0
    fi
  done
  return 1
}

# Builds the programs in C into `build`.
build_programs() {
  local output
  output=$({ cmake -S "$bench" -B "$build" -DCMAKE_BUILD_TYPE=Release && cmake --build "$build"; } 2>&1) || {
    say "$output"
    fail 'the programs in C do not build (script/bootstrap bench installs what they need)'
  }
}

# The first of four free ports in a row, below those that the kernel gives to clients.
free_ports() {
  local try candidate offset
  for ((try = 0; try < 200; try++)); do
    candidate=$((15000 + RANDOM % 4000 * 4))
    for offset in 0 1 2 3; do
      ! (exec 3<>"/dev/tcp/127.0.0.1/$((candidate + offset))") 2>/dev/null || continue 2
    done
    echo "$candidate"
    return
  done
  fail 'no free ports'
}

# matches NAME PATTERNS: whether one of PATTERNS, parted by commas, is NAME or how it begins; "all" is every name.
matches() {
  local pattern
  [[ $2 != all ]] || return 0
  for pattern in ${2//,/ }; do
    [[ $1 != "$pattern"* ]] || return 0
  done
  return 1
}
