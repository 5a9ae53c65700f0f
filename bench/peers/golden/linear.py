"""Coefficients of scikit-learn's linear models for tests/linear/golden_linear.txt.

Usage: python bench/peers/golden/linear.py DATA_FOLDER > tests/linear/golden_linear.txt
Needs numpy and scikit-learn. Inputs are rounded to float32 as Redoubt's encoder does; everything else is double.
A line is: NAME OUTPUTS, then the coefficients output by output, each followed by its intercept.
"""
import pathlib
import sys

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

data = pathlib.Path(sys.argv[1])


def arff(name):
    rows = []
    started = False
    for line in (data / "uci_arff" / name).read_text().splitlines():
        line = line.strip()
        if started and line and not line.startswith("%"):
            rows.append([cell.strip().strip("'\"") for cell in line.split(",")])
        started = started or line.lower().startswith("@data")
    x = np.array([[float(cell) if cell != "?" else np.nan for cell in row[:-1]] for row in rows])
    return x, np.array([row[-1] for row in rows])


def impute(x):
    return np.where(np.isnan(x), np.nanmedian(x, axis=0), x)


def raw(x):
    return impute(x).astype(np.float32).astype(np.float64)


def standardised(x):
    return StandardScaler().fit_transform(impute(x)).astype(np.float32).astype(np.float64)


def show(name, model):
    coefficients = np.atleast_2d(model.coef_)
    intercepts = np.atleast_1d(model.intercept_)
    values = [v for row, b in zip(coefficients, intercepts) for v in (*row, b)]
    print(name, len(intercepts), *(f"{v:.10g}" for v in values))


def logistic(x, y, c, weights=None):
    return LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(x, y, weights)


print(f"# scikit-learn {sklearn.__version__}, by bench/peers/golden/linear.py")
x, y = arff("iris.arff")
show("iris_standardised", logistic(standardised(x), y, 1.0))
show("iris_raw", logistic(raw(x), y, 1.0))
show("iris_strong", logistic(standardised(x), y, 0.1))
x, y = arff("breast.w.arff")
show("breast_standardised", logistic(standardised(x), y, 1.0))
show("breast_raw", logistic(raw(x), y, 1.0))
show("breast_weighted", logistic(standardised(x), y, 1.0, 0.5 + np.arange(len(y)) % 3))
x, y = arff("spambase.arff")
show("spambase_standardised", logistic(standardised(x), y, 1.0))
show("spambase_weak", logistic(standardised(x), y, 10.0))
x, y = arff("cal.housing.arff")
y = y.astype(float)
show("housing_standardised", Ridge(alpha=1.0).fit(standardised(x), y))
show("housing_raw", Ridge(alpha=1.0).fit(raw(x), y))
show("housing_none", Ridge(alpha=0.0).fit(standardised(x), y))
show("housing_weighted", Ridge(alpha=100.0).fit(standardised(x), y, 0.5 + np.arange(len(y)) % 3))
