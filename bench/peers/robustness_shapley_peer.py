"""pyDVL's kNN-Shapley values. See robustness_shapley.py.
Lines: "run FOLDER" (x.npy, y.npy, vx.npy, vy.npy) -> seconds; writes peer.npy there. Argument: neighbours."""
import os
import sys
import time
import warnings

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
from pydvl.valuation.dataset import Dataset  # noqa: E402
from pydvl.valuation.methods.knn_shapley import KNNShapleyValuation  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier  # noqa: E402


def main():
    k = int(sys.argv[1])
    for line in sys.stdin:
        folder = line.strip().partition(" ")[2]
        x, y, vx, vy = (np.load(f"{folder}/{name}.npy") for name in ("x", "y", "vx", "vy"))
        start = time.perf_counter()
        model = KNNShapleyValuation(KNeighborsClassifier(n_neighbors=k), Dataset(vx, vy), progress=False)
        model.fit(Dataset(x, y))
        seconds = time.perf_counter() - start
        np.save(f"{folder}/peer.npy", np.asarray(model.result.values, dtype=np.float64))
        print(seconds, flush=True)


if __name__ == "__main__":
    main()
