"""Data of the tree benchmarks, written once as .npy files that both sides read.

Synthetic sets are named so: they are generated here, from fixed seeds. Real sets come from REDOUBT_TEST_DATA.
A case is a folder with x_{train,test}.npy (float32, rows x columns) or CSR arrays, y_{train,test}.npy (float64),
categories.npy (int32 per column, 0: numeric) where there are any, and case.json.
"""
import csv
import json
import os
import pathlib

import numpy as np

VERSION = 3  # of the generators: part of the cache's name
SOURCE = pathlib.Path(os.environ.get("REDOUBT_TEST_DATA")
                      or pathlib.Path(__file__).resolve().parents[2] / "../shared/data")


def cache():
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    folder = pathlib.Path(os.environ.get("REDOUBT_PEERS_DATA") or pathlib.Path(base) / "redoubt-peers-data") / f"v{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def higgs_like(rows, seed=1):
    """Synthetic, after the shape of Higgs: 28 floats (21 "low-level", of which some are skewed, some uniform, some take
    three values; 7 "high-level" functions of them), a binary label with noise that no function of them explains."""
    rng = np.random.default_rng(seed)
    low = rng.standard_normal((rows, 21)).astype(np.float32)
    low[:, [0, 3, 5, 9, 13, 17]] = np.exp(0.5 * low[:, [0, 3, 5, 9, 13, 17]])         # momenta: skewed, positive
    low[:, [2, 4, 7, 11, 15, 19]] = rng.uniform(-1.74, 1.74, (rows, 6))               # angles
    for c in (8, 12, 16, 20):                                                         # tags: three values
        low[:, c] = rng.choice(np.array([0, 1.09, 2.17], np.float32), rows, p=[0.5, 0.3, 0.2])
    high = np.empty((rows, 7), np.float32)
    for k in range(7):
        a, b, c = low[:, 3 * k % 21], low[:, (3 * k + 5) % 21], low[:, (3 * k + 10) % 21]
        high[:, k] = np.sqrt(a * a + b * b + np.abs(a * c)) + 0.2 * rng.standard_normal(rows)
    signal = (high[:, 0] - high[:, 1] * np.tanh(low[:, 2]) + np.sin(2 * low[:, 4]) * low[:, 0] - 0.7 * high[:, 3]
              + 0.6 * low[:, 6] * low[:, 10] + 0.5 * (low[:, 8] > 1) * low[:, 1] + 0.4 * np.cos(3 * low[:, 7] + low[:, 14])
              + 0.3 * high[:, 5] * low[:, 18])
    signal -= np.median(signal)
    y = rng.random(rows) < 1 / (1 + np.exp(-1.2 * signal))
    return np.concatenate([low, high], axis=1), y.astype(np.float64)


def wide(rows, columns, seed=2):
    """Synthetic: normal columns, of which 40 matter."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, columns), dtype=np.float32)
    used = rng.choice(columns, 40, replace=False)
    signal = x[:, used[:20]] @ rng.standard_normal(20) + (x[:, used[20:30]] * x[:, used[30:]]).sum(1)
    return x, (signal + 2 * rng.standard_normal(rows) > 0).astype(np.float64)


def sparse(rows, columns, share, seed=3):
    """Synthetic: each row has about share*columns positive cells, columns of very different frequency (like words)."""
    import scipy.sparse
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, columns + 1) ** 0.6
    frequency *= share * columns / frequency.sum()
    parts, weight = [], rng.standard_normal(columns) * (rng.random(columns) < 0.2)
    for c in range(columns):
        hit = np.flatnonzero(rng.random(rows) < min(frequency[c], 0.5))
        parts.append((hit, np.full(len(hit), c), np.round(rng.gamma(2.0, 1.0, len(hit)), 2) + 0.01))
    r, c, v = (np.concatenate([p[i] for p in parts]) for i in range(3))
    x = scipy.sparse.csr_matrix((v.astype(np.float32), (r, c)), shape=(rows, columns))
    x.sort_indices()
    signal = x @ weight
    y = (signal + 0.5 * signal.std() * rng.standard_normal(rows) > np.median(signal)).astype(np.float64)
    return x, y


def classes(rows, columns, count, seed=4):
    """Synthetic: whole-number columns like letter recognition's, three clusters per class."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(2, 13, (count, 3, columns))
    y = rng.integers(0, count, rows)
    x = centre[y, rng.integers(0, 3, rows)] + 2.2 * rng.standard_normal((rows, columns))
    return np.clip(np.round(x), 0, 15).astype(np.float32), y.astype(np.float64)


def columns_from_text(rows, target, numeric):
    """Rows of text as floats: numbers as they are, other columns as codes by frequency; "?" is missing."""
    names = list(range(len(rows[0])))
    x, categories = [], []
    for c in names:
        cells = [row[c].strip() for row in rows]
        if c == target:
            continue
        if c in numeric:
            x.append(np.array([np.nan if v == "?" else float(v) for v in cells], np.float32))
            categories.append(0)
        else:
            values, inverse, counts = np.unique([v for v in cells if v != "?"], return_inverse=True, return_counts=True)
            code = np.empty(len(values), int)
            code[np.argsort(-counts, kind="stable")] = np.arange(len(values))
            column = np.full(len(cells), np.nan, np.float32)
            column[[i for i, v in enumerate(cells) if v != "?"]] = code[inverse]
            x.append(column)
            categories.append(len(values))
    return np.stack(x, axis=1), np.array(categories, np.int32)


def adult():
    folder = SOURCE / "adult_keele_modified"
    rows = []
    for name in ("adult.data", "adult.test"):
        with open(folder / name, newline="") as file:
            rows += [row for row in csv.reader(file) if len(row) > 5][1:]
    y = np.array([row[-1].strip().startswith(">") for row in rows], np.float64)
    names = "age workclass fnlwgt education-num marital occupation relationship race sex gain loss hours country".split()
    numeric = {names.index(n) for n in ("age", "fnlwgt", "education-num", "gain", "loss", "hours")}
    x, categories = columns_from_text(rows, len(rows[0]) - 1, numeric)
    return x, y, categories


def arff(name, target=-1):
    """x, y, categories; the target is a number or is coded."""
    kinds, rows, in_data = [], [], False
    with open(SOURCE / "uci_arff" / name, newline="", encoding="latin-1") as file:
        for line in file:
            line = line.strip()
            if not line or line.startswith("%"):
                continue
            if in_data:
                rows.append(next(csv.reader([line], quotechar="'", skipinitialspace=True)))
            elif line.lower().startswith("@attribute"):
                kinds.append("{" not in line)
            elif line.lower().startswith("@data"):
                in_data = True
    target %= len(kinds)
    labels = [row[target].strip() for row in rows]
    y = np.array(labels, np.float64) if kinds[target] else np.unique(labels, return_inverse=True)[1].astype(np.float64)
    x, categories = columns_from_text(rows, target, {c for c, number in enumerate(kinds) if number})
    return x, y, categories


def libsvm(path):
    import sklearn.datasets
    x, y = sklearn.datasets.load_svmlight_file(str(path))
    return x.astype(np.float32), y


def lightgbm_example(name):
    folder = SOURCE / "lightgbm_examples" / f"{name}_classification"
    both = [np.loadtxt(folder / f"{name}.{part}") for part in ("train", "test")]
    return [(d[:, 1:].astype(np.float32), d[:, 0]) for d in both]


def split(x, y, share=0.2, seed=0):
    order = np.random.default_rng(seed).permutation(x.shape[0])
    test = int(x.shape[0] * share)
    return (x[order[test:]], y[order[test:]]), (x[order[:test]], y[order[:test]])


def generated(rows, maker, *arguments):
    x, y = maker(rows + rows // 5, *arguments)
    return (x[:rows], y[:rows]), (x[rows:], y[rows:])


def make(name):
    """train (x, y), test (x, y), categories or None, classes (0: regression)"""
    if name in ("1m28", "200k28", "50k28"):
        rows = {"1m28": 1_000_000, "200k28": 200_000, "50k28": 50_000}[name]
        return *generated(rows, higgs_like), None, 2
    if name == "missing60":
        train, test = generated(200_000, higgs_like)
        rng = np.random.default_rng(5)
        for x, _ in (train, test):
            x[rng.random(x.shape) < 0.6] = np.nan
        return train, test, None, 2
    if name == "wide500":
        return *generated(50_000, wide, 500), None, 2
    if name == "sparse5k":
        return *generated(100_000, sparse, 5000, 0.01), None, 2
    if name == "multi26":
        return *generated(20_000, classes, 16, 26), None, 26
    if name == "multi5":
        return *lightgbm_example("multiclass"), None, 5
    if name == "adult":
        x, y, categories = adult()
        return *split(x, y), categories, 2
    if name == "mushroom":
        x, y, categories = arff("mushroom.arff")
        return *split(x, y), categories, 2
    if name == "agaricus":
        folder = SOURCE / "xgboost_demo"
        (x, y), (xt, yt) = (libsvm(folder / f"agaricus.txt.{part}") for part in ("train", "test"))
        width = max(x.shape[1], xt.shape[1])
        x.resize(x.shape[0], width), xt.resize(xt.shape[0], width)
        return (x, y), (xt, yt), None, 2
    if name == "cover":
        data = np.load(SOURCE / "adbench/10_cover.npz")
        return *split(data["X"].astype(np.float32), data["y"].astype(np.float64)), None, 2
    raise ValueError(name)


def case(name):
    """Folder of the case, made if it is not there, and its description."""
    folder = cache() / name
    if not (folder / "case.json").exists():
        folder.mkdir(exist_ok=True)
        train, test, categories, count = make(name)
        for part, (x, y) in (("train", train), ("test", test)):
            if hasattr(x, "indptr"):
                np.save(folder / f"indptr_{part}.npy", x.indptr.astype(np.int64))
                np.save(folder / f"indices_{part}.npy", x.indices.astype(np.int32))
                np.save(folder / f"data_{part}.npy", x.data.astype(np.float32))
            else:
                np.save(folder / f"x_{part}.npy", np.ascontiguousarray(x, np.float32))
            np.save(folder / f"y_{part}.npy", np.asarray(y, np.float64))
        if categories is not None and categories.any():
            np.save(folder / "categories.npy", categories)
        description = dict(name=name, rows=train[0].shape[0], cols=train[0].shape[1], classes=count,
                           sparse=hasattr(train[0], "indptr"), categorical=categories is not None and bool(categories.any()))
        (folder / "case.json").write_text(json.dumps(description))
    return folder, json.loads((folder / "case.json").read_text())


def load(folder, part):
    """x (matrix or CSR), y, categories (or None) of a case's folder."""
    folder = pathlib.Path(folder)
    y = np.load(folder / f"y_{part}.npy")
    categories = np.load(folder / "categories.npy") if (folder / "categories.npy").exists() else None
    if (folder / f"x_{part}.npy").exists():
        return np.load(folder / f"x_{part}.npy"), y, categories
    import scipy.sparse
    columns = json.loads((folder / "case.json").read_text())["cols"]
    x = scipy.sparse.csr_matrix(tuple(np.load(folder / f"{n}_{part}.npy") for n in ("data", "indices", "indptr")),
                                shape=(len(y), columns))
    return x, y, categories
