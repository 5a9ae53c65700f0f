#!/usr/bin/env bash
# Sets up, builds and runs the main job: read, screen, train, evaluate, gate, publish, serve, attack, roll back.
#   bash examples/run.sh                                             a simulated marketplace
#   bash examples/run.sh FILE --target COLUMN [--source COLUMN] [--time COLUMN]   your own file
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$here/cmake/setup.sh"
redoubt_setup
build=${REDOUBT_BUILD_DIR:-$here/build/run}
"$CMAKE" -S "$here" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DREDOUBT_TESTS=OFF -DREDOUBT_BENCH=OFF -DREDOUBT_FUZZ=OFF >"${TMPDIR:-/tmp}/redoubt-configure.$$.log" 2>&1 ||
  { cat "${TMPDIR:-/tmp}/redoubt-configure.$$.log" >&2; exit 1; }
rm -f "${TMPDIR:-/tmp}/redoubt-configure.$$.log"
echo "build: $build (the first time takes a few minutes)"
"$CMAKE" --build "$build" --target main_job redoubt
exec "$build/examples/main_job" "$@"
