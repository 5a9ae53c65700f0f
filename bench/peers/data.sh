#!/usr/bin/env bash
# Reading data and the light header against peers. Usage: bash bench/peers/data.sh [--quick]
# Prints: data.csv.vs_pyarrow (200 MB of numbers, quotes and text, one thread), model.predict_header.compile_vs_vector,
# model.predict_library.stripped_bytes.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
peers_setup pyarrow
"$CMAKE" --build "$PEERS_BUILD" --target peer_data_worker redoubt_predict_bundle >&2
"$PEERS_PYTHON" "$peers_root/bench/peers/data.py" --worker "$PEERS_BUILD/bench/peer_data_worker" --source "$peers_root" "$@"
bundle=$(mktemp)
strip -o "$bundle" "$PEERS_BUILD/bench/libredoubt_predict_bundle.so"
echo "figure model.predict_library.stripped_bytes $(stat -c %s "$bundle")"
rm -f "$bundle"
