#!/usr/bin/env bash
# Neural networks against peers. Usage: bash bench/peers/nn.sh [--quick] [--only GLOB]... [--list]
#   --quick  fewer rounds: under 20 minutes on two cores
#   --only   parts that give a figure whose name matches, for example --only 'nn.infer.mlp*'
# Products beside OpenBLAS, Eigen and, where libdnnl-dev can be installed, oneDNN: a table per shape and
# nn.matmul.fp32.peak_fraction (mean over the shapes; ..._worst: the lowest; the same for bf16 and int8), on one thread.
# Inference beside ONNX Runtime and OpenVINO, training beside PyTorch.
# REDOUBT_BUILD_DIR names a build directory to use as it is configured (Release); by default build/peers is made.
# Prints "figure NAME VALUE" lines.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
redoubt_setup libdnnl-dev || redoubt_setup
peers_trees_setup numpy onnx onnxruntime openvino
redoubt_setup python3-dev  # torch.compile builds an extension
peers_torch numpy
if [[ " $* " != *" --list "* ]]; then
  "$CMAKE" --build "$PEERS_BUILD" --target peer_nn_products peer_nn_worker peer_nn_engines >&2
  if [[ " $* " != *" --only "* || " $* " == *" nn.matmul"* ]]; then
    quick=()
    [[ " $* " == *" --quick "* ]] && quick=(--quick)
    OMP_NUM_THREADS=1 "$PEERS_BUILD/bench/peer_nn_products" "${quick[@]}"
  fi
fi
exec "$PEERS_PYTHON" "$peers_root/bench/peers/nn.py" --build "$PEERS_BUILD" \
  --torch-python "$PEERS_TORCH" "$@"
