#!/usr/bin/env bash
# The main job on one input; its figures must be there and say what the job promises.
#   main_job.sh BINARY OUT_DIR MIN_AUC MIN_RECALL MAX_FALSE_POSITIVES ARGUMENTS...
set -euo pipefail
binary=$1 out=$2 min_auc=$3 min_recall=$4 max_fpr=$5
shift 5
for argument in "$@"; do
  if [[ $argument == /* && ! -e $argument ]]; then echo "SKIPPED: $argument is not there"; exit 77; fi
done
rm -rf "$out"
mkdir -p "$out"
"$binary" "$@" --out "$out" | tee "$out/output.txt"
value() { awk -v name="$1" '$1 == "figure" && $2 == name {print $3}' "$out/output.txt"; }
check() { python3 -c "import sys; sys.exit(not ($1))" || { echo "FAILED: $1"; exit 1; }; }
check "$(value main.test.roc_auc) >= $min_auc"
check "$(value main.poison.recall) >= $min_recall"
check "$(value main.poison.false_positive_rate) <= $max_fpr"
check "$(value main.gate.refused_poisoned) == 1"
check "$(value main.rollback.restored) == 1"
check "$(value main.prober.noticed) == 1"
[[ $(grep -c "<svg" "$out/report.html") -ge 1 ]] || { echo "no picture in the report"; exit 1; }
if grep -E '(src|href)="https?:' "$out/report.html"; then echo "the report wants the network"; exit 1; fi
