#!/usr/bin/env bash
# Sets up, builds and runs every test. Further arguments go to ctest, for example: bash tests/run.sh -R data
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$here/cmake/setup.sh"
redoubt_setup ccache  # the consumer projects build the library again: from the cache
cd "$here"
export CMAKE_CXX_COMPILER_LAUNCHER=ccache
"$CMAKE" --preset default
"$CMAKE" --build --preset default
exec "$CTEST" --preset default -j "$(nproc)" "$@"
