#!/usr/bin/env bash
# Installs what is missing to build Redoubt on Debian 12 or newer: Debian packages only. Sourced by examples/run.sh and
# tests/run.sh, which then use $CMAKE. Does nothing, and needs no network, when all is there.
set -euo pipefail

redoubt_packages=(
  g++ cmake ninja-build python3
  libtbb-dev libopenblas-dev libeigen3-dev libxtensor-dev libfmt-dev
  libssl-dev zlib1g-dev libxxhash-dev libsqlite3-dev nlohmann-json3-dev libsimdjson-dev libboost-dev
  libcli11-dev libcpp-httplib-dev catch2 libbenchmark-dev
)

redoubt_setup() {
  local wanted=("${redoubt_packages[@]}" "$@") missing=() package
  for package in "${wanted[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing+=("$package")
  done
  if ((${#missing[@]})); then
    local as_root=()
    if [[ $(id -u) -ne 0 ]]; then
      command -v sudo >/dev/null || { echo "setup: needs root or sudo to install: ${missing[*]}" >&2; return 1; }
      as_root=(sudo)
    fi
    echo "setup: installing from Debian: ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
}

# Debian's own tools come first, so that another cmake on the PATH cannot change the build.
CMAKE=/usr/bin/cmake
CTEST=/usr/bin/ctest
