"""Random forests and extra trees against scikit-learn, isolation forests against PyOD and scikit-learn, TreeSHAP against LightGBM."""
import concurrent.futures
import math
import statistics
import subprocess
import sys

import numpy as np

import trees_data
import trees_metrics
import trees_models
import trees_predict
from harness import Worker, figure
from trees_common import HERE, against_best, duel, probe, stop

ADBENCH = ("4_breastw", "5_campaign", "6_cardio", "10_cover", "12_fault", "18_Ionosphere", "25_musk", "28_pendigits",
           "31_satimage-2", "32_shuttle", "38_thyroid", "44_Wilt")


def bagging(context, mode):
    """Fit from floats, one thread, 10 trees (square root of the columns, leaves of one row; random forests draw rows
    with replacement), no out-of-bag results on any side. Ours bins within the time. scikit-learn-intelex takes
    scikit-learn's place where it is patched in; its random forests bin, too."""
    folder, about = trees_data.case("50k28")
    shared = dict(dir=str(folder), classes=2, trees=10, threads=1)
    print(f"{mode}: 50000 x 28, 10 trees, one thread")
    peers = ("sklearn", "sklearnex")
    workers = [context.ours(mode, **shared)]
    workers += [context.python("trees_forests_peer.py", mode, peer, peer=peer, **shared) for peer in peers]
    running = probe(workers, 1)
    if workers[0] not in running or workers[1] not in running:
        raise RuntimeError("ours or scikit-learn did not run")
    ratios = duel(running[0], running[1:], 3 if context.quick else 7)
    for worker in running:
        print(f"  {worker.name}: {1e3 * statistics.median(worker.seconds):.4g} ms", flush=True)
    _, y, _ = trees_data.load(folder, "test")
    shown = []
    for worker in running:
        path = context.file("forest.npy")
        worker.ask("predict " + path)
        shown.append(f"{worker.name} {trees_metrics.auc(y, np.load(path)[:, -1]):.5f}")
        stop(worker)
    print("  test auc: " + ", ".join(shown))
    for peer, ratio in ratios.items():
        figure(f"trees.{mode}.vs_{peer.name}", ratio)


def anomaly_case(name):
    folder = trees_data.cache() / f"adbench-{name}"
    if not (folder / "y.npy").exists():
        folder.mkdir(exist_ok=True)
        data = np.load(trees_data.SOURCE / f"adbench/{name}.npz")
        np.save(folder / "x.npy", np.ascontiguousarray(data["X"], np.float32))
        np.save(folder / "y.npy", data["y"].astype(np.float64))
    return folder


def isolation(context):
    """One thread, 100 trees of 256 rows; geometric mean over the twelve sets of the ratio against the faster of PyOD
    and scikit-learn. PyOD's fit also scores the training rows; scikit-learn's does not, as ours."""
    workers = [context.ours("iforest", threads=1)]
    workers += [context.python("trees_forests_peer.py", "iforest", peer, peer=peer) for peer in ("pyod", "sklearn")]
    ratios = {"fit": [], "score": []}
    shown = {"fit": [], "score": []}
    for name in ADBENCH:
        for worker in workers:
            worker.ask(f"load {anomaly_case(name)}")
        for step in ratios:
            first = {w: float(w.ask(step)) for w in workers}  # warm-up; scoring uses the last fit
            seconds = {w: [] for w in workers if first[w] < 3 * min(first[p] for p in workers[1:])}
            for _ in range(3 if name == "10_cover" else 5):
                for worker, taken in seconds.items():
                    taken.append(float(worker.ask(step)))
            medians = {w: statistics.median(p / o for p, o in zip(seconds[w], seconds[workers[0]]))
                       for w in seconds if w is not workers[0]}
            best = min(medians, key=medians.get)
            ratios[step].append(medians[best])
            shown[step].append(f"{name} {medians[best]:.1f} ({best.name}: {1e3 * statistics.median(seconds[best]):.1f} ms)")
    for worker in workers:
        stop(worker)
    for step, values in ratios.items():
        print(f"isolation forest, {step}: " + ", ".join(shown[step]), flush=True)
        figure(f"trees.iforest.{step}.vs_best", statistics.geometric_mean(values))


def isolation_aucs(context, name, y, first, seeds):
    """Our AUC and PyOD's of each of the seeds from `first` on."""
    folder = anomaly_case(name)
    ours, pyod = (context.file(f"seeds_{name}_{who}.npy") for who in ("ours", "pyod"))
    for command in ([context.ours_path, "iforest_seeds", f"dir={folder}", f"first={first}", f"seeds={seeds}", "threads=1",
                     f"out={ours}"],
                    [sys.executable, str(HERE / "trees_forests_peer.py"), "iforest_seeds", str(folder), str(first),
                     str(seeds), pyod]):
        subprocess.run(command, check=True)
    return [[trees_metrics.auc(y, row) for row in np.load(path, mmap_mode="r")] for path in (ours, pyod)]


def isolation_auc_of(context, name):
    """Our mean AUC over seeds minus PyOD's, and what to show of it: seeds, as many on both sides, until two standard
    errors around the difference lie within the goal of 0.01."""
    y = np.load(anomaly_case(name) / "y.npy")
    step, most = (20, 160) if context.quick else (80, 400)
    values = ([], [])
    while True:
        for known, new in zip(values, isolation_aucs(context, name, y, len(values[0]), step)):
            known += new
        delta = statistics.mean(values[0]) - statistics.mean(values[1])
        error = math.sqrt(sum(statistics.variance(v) / len(v) for v in values))
        if abs(delta) + 2 * error < 0.01 or len(values[0]) >= most:
            return delta, f"{name} {delta:+.4f} +- {error:.4f} in {len(values[0])} seeds (pyod {statistics.mean(values[1]):.3f})"


def isolation_auc(context):
    """The worst of the twelve sets, and their mean. No time is measured: two sets go at once, the largest first."""
    deltas = []
    print("isolation forest AUC, ours minus PyOD's:", flush=True)
    largest_first = sorted(ADBENCH, key=lambda name: name != "10_cover")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for delta, shown in pool.map(lambda name: isolation_auc_of(context, name), largest_first):
            print("  " + shown, flush=True)
            deltas.append(delta)
    figure("trees.iforest.auc_delta", max(deltas, key=abs))
    figure("trees.iforest.auc_delta.mean", statistics.mean(deltas))


def shap(context):
    """Path-dependent SHAP values of 500 rows, 500 trees of 31 leaves, one thread; equal to 1e-4 of LightGBM's."""
    folder = trees_models.model("500x31")
    ours = context.ours("shap", dir=folder, rows=500, threads=1)
    command = trees_predict.engines(context, folder, 500)["lightgbm"]
    peer = Worker("lightgbm", command + ["contributions=1"])
    print("shap: us per row")
    ratio, _, running = against_best(ours, [peer], 3 if context.quick else 7, unit=1e6, unit_name="us")
    outputs = []
    for worker in running:
        path = context.file("shap.npy")
        worker.ask("predict " + path)
        outputs.append(np.load(path).reshape(500, -1)[:, :28])
        stop(worker)
    difference = float(np.abs(outputs[0] - outputs[1]).max())
    print(f"  largest difference from lightgbm: {difference:.1e}")
    if difference > 1e-4:
        raise RuntimeError("our SHAP values differ from LightGBM's")
    figure("trees.shap.vs_lightgbm", ratio)


def figures():
    return [(["trees.shap.vs_lightgbm"], shap), (["trees.forest.vs_sklearn", "trees.forest.vs_sklearnex"], lambda c: bagging(c, "forest")),
            (["trees.extra_trees.vs_sklearn", "trees.extra_trees.vs_sklearnex"], lambda c: bagging(c, "extra_trees")),
            (["trees.iforest.fit.vs_best", "trees.iforest.score.vs_best"], isolation),
            (["trees.iforest.auc_delta", "trees.iforest.auc_delta.mean"], isolation_auc)]
