# shellcheck shell=bash
# Sourced first by the scripts of bench/: where things are, and what several of them do.
set -euo pipefail

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=$(dirname "$bench")
build=$root/build/bench
moonlatch=${MOONLATCH:-}

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
    fail 'the programs in C do not build (they need gcc, cmake, libssl-dev)'
  }
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
