#!/usr/bin/env bash
# Models of LightGBM and XGBoost, taken over and written back: outputs within 1e-6, every leaf the same.
# Usage: bash bench/peers/interop.sh [--only NAME] [--rows N] [--trees N] [--leaves N] [--train-rows N]
# REDOUBT_BUILD_DIR names a build directory to use as it is configured (Release); by default build/peers is made.
# Prints "figure NAME VALUE" lines and fails on any difference.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

peers_trees_setup lightgbm xgboost numpy scipy
"$CMAKE" --build "$PEERS_BUILD" --target peer_interop_worker >&2
exec "$PEERS_PYTHON" "$peers_root/bench/peers/interop.py" --worker "$PEERS_BUILD/bench/peer_interop_worker" "$@"
