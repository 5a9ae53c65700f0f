"""Prediction speed: one model in every engine, raw floats in, one thread, timed in C or C++ loops. See trees.py."""
import json
import pathlib

import numpy as np

import trees_models
from harness import Worker, figure
from trees_common import against_best, stop

BATCHES = {"row": 1, "batch64": 64, "batch10k": 10_000}


def package(name):
    """Folder of an installed package, without importing it."""
    import importlib.util
    found = importlib.util.find_spec(name)
    return pathlib.Path(found.origin).parent if found else pathlib.Path("/nowhere")


def engines(context, folder, batch):
    """{name: command} of every engine that is there."""
    xgboost = pathlib.Path(context.xgboost_path) / "xgboost" if context.xgboost_path else package("xgboost")
    onnx = sorted(package("onnxruntime").glob("capi/libonnxruntime.so*"))
    libraries = {"lightgbm": (package("lightgbm") / "lib/lib_lightgbm.so", "lightgbm.txt"),
                 "xgboost": (xgboost / "lib/libxgboost.so", "xgboost.json"),
                 "onnxruntime": (onnx[0] if onnx else "", "trees.onnx"),
                 "tl2cgen (plain)": ("", "tl2cgen_0.so"), "tl2cgen (quantised)": ("", "tl2cgen_1.so"),
                 "lleaves": ("", "lleaves.so")}
    return {name: [str(context.build / "bench/peer_trees_engines"), name.split(" ")[0], f"library={library}",
                   f"model={folder / model}", f"x={folder / 'x.npy'}", f"batch={batch}"]
            for name, (library, model) in libraries.items() if (folder / model).exists()}


def start(context, shape, batch, cold):
    folder = trees_models.model(shape)
    more = ["cold"] if cold else []
    ours = Worker("redoubt", [context.ours_path, "predict", f"dir={folder}", f"batch={batch}", "threads=1"] + more)
    peers = []
    for name, command in engines(context, folder, batch).items():
        worker = Worker(name, command + more, stderr=open(context.file(name.replace(" ", "-")), "w+"))
        worker.errors = open(context.file(name.replace(" ", "-")))
        peers.append(worker)
    peers.append(context.python("trees_predict_peer.py", "daal4py", "daal4py (Python)", model=str(folder / "lightgbm.txt"),
                                x=str(folder / "x.npy"), batch=batch, cold=cold))
    return ours, peers


def check(context, contenders):
    """Everyone predicts the same rows: the largest difference from LightGBM's output, whose leaves are doubles. A row
    sent to another leaf would differ by the size of a leaf."""
    outputs = {}
    for worker in contenders:
        path = context.file("out.npy")
        worker.ask("predict " + path)
        outputs[worker.name] = np.load(path).reshape(-1).astype(np.float64)
    reference = outputs.get("lightgbm")
    shown = {name: float(np.abs(values - reference).max()) for name, values in outputs.items() if name != "lightgbm"}
    print("  largest difference from lightgbm: " + ", ".join(f"{n} {d:.1e}" for n, d in shown.items()), flush=True)
    if shown["redoubt"] > 1e-5:
        raise RuntimeError("our predictions differ from LightGBM's")
    return [name for name, difference in shown.items() if difference > 1e-4]


def predict(context, shape, name, cold):
    batch = BATCHES[name]
    ours, peers = start(context, shape, batch, cold)
    title = f"{name}.{shape}" + (".cold" if cold else "")
    print(f"predict {title}: us per row", flush=True)
    print("  ydf: not run: it takes no model of others, and its package holds no C interface", flush=True)
    for name, why in json.loads((trees_models.model(shape) / "failed.json").read_text()).items():
        print(f"  {name}: not run: {why}", flush=True)
    ratio, best, running = against_best(ours, peers, context.rounds, unit=1e6, unit_name="us")
    wrong = check(context, running)
    if best.name in wrong:
        print(f"  note: {best.name} does not give the model's outputs")
    for worker in running:
        stop(worker)
    figure(f"trees.predict.{title}.vs_best", ratio)


def figures():
    return [([f"trees.predict.{name}.{shape}{'.cold' if cold else ''}.vs_best"],
             lambda c, n=name, s=shape, k=cold: predict(c, s, n, k))
            for cold in (False, True) for shape in trees_models.SHAPES for name in BATCHES]
