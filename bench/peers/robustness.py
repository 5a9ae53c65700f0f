"""Poisoning checks against their peers. See robustness.sh.

Times are peer time over ours (above 1 we are faster), the median of interleaved rounds, one thread each; quality is our
AUC minus PyOD's.
"""
import argparse
import concurrent.futures
import contextlib
import importlib.metadata
import pathlib
import statistics
import sys
import tempfile

import numpy as np

import robustness_attack
import robustness_certify
import robustness_monitor
import robustness_poison
import robustness_shapley
import trees_data
import trees_metrics
from harness import Worker, cpu_name, figure, run_parts
from trees_forests import ADBENCH, anomaly_case

HERE = pathlib.Path(__file__).resolve().parent
METHODS = ("ecod", "hbos", "knn", "lof", "mcd", "iforest")
QUICK_ROWS = 10_000  # of the sets with more, with --quick: the same rows for both sides
SEEDED = ("mcd", "iforest")
SLOW_SETS = ("10_cover", "44_Wilt", "6_cardio", "12_fault")  # a hundred seeds or so


class Context:
    def __init__(self, build, quick):
        self.build = pathlib.Path(build)
        self.quick = quick
        self.folder = tempfile.TemporaryDirectory()

    def file(self, name):
        return str(pathlib.Path(self.folder.name) / name)

    def ours(self, mode, worker="robustness", **settings):
        path = str(self.build / f"bench/peer_{worker}_worker")
        return Worker("redoubt", [path, mode] + [f"{k}={v}" for k, v in settings.items()])

    def peer(self):
        return Worker("pyod", [sys.executable, str(HERE / "robustness_peer.py")])


def auc_of_set(context, name):
    """A line to print, and our AUC minus PyOD's of each method, on one set of ADBench: one thread a side."""
    with contextlib.ExitStack() as stack:
        workers = [context.ours("outliers", threads=1), context.peer()]
        for worker in workers:
            stack.callback(worker.close)
        return auc_of_workers(context, name, workers)


def auc_of_workers(context, name, workers):
    path = context.file(f"{name}-scores.npy")
    folder = anomaly_case(name)
    y = np.load(folder / "y.npy")
    rows = f"{len(y)} rows"
    if context.quick and len(y) > QUICK_ROWS:
        kept = np.sort(np.random.default_rng(1).permutation(len(y))[:QUICK_ROWS])
        x, y = np.load(folder / "x.npy")[kept], y[kept]
        rows = f"{QUICK_ROWS} rows of {rows.split()[0]}"
        folder = pathlib.Path(context.file(name))
        folder.mkdir()
        np.save(folder / "x.npy", x)
        np.save(folder / "y.npy", y)
    for worker in workers:
        worker.ask(f"load {folder}")
    shown, deltas = [], {}
    for method in METHODS:
        # Seeds until two errors around the difference lie within the goal, or the error is small whatever it is.
        least, most = (1, 1) if method not in SEEDED else (4, 150) if context.quick else (10, 400)
        values, error = ([], []), 0.0
        while len(values[0]) < most:
            for worker, found in zip(workers, values):
                worker.ask(f"run {method}:{len(found)}")
                worker.ask("scores " + path)
                found.append(trees_metrics.auc(y, np.load(path)))
            if most > 1 and len(values[0]) >= least:
                error = (sum(statistics.variance(v) for v in values) / len(values[0])) ** 0.5
                away = abs(statistics.mean(values[0]) - statistics.mean(values[1]))
                if away + 2 * error < 0.01 and error < 0.004 or error < (0.002 if context.quick else 0.001):
                    break
        means = [statistics.mean(v) for v in values]
        deltas[method] = means[0] - means[1]
        shown.append(f"{method} {deltas[method]:+.4f}" +
                     (f" +- {error:.4f} in {len(values[0])} seeds" if most > 1 else "") + f" (pyod {means[1]:.3f})")
    return f"  {name}, {rows}: " + ", ".join(shown), deltas


def auc_delta(context):
    """Of six detectors on the twelve sets of ADBench, ours minus PyOD's, the worst; seeded ones: means over seeds.
    No time is measured, so two sets go side by side, those first that ask for most seeds."""
    slow_first = sorted(ADBENCH, key=lambda name: name not in SLOW_SETS)
    worst = behind = (0.0, "none")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name, (line, deltas) in zip(slow_first, pool.map(lambda name: auc_of_set(context, name), slow_first)):
            print(line, flush=True)
            for method, delta in deltas.items():
                worst = max(worst, (abs(delta), f"{method} on {name}"))
                behind = max(behind, (-delta, f"{method} on {name}"))
    print(f"largest difference either way: {worst[1]}; furthest behind: {behind[1]}")
    figure("robust.outlier.auc_delta_vs_pyod", worst[0])
    figure("robust.outlier.auc_behind_pyod", behind[0])


def speed_case(context, rows=50_000, cols=100):
    """Rows of a few clusters with correlated columns, and one in a hundred far out."""
    folder = pathlib.Path(context.file("50k100"))
    if not folder.exists():
        folder.mkdir()
        random = np.random.default_rng(5)
        mixing = random.normal(size=(20, cols)) / np.sqrt(20)
        centre = 2 * random.normal(size=(8, cols))
        x = random.normal(size=(rows, 20)) @ mixing + 0.5 * random.normal(size=(rows, cols))
        x += centre[random.integers(8, size=rows)]
        far = random.random(rows) < 0.01
        x[far] += 3 * random.normal(size=(int(far.sum()), cols))
        np.save(folder / "x.npy", x.astype(np.float32))
    return folder


def speed(method):
    def run(context):
        folder = speed_case(context)
        ours, peer = context.ours("outliers", threads=1), context.peer()
        for worker in (ours, peer):
            worker.ask(f"load {folder}")
        slow = method in ("knn", "lof")
        if not slow:
            for worker in (ours, peer):
                worker.ask(f"run {method}")
        for _ in range(1 if slow and context.quick else 3 if slow else 5 if context.quick else 9):
            for worker in (ours, peer):
                worker.seconds.append(float(worker.ask(f"run {method}")))
        paths = [context.file("ours.npy"), context.file("peer.npy")]
        for worker, path in zip((ours, peer), paths):
            worker.ask("scores " + path)
            worker.close()
        a, b = (np.load(p) for p in paths)
        print(f"{method}: 50000 x 100, one thread: redoubt {statistics.median(ours.seconds):.3f} s, "
              f"pyod {statistics.median(peer.seconds):.3f} s" + ("" if method == "iforest" else
              f"; largest relative difference of scores {np.abs((a - b) / np.abs(b).max()).max():.1e}"), flush=True)
        figure(f"robust.{method}.vs_peer", statistics.median(p / o for p, o in zip(peer.seconds, ours.seconds)))
    return run


def labelled(name):
    """Features (numbers scaled to deviation 1, categories one-hot) and labels of a real set."""
    if name == "spambase":
        text = (trees_data.SOURCE / "uci_arff/spambase.arff").read_text().lower()
        lines = [line.split(",") for line in text[text.index("@data") + 5:].split() if line[0] not in "%@"]
        x = np.array([row[:-1] for row in lines], dtype=np.float64)
        return (x - x.mean(0)) / x.std(0), np.array([row[-1] == lines[0][-1] for row in lines], np.int32)
    lines = [line.split(",") for line in
             (trees_data.SOURCE / "adult_keele_modified/adult.data").read_text().split("\n")[1:] if line]
    columns = []
    for column in zip(*(row[:-1] for row in lines)):
        try:
            values = np.array(column, dtype=np.float64)
            columns.append((values - values.mean()) / values.std())
        except ValueError:
            names = np.array(column)
            columns += [(names == value).astype(np.float64) for value in np.unique(names)]
    return np.stack(columns, axis=1), np.array([">" in row[-1] for row in lines], np.int32)


def f1(found, flipped):
    hit = np.count_nonzero(found & flipped)
    return 2 * hit / max(1, np.count_nonzero(found) + np.count_nonzero(flipped))


FLIP_METHODS = ("knn_shapley", "data_oob", "check_knn_shapley", "check_deep_knn", "check_data_oob")


def flips(context):
    """A fifth of the labels of 1000 rows flipped, 100 clean rows to value them, as OpenDataVal does; means over draws.
    F1 of the fifth of lowest value (Data-OOB needs no clean rows), and of what the checks flag without clean rows."""
    worker = context.ours("flips", threads=1)
    folder = pathlib.Path(context.file("flips"))
    folder.mkdir()
    for name in ("adult", "spambase"):
        x, y = labelled(name)
        results = {method: [] for method in FLIP_METHODS}
        for seed in range(10 if context.quick else 30):
            random = np.random.default_rng(seed)
            rows = random.permutation(len(y))
            train, valid = rows[:1000], rows[1000:1100]
            flipped = np.zeros(1000, bool)
            flipped[random.permutation(1000)[:200]] = True
            np.save(folder / "x.npy", np.ascontiguousarray(x[train], np.float32))
            np.save(folder / "y.npy", np.where(flipped, 1 - y[train], y[train]).astype(np.int32))
            np.save(folder / "vx.npy", np.ascontiguousarray(x[valid], np.float32))
            np.save(folder / "vy.npy", y[valid])
            worker.ask(f"run {folder}")
            for method, values in (("knn_shapley", "shapley.npy"), ("data_oob", "oob.npy")):
                found = np.zeros(1000, bool)
                found[np.argsort(np.load(folder / values), kind="stable")[:200]] = True
                results[method].append(f1(found, flipped))
            for check in ("knn_shapley", "deep_knn", "data_oob"):
                found = np.load(folder / f"flagged_{check}.npy") > 0
                results["check_" + check].append(f1(found, flipped))
        for method, values in results.items():
            figure(f"robust.flips.{name}.{method}.f1", statistics.mean(values))
    worker.close()


FLIPS = [f"robust.flips.{name}.{method}.f1" for name in ("adult", "spambase")
         for method in FLIP_METHODS]


def parts():
    return [(["robust.outlier.auc_delta_vs_pyod", "robust.outlier.auc_behind_pyod"], auc_delta)] + [
        ([f"robust.{m}.vs_peer"], speed(m)) for m in ("iforest", "ecod", "hbos", "knn", "lof")] + [
        (FLIPS, flips)] + robustness_shapley.PARTS + robustness_poison.parts() + robustness_certify.parts() + (
        robustness_attack.PARTS) + (
        robustness_monitor.PARTS)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", help="glob over the names of figures; may be repeated")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(name for names, _ in parts() for name in names))
        return 0
    if not trees_data.SOURCE.is_dir():
        sys.exit(f"{trees_data.SOURCE} is no folder: REDOUBT_TEST_DATA names the one with the data sets")
    context = Context(arguments.build, arguments.quick)
    print(f"cpu: {cpu_name()}\npeers: " + ", ".join(
        f"{p} {importlib.metadata.version(p)}" for p in ("pyod", "cleanlab", "scikit-learn", "numpy")), flush=True)
    return 1 if run_parts(parts(), context, arguments.only) else 0


if __name__ == "__main__":
    sys.exit(main())
