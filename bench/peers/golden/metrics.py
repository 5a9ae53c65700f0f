"""Golden values of tests/metrics/*_test.cpp: scikit-learn's metrics on inputs that both sides make from one formula.

Usage: python bench/peers/golden/metrics.py > tests/metrics/golden_metrics.hpp
The calibration error, which scikit-learn lacks, is formed here bin by bin.
"""
import numpy as np
import sklearn
from sklearn import metrics as sk

ROWS = 500


def mix(i, salt):
    """32 random-looking bits of two small numbers; tests/metrics/golden_inputs.hpp has the same formula."""
    x = (i * 2654435761 + salt * 2246822519 + 374761393) & 0xFFFFFFFF
    x ^= x >> 15
    x = (x * 2246822519) & 0xFFFFFFFF
    x ^= x >> 13
    x = (x * 3266489917) & 0xFFFFFFFF
    return x ^ (x >> 16)


def unit(i, salt):
    return mix(i, salt) / 4294967296.0


weights = np.array([(mix(i, 9) % 8) / 4.0 for i in range(ROWS)])  # some are zero

binary_truth = np.array([1 if unit(i, 1) < 0.3 else 0 for i in range(ROWS)])
fine = np.array([(unit(i, 2) + (unit(i, 3) if binary_truth[i] else 0.0)) / 2 for i in range(ROWS)])
ties = np.floor(fine * 16) / 16  # many equal scores, some exactly 0

CLASSES = 5
truth = np.array([mix(i, 4) % CLASSES for i in range(ROWS)])
parts = np.array([[1 + mix(i, 10 + c) % 50 + (40 if truth[i] == c else 0) for c in range(CLASSES)] for i in range(ROWS)])
probabilities = parts / parts.sum(axis=1, keepdims=True)

values = np.array([(mix(i, 5) % 1000) / 8.0 for i in range(ROWS)])
predicted = values + np.array([(mix(i, 6) % 200) / 16.0 - 6.0 for i in range(ROWS)])

golden = []


def add(name, value):
    golden.append((name, float(value)))


def calibration_error(event, probability, w, bins=10):
    index = np.minimum((probability * bins).astype(int), bins - 1)
    index = np.where(probability < index / bins, index - 1, index)
    index = np.where((index + 1 < bins) & (probability >= (index + 1) / bins), index + 1, index)
    total = 0.0
    for b in range(bins):
        inside = index == b
        if w[inside].sum() > 0:
            gap = np.average(event[inside], weights=w[inside]) - np.average(probability[inside], weights=w[inside])
            total += w[inside].sum() * abs(gap)
    return total / w.sum()


for tag, w in (("", np.ones(ROWS)), (".weighted", weights)):
    for kind, score in (("fine", fine), ("ties", ties)):
        add(f"roc_auc.{kind}{tag}", sk.roc_auc_score(binary_truth, score, sample_weight=w))
        add(f"pr_auc.{kind}{tag}", sk.average_precision_score(binary_truth, score, sample_weight=w))
        add(f"brier.{kind}{tag}", sk.brier_score_loss(binary_truth, score, sample_weight=w))
        add(f"log_loss.{kind}{tag}", sk.log_loss(binary_truth, np.stack([1 - score, score], 1), sample_weight=w))
        add(f"ece.{kind}{tag}", calibration_error(binary_truth, score, w))
    guess = probabilities.argmax(axis=1)
    add(f"accuracy{tag}", sk.accuracy_score(truth, guess, sample_weight=w))
    table = sk.confusion_matrix(truth, guess, sample_weight=w)
    for t in range(CLASSES):
        for p in range(CLASSES):
            add(f"confusion.{t}.{p}{tag}", table[t, p])
    precision, recall, f1, _ = sk.precision_recall_fscore_support(truth, guess, sample_weight=w)
    for c in range(CLASSES):
        add(f"precision.{c}{tag}", precision[c])
        add(f"recall.{c}{tag}", recall[c])
        add(f"f1.{c}{tag}", f1[c])
    add(f"f1_macro{tag}", sk.f1_score(truth, guess, average="macro", sample_weight=w))
    add(f"log_loss.multi{tag}", sk.log_loss(truth, probabilities, sample_weight=w))
    one_hot = np.eye(CLASSES)[truth]
    add(f"brier.multi{tag}", np.average(((probabilities - one_hot) ** 2).sum(axis=1), weights=w))
    rest = [sk.roc_auc_score(truth == c, probabilities[:, c], sample_weight=w) for c in range(CLASSES)]
    add(f"roc_auc.multi{tag}", np.mean(rest))
    rest = [sk.average_precision_score(truth == c, probabilities[:, c], sample_weight=w) for c in range(CLASSES)]
    add(f"pr_auc.multi{tag}", np.mean(rest))
    top = probabilities.max(axis=1)
    add(f"ece.multi{tag}", calibration_error((guess == truth).astype(float), top, w))
    add(f"rmse{tag}", sk.root_mean_squared_error(values, predicted, sample_weight=w))
    add(f"mae{tag}", sk.mean_absolute_error(values, predicted, sample_weight=w))
    add(f"r2{tag}", sk.r2_score(values, predicted, sample_weight=w))
# scikit-learn's own average agrees with the mean over the classes.
assert abs(sk.roc_auc_score(truth, probabilities, multi_class="ovr") - dict(golden)["roc_auc.multi"]) < 1e-12

print("#pragma once")
print(f"// Written by bench/peers/golden/metrics.py with scikit-learn {sklearn.__version__}, numpy {np.__version__}.")
print("#include <map>\n#include <string>\n")
print("namespace redoubt::test {\n")
print("inline const std::map<std::string, double> golden_metrics{")
for name, value in golden:
    print(f'    {{"{name}", {value!r}}},')
print("};\n\n}  // namespace redoubt::test")
