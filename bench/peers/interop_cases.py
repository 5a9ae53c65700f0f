"""Models of LightGBM and XGBoost over a grid of options, and rows that look for trouble. Used by interop.py (the full
comparison) and golden/interop.py (the small files of tests/interop/golden).

A case is (name, params, features). Features: zeros (a third of the cells is 0), categorical (columns 4 and 5 hold
codes), weights, group (ranking), custom (objective is a callable), stump (no split is allowed), init (targets far
from 0)."""
import numpy as np

COLUMNS, NUMERIC = 6, 4

LIGHTGBM = [
    ("regression", {}, ""),
    ("regression_far", {}, "init"),
    ("regression_sqrt", {"reg_sqrt": True}, ""),
    ("l1", {"objective": "regression_l1"}, ""),
    ("huber", {"objective": "huber"}, ""),
    ("fair", {"objective": "fair"}, ""),
    ("quantile", {"objective": "quantile", "alpha": 0.7}, ""),
    ("mape", {"objective": "mape"}, ""),
    ("poisson", {"objective": "poisson"}, ""),
    ("gamma", {"objective": "gamma"}, ""),
    ("tweedie", {"objective": "tweedie"}, ""),
    ("binary", {"objective": "binary"}, ""),
    ("binary_sigmoid2", {"objective": "binary", "sigmoid": 2.0}, "weights"),
    ("cross_entropy", {"objective": "cross_entropy"}, ""),
    ("cross_entropy_lambda", {"objective": "cross_entropy_lambda"}, "weights"),
    ("multiclass", {"objective": "multiclass", "num_class": 3}, ""),
    ("multiclass_categorical", {"objective": "multiclass", "num_class": 4}, "categorical"),
    ("ova", {"objective": "multiclassova", "num_class": 3, "sigmoid": 1.5}, ""),
    ("lambdarank", {"objective": "lambdarank"}, "group"),
    ("xendcg", {"objective": "rank_xendcg"}, "group"),
    ("zero_as_missing", {"zero_as_missing": True}, "zeros"),
    ("zeros", {}, "zeros"),
    ("no_missing", {"use_missing": False}, "zeros"),
    ("categorical", {"min_data_per_group": 5, "cat_smooth": 1, "max_cat_to_onehot": 1}, "categorical"),
    ("categorical_one_hot", {"max_cat_to_onehot": 64, "objective": "binary"}, "categorical"),
    ("categorical_zero_as_missing", {"zero_as_missing": True, "max_cat_to_onehot": 1, "cat_smooth": 1},
     "categorical zeros"),
    ("dart", {"boosting": "dart", "drop_rate": 0.5, "skip_drop": 0.0}, ""),
    ("dart_multiclass", {"boosting": "dart", "drop_rate": 0.5, "objective": "multiclass", "num_class": 3}, ""),
    ("rf", {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}, ""),
    ("rf_binary", {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6, "objective": "binary"}, ""),
    ("rf_multiclass", {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6, "objective": "multiclass",
                       "num_class": 3}, "categorical"),
    ("goss", {"data_sample_strategy": "goss"}, ""),
    ("extra_trees", {"extra_trees": True, "path_smooth": 1.0}, "weights"),
    ("monotone", {"monotone_constraints": [1, -1, 0, 0, 0, 0]}, ""),
    ("quantised", {"use_quantized_grad": True}, ""),
    ("stump", {}, "stump"),
    ("stump_multiclass", {"objective": "multiclass", "num_class": 3}, "stump"),
    ("custom", {}, "custom"),
    ("early_stopping", {"early": True}, ""),
]

XGBOOST = [
    ("squarederror", {}, ""),
    ("squarederror_base", {"base_score": 2.5}, "weights"),
    ("squarederror_far", {}, "init"),
    ("absoluteerror", {"objective": "reg:absoluteerror"}, ""),
    ("pseudohuber", {"objective": "reg:pseudohubererror"}, ""),
    ("squaredlogerror", {"objective": "reg:squaredlogerror"}, ""),
    ("quantile", {"objective": "reg:quantileerror", "quantile_alpha": 0.7}, ""),
    ("logistic", {"objective": "binary:logistic"}, ""),
    ("logistic_base", {"objective": "binary:logistic", "base_score": 0.2}, ""),
    ("reg_logistic", {"objective": "reg:logistic"}, ""),
    ("logitraw", {"objective": "binary:logitraw"}, ""),
    ("logitraw_base", {"objective": "binary:logitraw", "base_score": 0.2}, ""),
    ("hinge", {"objective": "binary:hinge"}, ""),
    ("poisson", {"objective": "count:poisson"}, ""),
    ("poisson_base", {"objective": "count:poisson", "base_score": 3.0}, ""),
    ("gamma", {"objective": "reg:gamma"}, ""),
    ("tweedie", {"objective": "reg:tweedie"}, ""),
    ("cox", {"objective": "survival:cox"}, ""),
    ("aft", {"objective": "survival:aft"}, ""),
    ("softprob", {"objective": "multi:softprob", "num_class": 3}, ""),
    ("softmax", {"objective": "multi:softmax", "num_class": 4}, ""),
    ("softprob_base", {"objective": "multi:softprob", "num_class": 3, "base_score": 0.5}, "categorical"),
    ("ndcg", {"objective": "rank:ndcg"}, "group"),
    ("pairwise", {"objective": "rank:pairwise"}, "group"),
    ("map", {"objective": "rank:map"}, "group"),
    ("dart", {"booster": "dart", "rate_drop": 0.5}, ""),
    ("dart_softprob", {"booster": "dart", "rate_drop": 0.5, "objective": "multi:softprob", "num_class": 3}, ""),
    ("forest", {"num_parallel_tree": 4, "subsample": 0.6, "colsample_bynode": 0.7}, ""),
    ("forest_softprob", {"num_parallel_tree": 3, "subsample": 0.6, "objective": "multi:softprob", "num_class": 3}, ""),
    ("categorical", {"max_cat_to_onehot": 1}, "categorical"),
    ("categorical_one_hot", {"max_cat_to_onehot": 64, "objective": "binary:logistic"}, "categorical"),
    ("pruned", {"tree_method": "exact", "gamma": 5.0}, ""),
    ("approx", {"tree_method": "approx"}, "zeros"),
    ("lossguide", {"grow_policy": "lossguide", "max_leaves": 7, "max_depth": 0}, ""),
    ("stump", {"min_child_weight": 1e9}, ""),
    ("custom", {}, "custom"),
    ("early_stopping", {"early": True}, ""),
]


def data(rows, features, params, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, COLUMNS)).astype(np.float32)
    x[:, 3] = np.round(x[:, 3] * 4) / 4
    if "zeros" in features:
        x[rng.random(x.shape) < 0.35] = 0
    codes = np.zeros(rows)
    if "categorical" in features:
        x[:, 4] = rng.integers(0, 12, rows)
        x[:, 5] = np.minimum(rng.geometric(0.05, rows), 70)
        codes = np.isin(x[:, 4], [1, 4, 5, 11]) * 1.5 + np.isin(x[:, 5] % 7, [2, 3]) * 1.0
    x[rng.random(x.shape) < 0.1] = np.nan
    z = np.nan_to_num(x)
    score = z[:, 0] * 1.3 + np.sin(2 * z[:, 1]) + (z[:, 2] > 0.3) * z[:, 3] + codes + np.isnan(x[:, 1])
    score = (score + rng.normal(size=rows) * 0.3).astype(np.float64)
    objective = params.get("objective", "")
    if "num_class" in params:
        y = np.clip(np.digitize(score, np.quantile(score, np.linspace(0, 1, params["num_class"] + 1)[1:-1])), 0, None)
    elif "group" in features:
        y = np.digitize(score, np.quantile(score, [0.5, 0.8, 0.95]))
        y = (y > 1).astype(int) if objective == "rank:map" else y
    elif objective in ("binary", "binary:logistic", "binary:logitraw", "binary:hinge"):
        y = (score > 0.5).astype(int)
    elif objective in ("cross_entropy", "cross_entropy_lambda", "reg:logistic"):
        y = 1 / (1 + np.exp(-score))
    elif objective in ("poisson", "count:poisson"):
        y = rng.poisson(np.exp(np.clip(score, -3, 3) * 0.5))
    elif objective in ("gamma", "reg:gamma", "tweedie", "reg:tweedie", "survival:cox", "survival:aft",
                       "reg:squaredlogerror", "mape"):
        y = np.exp(score * 0.5) + 0.01
    else:
        y = score + (1e4 if "init" in features else 0)
    weight = rng.uniform(0.2, 3, rows) if "weights" in features else None
    group = [50] * (rows // 50) if "group" in features else None
    return x, y, weight, group


def train_lightgbm(lgb, params, features, rows, trees, leaves, seed):
    x, y, weight, group = data(rows, features, params, seed)
    options = dict(params)
    early = options.pop("early", False)
    options.update(num_leaves=leaves, verbose=-1, num_threads=2, seed=seed, learning_rate=0.2, min_data_in_leaf=5)
    if "stump" in features:
        options["min_data_in_leaf"] = rows
    if "custom" in features:
        options["objective"] = lambda pred, d: (pred - d.get_label(), np.ones_like(pred))
    categorical = [4, 5] if "categorical" in features else []
    train = lgb.Dataset(x, y, weight=weight, group=group, categorical_feature=categorical, free_raw_data=False)
    callbacks, valid = [], []
    if early:
        vx, vy, _, _ = data(rows, features, params, seed + 1)
        valid, callbacks = [lgb.Dataset(vx, vy, reference=train)], [lgb.early_stopping(2, verbose=False)]
        options["learning_rate"] = 0.9
    return lgb.train(options, train, trees, valid_sets=valid, callbacks=callbacks), x


def train_xgboost(xgb, params, features, rows, trees, leaves, seed):
    x, y, weight, group = data(rows, features, params, seed)
    options = dict(params)
    early = options.pop("early", False)
    depth = {"max_depth": max(2, int(np.log2(leaves)))}
    options = {**depth, **{"eta": 0.2, "nthread": 2, "seed": seed, "verbosity": 0}, **options}
    types = ["q"] * NUMERIC + (["c", "c"] if "categorical" in features else ["q", "q"])

    def matrix(x, y, weight=None):
        m = xgb.DMatrix(x, y, weight=weight, feature_types=types, enable_categorical=True)
        if group:
            m.set_group(group)
        if params.get("objective") == "survival:aft":
            m.set_float_info("label_lower_bound", y)
            m.set_float_info("label_upper_bound", y * 1.5)
        return m

    keywords = {}
    if "custom" in features:
        keywords["obj"] = lambda pred, d: (pred - d.get_label(), np.ones_like(pred))
    if early:
        vx, vy, _, _ = data(rows, features, params, seed + 1)
        keywords.update(evals=[(matrix(vx, vy), "v")], early_stopping_rounds=2, verbose_eval=False)
        options["eta"] = 1.2
    return xgb.train(options, matrix(x, y, weight), trees, **keywords), x, types


def thresholds_of_lightgbm(text):
    found = [[] for _ in range(COLUMNS)]
    columns = []
    for line in text.splitlines():
        if line.startswith("split_feature="):
            columns = [int(t) for t in line[14:].split()]
        elif line.startswith("threshold="):
            for column, t in zip(columns, line[10:].split()):
                found[column].append(float(t))
    return found


def thresholds_of_xgboost(document):
    found = [[] for _ in range(COLUMNS)]
    booster = document["learner"]["gradient_booster"]
    for tree in booster.get("gbtree", booster)["model"]["trees"]:
        for left, column, t in zip(tree["left_children"], tree["split_indices"], tree["split_conditions"]):
            if left != -1:
                found[column].append(float(t))
    return found


def hard_rows(count, x, thresholds, features, infinite, seed):
    """Values near the training data, NaN, infinities, denormals, zeros, the largest floats, thresholds, their
    neighbours; codes that were never seen, negative and fractional ones."""
    rng = np.random.default_rng(seed)
    tiny = np.float32(1e-45)
    zero_bound = np.float32(1e-35)
    largest = np.finfo(np.float32).max
    special = [0.0, -0.0, tiny, -tiny, np.float32(1e-40), np.float32(-1e-40), zero_bound, -zero_bound,
               np.nextafter(zero_bound, np.float32(1)), np.nextafter(-zero_bound, np.float32(-1)),
               np.nextafter(zero_bound, np.float32(0)), np.nextafter(-zero_bound, np.float32(0)), largest, -largest]
    if infinite:
        special += [np.inf, -np.inf]
    rows = np.empty((count, COLUMNS), np.float32)
    for c in range(COLUMNS):
        column = x[rng.integers(0, len(x), count), c].copy()
        kind = rng.random(count)
        if c >= NUMERIC and "categorical" in features:
            codes = [np.nan, -1, -3, 13, 71, 95, 96, 127, 128, 1000, 1e6, 2.5, 3.999, 0.5, -0.0, tiny]
            codes += [-0.5, -0.999, 1e9, 3e9, np.inf, -np.inf] if infinite else []
            other = np.array(codes, np.float32)[rng.integers(0, len(codes), count)]
            column = np.where(kind < 0.4, other, column)
        else:
            with np.errstate(over="ignore"):
                cuts = np.array(thresholds[c] or [0.0], np.float64).astype(np.float32)
            cuts = cuts[np.isfinite(cuts)] if np.isfinite(cuts).any() else np.zeros(1, np.float32)
            cut = cuts[rng.integers(0, len(cuts), count)]
            step = rng.integers(0, 3, count)
            with np.errstate(over="ignore"):
                cut = np.where(step == 0, cut, np.nextafter(cut, np.where(step == 1, largest, -largest)))
            column = np.where(kind < 0.35, cut, column)
            column = np.where(kind > 0.9, np.array(special, np.float32)[rng.integers(0, len(special), count)], column)
            column = np.where((kind > 0.8) & (kind < 0.9), np.float32(np.nan), column)
        rows[:, c] = column
    return rows


def leaves_of_xgboost(document, nodes):
    """Node numbers of leaves -> their positions among the leaves of the tree that can be reached."""
    booster = document["learner"]["gradient_booster"]
    out = np.empty(nodes.shape, np.int32)
    for t, tree in enumerate(booster.get("gbtree", booster)["model"]["trees"]):
        reached, stack = [], [0]
        while stack:
            i = stack.pop()
            if tree["left_children"][i] == -1:
                reached.append(i)
            else:
                stack += [tree["left_children"][i], tree["right_children"][i]]
        if t < nodes.shape[1]:
            out[:, t] = np.searchsorted(np.sort(reached), nodes[:, t])
    return out
