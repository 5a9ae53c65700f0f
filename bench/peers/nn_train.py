"""Training against PyTorch, and the accuracy of what was trained. See nn.py.

Same batch, threads and Adam; rows lie in memory in the order of use; no loss is read back. PyTorch runs eagerly and
under torch.compile, with its fused Adam, images with and without channels-last, in fp32 and under bf16 autocast, with
huge pages from malloc as all contenders, and without, which a compiled model sometimes likes better by 2 %.
"""
import csv
import gzip
import json
import math
import os
import pathlib
import statistics
import subprocess

import numpy as np

import trees_data
from harness import Worker, figure, median_ratio
from trees_common import HERE, near_best, probe, stop

CASES = {"mlp_b32": ("mlp", 32), "mlp_b128": ("mlp", 128), "mlp_b512": ("mlp", 512), "tabular_b256": ("tabular", 256),
         "cnn_b64": ("cnn", 64), "text": ("text", 64), "transformer": ("transformer", 8)}

PRECISIONS = ("strict_fp32", "fp32x3", "bf16")


def say_version(python):
    found = subprocess.run([python or "false", "-c", "import torch; print('torch', torch.__version__)"],
                           capture_output=True, text=True)
    print(found.stdout.strip() or "torch: not installed", flush=True)


def ours_path(context):
    return str(context.build / "bench/peer_nn_worker")


def torch_worker(context, label, mode, small_pages=False, **settings):
    if not context.torch_python:
        raise RuntimeError("no PyTorch")
    errors = open(context.file(f"errors-{label.replace(' ', '-')}"), "w+")
    worker = Worker(label, [context.torch_python, str(HERE / "nn_train_peer.py"), mode, json.dumps(settings)],
                    stderr=errors, env=dict(os.environ, GLIBC_TUNABLES="") if small_pages else None)
    worker.errors = errors
    return worker


def train(context, case, threads):
    """All precisions of ours in one interleaved run: the fp32 kinds against the fastest in fp32, bf16 against the fastest
    of any precision."""
    model, batch = CASES[case]
    budget = 0.25 if context.quick else 0.5  # seconds of steps in one round
    print(f"train {case} on {threads} threads: ms per step", flush=True)
    folder = {"dir": str(written(context, "rt", *rt()))} if model == "text" else {}
    ours = {precision: Worker(f"redoubt {precision}", [ours_path(context), "train", f"net={model}", f"batch={batch}",
                                                       f"threads={threads}", f"precision={precision}",
                                                       f"budget={budget}",
                                                       *(f"{key}={value}" for key, value in folder.items())])
            for precision in PRECISIONS}
    kinds = {"cnn": [{}, {"channels_last": True}],
             "text": [{"folder": f, "sparse": s} for f in folder.values() for s in (False, True)]}.get(model, [{}])
    # The compiler does not take sparse gradients.
    ways = [dict(kind, compiled=compiled) for kind in kinds for compiled in (False, True)
            if not (compiled and kind.get("sparse"))] + [dict(kinds[0], compiled=True, small_pages=True)]
    peers = {autocast: [torch_worker(context, " ".join(["torch", "bf16" * autocast,
                                                        *(k for k, v in way.items() if v is True)]),
                                     "train", model=model, batch=batch, threads=threads, autocast=autocast,
                                     budget=budget, **way)
                        for way in ways]
             for autocast in (False, True)}
    running = probe([*ours.values(), *peers[False], *peers[True]], 0.1)
    fp32 = [p for p in peers[False] if p in running]
    if not fp32:
        raise RuntimeError("no peer ran")
    rivals = {"strict_fp32": near_best(fp32), "fp32x3": near_best(fp32),
              "bf16": near_best(fp32 + [p for p in peers[True] if p in running])}
    timed = [*ours.values(), *{id(w): w for group in rivals.values() for w in group}.values()]
    for _ in range(context.rounds):
        for worker in timed:
            worker.seconds.append(worker.run())
    for worker in running:
        seconds = statistics.median(worker.seconds) if worker in timed else worker.best
        print(f"  {worker.name}: {seconds * 1e3:.4g} ms" + ("" if worker in timed else " (probe)"), flush=True)
    for worker in running:
        stop(worker)
    for precision, group in rivals.items():
        figure(f"nn.train.{case}.{precision}.{threads}t.vs_torch", min(median_ratio(w, ours[precision]) for w in group))


def fashion():
    def read(name, skip):
        with gzip.open(trees_data.SOURCE / "fashion_mnist" / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=skip)
    sets = []
    for part in ("train", "t10k"):
        y = read(f"{part}-labels-idx1-ubyte.gz", 8)
        sets.append((read(f"{part}-images-idx3-ubyte.gz", 16).reshape(len(y), -1) / np.float32(255), y))
    return sets


def adult():
    """Numbers standardised, categories one-hot, both by the training part."""
    def read(name):
        with open(trees_data.SOURCE / "adult_keele_modified" / name) as file:
            return [[cell.strip() for cell in row] for row in csv.reader(file)][1:]
    parts = [[row for row in read(name) if len(row) == 14] for name in ("adult.data", "adult.test")]
    columns = [[], []]
    for c in range(13):
        cells = [np.array([row[c] for row in part]) for part in parts]
        try:
            numbers = [part.astype(np.float64) for part in cells]
            made = [((part - numbers[0].mean()) / numbers[0].std())[:, None] for part in numbers]
        except ValueError:
            known = np.unique(cells[0])
            made = [part[:, None] == known[None, :] for part in cells]
        for part, values in zip(columns, made):
            part.append(values)
    return [(np.concatenate(part, axis=1), np.array([row[13].startswith(">") for row in rows]))
            for part, rows in zip(columns, parts)]


def rt():
    """Sentences as 64 ids of hashed words and pairs of words, -1 behind the last; every tenth is a test row."""
    def hashed(text):
        value = 2166136261
        for byte in text.encode():
            value = (value ^ byte) * 16777619 % 2**32
        return value % 32768
    rows, labels = [], []
    for label, name in enumerate(("neg", "pos")):
        text = (trees_data.SOURCE / "rt_polarity" / f"rt-polarity.{name}").read_text(encoding="latin-1")
        for line in text.splitlines():
            words = line.split()
            ids = [hashed(part) for pair in zip(words, [None, *words])
                   for part in ([pair[0]] if pair[1] is None else [pair[0], f"{pair[1]} {pair[0]}"])][:64]
            rows.append(ids + [-1] * (64 - len(ids)))
            labels.append(label)
    x, y = np.array(rows), np.array(labels)
    order = np.random.default_rng(1).permutation(len(y))
    x, y = x[order], y[order]
    test = np.arange(len(y)) % 10 == 0
    return [(x[~test], y[~test]), (x[test], y[test])]


QUICK_ROWS = 20_000  # to train on, with --quick: the same for both sides


def written(context, name, train, test):
    """The folder of a set as files that both sides read."""
    if context.quick:
        train = tuple(part[:QUICK_ROWS] for part in train)
    folder = pathlib.Path(context.file(name))
    if not folder.exists():
        folder.mkdir()
        for part, (x, y) in (("train", train), ("test", test)):
            np.save(folder / f"x_{part}.npy", x.astype(np.float32))
            np.save(folder / f"y_{part}.npy", y.astype(np.float32))
    return folder


SETS = {"fashion_mlp": (fashion, "mlp", 5, 3), "fashion_cnn": (fashion, "cnn", 2, 3), "adult": (adult, "adult", 10, 5),
        "rt": (rt, "text", 3, 5)}  # what reads it, network, epochs, seeds of a quick run


def quality(context, name):
    """Mean over seeds of our test accuracy minus that of PyTorch in fp32, started from weights of the same distributions."""
    read, model, epochs, seeds = SETS[name]
    folder = written(context, name, *read())
    seeds = range(seeds if context.quick else 5)
    theirs = torch_worker(context, "torch", "quality", model=model, folder=str(folder), epochs=epochs, threads=2)
    expected = [float(theirs.ask(str(seed))) for seed in seeds]
    stop(theirs)
    print(f"quality {name}: accuracy, torch " + " ".join(f"{s:.4f}" for s in expected))
    for precision in PRECISIONS:
        ours = Worker("redoubt", [ours_path(context), "quality", f"net={model}", f"dir={folder}", f"epochs={epochs}",
                                  "threads=2", f"precision={precision}"])
        scores = [float(ours.ask(str(seed))) for seed in seeds]
        stop(ours)
        print(f"  redoubt {precision} " + " ".join(f"{s:.4f}" for s in scores))
        figure(f"nn.quality.{name}.{precision}.delta", statistics.mean(scores) - statistics.mean(expected))
        figure(f"nn.quality.{name}.{precision}.delta.se",
               math.sqrt(sum(statistics.variance(s) / len(s) for s in (scores, expected))))


def figures():
    parts = [([f"nn.train.{case}.{precision}.{threads}t.vs_torch" for precision in PRECISIONS],
              lambda c, n=case, t=threads: train(c, n, t)) for case in CASES for threads in (1, 2)]
    return parts + [([f"nn.quality.{name}.{precision}.delta{end}" for precision in PRECISIONS for end in ("", ".se")],
                     lambda c, n=name: quality(c, n)) for name in SETS]
