#!/usr/bin/env bash
# Neural networks against peers. Usage: bash bench/peers/nn.sh [--quick]
# So far the fp32 products only: a table per shape beside OpenBLAS, Eigen and, where libdnnl-dev can be installed, oneDNN, and
# nn.matmul.fp32.peak_fraction (mean over the shapes; ..._worst: the lowest), on one thread.
# REDOUBT_BUILD_DIR names a build directory to use as it is configured (Release); by default build/peers is made.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
redoubt_setup libdnnl-dev || redoubt_setup
peers_configure
"$CMAKE" --build "$PEERS_BUILD" --target peer_nn_products >&2
OMP_NUM_THREADS=1 "$PEERS_BUILD/bench/peer_nn_products" "$@"
