"""Do our boosted trees predict as well as LightGBM's? Paired over splits: both get the same training and test rows per
seed and the same settings (100 rounds, 31 leaves, rate 0.1, at least 20 rows per leaf, 255 bins). The figure is the mean
of our metric minus LightGBM's. The splits share rows, so that their spread over the root of their number is too small a
standard error; .se is the one of Nadeau and Bengio ("Inference for the Generalization Error", Machine Learning 52, 2003):
variance times (1 / splits + test rows / training rows). AUC, R^2 and NDCG@10: larger is better."""
import math
import pathlib
import statistics
import subprocess

import numpy as np

import trees_data
import trees_metrics
from harness import figure

ROUNDS, LEAVES, THREADS = 100, 31, 1


def r_squared(y, value):
    return 1 - float(np.mean((y - value) ** 2) / np.var(y))


def binary():
    (x, y), (xt, yt) = trees_data.lightgbm_example("binary")
    return np.concatenate([x, xt]), np.concatenate([y, yt]), None


def rank():
    """Rows, grades and the sizes of the queries of both files of LightGBM's lambdarank example."""
    folder = trees_data.SOURCE / "lightgbm_examples/lambdarank"
    parts = [trees_data.libsvm(folder / f"rank.{part}") for part in ("train", "test")]
    width = max(x.shape[1] for x, _ in parts)
    for x, _ in parts:
        x.resize(x.shape[0], width)
    sizes = np.concatenate([np.loadtxt(folder / f"rank.{part}.query", int) for part in ("train", "test")])
    return np.concatenate([x.toarray() for x, _ in parts]), np.concatenate([y for _, y in parts]), sizes


SETS = {"adult": (trees_data.adult, 2), "binary": (binary, 2), "housing": (lambda: trees_data.arff("cal.housing.arff"), 0),
        "house8l": (lambda: trees_data.arff("house8L.arff"), 0), "spambase": (lambda: trees_data.arff("spambase.arff"), 2)}


def ours(context, folder, classes, seed):
    path = context.file("ours.npy")
    settings = dict(dir=folder, classes=classes, trees=ROUNDS, leaves=LEAVES, threads=THREADS, seed=seed, out=path)
    subprocess.run([context.ours_path, "quality"] + [f"{k}={v}" for k, v in settings.items()], check=True)
    prediction = np.load(path).astype(np.float64)
    return prediction[:, -1] if classes else prediction.reshape(-1)


def theirs(objective, train, test, categories, seed, group=None):
    import lightgbm
    parameters = dict(objective=objective, num_leaves=LEAVES, learning_rate=0.1, max_bin=255, min_data_in_leaf=20,
                      num_threads=THREADS, verbosity=-1, seed=seed)
    data = lightgbm.Dataset(*train, params=parameters, group=group,
                            categorical_feature=[] if categories is None else list(map(int, np.flatnonzero(categories))))
    return lightgbm.train(parameters, data, ROUNDS).predict(test)


def save(context, name, train, test, categories):
    folder = pathlib.Path(context.file("quality-" + name))
    folder.mkdir(exist_ok=True)
    for part, (x, y) in (("train", train), ("test", test)):
        np.save(folder / f"x_{part}.npy", np.ascontiguousarray(x, np.float32))
        np.save(folder / f"y_{part}.npy", np.asarray(y, np.float64))
    if categories is not None and categories.any():
        np.save(folder / "categories.npy", categories)
    return folder


def splits(context, rows):
    """Small sets need more: their differences change sign with one bin more or less on either side."""
    return 30 if rows < 10_000 or not context.quick else 10


def report(name, metric, pairs, test_share):
    differences = [a - b for a, b in pairs]
    spread, count = statistics.stdev(differences), len(pairs)
    print(f"quality {name}: {metric}, {count} splits: redoubt {statistics.mean(a for a, _ in pairs):.5f}, "
          f"lightgbm {statistics.mean(b for _, b in pairs):.5f}; standard error as if the splits were independent "
          f"{spread / math.sqrt(count):.6f}", flush=True)
    figure(f"trees.quality.{name}.delta", statistics.mean(differences))
    figure(f"trees.quality.{name}.delta.se", spread * math.sqrt(1 / count + test_share))


def quality(context, name):
    maker, classes = SETS[name]
    x, y, categories = maker()
    metric = trees_metrics.auc if classes else r_squared
    pairs = []
    for seed in range(splits(context, len(y))):
        train, test = trees_data.split(x, y, seed=seed)
        folder = save(context, name, train, test, categories)
        pairs.append((metric(test[1], ours(context, folder, classes, seed)),
                      metric(test[1], theirs("binary" if classes else "regression", train, test[0], categories, seed))))
    report(name, "AUC" if classes else "R^2", pairs, len(test[1]) / len(train[1]))


def quality_rank(context):
    x, y, sizes = rank()
    starts = np.concatenate([[0], np.cumsum(sizes)])
    pairs = []
    for seed in range(splits(context, len(y))):
        order = np.random.default_rng(seed).permutation(len(sizes))
        parts = []
        for queries in (np.sort(order[len(sizes) // 5:]), np.sort(order[:len(sizes) // 5])):
            rows = np.concatenate([np.arange(starts[q], starts[q + 1]) for q in queries])
            parts.append((x[rows], y[rows], sizes[queries]))
        train, test = parts
        folder = save(context, "rank", train[:2], test[:2], None)
        np.save(folder / "group_train.npy", train[2].astype(np.int32))
        scores = (ours(context, folder, 0, seed), theirs("lambdarank", train[:2], test[0], None, seed, group=train[2]))
        pairs.append(tuple(trees_metrics.ndcg(test[1], s, test[2]) for s in scores))
    report("rank", "NDCG@10", pairs, len(test[1]) / len(train[1]))


def figures():
    return [([f"trees.quality.{n}.delta", f"trees.quality.{n}.delta.se"], lambda c, n=n: quality(c, n)) for n in SETS] + [
        (["trees.quality.rank.delta", "trees.quality.rank.delta.se"], quality_rank)]
