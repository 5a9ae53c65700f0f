#!/usr/bin/env bash
# Trees against LightGBM, XGBoost, CatBoost, YDF, scikit-learn and the prediction engines.
# Usage: bash bench/peers/trees.sh [--quick] [--only GLOB]... [--list]
#   --quick  fewer rounds: under 20 minutes on two cores
#   --only   parts that give a figure whose name matches, for example --only 'trees.train.50k28*'
# REDOUBT_BUILD_DIR names a build directory to use as it is configured (Release); by default build/peers is made.
# Prints "figure NAME VALUE" lines. Peers that cannot be installed or run are named.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

packages=(lightgbm xgboost catboost ydf scikit-learn scikit-learn-intelex onnxruntime onnxmltools skl2onnx tl2cgen treelite
  lleaves pyod shap numpy pandas scipy)
peers_trees_setup "${packages[@]}"
if [[ " $* " != *" --list "* ]]; then
  "$CMAKE" --build "$PEERS_BUILD" --target peer_trees_worker peer_trees_engines >&2
fi
exec "$PEERS_PYTHON" "$peers_root/bench/peers/trees.py" --build "$PEERS_BUILD" --xgboost-path "$PEERS_XGBOOST" "$@"
