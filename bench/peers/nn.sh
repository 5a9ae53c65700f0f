#!/usr/bin/env bash
# Neural networks against PyTorch, ONNX Runtime and OpenVINO, and fp32 products against OpenBLAS, Eigen and oneDNN.
# Usage: bash bench/peers/nn.sh [--quick] [--only GLOB]... [--list]
#   --quick  fewer rounds and seeds: under 20 minutes on two cores
#   --only   parts that give a figure whose name matches, for example --only 'nn.infer.small.*'
# REDOUBT_BUILD_DIR names a build directory to use as it is configured (Release); by default build/peers is made.
# Prints "figure NAME VALUE" lines. Peers that cannot be installed or run are named.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
redoubt_setup libdnnl-dev || redoubt_setup
peers_trees_setup numpy onnx onnxruntime openvino
peers_torch_setup
if [[ " $* " != *" --list "* ]]; then
  "$CMAKE" --build "$PEERS_BUILD" --target peer_nn_products peer_nn_worker peer_nn_engines >&2
fi
exec "$PEERS_PYTHON" "$peers_root/bench/peers/nn.py" --build "$PEERS_BUILD" --torch-python "$PEERS_TORCH_PYTHON" "$@"
