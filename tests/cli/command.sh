#!/usr/bin/env bash
# The redoubt command, as a person would use it: every subcommand, its JSON, its exit codes, its errors.
#   command.sh REDOUBT WORK_DIR      WORK_DIR holds reviews.csv
set -euo pipefail
redoubt=$1
work=$2/cli
rm -rf "$work"
mkdir -p "$work"
cd "$work"
reviews=../reviews.csv
roles=(--target genuine --source account --time time --ignore product)

fail() { echo "FAILED: $*" >&2; exit 1; }
# expect CODE COMMAND...: runs it, keeps its output in out.txt and err.txt
expect() {
  local wanted=$1 got=0
  shift
  "$@" >out.txt 2>err.txt || got=$?
  [[ $got == "$wanted" ]] || { cat out.txt err.txt; fail "exit code $got instead of $wanted: $*"; }
}
json() { python3 -c "import json,sys; d=json.load(open('out.txt')); print($1)"; }

expect 0 "$redoubt" --help
for command in train evaluate predict screen import inspect report lineage serve; do
  grep -q "$command" out.txt || fail "--help does not name $command"
done
for command in train evaluate predict screen import inspect report lineage serve; do expect 0 "$redoubt" "$command" --help; done
expect 0 "$redoubt" --version

expect 0 "$redoubt" inspect "$reviews" "${roles[@]}" --json
[[ $(json 'd["rows"] > 3000 and len(d["quarantine"]) == 5') == True ]] || fail "inspect of data"
expect 1 "$redoubt" screen "$reviews" "${roles[@]}" --no-calibration --out clean.csv --report screen.html --json
[[ $(json 'len(d["blocked"]) > 100') == True ]] || fail "screen blocked too little"
grep -q "What could not be checked" screen.html || fail "screen --report"
expect 0 "$redoubt" train clean.csv "${roles[@]}" --set trees=40 --out reviews.redoubt --json
[[ $(json 'd["evaluation"]["metrics"]["roc_auc"]["value"] > 0.7') == True ]] || fail "train: $(cat out.txt)"
expect 0 "$redoubt" train clean.csv "${roles[@]}" --model mlp --set hidden=16 --set epochs=3 --out mlp.redoubt
# The same form from a file that is read in pieces: a model with the schema and encoder of a sample.
expect 0 "$redoubt" train clean.csv "${roles[@]}" --model mlp --stream --sample 1500 --set hidden=16 --set epochs=3 \
  --out streamed.redoubt --json
[[ $(json 'd["algorithm"] == "mlp" and d["train_rows"] + d["test_rows"] > 2500 and len(d["data_hash"]) == 64') == True ]] ||
  fail "train --stream: $(cat out.txt)"
[[ $(json 'd["evaluation"]["metrics"]["roc_auc"]["value"] > 0.6') == True ]] || fail "train --stream: $(cat out.txt)"
expect 0 "$redoubt" inspect streamed.redoubt --json
[[ $(json 'd["self_test"]') == passed ]] || fail "inspect of a streamed model"
expect 0 "$redoubt" evaluate streamed.redoubt clean.csv "${roles[@]}"
expect 3 "$redoubt" train clean.csv "${roles[@]}" --stream --out never.redoubt
grep -q 'gradient_boosting needs all rows at once' err.txt || fail "--stream of trees: $(cat err.txt)"
expect 3 "$redoubt" train clean.csv "${roles[@]}" --model mlp --stream --screen --out never.redoubt
expect 3 "$redoubt" train x.npy --target y --model mlp --stream --out never.redoubt
grep -q 'no delimited text' err.txt || fail "--stream of NPY: $(cat err.txt)"
expect 0 "$redoubt" inspect reviews.redoubt --json
[[ $(json 'd["self_test"]') == passed ]] || fail "inspect of a model"
expect 0 "$redoubt" inspect reviews.redoubt

# Options of boosting; a second run adds rounds to the first.
printf 'size,age,kind,price\n' >houses.csv
python3 - >>houses.csv <<'PY'
for i in range(900):
    size, age, kind = 40 + i * 37 % 160, i * 53 % 70, "abc"[i % 3]
    print(f"{size},{age},{kind},{1000 * size - 500 * age + 20000 * (kind == 'b') + i * 7919 % 9000}")
PY
head -1 houses.csv >holdout.csv
tail -200 houses.csv >>holdout.csv
boost=(train houses.csv --target price --type price=numeric)
expect 0 "$redoubt" "${boost[@]}" --trees 30 --leaves 8 --depth 4 --learning-rate 0.2 --bins 63 --loss huber \
  --set huber_delta=5000 --metric l1 --metric rmse --early-stopping 5 --row-fraction 0.8 --column-fraction 0.9 \
  --monotone size:1 --monotone age:-1 --threads 1 --importance gain --out houses.redoubt
grep -q 'best round .* of .*: l1 .* rmse' out.txt || fail "train prints no metrics: $(cat out.txt)"
grep -q '^  size ' out.txt || fail "train prints no importance: $(cat out.txt)"
expect 0 "$redoubt" "${boost[@]}" --trees 7 --validation holdout.csv --metric l2,l1 --set 'interactions=size,age' --json \
  --importance split --out houses.redoubt
[[ $(json 'd["boosting"]["rounds"] == 7 and list(d["boosting"]["metrics"]) == ["l1", "l2"] and d["importance"][0]["value"] > 0') == True ]] ||
  fail "metrics and importance as JSON: $(cat out.txt)"
[[ $(json '[i["value"] for i in d["importance"] if i["column"] == "kind"]') == '[0.0]' ]] || fail "kind is in no group"
expect 0 "$redoubt" "${boost[@]}" --trees 5 --start houses.redoubt --out more.redoubt
expect 0 "$redoubt" inspect more.redoubt --importance cover --json
[[ $(json '"after 7 trees" in d["options"] and d["importance"][0]["value"] > 0') == True ]] || fail "--start: $(cat out.txt)"
expect 0 "$redoubt" evaluate more.redoubt holdout.csv --target price --importance
grep -q '^  size .* +- ' out.txt || fail "evaluate prints no importance: $(cat out.txt)"
for model in random_forest extra_trees isolation_forest; do
  expect 0 "$redoubt" "${boost[@]}" --model "$model" --trees 9 --set bootstrap=true --out other.redoubt
done
golden=$(dirname "${BASH_SOURCE[0]}")/../interop/golden
expect 0 "$redoubt" import "$golden/lightgbm_binary.lgb" --out taken.redoubt --json
[[ $(json 'd["algorithm"]') == lightgbm ]] || fail "import of LightGBM"
expect 0 "$redoubt" inspect taken.redoubt
expect 0 "$redoubt" import "$golden/xgboost_logistic.ubj" --out taken.redoubt
printf 'f0,f1,f2,f3,f4,f5\n0.5,1,-1,2,0,1\n,-1,0.25,0,0,\n' >rows.csv
expect 0 "$redoubt" predict taken.redoubt rows.csv
[[ $(wc -l <out.txt) == 3 ]] || fail "predict with a model of XGBoost"
expect 3 "$redoubt" import rows.csv --out taken.redoubt

expect 0 "$redoubt" evaluate reviews.redoubt clean.csv "${roles[@]}"
grep -q roc_auc out.txt || fail "evaluate prints no roc_auc"
expect 0 "$redoubt" predict reviews.redoubt clean.csv "${roles[@]}" --out predictions.csv
[[ $(head -1 predictions.csv) == "row,label,p(no),p(yes)" ]] || fail "predict: $(head -1 predictions.csv)"
expect 0 "$redoubt" predict reviews.redoubt clean.csv "${roles[@]}" --json
expect 0 "$redoubt" report reviews.redoubt clean.csv "${roles[@]}" --out report.html
grep -q "<svg" report.html || fail "report has no picture"

# An estimator without a target is trained on every row of a file that has one, and has nothing to evaluate.
expect 0 "$redoubt" train clean.csv "${roles[@]}" --model isolation_forest --out unusual.redoubt --json
[[ $(json 'd["test_rows"]') == 0 ]] || fail "an isolation forest needs no holdout"

# What goes wrong says what and where.
expect 3 "$redoubt" train "$reviews" --target genuin --out never.redoubt
grep -q genuine err.txt || fail "a wrong column name should name the nearest: $(cat err.txt)"
expect 3 "$redoubt" train absent.csv --target x --out never.redoubt
grep -q absent.csv err.txt || fail "a missing file should be named"
printf 'a,b\n1,2\n"x,3\n' >broken.csv
expect 3 "$redoubt" train broken.csv --target b --strict --out never.redoubt
grep -q 'broken.csv:3' err.txt || fail "broken CSV should name file and line: $(cat err.txt)"
head -c 1000 reviews.redoubt >short.redoubt
expect 3 "$redoubt" inspect short.redoubt
grep -q -i 'byte\|short.redoubt' err.txt || fail "a truncated model should name the place: $(cat err.txt)"
expect 3 "$redoubt" predict clean.csv clean.csv
grep -q 'not be a model file' err.txt || fail "a CSV in place of a model should be recognised: $(cat err.txt)"
[[ ! -e never.redoubt ]] || fail "a failed train left a file"
expect 3 "$redoubt" train clean.csv "${roles[@]}" --set leafs=3 --out never.redoubt
grep -q max_leaves err.txt || fail "an unknown setting should list the known ones"
wrong() {  # PATTERN ARGUMENT...: refused with that explanation
  local pattern=$1
  shift
  expect 3 "$redoubt" "${boost[@]}" --out never.redoubt "$@"
  grep -q -e "$pattern" err.txt || fail "$*: no '$pattern' in: $(cat err.txt)"
}
wrong "'cubic' is none of automatic, squared" --loss cubic
wrong 'logistic, must be one for numbers' --loss logistic
wrong 'l3' --metric l3
wrong 'max_leaves' --leaves 1
wrong 'row_fraction' --row-fraction 1.5
wrong "'many' is not a number" --bins many
wrong 'COLUMN:1 (rises)' --monotone size
wrong 'width' --monotone width:1
wrong 'say the same' --leaves 7 --set max_leaves=8
wrong 'neither true nor false' --set goss=perhaps
wrong 'random_forest has no setting .loss.; it has' --model random_forest --loss squared
wrong 'only gradient_boosting' --model random_forest --validation houses.csv
wrong 'would cut queries' --loss lambdarank
[[ ! -e never.redoubt ]] || fail "a refused train left a file"
# Ranking of a LIBSVM file: the qid column says which rows belong together, labels are grades.
awk 'BEGIN { for (i = 0; i < 400; ++i) printf "%d qid:%d 1:%d 2:%d\n", (i * 7) % 4, i / 10, (i * 7) % 4 * 3 + i % 2, i * 13 % 17 }' \
  >ranks.libsvm
expect 0 "$redoubt" train ranks.libsvm --loss lambdarank --holdout 0 --validation ranks.libsvm --metric ndcg@3 --trees 20 \
  --out ranks.redoubt --json
grep -q 'ndcg@3' out.txt || fail "no ndcg@3 in: $(cat out.txt)"
expect 0 "$redoubt" predict ranks.redoubt ranks.libsvm
expect 2 "$redoubt" "${boost[@]}" --importance weight --out never.redoubt
expect 3 "$redoubt" inspect mlp.redoubt --importance gain
expect 0 "$redoubt" train --help
grep -q 'max_one_hot=4' out.txt || fail "train --help lists no settings"
expect 2 "$redoubt" frobnicate
expect 2 "$redoubt" evaluate reviews.redoubt
expect 2 "$redoubt" lineage absent-workspace

# The service: comes up, answers, stops on SIGTERM.
"$redoubt" serve reviews.redoubt --port 0 --port-file port.txt --name reviews >serve.txt 2>&1 &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
for _ in $(seq 100); do [[ -s port.txt ]] && break; sleep 0.1; done
python3 - "$(cat port.txt)" <<'PY'
import json, sys, urllib.request
base = f"http://127.0.0.1:{sys.argv[1]}/v2"
assert urllib.request.urlopen(base + "/health/live", timeout=10).status == 200
model = json.load(urllib.request.urlopen(base + "/models/reviews", timeout=10))
values = {"BYTES": "fine", "INT64": 0}
inputs = [{"name": i["name"], "datatype": i["datatype"], "shape": [1], "data": [values.get(i["datatype"], 1)]} for i in model["inputs"]]
request = urllib.request.Request(base + "/models/reviews/infer", json.dumps({"inputs": inputs}).encode(), {"Content-Type": "application/json"})
answer = json.load(urllib.request.urlopen(request, timeout=10))
p = next(o for o in answer["outputs"] if o["name"] == "probabilities")["data"]
assert abs(sum(p) - 1) < 1e-5, p
PY
kill -TERM $server
wait $server || fail "serve did not end cleanly"
trap - EXIT
grep -q "stopped after" serve.txt || fail "serve printed no closing line"
echo "command: ok"
