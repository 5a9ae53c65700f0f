"""Models of LightGBM and XGBoost taken over by Redoubt, and back: see interop.sh.

Trains the grid of interop_cases.py with the real libraries, predicts hard rows on both sides and compares outputs
(relative to max(1, |y|)) and leaves (exactly). Every forest is written as LightGBM text, loaded by LightGBM and compared
again, where that format can hold it."""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import lightgbm as lgb
import numpy as np
import xgboost as xgb

import interop_cases as cases

parser = argparse.ArgumentParser()
parser.add_argument("--worker", required=True)
parser.add_argument("--rows", type=int, default=10000)
parser.add_argument("--train-rows", type=int, default=3000)
parser.add_argument("--trees", type=int, default=40)
parser.add_argument("--leaves", type=int, default=31)
parser.add_argument("--only", default="", help="part of the name, for example xgboost_dart")
arguments = parser.parse_args()
folder = pathlib.Path(tempfile.mkdtemp(prefix="redoubt-interop-"))
worst = {}
failures = []


def ours(library, path, x, name, export=None, best=False):
    rows, out = folder / "rows", folder / "out"
    x.tofile(rows)
    command = [arguments.worker, library, str(path), str(rows), str(x.shape[1]), str(out), str(export or "-")]
    run = subprocess.run(command + (["best"] if best else []), capture_output=True, text=True)
    if run.returncode:
        if export and run.stderr.startswith("unsupported: LightGBM's text format has no "):
            print(f"  {name}: not written: {run.stderr.strip()}")
            return ours(library, path, x, name, None, best) + (False,)
        raise SystemExit(f"{name}: worker says {run.returncode} {run.stderr}")
    outputs, trees = map(int, run.stdout.split())
    y = np.fromfile(out, np.float32, len(x) * outputs).reshape(len(x), outputs)
    leaves = np.fromfile(out, np.int32, len(x) * trees, offset=y.nbytes).reshape(len(x), trees)
    shap = np.fromfile(out, np.float64, offset=y.nbytes + leaves.nbytes).reshape(min(len(x), 500), -1)
    return (y, leaves, shap) + ((True,) if export else ())


def compare(figure, name, want, got, exact=None):
    """Columns as the library gives them against ours: of two complementary ones it gives the second. `exact`: what the
    library should have said; how far it is off itself is granted."""
    want = np.asarray(want, np.float64).reshape(len(got), -1)
    if want.shape[1] == 1 and got.shape[1] == 2:
        got = got[:, 1:]
    if want.shape != got.shape:
        failures.append(f"{name}: {want.shape} outputs, ours {got.shape}")
        return
    difference = np.abs(want - got.astype(np.float64)) / np.maximum(1, np.abs(want))
    most = float(difference.max())
    worst[figure] = max(worst.get(figure, 0), most)
    granted = 0
    if exact is not None:
        exact = np.asarray(exact, np.float64).reshape(len(got), -1)
        granted = np.abs(want - exact) / np.maximum(1, np.abs(want))
        off = np.abs(got - exact) / np.maximum(1, np.abs(exact))
        worst[figure + "_to_exact"] = max(worst.get(figure + "_to_exact", 0), float(off.max()))
    if not (difference <= 1e-6 + granted).all():
        failures.append(f"{name}: outputs differ by {most:.3g}")


def compare_leaves(figure, name, want, got):
    want = np.asarray(want).reshape(len(got), -1)
    wrong = int((want != got).sum()) if want.shape == got.shape else got.size
    worst[figure] = worst.get(figure, 0) + wrong
    if wrong:
        failures.append(f"{name}: {wrong} of {got.size} leaves differ")


def compare_shap(figure, name, want, got, tolerance):
    """Contributions per score and the base, relative to the largest of the row (or 1)."""
    want = np.asarray(want, np.float64).reshape(got.shape)
    most = float((np.abs(want - got) / np.maximum(1, np.abs(want).max(axis=1, keepdims=True))).max())
    worst[figure] = max(worst.get(figure, 0), most)
    if not most <= tolerance:
        failures.append(f"{name}: SHAP values differ by {most:.3g}")


def exact_xgboost(document, nodes):
    """The scores of XGBoost's leaves, summed and transformed in double: it works in float itself."""
    learner = document["learner"]
    param, booster = learner["learner_model_param"], learner["gradient_booster"]
    model = booster.get("gbtree", booster)["model"]
    weights = booster.get("weight_drop", model.get("weight_drop", [1.0] * len(model["trees"])))
    objective = learner["objective"]["name"]
    outputs = max(1, int(param["num_class"]))
    base = np.array([float(b) for b in param["base_score"].strip("[]").split(",")], np.float32)
    positive = objective in ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft")
    if positive:
        base = np.log(base)
    elif objective in ("binary:logistic", "reg:logistic"):
        base = -np.log(1 / base.astype(np.float64) - 1)
    score = np.tile(base.astype(np.float64), (len(nodes), 1 if len(base) == outputs else outputs))
    for t in range(nodes.shape[1]):
        leaf = np.array(model["trees"][t]["split_conditions"], np.float32)[nodes[:, t]].astype(np.float64)
        score[:, model["tree_info"][t]] += leaf * np.float32(weights[t])
    if positive:
        return np.exp(score)
    if objective in ("binary:logistic", "reg:logistic"):
        return 1 / (1 + np.exp(-score))
    if objective == "binary:hinge":
        return (score > 0).astype(np.float64)
    if objective.startswith("multi:"):
        e = np.exp(score - score.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)
    return score


def export_back(name, y, path, x):
    """LightGBM takes |x| <= 1e-35 for 0 (also -0 and denormals), the forest of an XGBoost model does not: such rows are
    left out there."""
    tiny = (np.abs(x) <= np.float32(1e-35)) & (x != 0)
    keep = np.full(len(x), True) if name.startswith("lightgbm") else ~tiny.any(axis=1)
    want = lgb.Booster(model_file=str(path)).predict(x[keep])
    compare("interop.export.max_difference", name + " exported", want, y[keep])


count = 0
for seed, (name, params, features) in enumerate(cases.LIGHTGBM):
    if arguments.only not in "lightgbm_" + name:
        continue
    booster, x = cases.train_lightgbm(lgb, params, features, arguments.train_rows, arguments.trees, arguments.leaves,
                                      seed)
    path, back = folder / f"{name}.txt", folder / "back.txt"
    booster.save_model(path)
    hard = cases.hard_rows(arguments.rows, x, cases.thresholds_of_lightgbm(path.read_text()), features, True, seed)
    y, leaves, shap, written = ours("lightgbm", path, hard, name, back)
    compare("interop.lightgbm.max_difference", "lightgbm " + name, booster.predict(hard), y)
    compare_leaves("interop.lightgbm.wrong_leaves", "lightgbm " + name, booster.predict(hard, pred_leaf=True), leaves)
    # With sigmoid s, our scores are s times LightGBM's; it does not average the contributions of rf, we do.
    factor = booster.current_iteration() if params.get("boosting") == "rf" else 1 / params.get("sigmoid", 1.0)
    compare_shap("interop.lightgbm.shap_difference", "lightgbm " + name, booster.predict(hard[:500], pred_contrib=True),
                 shap * factor, 1e-6)
    if written:
        export_back("lightgbm " + name, y, back, hard)
    count += 1

for seed, (name, params, features) in enumerate(cases.XGBOOST):
    if arguments.only not in "xgboost_" + name:
        continue
    booster, x, types = cases.train_xgboost(xgb, params, features, arguments.train_rows, arguments.trees,
                                            arguments.leaves, seed)
    document = json.loads(booster.save_raw("json"))
    # XGBoost refuses matrices that hold infinities.
    hard = cases.hard_rows(arguments.rows, x, cases.thresholds_of_xgboost(document), features, False, seed)
    matrix = xgb.DMatrix(hard, feature_types=types, enable_categorical=True)
    best = "early" in params
    span = (0, booster.best_iteration + 1) if best else (0, 0)
    want = booster.predict(matrix, iteration_range=span)
    nodes = booster.predict(matrix, pred_leaf=True, iteration_range=span).reshape(len(hard), -1).astype(int)
    want_leaves = cases.leaves_of_xgboost(document, nodes)
    exact = exact_xgboost(document, nodes)
    for ending in ("json", "ubj"):
        label, path, back = f"xgboost {name} {ending}", folder / f"{name}.{ending}", folder / "back.txt"
        booster.save_model(path)
        y, leaves, shap, written = ours("xgboost", path, hard, label, back, best)
        if params.get("objective") == "multi:softmax":
            wrong = int((y.argmax(axis=1) != want).sum())
            margin = booster.predict(matrix, output_margin=True, iteration_range=span).astype(np.float64)
            e = np.exp(margin - margin.max(axis=1, keepdims=True))
            compare("interop.xgboost.max_difference", label, e / e.sum(axis=1, keepdims=True), y, exact)
            if wrong:
                failures.append(f"{label}: {wrong} labels differ")
        else:
            compare("interop.xgboost.max_difference", label, want, y, exact)
        compare_leaves("interop.xgboost.wrong_leaves", label, want_leaves, leaves)
        if written and ending == "json":
            export_back(label, y, back, hard)
        count += 1

# Redoubt's own models, written as LightGBM text; columns 4 and 5 are categories.
for estimator in ("boosting", "forest"):
    for task in ("regression", "binary", "multiclass"):
        name = f"redoubt_{estimator}_{task}"
        if arguments.only not in name:
            continue
        params = {"binary": {"objective": "binary"}, "multiclass": {"num_class": 4}}.get(task, {})
        x, y, _, _ = cases.data(arguments.train_rows, "categorical", params, 7)
        train, back = folder / "train", folder / "back.txt"
        np.column_stack([x, y]).astype(np.float32).tofile(train)
        hard = cases.hard_rows(arguments.rows, x, [[0.0, 0.25, -1.0]] * cases.COLUMNS, "categorical", True, 7)
        hard[(np.abs(hard) <= np.float32(1e-35)) & (hard != 0)] = 0
        ours_y, _, _, written = ours(estimator, train, hard, name, back)
        if not written:
            failures.append(f"{name}: not written")
            continue
        want = lgb.Booster(model_file=str(back)).predict(hard)
        compare("interop.export.max_difference", name, want, ours_y)
        count += 1

for failure in failures:
    print("FAILED", failure)
print(f"{count} models, {arguments.rows} rows each, lightgbm {lgb.__version__}, xgboost {xgb.__version__}")
for figure, value in worst.items():
    print(f"figure {figure} {value:.3g}")
sys.exit(bool(failures))
