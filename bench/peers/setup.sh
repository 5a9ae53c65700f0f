#!/usr/bin/env bash
# Sourced by the peer scripts: builds what they need and makes the one virtual environment, outside the tree.
#   peers_setup PACKAGE...   sets $PEERS_PYTHON and $PEERS_BUILD
set -euo pipefail
peers_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$peers_root/cmake/setup.sh"

peers_setup() {
  redoubt_setup python3-venv
  local venv=${REDOUBT_PEERS_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/redoubt-peers}
  [[ -x $venv/bin/python ]] || /usr/bin/python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check --upgrade "$@" >&2
  PEERS_PYTHON=$venv/bin/python
  PEERS_BUILD=${REDOUBT_BUILD_DIR:-$peers_root/build/peers}
  "$CMAKE" -S "$peers_root" -B "$PEERS_BUILD" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DREDOUBT_TESTS=OFF -DREDOUBT_EXAMPLES=OFF -DREDOUBT_FUZZ=OFF >/dev/null
}
