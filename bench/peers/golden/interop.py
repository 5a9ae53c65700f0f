"""Small models of LightGBM and XGBoost with their predictions, for tests/interop.

Usage: python bench/peers/golden/interop.py OUT_FOLDER [PREFIX]
Needs lightgbm, xgboost, numpy, scipy. PREFIX names the files of another release of the libraries ("old_"): of the grid
only a few cases are then made. Each case is a model (.lgb, .json or .ubj) and a .rows file: uint32 rows, columns,
outputs, trees; float32 rows; float64 outputs; int32 leaves. Some have a .shap file: per row and score a float64 per
column and the base."""
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import interop_cases as cases  # noqa: E402

out = pathlib.Path(sys.argv[1])
prefix = sys.argv[2] if len(sys.argv) > 2 else ""
ROWS, TREES, LEAVES, TRAIN = 40, 4, 6, 400
OLD = {"regression", "multiclass_categorical", "zero_as_missing", "dart", "logistic", "softprob", "poisson_base",
       "forest"}
SHAP = {"regression", "binary", "categorical", "zero_as_missing", "multiclass"}
UBJ = {"categorical", "dart", "softprob", "logistic", "squarederror_far"}


def write(name, x, y, leaves):
    y = np.asarray(y, np.float64).reshape(len(x), -1)
    leaves = np.asarray(leaves).reshape(len(x), -1).astype(np.int32)
    with open(out / f"{name}.rows", "wb") as f:
        np.array([*x.shape, y.shape[1], leaves.shape[1]], np.uint32).tofile(f)
        for part in (x, y, leaves):
            part.tofile(f)


def lightgbm_cases():
    import lightgbm as lgb
    for seed, (case, params, features) in enumerate(cases.LIGHTGBM):
        if prefix and case not in OLD:
            continue
        booster, x = cases.train_lightgbm(lgb, params, features, TRAIN, TREES, LEAVES, seed)
        text = booster.model_to_string()
        hard = cases.hard_rows(ROWS, x, cases.thresholds_of_lightgbm(text), features, True, seed)
        end = text.index("end of trees") + len("end of trees\n")
        name = f"lightgbm_{prefix}{case}"
        (out / f"{name}.lgb").write_text(text[:end] + "\npandas_categorical:null\n")
        write(name, hard, booster.predict(hard), booster.predict(hard, pred_leaf=True))
        if case in SHAP and not prefix:
            np.asarray(booster.predict(hard, pred_contrib=True), np.float64).tofile(out / f"{name}.shap")


def xgboost_cases():
    import xgboost as xgb
    for seed, (case, params, features) in enumerate(cases.XGBOOST):
        if prefix and case not in OLD:
            continue
        booster, x, types = cases.train_xgboost(xgb, params, features, TRAIN, TREES, LEAVES, seed)
        document = json.loads(booster.save_raw("json"))
        hard = cases.hard_rows(ROWS, x, cases.thresholds_of_xgboost(document), features, False, seed)
        matrix = xgb.DMatrix(hard, feature_types=types, enable_categorical=True)
        name = f"xgboost_{prefix}{case}"
        (out / f"{name}.json").write_bytes(booster.save_raw("json"))
        if case in UBJ:
            (out / f"{name}.ubj").write_bytes(booster.save_raw("ubj"))
        y = booster.predict(matrix)
        if params.get("objective") == "multi:softmax":  # the label alone would hide the scores
            margin = booster.predict(matrix, output_margin=True).astype(np.float64)
            e = np.exp(margin - margin.max(axis=1, keepdims=True))
            y = e / e.sum(axis=1, keepdims=True)
        nodes = booster.predict(matrix, pred_leaf=True).reshape(ROWS, -1).astype(int)
        write(name, hard, y, cases.leaves_of_xgboost(document, nodes))


out.mkdir(parents=True, exist_ok=True)
for make in (lightgbm_cases, xgboost_cases):
    try:
        make()
    except ImportError as error:
        print(f"skipped: {error}", file=sys.stderr)
