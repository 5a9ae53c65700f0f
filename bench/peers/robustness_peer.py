"""PyOD's detectors, one unit of work per line on stdin. See robustness.py.
Lines: "load FOLDER" (x.npy), "run METHOD[:SEED]" -> seconds of fit, which scores the rows; "scores FILE"."""
import os
import sys
import time
import warnings

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402

warnings.filterwarnings("ignore")  # of singular covariances, which both sides meet


def detector(method, seed):
    if method == "iforest":
        from pyod.models.iforest import IForest
        return IForest(n_estimators=100, max_samples=256, random_state=seed, n_jobs=1)
    if method == "ecod":
        from pyod.models.ecod import ECOD
        return ECOD()
    if method == "hbos":
        from pyod.models.hbos import HBOS
        return HBOS()
    if method == "knn":
        from pyod.models.knn import KNN
        return KNN()
    if method == "lof":
        from pyod.models.lof import LOF
        return LOF()
    from pyod.models.mcd import MCD
    return MCD(random_state=seed)


def main():
    x = scores = None
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "load":
            x = np.load(argument + "/x.npy")
            print("ok", flush=True)
        elif command == "scores":
            np.save(argument, scores.astype(np.float64))
            print("ok", flush=True)
        else:
            method, _, seed = argument.partition(":")
            model = detector(method, int(seed or 0))
            start = time.perf_counter()
            model.fit(x)
            seconds = time.perf_counter() - start
            scores = model.decision_scores_
            print(seconds, flush=True)


if __name__ == "__main__":
    main()
