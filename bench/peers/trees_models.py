"""One model for every prediction engine: trained by LightGBM, its thresholds rounded down to floats (which changes the
way of no float), then given to each engine in its own format. Kept in the cache, because compiling takes minutes."""
import json
import os
import subprocess
import sys

import numpy as np

import trees_data

SHAPES = {"500x31": (500, 31), "500x255": (500, 255)}
ROWS = 10_000


def trained(trees, leaves, threads=2):
    import lightgbm
    x, y, _ = trees_data.load(trees_data.case("200k28")[0], "train")
    parameters = dict(objective="regression", num_leaves=leaves, learning_rate=0.1, max_bin=255, min_data_in_leaf=20,
                      num_threads=threads, verbosity=-1, seed=1, deterministic=True, force_row_wise=True)
    return lightgbm.train(parameters, lightgbm.Dataset(x, y, params=parameters), trees).model_to_string()


def rounded(text):
    """The model with float thresholds, and the sizes of its trees put right."""
    lines = []
    for line in text.split("\n"):
        if line.startswith("threshold="):
            exact = np.array(line[10:].split(), float)
            down = exact.astype(np.float32)
            down = np.where(down.astype(float) > exact, np.nextafter(down, np.float32(-np.inf)), down).astype(np.float32)
            line = "threshold=" + " ".join(repr(float(v)) for v in down)
        lines.append(line)
    text = "\n".join(lines)
    head, *trees = text.split("Tree=")
    last, end = trees[-1].split("end of trees", 1)
    sizes = [len("Tree=" + tree) for tree in [*trees[:-1], last]]
    start = head.index("tree_sizes=")
    head = head[:start] + "tree_sizes=" + " ".join(map(str, sizes)) + head[head.index("\n", start):]
    return head + "".join("Tree=" + tree for tree in [*trees[:-1], last]) + "end of trees" + end


def parsed(text):
    """Per tree: feature, threshold, left, right (a leaf c is ~c), leaf_value, leaf_count, internal_count."""
    trees = []
    for block in text.split("\nTree=")[1:]:
        fields = dict(line.split("=", 1) for line in block.split("end of trees")[0].split("\n")[1:] if "=" in line)
        kinds = {"split_feature": int, "threshold": float, "left_child": int, "right_child": int, "leaf_value": float,
                 "decision_type": int, "leaf_count": int, "internal_count": int}
        trees.append({name: np.array(fields[name].split(), kind) for name, kind in kinds.items()})
    return trees


def xgboost_json(trees, features):
    """The same trees as XGBoost wants them: leaves are nodes, a right child follows its left one, left iff x < threshold."""
    out = []
    for number, tree in enumerate(trees):
        above = np.nextafter(tree["threshold"].astype(np.float32), np.float32(np.inf))
        count = len(tree["threshold"]) + len(tree["leaf_value"])
        left, right, parents = [-1] * count, [-1] * count, [2147483647] * count
        conditions, features_of, weights, hessians = [0.0] * count, [0] * count, [0.0] * count, [0.0] * count
        places, last = [(0, 0)], 0  # of nodes and leaves (~leaf), breadth first
        for source, to in places:
            if source < 0:
                conditions[to] = weights[to] = float(np.float32(tree["leaf_value"][~source]))
                hessians[to] = float(tree["leaf_count"][~source])
                continue
            conditions[to], features_of[to] = float(above[source]), int(tree["split_feature"][source])
            hessians[to] = float(tree["internal_count"][source])
            left[to], right[to] = last + 1, last + 2
            parents[last + 1] = parents[last + 2] = to
            places += [(int(tree["left_child"][source]), last + 1), (int(tree["right_child"][source]), last + 2)]
            last += 2
        out.append({
            "base_weights": weights, "categories": [], "categories_nodes": [], "categories_segments": [],
            "categories_sizes": [], "default_left": [0] * count, "id": number, "left_children": left,
            "right_children": right, "loss_changes": [0.0] * count, "parents": parents, "split_conditions": conditions,
            "split_indices": features_of, "split_type": [0] * count, "sum_hessian": hessians,
            "tree_param": {"num_deleted": "0", "num_feature": str(features), "num_nodes": str(count),
                           "size_leaf_vector": "1"}})
    return {"learner": {
        "attributes": {}, "feature_names": [], "feature_types": [],
        "gradient_booster": {"name": "gbtree", "model": {
            "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(out))},
            "iteration_indptr": list(range(len(out) + 1)), "tree_info": [0] * len(out), "trees": out}},
        "learner_model_param": {"base_score": "0E0", "boost_from_average": "1", "num_class": "0",
                                "num_feature": str(features), "num_target": "1"},
        "objective": {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}}}, "version": [3, 2, 0]}


def onnx_model(trees, features):
    import onnx
    from onnx import helper
    a = {k: [] for k in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids",
                         "missing_value_tracks_true")}
    target = {"treeids": [], "nodeids": [], "ids": [], "weights": []}
    for t, tree in enumerate(trees):
        inner = len(tree["threshold"])
        node = lambda c: int(c) if c >= 0 else inner + ~int(c)  # noqa: E731
        for i in range(inner):
            for key, value in zip(a, (t, i, int(tree["split_feature"][i]), float(tree["threshold"][i]), "BRANCH_LEQ",
                                      node(tree["left_child"][i]), node(tree["right_child"][i]), 0)):
                a[key].append(value)
        for i, value in enumerate(tree["leaf_value"]):
            for key, entry in zip(a, (t, inner + i, 0, 0.0, "LEAF", 0, 0, 0)):
                a[key].append(entry)
            for key, entry in zip(target, (t, inner + i, 0, float(value))):
                target[key].append(entry)
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["variable"], domain="ai.onnx.ml", n_targets=1,
                            **{f"nodes_{k}": v for k, v in a.items()}, **{f"target_{k}": v for k, v in target.items()})
    graph = helper.make_graph(
        [node], "trees", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info("variable", onnx.TensorProto.FLOAT, [None, 1])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)],
                             ir_version=9)


LLEAVES = """
import sys
sys.path.insert(0, sys.argv[1])
import lleaves
lleaves.Model(model_file=sys.argv[2]).compile(cache=sys.argv[3], fcodemodel="small", fblocksize=34, raw_score=True,
                                                   finline=sys.argv[4] == "1")
"""


def compile_lleaves(folder, leaves):
    """Its object file, linked so that a C++ program can load it. Blocks of 34 trees, its default, for single rows, too:
    its documentation advises one block of all trees for those, but LLVM had not compiled the small model so after four
    minutes of CPU time, nor the large one with inlined trees after eight: there they are functions (finline=False)."""
    path, unit = folder / "lleaves.so", folder / "lleaves.o"
    if not path.exists():
        subprocess.run([sys.executable, "-c", LLEAVES, os.environ.get("REDOUBT_PEERS_LLEAVES", ""),
                        str(folder / "lightgbm.txt"), str(unit), "1" if leaves < 64 else "0"], check=True, timeout=180)
        subprocess.run(["gcc", "-shared", "-o", str(path), str(unit), "-lm"], check=True)


def compile_tl2cgen(folder, leaves):
    """As its documentation says for large models: several units. Quantised thresholds, its faster form; for the small
    model the plain form as well, which shows that."""
    import tl2cgen
    import treelite
    for quantise in (1, 0) if leaves < 64 else (1,):
        path = folder / f"tl2cgen_{quantise}.so"
        if path.exists():
            continue
        model = treelite.frontend.load_lightgbm_model(str(folder / "lightgbm.txt"))
        tl2cgen.export_lib(model, toolchain="gcc", libpath=str(path), nthread=2, verbose=False, options=["-O2"],
                           params={"quantize": quantise, "parallel_comp": 16})


def model(name):
    """Folder with the model in every format that could be made, the rows x.npy, and what failed in failed.json."""
    trees, leaves = SHAPES[name]
    folder = trees_data.cache() / f"model-{name}"
    if (folder / "failed.json").exists():
        return folder
    folder.mkdir(exist_ok=True)
    print(f"making the model {name} in every engine's format (kept in {folder})", file=sys.stderr, flush=True)
    if not (folder / "lightgbm.txt").exists():
        (folder / "lightgbm.txt").write_text(rounded(trained(trees, leaves)))
    x = trees_data.load(trees_data.case("200k28")[0], "test")[0][:ROWS]
    np.save(folder / "x.npy", x)
    structure = parsed((folder / "lightgbm.txt").read_text())
    (folder / "xgboost.json").write_text(json.dumps(xgboost_json(structure, x.shape[1])))
    failed = {}
    for engine, step in (("onnxruntime", lambda: (folder / "trees.onnx").write_bytes(
            onnx_model(structure, x.shape[1]).SerializeToString())),
                         ("lleaves", lambda: compile_lleaves(folder, leaves)),
                         ("tl2cgen", lambda: compile_tl2cgen(folder, leaves))):
        try:
            step()
        except Exception as error:  # named in the output, the others still run
            failed[engine] = f"{type(error).__name__}: {error}"[:300]
    (folder / "failed.json").write_text(json.dumps(failed))
    return folder


if __name__ == "__main__":
    for shape in sys.argv[1:] or SHAPES:
        made = model(shape)
        print(made, (made / "failed.json").read_text())
