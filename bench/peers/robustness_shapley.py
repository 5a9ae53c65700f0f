"""kNN-Shapley values against pyDVL's, exact on both sides. A part of robustness.sh."""
import os
import pathlib
import statistics

import numpy as np

from harness import Worker, figure

HERE = pathlib.Path(__file__).resolve().parent
NEIGHBOURS = 10


def shapley(context):
    """50,000 rows x 100 by 50 queries, one thread each: time, and the largest difference of values."""
    folder = pathlib.Path(context.file("shapley"))
    folder.mkdir()
    random = np.random.default_rng(8)
    centre = random.normal(size=(4, 100))
    for prefix, rows in (("", 50_000), ("v", 50)):
        y = random.integers(4, size=rows)
        np.save(folder / f"{prefix}x.npy", (centre[y] + 2 * random.normal(size=(rows, 100))).astype(np.float32))
        np.save(folder / f"{prefix}y.npy", np.where(random.random(rows) < 0.1, random.integers(4, size=rows), y).astype(np.int32))
    ours = context.ours("shapley", threads=1, k=NEIGHBOURS)
    peer = Worker("pydvl", [os.environ["PEERS_VALUATION"], str(HERE / "robustness_shapley_peer.py"), str(NEIGHBOURS)])
    for round_number in range(3 if context.quick else 6):
        for worker in (ours, peer):
            seconds = float(worker.ask(f"run {folder}"))
            if round_number > 0:
                worker.seconds.append(seconds)
    for worker in (ours, peer):
        worker.close()
    mine, theirs = np.load(folder / "shapley.npy"), np.load(folder / "peer.npy")
    print(f"kNN-Shapley, 50000 x 100, 50 queries, one thread: redoubt {statistics.median(ours.seconds):.4f} s, pyDVL "
          f"{statistics.median(peer.seconds):.2f} s; values up to {np.abs(theirs).max():.2e}, which differ by at most "
          f"{np.abs(mine - theirs).max():.1e}", flush=True)
    figure("robust.knn_shapley.vs_peer", statistics.median(p / o for p, o in zip(peer.seconds, ours.seconds)))


PARTS = [(["robust.knn_shapley.vs_peer"], shapley)]
