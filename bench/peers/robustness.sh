#!/usr/bin/env bash
# Robustness: poisoning checks against PyOD and cleanlab, experiments with planted poison, attacks beside AutoAttack,
# ART and Foolbox, and query monitors against attackers.
# Usage: bash bench/peers/robustness.sh [--quick] [--only GLOB]... [--list]
#   --quick  fewer rounds and seeds: under 20 minutes on two cores
#   --only   parts that give a figure whose name matches, for example --only 'robust.ecod*'
# REDOUBT_BUILD_DIR names a build directory to use as it is configured (Release); by default build/peers is made.
# Prints "figure NAME VALUE" lines.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

peers_venv
for package in pyod cleanlab scikit-learn numpy scipy; do
  compgen -G "$venv/lib/python3*/site-packages/${package//-/[_-]}-*.dist-info" >/dev/null ||
    "$venv/bin/pip" install -q --disable-pip-version-check "$package" >&2
done
peers_configure
if [[ " $* " != *" --list "* ]]; then
  peers_torch packaging tqdm adversarial-robustness-toolbox foolbox pyautoattack
  peers_valuation
  export PEERS_TORCH PEERS_VALUATION
  "$CMAKE" --build "$PEERS_BUILD" --target peer_robustness_worker peer_robustness_poison_worker \
    peer_robustness_certify_worker peer_robustness_monitor_worker peer_robustness_attack_worker >&2
fi
exec "$PEERS_PYTHON" "$peers_root/bench/peers/robustness.py" --build "$PEERS_BUILD" "$@"
