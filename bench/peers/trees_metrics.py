"""The metrics of the tree comparisons, the same code for every contender."""
import numpy as np


def auc(y, score):
    """Area under the ROC curve; ties count half."""
    order = np.argsort(score, kind="stable")
    sorted_score = score[order]
    first = np.searchsorted(sorted_score, sorted_score, side="left")
    last = np.searchsorted(sorted_score, sorted_score, side="right")
    rank = np.empty(len(score))
    rank[order] = (first + last + 1) / 2
    positive = y > 0
    n = positive.sum()
    return (rank[positive].sum() - n * (n + 1) / 2) / (n * (len(y) - n))


def accuracy(y, probability):
    return float(np.mean(np.argmax(probability, axis=1) == y))


def rmse(y, value):
    return float(np.sqrt(np.mean((y - value) ** 2)))


def ndcg(y, score, groups, at=10):
    """Mean NDCG@at over the queries with gains 2^y - 1; a query without a relevant row counts 1, as in LightGBM."""
    total, begin = 0.0, 0
    discount = 1 / np.log2(np.arange(2, at + 2))
    for size in groups:
        gain = 2.0 ** y[begin:begin + size] - 1
        best = np.sort(gain)[::-1][:at]
        got = gain[np.argsort(-score[begin:begin + size], kind="stable")][:at]
        ideal = (best * discount[:len(best)]).sum()
        total += (got * discount[:len(got)]).sum() / ideal if ideal > 0 else 1.0
        begin += size
    return total / len(groups)


def of_case(classes, y, prediction):
    """(name, value) for predictions as any contender gives them."""
    prediction = np.asarray(prediction, np.float64)
    if classes == 2:
        return "auc", auc(y, prediction if prediction.ndim == 1 else prediction[:, -1])
    if classes > 2:
        return "accuracy", accuracy(y, prediction.reshape(len(y), classes))
    return "rmse", rmse(y, prediction.reshape(-1))
