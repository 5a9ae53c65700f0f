"""One peer that trains: reads a case, bins it, then boosts once per line "run" on stdin and prints the seconds of the
boosting alone; a line "predict FILE" writes the last model's test predictions. Usage: PEER SETTINGS_JSON
Settings: dir, classes, trees, leaves, threads, mode (train, bin or memory), options (the peer's own).

Every peer: 255 bins, learning rate 0.1, at least 20 rows per leaf (XGBoost has no such limit: a hessian of 5, which is
20 rows at the start of log loss), no penalties, no sampling, trees grown best leaf first.
"""
import contextlib
import json
import os
import resource
import sys
import time

settings = json.loads(sys.argv[2])
os.environ["OMP_NUM_THREADS"] = str(settings["threads"])
if "path" in settings:
    sys.path.insert(0, settings["path"])

import numpy as np  # noqa: E402

import trees_data  # noqa: E402

THREADS, TREES, LEAVES, CLASSES = (settings[n] for n in ("threads", "trees", "leaves", "classes"))
RATE, ROWS, BINS = 0.1, 20, 255


def spread(x):
    """CSR as a matrix, for peers that take no sparse input."""
    if not hasattr(x, "indptr"):
        return x
    if x.shape[0] * x.shape[1] > 50_000_000:
        raise RuntimeError("takes no sparse input, and the matrix is too large to be spread out")
    return x.toarray()


class LightGBM:
    def __init__(self, x, y, categories):
        import lightgbm
        self.library = lightgbm
        objective = {0: {"objective": "regression"}, 2: {"objective": "binary"}}.get(
            CLASSES, {"objective": "multiclass", "num_class": CLASSES})
        self.parameters = dict(objective, num_leaves=LEAVES, learning_rate=RATE, max_bin=BINS, min_data_in_leaf=ROWS,
                               min_sum_hessian_in_leaf=1e-3, num_threads=THREADS, verbosity=-1, metric="none",
                               **settings.get("options", {}))
        self.categories = [] if categories is None else list(map(int, np.flatnonzero(categories)))
        self.x, self.y = x, y

    def bin(self):
        self.data = self.library.Dataset(self.x, self.y, params=self.parameters, free_raw_data=False,
                                         categorical_feature=self.categories).construct()

    def train(self):
        booster = self.library.Booster(self.parameters, self.data)
        start = time.perf_counter()  # the constructor's own work is small; leaving it out favours the peer
        for _ in range(TREES):
            booster.update()
        seconds = time.perf_counter() - start
        self.model = booster
        return seconds

    def predict(self, x):
        return self.model.predict(x, num_threads=THREADS)


class XGBoost:
    def __init__(self, x, y, categories):
        import xgboost
        self.library = xgboost
        objective = {0: {"objective": "reg:squarederror"}, 2: {"objective": "binary:logistic"}}.get(
            CLASSES, {"objective": "multi:softprob", "num_class": CLASSES})
        self.parameters = dict(objective, tree_method="hist", grow_policy="lossguide", max_leaves=LEAVES, max_depth=0,
                               max_bin=BINS, learning_rate=RATE, reg_lambda=0,
                               min_child_weight={0: 20, 2: 5}.get(CLASSES, 1), nthread=THREADS,
                               disable_default_eval_metric=1, **settings.get("options", {}))
        self.types = None if categories is None else ["c" if c else "float" for c in categories]
        self.x, self.y = x, y

    def wrap(self, x):
        return dict(feature_types=self.types, enable_categorical=self.types is not None)

    def bin(self):
        self.data = self.library.QuantileDMatrix(self.x, self.y, max_bin=BINS, nthread=THREADS, **self.wrap(self.x))

    def train(self):
        booster = self.library.Booster(self.parameters, [self.data])
        start = time.perf_counter()
        for i in range(TREES):
            booster.update(self.data, i)
        seconds = time.perf_counter() - start
        self.model = booster
        return seconds

    def predict(self, x):
        return self.model.predict(self.library.DMatrix(x, nthread=THREADS, **self.wrap(x)))


class CatBoost:
    def __init__(self, x, y, categories):
        import catboost
        self.library = catboost
        objective = {0: "RMSE", 2: "Logloss"}.get(CLASSES, "MultiClass")
        self.parameters = dict(loss_function=objective, grow_policy="Lossguide", max_leaves=LEAVES, depth=16,
                               iterations=TREES, learning_rate=RATE, border_count=254, min_data_in_leaf=ROWS,
                               l2_leaf_reg=1e-3, boosting_type="Plain", bootstrap_type="No", random_strength=0,
                               leaf_estimation_iterations=1, thread_count=THREADS, verbose=False,
                               allow_writing_files=False, metric_period=TREES, **settings.get("options", {}))
        self.categories = None if categories is None else list(map(int, np.flatnonzero(categories)))
        self.x, self.y = x, y

    def wrap(self, x, y=None):
        if self.categories:
            import pandas
            x = pandas.DataFrame({c: np.nan_to_num(x[:, c], nan=-1).astype(int).astype(str) if c in self.categories
                                  else x[:, c] for c in range(x.shape[1])})
        return self.library.Pool(x, y, cat_features=self.categories, thread_count=THREADS)

    def bin(self):
        self.data = self.wrap(self.x, self.y)
        if not self.categories and not hasattr(self.x, "indptr"):  # it quantises neither categories nor CSR beforehand
            self.data.quantize(border_count=254)

    def train(self):
        model = self.library.CatBoost(self.parameters)
        start = time.perf_counter()
        model.fit(self.data)
        seconds = time.perf_counter() - start
        self.model = model
        return seconds

    def predict(self, x):
        return self.model.predict(self.wrap(x), prediction_type="Probability" if CLASSES else "RawFormulaVal")


class Sklearn:
    def __init__(self, x, y, categories):
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
        import threadpoolctl
        threadpoolctl.threadpool_limits(THREADS)
        x = spread(x)
        kind = HistGradientBoostingClassifier if CLASSES else HistGradientBoostingRegressor
        if categories is not None and categories.max() > BINS:
            raise RuntimeError("takes at most 255 categories")
        self.make = lambda: kind(learning_rate=RATE, max_iter=TREES, max_leaf_nodes=LEAVES, max_depth=None,
                                 min_samples_leaf=ROWS, l2_regularization=0, max_bins=BINS, early_stopping=False,
                                 categorical_features=None if categories is None else categories > 0)
        self.x, self.y = x, y

    def bin(self):
        from sklearn.ensemble._hist_gradient_boosting.binning import _BinMapper
        _BinMapper(n_bins=BINS + 1, n_threads=THREADS, random_state=0).fit_transform(self.x.astype(np.float64))

    def train(self):
        """fit() bins, too: that part is timed and left out."""
        model = self.make()
        inside, taken = type(model)._bin_data, []

        def timed(this, *arguments, **named):
            start = time.perf_counter()
            result = inside(this, *arguments, **named)
            taken.append(time.perf_counter() - start)
            return result

        type(model)._bin_data = timed
        start = time.perf_counter()
        model.fit(self.x, self.y)
        seconds = time.perf_counter() - start - sum(taken)
        type(model)._bin_data = inside
        self.model = model
        return seconds

    def predict(self, x):
        x = spread(x)
        return self.model.predict_proba(x) if CLASSES else self.model.predict(x)


class YDF:
    def __init__(self, x, y, categories):
        import ydf
        self.library = ydf
        ydf.verbose(0)
        x = spread(x)
        self.categories = categories
        import logging
        logging.getLogger("absl").setLevel(logging.ERROR)
        self.learner = ydf.GradientBoostedTreesLearner(
            label="y", task=ydf.Task.CLASSIFICATION if CLASSES else ydf.Task.REGRESSION, num_trees=TREES,
            shrinkage=RATE, growing_strategy="BEST_FIRST_GLOBAL", max_num_nodes=LEAVES, max_depth=-1, min_examples=ROWS,
            validation_ratio=0.0, early_stopping="NONE", use_hessian_gain=True, discretize_numerical_columns=True,
            num_discretized_numerical_bins=BINS, num_threads=THREADS, **settings.get("options", {}))
        self.x, self.y = x, y

    def wrap(self, x, y=None):
        columns = {f"f{c}": x[:, c] if self.categories is None or not self.categories[c]
                   else np.where(np.isnan(x[:, c]), "", np.nan_to_num(x[:, c]).astype(int).astype(str))
                   for c in range(x.shape[1])}
        return columns if y is None else columns | {"y": y.astype(int) if CLASSES else y}

    def bin(self):
        self.data = self.library.create_vertical_dataset(
            self.wrap(self.x, self.y), include_all_columns=True, discretize_numerical_columns=True,
            num_discretized_numerical_bins=BINS,
            columns=[self.library.Column("y", self.library.Semantic.CATEGORICAL if CLASSES else self.library.Semantic.NUMERICAL)])

    def train(self):
        start = time.perf_counter()
        self.model = self.learner.train(self.data)
        return time.perf_counter() - start

    def predict(self, x):
        probability = self.model.predict(self.wrap(spread(x)))
        if CLASSES == 2:  # of its second class; its classes are ordered by frequency
            return probability if self.model.label_classes()[1] == "1" else 1 - probability
        return probability[:, np.argsort([int(c) for c in self.model.label_classes()])] if CLASSES else probability


PEERS = {"lightgbm": LightGBM, "xgboost": XGBoost, "catboost": CatBoost, "sklearn": Sklearn, "ydf": YDF}


def resident(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key + ":"))


def main():
    x, y, categories = trees_data.load(settings["dir"], "train")
    peer = PEERS[sys.argv[1]](x, y, categories)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a peer that prints cannot disturb the answers
    if settings["mode"] == "memory":
        before = resident("VmRSS")
        peer.bin()
        peer.train()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, before, TREES, file=out, flush=True)
        return
    if settings["mode"] == "train":
        peer.bin()
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "ready":
            print("ok", file=out, flush=True)
        elif command == "predict":
            test, _, _ = trees_data.load(settings["dir"], "test")
            np.save(argument, np.asarray(peer.predict(test), np.float64))
            print("ok", file=out, flush=True)
        elif settings["mode"] == "bin":
            peer.data = None
            start = time.perf_counter()
            peer.bin()
            print(time.perf_counter() - start, file=out, flush=True)
        else:
            print(peer.train(), file=out, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
