#!/usr/bin/env python3
"""What LightGBM predicts for each loss on small data: tests/trees/golden/boosting.tsv, read by
tests/trees/objective_test.cpp.  usage: boosting.py > tests/trees/golden/boosting.tsv   (needs lightgbm, numpy)"""
import sys

import lightgbm as lgb
import numpy as np

ROWS = 240
rng = np.random.default_rng(5)
x = np.round(rng.normal(size=(ROWS, 4)) * 4) / 4
signal = 1.5 * x[:, 0] + np.sin(2 * x[:, 1]) - 0.5 * x[:, 2] * x[:, 3]
value = np.round(signal + 0.4 * rng.normal(size=ROWS), 4)
amount = np.round(np.exp(0.5 * signal) * rng.gamma(2.0, 0.5, ROWS) + 0.01, 4)
count = rng.poisson(np.exp(0.5 * signal))
binary = (value > 0.3).astype(int)
label = np.digitize(value, [-1, 1])
grade = np.clip(np.round(signal / 2 + 1.5 + 0.5 * rng.normal(size=ROWS)), 0, 4).astype(int)
weight = rng.integers(1, 4, ROWS)
query = np.repeat(np.arange(ROWS // 12), 12)

# LightGBM guesses the rows of a leaf from its hessian: a rule that counts rows would compare guesses, not losses.
COMMON = dict(num_leaves=7, learning_rate=0.2, min_data_in_leaf=0, min_sum_hessian_in_leaf=0.9, min_data_in_bin=1,
              max_bin=255, verbosity=-1, num_threads=1, deterministic=True, feature_pre_filter=False, force_col_wise=True)
CASES = [
    ("squared", value, dict(objective="regression"), False),
    ("squared_l1", value, dict(objective="regression", lambda_l1=2.0, lambda_l2=1.0), False),
    ("squared_max_delta", value, dict(objective="regression", max_delta_step=0.5), False),
    ("squared_path_smooth", value, dict(objective="regression", path_smooth=5.0, min_data_in_leaf=2), False),
    ("squared_monotone", value, dict(objective="regression", monotone_constraints=[1, -1, 0, 0]), False),
    ("squared_interactions", value, dict(objective="regression", interaction_constraints="[0,1],[2,3]"), False),
    # What is dropped is certain: every round (-1; to LightGBM 4.x a max_drop of 0 means one), then the first one only.
    ("squared_dart", value, dict(objective="regression", boosting="dart", drop_rate=1.0, skip_drop=0.0, max_drop=-1,
                                 boost_from_average=False), False),
    ("squared_dart_first", value, dict(objective="regression", boosting="dart", drop_rate=1.0, skip_drop=0.0,
                                       max_drop=1, boost_from_average=False), False),
    ("absolute", value, dict(objective="regression_l1"), False),
    ("huber", value, dict(objective="huber", alpha=0.5), False),
    ("quantile", value, dict(objective="quantile", alpha=0.7), False),
    ("poisson", count, dict(objective="poisson"), False),
    ("gamma", amount, dict(objective="gamma"), False),
    ("tweedie", count, dict(objective="tweedie", tweedie_variance_power=1.3), False),
    ("logistic", binary, dict(objective="binary"), False),
    ("logistic_positive", binary, dict(objective="binary", scale_pos_weight=3.0), True),
    ("softmax", label, dict(objective="multiclass", num_class=3), False),
    ("one_vs_all", label, dict(objective="multiclassova", num_class=3), False),
    ("lambdarank", grade, dict(objective="lambdarank"), False),
    ("lambdarank_plain", grade, dict(objective="lambdarank", lambdarank_norm=False, lambdarank_truncation_level=5), True),
]
METRICS = dict(absolute="l1", squared="l2", huber="huber", quantile="quantile", poisson="poisson", gamma="gamma",
               tweedie="tweedie", logistic="binary_logloss,auc,average_precision,binary_error",
               softmax="multi_logloss,multi_error", lambdarank="ndcg,map")


def main():
    print(f"# LightGBM {lgb.__version__}: row x0 x1 x2 x3 value amount count binary label grade weight query; "
          "score CASE raw scores row by row; metric CASE NAME value")
    for r in range(ROWS):
        print("row", *x[r], value[r], amount[r], count[r], binary[r], label[r], grade[r], weight[r], query[r], sep="\t")
    for name, y, options, weighted in CASES:
        data = lgb.Dataset(x, y, weight=weight if weighted else None, free_raw_data=False,
                           group=np.full(ROWS // 12, 12) if "rank" in name else None)
        options = {**COMMON, **options}
        if name in METRICS:
            options.update(metric=METRICS[name], eval_at=[3, 10])
        # Later rounds of these two depend on which of equal gains is taken, and on how smoothing changes gains.
        rounds = 2 if name in ("squared_l1", "squared_path_smooth") else 5
        if name == "squared_dart_first":
            rounds = 3
        recorded = {}
        model = lgb.train(options, data, num_boost_round=rounds, valid_sets=[data], valid_names=["training"],
                          callbacks=[lgb.record_evaluation(recorded)] if name in METRICS else [])
        raw = model.predict(x, raw_score=True).reshape(ROWS, -1)
        print("score", name, *[f"{v:.6g}" for v in raw.flat], sep="\t")
        if name in METRICS:
            for metric, results in recorded["training"].items():
                print("metric", name, metric, f"{results[-1]:.7g}", sep="\t")


main()
sys.stdout.flush()
