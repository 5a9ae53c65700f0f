"""Training speed, binning speed and memory of trees. See trees.py."""
import statistics
import subprocess
import sys
import json

import numpy as np

import trees_data
import trees_metrics
from harness import figure
from trees_common import HERE, against_best, stop

# LightGBM chooses between row-wise and column-wise histograms by timing both; here each is also forced, and its
# quantised gradients are tried: its figure is the fastest of these.
LIGHTGBM = {
    "lightgbm (auto)": {},
    "lightgbm (row-wise)": {"force_row_wise": True},
    "lightgbm (col-wise)": {"force_col_wise": True},
    "lightgbm (quantised, row-wise)": {"use_quantized_grad": True, "force_row_wise": True},
    "lightgbm (quantised, col-wise)": {"use_quantized_grad": True, "force_col_wise": True},
}
# Fewer processes where one takes long; what is left out never won on one thread.
FEW = {"sparse5k": ("lightgbm (row-wise)", "lightgbm (col-wise)"),
       "wide500": ("lightgbm (row-wise)", "lightgbm (col-wise)", "lightgbm (quantised, row-wise)"),
       2: ("lightgbm (auto)", "lightgbm (row-wise)", "lightgbm (quantised, row-wise)")}
OTHERS = ("xgboost", "catboost", "sklearn", "ydf")

# name of the figure: (case, trees, leaves). Trees are few enough that one round of ours is well under a second or two.
LARGE = {"1m28_31": ("1m28", 10, 31), "1m28_255": ("1m28", 6, 255), "200k28_31": ("200k28", 30, 31),
         "200k28_255": ("200k28", 20, 255)}
VARIED = {"50k28": ("50k28", 50, 31), "missing60": ("missing60", 20, 31), "wide500": ("wide500", 10, 31),
          "adult": ("adult", 100, 31), "mushroom": ("mushroom", 100, 31), "agaricus": ("agaricus", 100, 31),
          "sparse5k": ("sparse5k", 5, 31), "cover": ("cover", 30, 31), "multi5": ("multi5", 30, 31),
          "multi26": ("multi26", 10, 31)}


def contenders(context, case, mode, trees, leaves, threads, peers):
    folder, about = trees_data.case(case)
    shared = dict(dir=str(folder), classes=about["classes"], trees=trees, leaves=leaves, threads=threads)
    ours = context.ours(mode, cols=about["cols"], **shared)
    return about, ours, [context.python("trees_train_peer.py", p.split(" ")[0], p, mode=mode,
                                        options=LIGHTGBM.get(p, {}), **shared) for p in peers]


def quality(context, about, workers):
    """Test metric of each contender's last model: a fast trainer that learns less is seen."""
    _, y, _ = trees_data.load(trees_data.case(about["name"])[0], "test")
    shown = []
    for worker in workers:
        path = context.file("predictions.npy")
        worker.ask("predict " + path)
        name, value = trees_metrics.of_case(about["classes"], y, np.load(path))
        shown.append(f"{worker.name} {value:.5f}")
    print(f"  test {name}: " + ", ".join(shown), flush=True)


def train(context, name, case, trees, leaves, threads, peers):
    about, ours, others = contenders(context, case, "train", trees, leaves, threads, peers)
    print(f"train {name}: {about['rows']} x {about['cols']}, {trees} rounds of {leaves} leaves, {threads} thread(s)", flush=True)
    if threads > 1:
        context.say_cores()
    ratio, _, running = against_best(ours, others, context.rounds)
    if threads > 1:
        context.say_cores()
    quality(context, about, running)
    for worker in running:
        stop(worker)
    return ratio, statistics.median(ours.seconds)


def large(context, name, threads):
    ratio, _ = train(context, f"{name}.{threads}t", *LARGE[name], threads, list(FEW.get(threads, LIGHTGBM)))
    figure(f"trees.train.{name}.{threads}t.vs_lightgbm", ratio)


def varied(context, name):
    ratio, _ = train(context, name, *VARIED[name], 1, [*FEW.get(name, LIGHTGBM), *OTHERS])
    figure(f"trees.train.{name}.1t.vs_best", ratio)


def scaling(context):
    """Our two threads against our one."""
    folder, about = trees_data.case("1m28")
    one, two = (context.ours("train", dir=folder, classes=2, trees=10, leaves=31, threads=n) for n in (1, 2))
    one.name, two.name = "1 thread", "2 threads"
    one.run(), two.run()
    context.say_cores()
    rounds = [(one.run(), two.run()) for _ in range(context.rounds)]
    stop(one), stop(two)
    print(f"train scaling: 1m28, 10 rounds of 31 leaves: {statistics.median(a for a, _ in rounds):.3f} s on one thread")
    figure("trees.train.scaling_2t", statistics.median(a / b for a, b in rounds))


def memory(context):
    """Peak resident bytes of a process that reads x and y, bins and boosts, less what it held after reading. LightGBM's
    depends on its way: the figure is against the one that trains fastest here, as in the other figures; beside it are its
    automatic choice and whole peaks."""
    folder, about = trees_data.case("1m28")
    shared = dict(dir=str(folder), classes=2, trees=10, leaves=255, threads=1)
    command = [context.ours_path, "memory"] + [f"{k}={v}" for k, v in shared.items()]
    peaks = {"redoubt": subprocess.run(command, check=True, capture_output=True, text=True).stdout}
    for way in ("lightgbm (quantised, row-wise)", "lightgbm (auto)"):
        settings = json.dumps(dict(shared, mode="memory", options=LIGHTGBM[way]))
        command = [sys.executable, str(HERE / "trees_train_peer.py"), "lightgbm", settings]
        peaks[way] = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    peaks = {name: [float(v) for v in text.split()[:2]] for name, text in peaks.items()}
    print("memory: 1m28, 10 rounds of 255 leaves; MB at the peak (after reading): " +
          ", ".join(f"{name} {peak / 1e6:.0f} ({before / 1e6:.0f})" for name, (peak, before) in peaks.items()))
    ours, fastest, automatic = peaks.values()
    figure("trees.train.memory_vs_lightgbm", (ours[0] - ours[1]) / (fastest[0] - fastest[1]))
    figure("trees.train.memory_vs_lightgbm.automatic", (ours[0] - ours[1]) / (automatic[0] - automatic[1]))
    figure("trees.train.memory_vs_lightgbm.whole_process", ours[0] / automatic[0])


def binning(context):
    about, ours, others = contenders(context, "1m28", "bin", 1, 31, 1, ["lightgbm", *OTHERS])
    print("binning: 1000000 x 28 floats in memory, one thread")
    ratio, _, running = against_best(ours, others, context.rounds)
    for worker in running:
        stop(worker)
    figure("trees.binning.vs_best", ratio)


def figures():
    """[(names of the figures, function of the context)]"""
    out = [([f"trees.train.{name}.{threads}t.vs_lightgbm"], lambda c, n=name, t=threads: large(c, n, t))
           for threads in (1, 2) for name in LARGE]
    out += [([f"trees.train.{name}.1t.vs_best"], lambda c, n=name: varied(c, n)) for name in VARIED]
    out += [(["trees.train.scaling_2t"], scaling),
            (["trees.train.memory_vs_lightgbm", "trees.train.memory_vs_lightgbm.automatic",
              "trees.train.memory_vs_lightgbm.whole_process"], memory),
            (["trees.binning.vs_best"], binning)]
    return out
