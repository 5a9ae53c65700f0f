"""scikit-learn's and PyOD's forests, one unit of work per line "run" on stdin. See trees_forests.py.
Usage: forest|extra_trees|iforest SETTINGS_JSON (iforest: lines "load FOLDER", "fit", "score"), or
iforest_seeds FOLDER FIRST SEEDS OUT"""
import json
import pathlib
import sys
import time

import numpy as np

import trees_data


def serve(unit, predict):
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "ready":
            print("ok", flush=True)
        elif command == "predict":
            np.save(argument, predict())
            print("ok", flush=True)
        else:
            start = time.perf_counter()
            unit()
            print(time.perf_counter() - start, flush=True)


def isolation(peer, seed):
    if peer == "pyod":
        from pyod.models.iforest import IForest
        return IForest(n_estimators=100, max_samples=256, random_state=seed, n_jobs=1)
    from sklearn.ensemble import IsolationForest
    return IsolationForest(n_estimators=100, max_samples=256, random_state=seed, n_jobs=1)


def pyod_scores(x, seed):
    """The scores of PyOD's forest of all rows: scikit-learn's, negative (checked on the first seed, where it is cheap:
    PyOD scores the rows twice on fitting)."""
    from sklearn.ensemble import IsolationForest
    scores = -IsolationForest(n_estimators=100, max_samples=256, random_state=seed, n_jobs=1).fit(x).score_samples(x)
    if seed == 0:
        expected = isolation("pyod", seed).fit(x).decision_scores_
        if np.ptp(scores - expected) > 1e-6:
            raise RuntimeError("PyOD's scores are not scikit-learn's")
    return scores


def main():
    mode = sys.argv[1]
    if mode == "iforest_seeds":
        folder, first, seeds, out = sys.argv[2:]
        x = np.load(pathlib.Path(folder) / "x.npy")
        np.save(out, np.stack([pyod_scores(x, int(first) + s) for s in range(int(seeds))]).astype(np.float32))
        return
    settings = json.loads(sys.argv[2])
    if mode in ("forest", "extra_trees"):
        if settings["peer"] == "sklearnex":
            import sklearnex.ensemble as ensemble
        else:
            import sklearn.ensemble as ensemble
        maker = ensemble.RandomForestClassifier if mode == "forest" else ensemble.ExtraTreesClassifier
        x, y, _ = trees_data.load(settings["dir"], "train")
        model = maker(n_estimators=settings["trees"], n_jobs=1, random_state=0)
        serve(lambda: model.fit(x, y), lambda: model.predict_proba(trees_data.load(settings["dir"], "test")[0]))
        return
    model, x = isolation(settings["peer"], 0), None
    score = model.decision_function if settings["peer"] == "pyod" else model.score_samples
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "load":
            x = np.load(pathlib.Path(argument) / "x.npy")
        start = time.perf_counter()
        if command == "fit":
            model.fit(x)
        elif command == "score":
            score(x)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
