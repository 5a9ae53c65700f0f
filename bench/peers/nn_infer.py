"""Inference: one network of the same weights in every engine, floats in, floats out, timed in C++ loops.

fp32 against fp32. bf16 against ONNX Runtime in fp32, which has no bf16 for CPUs, and OpenVINO told to use bf16. int8
against ONNX Runtime on models that its own tools quantised, calibrated on the rows that ours is (static, weights per
channel; and dynamic: the faster counts), and OpenVINO on the static one."""
import importlib.metadata
import importlib.util
import logging
import math
import os
import pathlib
import statistics
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic,
                                      quantize_static)

from harness import Worker, figure
from trees_common import duel, probe, stop

OUTPUTS = {"small": 2, "mlp": 10, "cnn": 10}
PEERS = {"onnxruntime": "ort", "openvino": "openvino"}


def say_versions():
    print("peers: " + ", ".join(f"{p} {importlib.metadata.version(p)}" for p in PEERS))


def library(peer):
    root = pathlib.Path(importlib.util.find_spec(peer).origin).parent
    return sorted(root.glob("capi/libonnxruntime.so*") if peer == "onnxruntime" else root.glob("libs/libopenvino_c.so*"))[0]


def environment():
    """OpenVINO's own threading library, rather than the system's, which the program would otherwise load before it."""
    libraries = pathlib.Path(importlib.util.find_spec("openvino").origin).parent / "libs"
    own = sorted(libraries.glob("libtbb.so*"))
    return dict(os.environ, LD_PRELOAD=str(own[0])) if own else dict(os.environ)


def weights(folder):
    """[(weight, bias)] of the layers, in order."""
    files = sorted(folder.glob("*.weight.npy"), key=lambda f: int(f.name.split(".")[1]))
    return [(np.load(f), np.load(str(f).replace(".weight.", ".bias.")).reshape(-1)) for f in files]


class Model:
    """An ONNX model of one input x and one output y that grows node by node."""

    def __init__(self, batch, inputs):
        self.nodes, self.values, self.last = [], [], "x"
        self.shape = [batch, inputs]
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)

    def constant(self, array):
        name = f"c{len(self.values)}"
        self.values.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, op, *more, **attributes):
        out = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [self.last, *more], [out], **attributes))
        self.last = out

    def dense(self, weight, bias):
        self.add("Gemm", self.constant(weight), self.constant(bias))

    def save(self, path, batch, outputs):
        self.nodes[-1].output[0] = "y"
        graph = helper.make_graph(self.nodes, "net", [self.input],
                                  [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, outputs])], self.values)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, str(path))


def make_onnx(net, folder, batch):
    """Ours are rows x channels-last; theirs are channels-first, which both peers rearrange as they like best."""
    layers = weights(folder)
    model = Model(batch, 784 if net != "small" else layers[0][0].shape[0])
    if net == "cnn":
        model.add("Reshape", model.constant(np.array([batch, 1, 28, 28], np.int64)))
        channels = 1
        for weight, bias in layers[:2]:
            filters = len(bias)
            kernel = weight.reshape(3, 3, channels, filters).transpose(3, 2, 0, 1)
            model.add("Conv", model.constant(kernel), model.constant(bias), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
            model.add("Relu")
            model.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
            channels = filters
        model.add("Reshape", model.constant(np.array([batch, 7 * 7 * channels], np.int64)))
        weight, bias = layers[2]
        layers[2] = (weight.reshape(7, 7, channels, -1).transpose(2, 0, 1, 3).reshape(7 * 7 * channels, -1), bias)
        layers = layers[2:]
    for i, (weight, bias) in enumerate(layers):
        model.dense(weight, bias)
        if i + 1 < len(layers):
            model.add("Relu")
    model.add("Softmax", axis=1)
    path = folder / f"{net}-{batch}.onnx"
    model.save(path, batch, OUTPUTS[net])
    return path


class Rows(CalibrationDataReader):
    """Rows to calibrate with, in the batches that the model takes."""

    def __init__(self, x, batch):
        self.batches = iter([{"x": x[b:b + batch]} for b in range(0, len(x) - batch + 1, batch)])

    def get_next(self):
        return next(self.batches, None)


def quantised(model, x, batch):
    """[(kind, path)]: what ONNX Runtime's tools make of the model."""
    static, dynamic = (model.with_suffix(f".{kind}.onnx") for kind in ("static", "dynamic"))
    logging.disable()
    quantize_static(model, static, Rows(x, batch), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    quantize_dynamic(model, dynamic, per_channel=True, weight_type=QuantType.QInt8,
                     op_types_to_quantize=["MatMul", "Gemm"])
    logging.disable(logging.NOTSET)
    return [("static", static), ("dynamic", dynamic)]


def contenders(context, folder, model, batch, precision):
    """[(label, engine, model, settings)] of the peers."""
    if precision == "int8":
        kinds = quantised(model, np.load(folder / "x.npy"), batch)
        return [(f"onnxruntime ({kind})", "onnxruntime", path, []) for kind, path in kinds] + \
               [("openvino", "openvino", kinds[0][1], [])]
    return [("onnxruntime", "onnxruntime", model, []),
            ("openvino", "openvino", model, ["precision=bf16"] if precision == "bf16" else [])]


def weights_of(context, net):
    """Folder with the weights of a network and rows; our worker."""
    folder = context.file(net)
    worker = str(context.build / "bench/peer_nn_worker")
    if not folder.exists():
        folder.mkdir()
        subprocess.run([worker, "weights", f"net={net}", f"dir={folder}"], check=True)
    return folder, worker


def loaded(context):
    """99th percentile of a prediction a millisecond while a busy process per core runs beside it: the mlp in fp32, one
    and eight rows, each engine on one and on two threads, of which the better counts. The worse ratio of the two."""
    folder, worker = weights_of(context, "mlp")
    worst = None
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())]
    try:
        for batch in (1, 8):
            model = make_onnx("mlp", folder, batch)
            running = []
            for threads in (1, 2):
                shared = [f"batch={batch}", f"threads={threads}", "tail"]
                running.append(Worker(f"redoubt {threads}t",
                                      [worker, "predict", "net=mlp", f"dir={folder}", "precision=fp32", *shared]))
                running.append(Worker(f"onnxruntime {threads}t",
                                      [str(context.build / "bench/peer_nn_engines"), "onnxruntime",
                                       f"library={library('onnxruntime')}", f"model={model}", f"x={folder / 'x.npy'}",
                                       "outputs=10", *shared], env=environment()))
            running = probe(running, 1.0)
            for w in running:
                w.seconds = []
            for _ in range(context.rounds):
                for w in running:
                    w.seconds.append(w.run())
            tails = {w.name: statistics.median(w.seconds) for w in running}
            print(f"loaded mlp.b{batch}: p99 " + ", ".join(f"{n} {s * 1e6:.4g} us" for n, s in tails.items()), flush=True)
            best = [min(s for n, s in tails.items() if n.startswith(side)) for side in ("redoubt", "onnxruntime")]
            worst = min(worst or math.inf, best[1] / best[0])
            for w in running:
                stop(w)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    figure("nn.infer.loaded_p99_vs_ort", worst)


def infer(context, net, batch, precision, threads):
    folder, worker = weights_of(context, net)
    model = make_onnx(net, folder, batch)
    shared = [f"batch={batch}", f"threads={threads}"]
    ours = Worker("redoubt", [worker, "predict", f"net={net}", f"dir={folder}", f"precision={precision}", *shared])
    peers = []
    for label, engine, path, settings in contenders(context, folder, model, batch, precision):
        peers.append(Worker(label, [str(context.build / "bench/peer_nn_engines"), engine, f"library={library(engine)}",
                                    f"model={path}", f"x={folder / 'x.npy'}", f"outputs={OUTPUTS[net]}", *shared,
                                    *settings], env=environment()))
        peers[-1].engine = engine
    title = f"{net}.b{batch}.{precision}.{threads}t"
    print(f"infer {title}: us per row", flush=True)
    running = probe([ours, *peers], 1.0)
    ratios = duel(ours, [w for w in running if w is not ours], context.rounds)
    outputs = {}
    for w in running:
        path = context.file("out.npy")
        w.ask(f"predict {path}")
        outputs[w.name] = np.load(path)
    # What fewer bits change is shown; in fp32 outputs must agree.
    exact = outputs["onnxruntime"] if precision == "bf16" else outputs["redoubt"]
    for w in running:
        difference = np.abs(outputs[w.name] - exact).max()
        print(f"  {w.name}: {np.median(w.seconds) * 1e6:.4g} us, largest difference {difference:.1e}", flush=True)
        if precision == "fp32" and difference > 1e-4:
            raise RuntimeError(f"{w.name} gives other outputs")
        stop(w)
    for engine, name in PEERS.items():
        of_engine = [ratio for w, ratio in ratios.items() if w.engine == engine]
        if of_engine:
            figure(f"nn.infer.{title}.vs_{name}", min(of_engine))


def figures():
    return [(["nn.infer.loaded_p99_vs_ort"], loaded)] + [([f"nn.infer.{net}.b{batch}.{precision}.{threads}t.vs_{peer}" for peer in PEERS.values()],
             lambda c, n=net, b=batch, p=precision, t=threads: infer(c, n, b, p, t))
            for precision in ("fp32", "bf16", "int8") for threads in (1, 2) for net in OUTPUTS for batch in (1, 8, 128)]
