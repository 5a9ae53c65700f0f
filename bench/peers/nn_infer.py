"""Inference: one network of the same weights in every engine, floats in, floats out, timed in C++ loops."""
import importlib.metadata
import importlib.util
import pathlib
import subprocess

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness import Worker, figure
from trees_common import duel, probe, stop

OUTPUTS = {"small": 2, "mlp": 10, "cnn": 10}
PEERS = {"onnxruntime": "ort", "openvino": "openvino"}


def say_versions():
    print("peers: " + ", ".join(f"{p} {importlib.metadata.version(p)}" for p in PEERS))


def library(peer):
    root = pathlib.Path(importlib.util.find_spec(peer).origin).parent
    return sorted(root.glob("capi/libonnxruntime.so*") if peer == "onnxruntime" else root.glob("libs/libopenvino_c.so*"))[0]


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


def infer(context, net, batch, threads):
    folder = context.file(net)
    worker = str(context.build / "bench/peer_nn_worker")
    if not folder.exists():
        folder.mkdir()
        subprocess.run([worker, "weights", f"net={net}", f"dir={folder}"], check=True)
    model = make_onnx(net, folder, batch)
    shared = [f"batch={batch}", f"threads={threads}"]
    ours = Worker("redoubt", [worker, "predict", f"net={net}", f"dir={folder}", *shared])
    peers = [Worker(peer, [str(context.build / "bench/peer_nn_engines"), peer, f"library={library(peer)}", f"model={model}",
                           f"x={folder / 'x.npy'}", f"outputs={OUTPUTS[net]}", *shared]) for peer in PEERS]
    print(f"infer {net}.b{batch}.fp32.{threads}t: us per row", flush=True)
    running = probe([ours, *peers], 1.0)
    ratios = duel(ours, [w for w in running if w is not ours], context.rounds)
    outputs = {}
    for w in running:
        path = context.file("out.npy")
        w.ask(f"predict {path}")
        outputs[w.name] = np.load(path)
    for w in running:
        difference = np.abs(outputs[w.name] - outputs["redoubt"]).max()
        print(f"  {w.name}: {np.median(w.seconds) * 1e6:.4g} us, largest difference {difference:.1e}", flush=True)
        if difference > 1e-4:
            raise RuntimeError(f"{w.name} gives other outputs")
        stop(w)
    for w, ratio in ratios.items():
        figure(f"nn.infer.{net}.b{batch}.fp32.{threads}t.vs_{PEERS[w.name]}", ratio)


def figures():
    return [([f"nn.infer.{net}.b{batch}.fp32.{threads}t.vs_{peer}" for peer in PEERS.values()],
             lambda c, n=net, b=batch, t=threads: infer(c, n, b, t))
            for threads in (1, 2) for net in OUTPUTS for batch in (1, 8, 128)]
