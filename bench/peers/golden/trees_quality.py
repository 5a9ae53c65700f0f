#!/usr/bin/env python3
"""Golden quality figures of scikit-learn's tree ensembles, for tests/trees/*_test.cpp.

usage: trees_quality.py DATA_FOLDER > tests/trees/golden/quality.tsv
needs: scikit-learn, numpy

Row i of a data set is in the test side of split s when mix(i, s) < 0.2; the same three lines of integer arithmetic
are in tests/trees/support.hpp, so both sides see the same rows. Each line is: data set, estimator, metric, the mean
over the splits, the standard deviation over the splits, the number of splits.
"""
import sys
import warnings

import numpy as np
from sklearn.ensemble import (HistGradientBoostingClassifier, HistGradientBoostingRegressor, IsolationForest,
                              RandomForestClassifier, RandomForestRegressor)
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error, roc_auc_score

warnings.filterwarnings("ignore")
FOLDER = sys.argv[1]
SPLITS = 5


def in_test(rows, split):
    i = np.arange(rows, dtype=np.uint64)
    x = (i * np.uint64(2654435761) + np.uint64(split + 1) * np.uint64(40503)) & np.uint64(0xFFFFFFFF)
    x = ((x ^ (x >> np.uint64(16))) * np.uint64(73244475)) & np.uint64(0xFFFFFFFF)
    x = x ^ (x >> np.uint64(16))
    return x < np.uint64(858993459)


def arff(name):
    with open(f"{FOLDER}/uci_arff/{name}.arff") as f:
        lines = f.read().splitlines()
    start = next(i for i, line in enumerate(lines) if line.lower().startswith("@data"))
    return np.array([[float(v) for v in line.split(",")] for line in lines[start + 1:] if line], dtype=np.float64)


def adult(name):
    """Categories as sorted codes of the training file; "?" is a category like any other."""
    with open(f"{FOLDER}/adult_keele_modified/{name}") as f:
        rows = [line.strip().split(",") for line in f.read().splitlines()[1:] if line.strip()]
    return [[cell.strip() for cell in row] for row in rows]


def report(data, estimator, metric, values):
    print(f"{data}\t{estimator}\t{metric}\t{np.mean(values):.6f}\t{np.std(values, ddof=1):.6f}\t{len(values)}", flush=True)


def classify(data, estimator, make, splits, metrics):
    found = {m: [] for m in metrics}
    for s, (x, y, xt, yt) in enumerate(splits):
        p = make(s).fit(x, y).predict_proba(xt)
        if "roc_auc" in found: found["roc_auc"].append(roc_auc_score(yt, p[:, 1]))
        if "accuracy" in found: found["accuracy"].append(accuracy_score(yt, np.argmax(p, axis=1)))
        if "log_loss" in found: found["log_loss"].append(log_loss(yt, p))
    for m in metrics: report(data, estimator, m, found[m])


def regress(data, estimator, make, splits):
    report(data, estimator, "rmse",
           [mean_squared_error(yt, make(s).fit(x, y).predict(xt)) ** 0.5 for s, (x, y, xt, yt) in enumerate(splits)])


def splits_of(table):
    result = []
    for s in range(SPLITS):
        t = in_test(len(table), s)
        result.append((table[~t, :-1], table[~t, -1], table[t, :-1], table[t, -1]))
    return result


boost = dict(max_iter=100, learning_rate=0.1, max_leaf_nodes=31, min_samples_leaf=20, early_stopping=False)

spam = splits_of(arff("spambase"))
classify("spambase", "gradient_boosting", lambda s: HistGradientBoostingClassifier(**boost), spam,
         ["roc_auc", "accuracy", "log_loss"])
classify("spambase", "random_forest", lambda s: RandomForestClassifier(100, random_state=s), spam, ["roc_auc", "accuracy"])

digits = splits_of(arff("optdigits"))
classify("optdigits", "gradient_boosting", lambda s: HistGradientBoostingClassifier(**boost | {"max_iter": 50}),
         digits[:2], ["accuracy"])
classify("optdigits", "random_forest", lambda s: RandomForestClassifier(100, random_state=s), digits, ["accuracy"])

houses = arff("cal.housing")
houses[:, -1] /= 100000
houses = splits_of(houses)
regress("cal.housing", "gradient_boosting", lambda s: HistGradientBoostingRegressor(**boost), houses)
regress("cal.housing", "random_forest", lambda s: RandomForestRegressor(100, max_features=1 / 3, random_state=s), houses)

train, test = adult("adult.data"), adult("adult.test")
numeric = {0, 2, 3, 9, 10, 11}
columns, test_columns, categorical = [], [], []
for c in range(13):
    if c in numeric:
        columns.append([float(r[c]) for r in train])
        test_columns.append([float(r[c]) for r in test])
    else:
        codes = {v: k for k, v in enumerate(sorted({r[c] for r in train}))}
        categorical.append(c)
        columns.append([codes[r[c]] for r in train])
        test_columns.append([codes.get(r[c], np.nan) for r in test])
x, xt = np.array(columns, dtype=np.float64).T, np.array(test_columns, dtype=np.float64).T
y = np.array([r[13].startswith(">") for r in train], dtype=int)
yt = np.array([r[13].startswith(">") for r in test], dtype=int)
# One fixed split, so the noise is that of drawing the training rows: leave out a fifth of them, five ways.
parts = [(x[~in_test(len(x), s)], y[~in_test(len(x), s)], xt, yt) for s in range(SPLITS)]
classify("adult", "gradient_boosting",
         lambda s: HistGradientBoostingClassifier(categorical_features=categorical, **boost), parts,
         ["roc_auc", "accuracy", "log_loss"])
classify("adult", "random_forest", lambda s: RandomForestClassifier(100, min_samples_leaf=5, random_state=s), parts,
         ["roc_auc", "accuracy"])

for name in ["6_cardio", "38_thyroid", "31_satimage-2", "28_pendigits", "18_Ionosphere", "4_breastw", "44_Wilt",
             "12_fault", "25_musk", "32_shuttle"]:
    file = np.load(f"{FOLDER}/adbench/{name}.npz")
    x, y = file["X"].astype(np.float64), file["y"]
    report(name, "isolation_forest", "roc_auc",
           [roc_auc_score(y, -IsolationForest(n_estimators=100, max_samples=256, random_state=s).fit(x).score_samples(x))
            for s in range(10)])
