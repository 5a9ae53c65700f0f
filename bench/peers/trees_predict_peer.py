"""daal4py's prediction: it has no C interface, so its Python calls are timed, some 50 us each, which counts in single
rows and not in large batches. Usage: daal4py SETTINGS_JSON (model, x, batch, cold); lines as for peer_trees_worker."""
import json
import sys
import time

import numpy as np


def main():
    settings = json.loads(sys.argv[2])
    import daal4py
    import lightgbm
    daal4py.daalinit(1)
    model = daal4py.mb.convert_model(lightgbm.Booster(model_file=settings["model"]))
    x, batch = np.load(settings["x"]), settings["batch"]
    other = np.zeros(96_000_000 if settings["cold"] else 0, np.uint8)
    begins = list(range(0, len(x) - batch + 1, batch))
    parts = [x[b:b + batch] for b in begins]

    def seconds():
        taken, start, done = [], time.perf_counter(), 0
        while time.perf_counter() - start < 0.1 or (settings["cold"] and len(taken) < (5 if batch >= 1000 else 25)):
            if settings["cold"]:
                other[:] += 1
            part = parts[done % len(parts)]
            begin = time.perf_counter()
            model.predict(part)
            taken.append(time.perf_counter() - begin)
            done += 1
        return (float(np.median(taken)) if settings["cold"] else sum(taken) / len(taken)) / batch

    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "predict":
            np.save(argument, np.asarray(model.predict(x), np.float64).reshape(-1))
        print("ok" if command in ("predict", "ready") else seconds(), flush=True)


if __name__ == "__main__":
    main()
