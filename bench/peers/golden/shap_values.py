#!/usr/bin/env python3
"""Golden SHAP values for tests/trees/shap_test.cpp: models of LightGBM and scikit-learn as arrays of Forest, with what
LightGBM's pred_contrib and the shap package say about a few rows.

    python shap_values.py > tests/trees/golden/shap.txt      # lightgbm 4.7.0, shap 0.51.0, scikit-learn 1.9.0

Format: `name type count` and the values on the next line; a model begins with `model NAME 0`.
"""
import sys

import lightgbm as lgb
import numpy as np
import shap
from sklearn.ensemble import RandomForestClassifier

COUNTS = ["roots", "outputs_of", "feature", "left", "right", "flags", "category_set", "category_offsets",
          "category_bits"]
out = sys.stdout


def put(name, values):
    values = np.asarray(values).ravel()
    text = (str(int(v)) if name in COUNTS else repr(float(v)) for v in values)
    out.write(f"{name} {len(values)}\n{' '.join(text)}\n")


def at_most(threshold):
    """The largest float <= threshold: for floats x, x <= it iff x <= threshold."""
    t = np.float32(threshold)
    return np.nextafter(t, np.float32(-np.inf)) if float(t) > threshold else t


class Arrays:
    def __init__(self):
        self.a = {n: [] for n in COUNTS + ["threshold", "leaf_values", "cover", "leaf_cover"]}
        self.a["category_offsets"].append(0)

    def node(self, feature, threshold, flags, cover):
        a = self.a
        a["feature"].append(feature)
        a["threshold"].append(threshold)
        a["flags"].append(flags)
        a["cover"].append(cover)
        a["category_set"].append(-1)
        a["left"].append(0)
        a["right"].append(0)
        return len(a["feature"]) - 1

    def leaf(self, values, cover):
        self.a["leaf_values"].extend(values)
        self.a["leaf_cover"].append(cover)
        return ~(len(self.a["leaf_cover"]) - 1)

    def put(self):
        for name, values in self.a.items():
            put(name, values)


def lightgbm_arrays(booster):
    arrays = Arrays()
    dump = booster.dump_model()
    k = dump["num_tree_per_iteration"]

    def walk(node):
        if "leaf_value" in node:
            return arrays.leaf([node["leaf_value"]], node.get("leaf_count", 1))
        categorical = node["decision_type"] == "=="
        left = node["default_left"]
        flags = 0
        if categorical:
            threshold = 0
        else:
            threshold = at_most(node["threshold"])
            if node["missing_type"] == "None":  # NaN counts as 0
                left = 0.0 <= node["threshold"]
            flags = int(left) | (2 if node["missing_type"] == "Zero" else 0)
        i = arrays.node(node["split_feature"], threshold, flags, node["internal_count"])
        if categorical:
            codes = [int(c) for c in node["threshold"].split("||")]
            words = [0] * (max(codes) // 32 + 1)
            for c in codes:
                words[c // 32] |= 1 << (c % 32)
            arrays.a["category_set"][i] = len(arrays.a["category_offsets"]) - 1
            arrays.a["category_bits"].extend(words)
            arrays.a["category_offsets"].append(len(arrays.a["category_bits"]))
        arrays.a["left"][i] = walk(node["left_child"])
        arrays.a["right"][i] = walk(node["right_child"])
        return i

    for t, tree in enumerate(dump["tree_info"]):
        arrays.a["roots"].append(walk(tree["tree_structure"]))
        arrays.a["outputs_of"].append(t % k)
    return arrays, k


def put_lightgbm(name, params, x, y, rows, rounds, categorical="auto", explain=False):
    params = dict(params, verbose=-1, seed=1, num_threads=1, deterministic=True, force_row_wise=True)
    booster = lgb.train(params, lgb.Dataset(x, y, categorical_feature=categorical), rounds)
    arrays, k = lightgbm_arrays(booster)
    out.write(f"model {name}\n")
    put("shape", [x.shape[1], k, 1, 0])
    arrays.put()
    put("rows", rows)
    contrib = np.asarray(booster.predict(rows, pred_contrib=True)).reshape(len(rows), k, x.shape[1] + 1)
    put("values", contrib[:, :, :-1])
    put("base", contrib[0, :, -1])
    if explain:
        background = x[:25]
        explainer = shap.TreeExplainer(booster, background, feature_perturbation="interventional")
        put("background", background)
        put("interventional", explainer.shap_values(rows))
        put("interventional_base", [explainer.expected_value])
        put("interactions", shap.TreeExplainer(booster).shap_interaction_values(rows))
    else:
        for name in ["background", "interventional", "interventional_base", "interactions"]:
            put(name, [])


def put_forest(x, y, rows):
    model = RandomForestClassifier(4, max_leaf_nodes=20, random_state=1).fit(x, y)
    arrays = Arrays()
    for tree in (e.tree_ for e in model.estimators_):
        def walk(n):
            if tree.children_left[n] < 0:
                value = tree.value[n][0]
                return arrays.leaf(value / value.sum(), tree.weighted_n_node_samples[n])
            i = arrays.node(tree.feature[n], at_most(tree.threshold[n]), 0, tree.weighted_n_node_samples[n])
            arrays.a["left"][i] = walk(tree.children_left[n])
            arrays.a["right"][i] = walk(tree.children_right[n])
            return i

        arrays.a["roots"].append(walk(0))
        arrays.a["outputs_of"].append(0)
    k = len(model.classes_)
    out.write("model random_forest\n")
    put("shape", [x.shape[1], k, k, 3])
    arrays.put()
    put("rows", rows)
    explainer = shap.TreeExplainer(model)
    put("values", np.moveaxis(explainer.shap_values(rows), 2, 1))
    put("base", explainer.expected_value)
    background = x[:25]
    explainer = shap.TreeExplainer(model, background, feature_perturbation="interventional")
    put("background", background)
    put("interventional", np.moveaxis(explainer.shap_values(rows), 2, 1))
    put("interventional_base", explainer.expected_value)
    put("interactions", np.moveaxis(shap.TreeExplainer(model).shap_interaction_values(rows), 3, 1))


random = np.random.default_rng(7)
n, d = 1500, 6
x = random.normal(size=(n, d)).astype(np.float32).astype(np.float64)
y = (x[:, 0] * x[:, 1] + x[:, 2] + np.sin(3 * x[:, 3]) + 0.3 * random.normal(size=n))
rows = random.normal(size=(9, d)).astype(np.float32).astype(np.float64)
put_lightgbm("regression", dict(objective="regression", num_leaves=15), x, y, rows, 8, explain=True)
put_lightgbm("deep", dict(objective="binary", num_leaves=60, min_data_in_leaf=3), x, y > 0, rows, 3, explain=True)
labels = np.digitize(y, [-1, 1])
put_lightgbm("multiclass", dict(objective="multiclass", num_class=3, num_leaves=8), x, labels, rows, 3)
put_forest(x.astype(np.float32), labels, rows.astype(np.float32))

x = x.copy()
x[:, 4] = random.integers(0, 40, n)
x[:, 5] = random.integers(0, 3, n)
y = y + (x[:, 4] % 7 == 2) * 2 + (x[:, 5] == 1)
x[random.random(x.shape) < 0.15] = np.nan
rows = x[:14].copy()
rows[0] = np.nan
rows[1, 4] = 77  # no such category
rows[2, 4] = -3
put_lightgbm("missing_and_categories", dict(objective="binary", num_leaves=20, min_data_per_group=10), x, y > 0.5, rows,
             6, categorical=[4, 5])
x[random.random(x.shape) < 0.3] = 0
rows = x[:8].copy()
rows[0] = 0
put_lightgbm("zero_missing", dict(objective="regression", num_leaves=12, zero_as_missing=True), x, y, rows, 5)
