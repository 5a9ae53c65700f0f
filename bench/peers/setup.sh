#!/usr/bin/env bash
# Sourced by the peer scripts: builds what they need and makes the one virtual environment, outside the tree.
#   peers_setup PACKAGE...         sets $PEERS_PYTHON and $PEERS_BUILD
#   peers_trees_setup PACKAGE...   installs only what is missing, one by one: a peer that cannot be had is left out and
#                                  named by trees.py; sets $PEERS_XGBOOST, too
#   peers_valuation                pyDVL, which needs NumPy 1, in an environment of its own; sets $PEERS_VALUATION, its python
#   peers_torch PACKAGE...         PyTorch for CPUs and packages that stand on it, in an environment of their own, which
#                                  is kept; sets $PEERS_TORCH, its python
set -euo pipefail
peers_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$peers_root/cmake/setup.sh"

# All contenders, ours too, get huge pages from glibc's malloc: it made PyTorch up to 1.3, ONNX Runtime up to 1.09 and
# LightGBM up to 1.06 times as fast.
export GLIBC_TUNABLES=${GLIBC_TUNABLES-glibc.malloc.hugetlb=1}

peers_venv() {
  redoubt_setup python3-venv
  venv=${REDOUBT_PEERS_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/redoubt-peers}
  [[ -x $venv/bin/python ]] || /usr/bin/python3 -m venv "$venv"
  PEERS_PYTHON=$venv/bin/python
}

peers_configure() {
  PEERS_BUILD=${REDOUBT_BUILD_DIR:-$peers_root/build/peers}
  [[ -n ${REDOUBT_BUILD_DIR:-} && -f $PEERS_BUILD/CMakeCache.txt ]] ||
    "$CMAKE" -S "$peers_root" -B "$PEERS_BUILD" -G Ninja -DCMAKE_BUILD_TYPE=Release \
      -DREDOUBT_TESTS=OFF -DREDOUBT_EXAMPLES=OFF -DREDOUBT_FUZZ=OFF >/dev/null
}

peers_setup() {
  peers_venv
  "$venv/bin/pip" install -q --disable-pip-version-check --upgrade "$@" >&2
  peers_configure
}

peers_trees_setup() {
  peers_venv
  local package
  for package in "$@"; do
    compgen -G "$venv/lib/python3*/site-packages/${package//-/[_-]}-*.dist-info" >/dev/null ||
      "$venv/bin/pip" install -q --disable-pip-version-check "$package" >&2 ||
      echo "setup: $package cannot be installed" >&2
  done
  # XGBoost 3.3 and later say that they need Python 3.12, but run on Debian's 3.11; lleaves needs an older llvmlite than
  # others do: kept beside the others.
  PEERS_XGBOOST=$venv/xgboost-latest REDOUBT_PEERS_LLEAVES=$venv/lleaves-latest
  peers_beside "$PEERS_XGBOOST" --ignore-requires-python 'xgboost>=3.4' || PEERS_XGBOOST=
  peers_beside "$REDOUBT_PEERS_LLEAVES" lleaves 'llvmlite==0.43.0' || REDOUBT_PEERS_LLEAVES=
  export REDOUBT_PEERS_LLEAVES
  peers_configure
}

peers_beside() {
  local folder=$1
  shift
  [[ -d $folder ]] || "$venv/bin/pip" install -q --disable-pip-version-check --no-deps --target "$folder" "$@" >&2
}

peers_valuation() {
  local valuation=${REDOUBT_VALUATION_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/redoubt-valuation}
  PEERS_VALUATION=$valuation/bin/python
  [[ -x $PEERS_VALUATION ]] || /usr/bin/python3 -m venv "$valuation"
  compgen -G "$valuation/lib/python3*/site-packages/py[Dd][Vv][Ll]-*.dist-info" >/dev/null ||
    "$valuation/bin/pip" install -q --disable-pip-version-check pydvl >&2
}

peers_torch() {
  redoubt_setup python3-venv
  local torch_venv=${REDOUBT_TORCH_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/redoubt-torch} package
  PEERS_TORCH=$torch_venv/bin/python
  [[ -x $PEERS_TORCH ]] || /usr/bin/python3 -m venv "$torch_venv"
  for package in torch "$@"; do
    compgen -G "$torch_venv/lib/python3*/site-packages/${package//-/[_-]}-*.dist-info" >/dev/null && continue
    # The index of CPU builds spares gigabytes of what other devices need.
    [[ $package == torch ]] && "$torch_venv/bin/pip" install -q --disable-pip-version-check torch \
      --index-url https://download.pytorch.org/whl/cpu >&2 && continue
    "$torch_venv/bin/pip" install -q --disable-pip-version-check "$package" >&2 ||
      echo "setup: $package cannot be installed" >&2
  done
}
