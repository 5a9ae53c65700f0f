#!/usr/bin/env python3
"""Golden figures of scikit-learn's extra trees and PyOD's isolation forest, for tests/trees/*_test.cpp.

usage: trees_forests.py DATA_FOLDER > tests/trees/golden/forests.tsv
needs: scikit-learn, pyod, numpy

The splits and the columns of the result are those of trees_quality.py.
"""
import sys

import numpy as np
from pyod.models.iforest import IForest
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.metrics import accuracy_score, mean_squared_error, roc_auc_score

FOLDER = sys.argv[1]
SPLITS = 5
ADBENCH = ("4_breastw", "5_campaign", "6_cardio", "10_cover", "12_fault", "18_Ionosphere", "25_musk", "28_pendigits",
           "31_satimage-2", "32_shuttle", "38_thyroid", "44_Wilt")


def in_test(rows, split):
    i = np.arange(rows, dtype=np.uint64)
    x = (i * np.uint64(2654435761) + np.uint64(split + 1) * np.uint64(40503)) & np.uint64(0xFFFFFFFF)
    x = ((x ^ (x >> np.uint64(16))) * np.uint64(73244475)) & np.uint64(0xFFFFFFFF)
    x = x ^ (x >> np.uint64(16))
    return x < np.uint64(858993459)


def splits(name):
    with open(f"{FOLDER}/uci_arff/{name}.arff") as f:
        lines = f.read().splitlines()
    start = next(i for i, line in enumerate(lines) if line.lower().startswith("@data"))
    table = np.array([[float(v) for v in line.split(",")] for line in lines[start + 1:] if line])
    for s in range(SPLITS):
        t = in_test(len(table), s)
        yield s, table[~t, :-1], table[~t, -1], table[t, :-1], table[t, -1]


def report(data, estimator, metric, values):
    print(f"{data}\t{estimator}\t{metric}\t{np.mean(values):.6f}\t{np.std(values, ddof=1):.6f}\t{len(values)}", flush=True)


for name in ("spambase", "optdigits"):
    auc, accuracy = [], []
    for s, x, y, xt, yt in splits(name):
        p = ExtraTreesClassifier(100, random_state=s).fit(x, y).predict_proba(xt)
        accuracy.append(accuracy_score(yt, np.argmax(p, axis=1)))
        if name == "spambase":
            auc.append(roc_auc_score(yt, p[:, 1]))
    if auc:
        report(name, "extra_trees", "roc_auc", auc)
    report(name, "extra_trees", "accuracy", accuracy)
report("cal.housing", "extra_trees", "rmse",
       [mean_squared_error(yt / 1e5, ExtraTreesRegressor(100, random_state=s).fit(x, y / 1e5).predict(xt)) ** 0.5
        for s, x, y, xt, yt in splits("cal.housing")])

for name in ADBENCH:
    file = np.load(f"{FOLDER}/adbench/{name}.npz")
    x, y = file["X"].astype(np.float64), file["y"]
    seeds = 5 if len(y) > 100_000 else 10 if len(y) > 20_000 else 25
    report(name, "isolation_forest_pyod", "roc_auc",
           [roc_auc_score(y, IForest(n_estimators=100, max_samples=256, random_state=s).fit(x).decision_scores_)
            for s in range(seeds)])
