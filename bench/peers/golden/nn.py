"""Quality of scikit-learn's estimators for the table in tests/nn/mlp_test.cpp, mean and standard deviation over 5 seeds.

Usage: python bench/peers/golden/nn.py DATA_FOLDER
Needs numpy and scikit-learn. The splits are the ones of the test: spambase and housing test on every fifth row, adult
on its own test file, Fashion-MNIST trains on the first 20000 images and tests on all 10000.
"""
import csv
import gzip
import pathlib
import sys
import warnings

import numpy as np
import sklearn
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

warnings.filterwarnings("ignore")
data = pathlib.Path(sys.argv[1])
seeds = range(5)


def arff(name):
    rows = []
    started = False
    for line in (data / "uci_arff" / name).read_text().splitlines():
        line = line.strip()
        if started and line and not line.startswith("%"):
            rows.append([cell.strip().strip("'\"") for cell in line.split(",")])
        started = started or line.lower().startswith("@data")
    x = np.array([[float(cell) for cell in row[:-1]] for row in rows])
    return x, np.array([row[-1] for row in rows])


def every_fifth(x, y):
    test = np.arange(len(y)) % 5 == 0
    scaler = StandardScaler().fit(x[~test])
    return scaler.transform(x[~test]), y[~test], scaler.transform(x[test]), y[test]


def adult():
    def read(name):
        with open(data / "adult_keele_modified" / name, newline="") as file:
            rows = list(csv.reader(file))[1:]
        rows = [[cell.strip() for cell in row] for row in rows if row]
        return rows, np.array([row[-1].rstrip(".") for row in rows])

    train, train_y = read("adult.data")
    test, test_y = read("adult.test")
    numeric = [0, 2, 3, 9, 10, 11]
    categorical = [1, 4, 5, 6, 7, 8, 12]
    table = lambda rows: np.array([row[:-1] for row in rows], dtype=object)
    encoder = make_column_transformer((StandardScaler(), numeric), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), categorical))
    return encoder.fit_transform(table(train)), train_y, encoder.transform(table(test)), test_y


def fashion():
    folder = data / "fashion_mnist"
    images = lambda name: np.frombuffer(gzip.open(folder / name).read(), np.uint8, offset=16).reshape(-1, 784).astype(float)
    labels = lambda name: np.frombuffer(gzip.open(folder / name).read(), np.uint8, offset=8)
    x, y = images("train-images-idx3-ubyte.gz")[:20000], labels("train-labels-idx1-ubyte.gz")[:20000]
    scaler = MinMaxScaler().fit(x)
    return scaler.transform(x), y, scaler.transform(images("t10k-images-idx3-ubyte.gz")), labels("t10k-labels-idx1-ubyte.gz")


def show(name, scores):
    print(f"{name} {np.mean(scores):.5f} {np.std(scores, ddof=1) if len(scores) > 1 else 0:.5f}", flush=True)


print(f"# scikit-learn {sklearn.__version__}")
for name, sets in (("spambase", every_fifth(*arff("spambase.arff"))), ("adult", adult())):
    train_x, train_y, test_x, test_y = sets
    show(f"{name} logistic accuracy", [LogisticRegression(max_iter=5000).fit(train_x, train_y).score(test_x, test_y)])
    mlp = lambda seed: MLPClassifier(hidden_layer_sizes=(64, 64), batch_size=128, early_stopping=True, max_iter=50, n_iter_no_change=10, tol=0, random_state=seed)
    show(f"{name} mlp accuracy", [mlp(seed).fit(train_x, train_y).score(test_x, test_y) for seed in seeds])

x, y = arff("cal.housing.arff")
train_x, train_y, test_x, test_y = every_fifth(x, y.astype(float))
mean, deviation = train_y.mean(), train_y.std()
scores = []
for seed in seeds:
    mlp = MLPRegressor(hidden_layer_sizes=(64, 64), batch_size=128, early_stopping=True, max_iter=50, n_iter_no_change=10, tol=0, random_state=seed)
    mlp.fit(train_x, (train_y - mean) / deviation)
    scores.append(r2_score(test_y, mlp.predict(test_x) * deviation + mean))
show("housing mlp r2", scores)

train_x, train_y, test_x, test_y = fashion()
mlp = lambda seed: MLPClassifier(hidden_layer_sizes=(128,), batch_size=128, max_iter=5, tol=0, n_iter_no_change=100, random_state=seed)
show("fashion mlp accuracy", [mlp(seed).fit(train_x, train_y).score(test_x, test_y) for seed in seeds])
