"""Networks answered by Redoubt, ONNX Runtime and OpenVINO: the same fp32 weights, timed in C++ loops. See nn.py.

Every figure is peer time over ours, the median of interleaved rounds. The model files have a fixed batch, for which both
peers compile best.
"""
import importlib.util
import pathlib
import subprocess

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from harness import Worker, figure
from trees_common import duel, probe, stop

INPUTS = {"small": 28, "mlp": 784, "cnn": 784}
OUTPUTS = {"small": 1, "mlp": 10, "cnn": 10}
BATCHES = (1, 8, 128)


def rows_of(model):
    return 4096 if model == "small" else 512


def onnx_model(model, batch, folder):
    """The ONNX file of a network of nn_worker.cpp, whose parameters are in `folder`."""
    def parameter(node, name, *shape):
        return np.fromfile(folder / f"graph.{node}.{name}.f32", np.float32).reshape(shape)

    nodes, constants = [], []
    last = "x"

    def add(op, *values, **attributes):
        nonlocal last
        names = [last]
        for value in values:
            names.append(f"w{len(constants)}")
            constants.append(numpy_helper.from_array(np.ascontiguousarray(value), names[-1]))
        last = f"t{len(nodes)}"
        nodes.append(helper.make_node(op, names, [last], **attributes))

    def dense(node, units, weight=None):
        bias = parameter(node, "bias", units)
        add("Gemm", parameter(node, "weight", -1, units) if weight is None else weight, bias)

    if model == "cnn":
        shape = [batch, 1, 28, 28]
        for node, channels, filters in ((0, 1, 32), (3, 32, 64)):
            weight = parameter(node, "weight", 3, 3, channels, filters).transpose(3, 2, 0, 1)
            add("Conv", weight, parameter(node, "bias", filters), pads=[1, 1, 1, 1], kernel_shape=[3, 3])
            add("Relu")
            add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        add("Flatten", axis=1)
        # Ours flattens height x width x channels, ONNX channels x height x width.
        dense(6, 128, parameter(6, "weight", 7, 7, 64, 128).transpose(2, 0, 1, 3).reshape(-1, 128))
        add("Relu")
        dense(8, 10)
    else:
        shape = [batch, INPUTS[model]]
        widths = {"small": (64, 32, 1), "mlp": (512, 512, 10)}[model]
        for i, units in enumerate(widths):
            dense(2 * i, units)
            if i + 1 < len(widths):
                add("Relu")
    if model != "small":
        add("Softmax", axis=1)
    nodes[-1].output[0] = "y"
    graph = helper.make_graph(nodes, model, [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, OUTPUTS[model]])], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    path = folder / f"b{batch}.onnx"
    onnx.save(made, path)
    return path


def folder_of(context, model):
    folder = pathlib.Path(context.file(model))
    if not folder.exists():
        folder.mkdir()
        subprocess.run([context.ours_path, "weights", f"model={model}", f"dir={folder}"], check=True)
        x = np.random.default_rng(5).standard_normal((rows_of(model), INPUTS[model]), np.float32)
        x.tofile(folder / "x.f32")
    return folder


def libraries():
    def package(name):
        found = importlib.util.find_spec(name)
        return pathlib.Path(found.origin).parent if found else pathlib.Path("/nowhere")
    found = {"ort": sorted(package("onnxruntime").glob("capi/libonnxruntime.so*")),
             "openvino": sorted(package("openvino").glob("libs/libopenvino_c.so*"))}
    return {name: paths[0] for name, paths in found.items() if paths}


def infer(context, model, batch, threads):
    folder = folder_of(context, model)
    path = onnx_model(model, batch, folder)
    common = [f"x={folder / 'x.f32'}", f"batch={batch}", f"threads={threads}"]
    ours = Worker("redoubt", [context.ours_path, "predict", f"model={model}"] + common)
    peers = []
    for name, library in libraries().items():
        errors = open(context.file(f"errors-{name}"), "w+")
        engine = {"ort": "onnxruntime", "openvino": "openvino"}[name]
        worker = Worker(name, [str(context.build / "bench/peer_nn_engines"), engine, f"library={library}", f"model={path}",
                               f"cols={INPUTS[model]}", f"outputs={OUTPUTS[model]}"] + common
                        + (["image"] if model == "cnn" else []), stderr=errors)
        worker.errors = errors
        peers.append(worker)
    title = f"{model}.b{batch}.fp32.{threads}t"
    running = probe([ours, *peers], 0.1)
    if ours not in running:
        raise RuntimeError("ours did not run")
    outputs = {}
    for worker in running:
        out = context.file("out.f32")
        worker.ask("predict " + out)
        outputs[worker.name] = np.fromfile(out, np.float32)
    ratios = duel(ours, [p for p in running if p is not ours], context.rounds)
    shown = [f"redoubt {np.median(ours.seconds) * batch * 1e6:.4g} us"]
    wrong = []
    for peer in ratios:
        difference = float(np.abs(outputs[peer.name] - outputs["redoubt"]).max())
        shown.append(f"{peer.name} {np.median(peer.seconds) * batch * 1e6:.4g} us (outputs differ by {difference:.1e})")
        wrong += [peer.name] if difference > 1e-4 else []
    print(f"infer {title}, one call: " + ", ".join(shown), flush=True)
    for worker in running:
        stop(worker)
    if wrong:
        raise RuntimeError(f"outputs differ: {wrong}")
    for peer, ratio in ratios.items():
        figure(f"nn.infer.{title}.vs_{peer.name}", ratio)


def figures():
    return [([f"nn.infer.{model}.b{batch}.fp32.{threads}t.vs_{peer}" for peer in ("ort", "openvino")],
             lambda c, m=model, b=batch, t=threads: infer(c, m, b, t))
            for model in INPUTS for batch in BATCHES for threads in (1, 2)]
