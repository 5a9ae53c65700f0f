"""scikit-learn's and PyOD's forests, one unit of work per line "run" on stdin. See trees_forests.py.
Usage: forest|iforest SETTINGS_JSON (iforest: lines "load FOLDER", "fit", "score"), or iforest_seeds FOLDER SEEDS OUT"""
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


def main():
    mode = sys.argv[1]
    if mode == "iforest_seeds":
        folder, seeds, out = sys.argv[2:]
        x = np.load(pathlib.Path(folder) / "x.npy")
        np.save(out, np.stack([isolation("pyod", seed).fit(x).decision_scores_ for seed in range(int(seeds))]))
        return
    settings = json.loads(sys.argv[2])
    if mode == "forest":
        from sklearn.ensemble import RandomForestClassifier
        x, y, _ = trees_data.load(settings["dir"], "train")
        model = RandomForestClassifier(n_estimators=settings["trees"], n_jobs=1, random_state=0)
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
