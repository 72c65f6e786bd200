# shellcheck shell=bash
# Shared by the scripts here: sourced, not run. Puts the caller at the root of the checkout, whatever it was started
# from, and stops it at the first failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck disable=SC2034 # the callers' name
jobs=$(nproc)

# say TEXT…: one line about what happens next, on standard error, so that it stays in order with what tools print.
say() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
  say "$*"
  exit 1
}

# The C sources that are ours, one per line.
c_sources() {
  find runtime bindings spec/runtime bench fuzz -name '*.[ch]' -not -path '*/build/*' 2>/dev/null | sort
}
