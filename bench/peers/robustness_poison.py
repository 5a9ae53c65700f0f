"""Poison: label errors against cleanlab, harm by source, campaigns, bought reviews, and what a whole screen costs.
Parts of robustness.sh."""
import csv
import datetime
import pathlib
import re
import statistics
import time

import numpy as np

import trees_data
import trees_metrics
from harness import figure

GOLDEN = trees_data.SOURCE / "golden/cleanlab_cifar10"

def ours(context, mode, **settings):
    return context.ours(mode, worker="robustness_poison", **settings)


def list_of(path):
    return np.load(path).astype(np.int64)


def issues(worker, context, probabilities, given):
    """Positions that our confident learning flags."""
    paths = [context.file(name) for name in ("probabilities.npy", "labels.npy", "issues.npy")]
    np.save(paths[0], probabilities)
    np.save(paths[1], given.astype(np.int64))
    worker.ask(f"load {paths[0]} {paths[1]}")
    worker.ask("run")
    worker.ask(f"issues {paths[2]}")
    return list_of(paths[2])


def average_precision(positive, score):
    hit = positive[np.argsort(-score, kind="stable")]
    return float((np.cumsum(hit) / np.arange(1, len(hit) + 1))[hit].mean())


def confident_golden(context):
    """The published probabilities of CIFAR-10: what is flagged is ours, the ranking is by the probability of the label."""
    worker = ours(context, "labels")
    for name in ("synthetic20", "aggregate"):
        read = lambda what: np.load(GOLDEN / f"{name}_resnet18.{what}.npy")
        p, given, true = read("pred_probs"), read("noisy_labels"), read("true_labels")
        wrong, flagged = given != true, np.zeros(len(given), bool)
        flagged[issues(worker, context, p, given)] = True
        score = 1 - p[np.arange(len(given)), given]
        suffix = "" if name == "synthetic20" else "_aggregate"
        print(f"confident learning, {name}: {flagged.sum()} flagged of {len(given)}, {wrong.sum()} wrong", flush=True)
        figure(f"robust.confident.auroc{suffix}", trees_metrics.auc(wrong.astype(float), score))
        figure(f"robust.confident.ap{suffix}", average_precision(wrong, score))
        figure(f"robust.confident.precision{suffix}", (flagged & wrong).sum() / flagged.sum())
        figure(f"robust.confident.recall{suffix}", (flagged & wrong).sum() / wrong.sum())
    worker.close()


def classes_of(name):
    """Standardised numbers and class codes of an ARFF file of numbers whose last column is the class."""
    text = (trees_data.SOURCE / f"uci_arff/{name}.arff").read_text()
    lines = [line.split(",") for line in re.split("@data", text, flags=re.I)[1].split("\n") if "," in line and line[0] != "%"]
    x = np.array([[np.nan if c.strip() == "?" else float(c) for c in row[:-1]] for row in lines])
    x = np.where(np.isnan(x), np.nanmean(x, axis=0), x)
    _, y = np.unique([row[-1].strip() for row in lines], return_inverse=True)
    return (x - x.mean(0)) / np.maximum(x.std(0), 1e-12), y


def confident_equal(context):
    """Out-of-fold probabilities of a linear model over five data sets with a tenth of the labels wrong: cleanlab's issues
    by the same rule (filter_by="confident_learning") and ours, as sets."""
    from cleanlab.filter import find_label_issues
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    worker, different = ours(context, "labels"), 0
    for name in ("spambase", "optdigits", "pendigits", "segment", "diabetes"):
        x, y = classes_of(name)
        random = np.random.default_rng(11)
        wrong = random.random(len(y)) < 0.1
        given = np.where(wrong, (y + random.integers(1, y.max() + 1, size=len(y))) % (y.max() + 1), y)
        p = cross_val_predict(LogisticRegression(max_iter=300), x, given, cv=5, method="predict_proba")
        theirs = np.flatnonzero(find_label_issues(given, p, filter_by="confident_learning", n_jobs=1))
        mine = np.sort(issues(worker, context, p, given))
        unequal = len(np.setxor1d(theirs, mine))
        different += unequal
        print(f"  {name}: {len(theirs)} issues by cleanlab, {len(mine)} by us, {unequal} in one of them only", flush=True)
    worker.close()
    figure("robust.confident.different_from_cleanlab", different)


def confident_speed(context):
    """50,000 rows x 100 classes, one thread: find_label_issues by the same rule against ours."""
    from cleanlab.filter import find_label_issues
    random = np.random.default_rng(3)
    given = random.integers(100, size=50_000)
    p = random.gamma(0.3, size=(50_000, 100))
    p[np.arange(50_000), np.where(random.random(50_000) < 0.1, random.integers(100, size=50_000), given)] += 3
    p /= p.sum(1, keepdims=True)
    worker = ours(context, "labels")
    mine = np.sort(issues(worker, context, p, given))
    peer, times = [], []
    for round_number in range(4 if context.quick else 10):
        times.append(float(worker.ask("run")))
        start = time.perf_counter()
        theirs = np.flatnonzero(find_label_issues(given, p, filter_by="confident_learning", n_jobs=1))
        peer.append(time.perf_counter() - start)
    worker.close()
    print(f"confident learning, 50000 x 100: redoubt {statistics.median(times):.4f} s, cleanlab {statistics.median(peer):.3f} s; "
          f"{len(np.setxor1d(theirs, mine))} issues differ", flush=True)
    figure("robust.confident.vs_peer", statistics.median(b / a for a, b in zip(times[1:], peer[1:])))


def fashion(classes):
    folder = trees_data.SOURCE / "fashion_mnist"
    import gzip
    images = np.frombuffer(gzip.open(folder / "train-images-idx3-ubyte.gz").read(), np.uint8, offset=16).reshape(-1, 784)
    y = np.frombuffer(gzip.open(folder / "train-labels-idx1-ubyte.gz").read(), np.uint8, offset=8)
    rows = np.isin(y, classes)
    return images[rows].astype(np.float32) / 255, (y[rows] == classes[1]).astype(np.int64)


def influential(x, y, pool_x, pool_y, aim_x, aim_y, count):
    """The rows of the pool that, filed under the wrong label, raise the attacker's loss most: influence on a linear
    model (Koh and Liang, ICML 2017), as a stand-in for the attack on SVMs that the notes' set-up uses."""
    from sklearn.linear_model import LogisticRegression
    model = LogisticRegression(max_iter=500).fit(x, y)
    ones = lambda a: np.concatenate([a, np.ones((len(a), 1))], axis=1)
    gradient = lambda a, b: ones(a) * (model.predict_proba(a)[:, 1] - b)[:, None]
    weight = np.prod(model.predict_proba(x), axis=1)
    curvature = ones(x).T @ (ones(x) * weight[:, None]) + np.eye(x.shape[1] + 1)
    direction = np.linalg.solve(curvature, gradient(aim_x, aim_y).mean(0))
    return np.argsort(gradient(pool_x, 1 - pool_y) @ direction)[:count]  # training on g moves the weights by -H^-1 g


def sharpened(rows, wrong, x, y, aim_x, aim_y):
    """Moves the pixels of poison rows, by steps of 0.1 within [0, 1], along the gradient of their influence on the
    attacker's loss, as the attack of the notes' set-up does for an SVM."""
    from sklearn.linear_model import LogisticRegression
    rows = rows.copy()
    for _ in range(20):
        model = LogisticRegression(max_iter=500).fit(np.concatenate([x, rows]), np.concatenate([y, wrong]))
        ones = lambda a: np.concatenate([a, np.ones((len(a), 1))], axis=1)
        gradient = (ones(aim_x) * (model.predict_proba(aim_x)[:, 1] - aim_y)[:, None]).mean(0)
        p = model.predict_proba(rows)[:, 1]
        weight = np.prod(model.predict_proba(x), axis=1)
        direction = np.linalg.solve(ones(x).T @ (ones(x) * weight[:, None]) + np.eye(x.shape[1] + 1), gradient)
        # Less than nothing is harm: (p - label) (row, 1) direction. Its derivative by the pixels:
        slope = (p - wrong)[:, None] * direction[None, :-1] + (
            (p * (1 - p) * (ones(rows) @ direction))[:, None] * model.coef_[0][None, :])
        rows = np.clip(rows - 0.1 * slope / np.abs(slope).max(1, keepdims=True), 0, 1)
    return rows


def roni(context):
    """The set-up of the notes (ART's notebook on provenance) with other pictures: 40 rows spread at random over three
    sources, five poison rows of a fourth, 25 trusted rows; two kinds of clothes, a linear model. Poison starts at the
    rows that harm most and is moved to harm more. Harder and of our own, "_nine": nine sources of five rows, the
    poison rows as they are; "_flips": five rows with flipped labels there. Over draws: how often the planted source is
    named, and how often an honest one. "_clean": as "_nine" without poison, where any source named is an honest one."""
    from sklearn.linear_model import LogisticRegression
    x, y = fashion((0, 4))
    worker, draws = ours(context, "roni", threads=2), 20 if context.quick else 60
    folder = pathlib.Path(context.file("roni"))
    folder.mkdir()
    for kind in ("", "_nine", "_flips", "_clean"):
        found = accused = honest = harmful = harmful_found = 0
        accuracy = {"with": [], "without": []}
        for draw in range(draws):
            random = np.random.default_rng(draw)
            rows = random.permutation(len(y))
            rows, pool, aim = rows[:70], rows[70:1070], rows[1070:1570]
            if kind == "":
                source, planted = np.concatenate([random.integers(3, size=40), np.full(5, 3)]), 3
            else:
                source, planted = np.repeat(np.arange(9), 5), int(random.integers(9))
            bad = source == planted
            train_x, train_y = x[rows[:45]].copy(), y[rows[:45]].copy()
            if kind == "_flips":
                train_y[bad] ^= 1
            elif kind != "_clean":
                clean = train_x[~bad], train_y[~bad]
                chosen = pool[influential(*clean, x[pool], y[pool], x[aim], y[aim], 5)]
                train_x[bad], train_y[bad] = x[chosen], 1 - y[chosen]
                if kind == "":
                    train_x[bad] = sharpened(train_x[bad], train_y[bad], *clean, x[aim], y[aim])
            for name, kept in (("with", bad | ~bad), ("without", ~bad)):
                accuracy[name].append(LogisticRegression(max_iter=500).fit(train_x[kept], train_y[kept]).score(x[aim], y[aim]))
            for name, value in (("x", train_x), ("y", train_y), ("source", source), ("trusted_x", x[rows[45:]]),
                                ("trusted_y", y[rows[45:]])):
                np.save(folder / f"{name}.npy", value)
            worker.ask(f"run {folder}")
            named = set(list_of(folder / "harmful.npy"))
            found += planted in named
            harms = accuracy["without"][-1] - accuracy["with"][-1] > 0.05
            harmful += harms
            harmful_found += harms and planted in named
            accused += len(named - {planted})
            honest += len(set(source) - {planted})
        print(f"harm by source{kind}: {draws} draws, planted source named in {found}, {accused} of {honest} honest ones "
              f"named; a linear model's accuracy with the poison {statistics.mean(accuracy['with']):.3f}, without "
              f"{statistics.mean(accuracy['without']):.3f}; of the {harmful} draws in which it costs 5 points or more, named in "
              f"{harmful_found}", flush=True)
        if kind == "_clean":
            figure("robust.roni.false_positive_rate_clean", (found + accused) / (9 * draws))
            continue
        figure("robust.roni.recall" + kind, found / draws)
        figure("robust.roni.false_positive_rate" + kind, accused / honest)
    worker.close()


def campaigns(context):
    """Accounts and products of falling popularity; 60 hired accounts praise 12 products and as many popular ones as
    camouflage. Rows of the campaign that are named, and the share of it among what is named; camouflage counts as neither."""
    worker = ours(context, "campaign", threads=2)
    hit = planted = named = 0
    for draw in range(5 if context.quick else 20):
        random = np.random.default_rng(draw)
        popularity = 1 / np.arange(1, 301) ** 0.8
        rows = []
        for account in range(3000):
            for product in random.choice(300, size=1 + random.geometric(0.25), p=popularity / popularity.sum()):
                rows.append((account, product, random.random() < 0.6, 0))
        for account in range(3000, 3060):
            for product in random.choice(np.arange(288, 300), size=10, replace=False):
                rows.append((account, product, True, 1))
            for product in random.choice(300, size=10, p=popularity / popularity.sum()):
                rows.append((account, product, random.random() < 0.6, 2))
        rows = [rows[i] for i in random.permutation(len(rows))]
        path = context.file("campaign.csv")
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["account", "product", "stars", "good"])
            for account, product, good, _ in rows:
                writer.writerow([f"u{account}", f"p{product}", random.integers(1, 6), "yes" if good else "no"])
        kind = np.array([row[3] for row in rows])
        worker.ask(f"run {path} {context.file('named.npy')}")
        flagged = kind[list_of(context.file("named.npy"))]
        hit += (flagged == 1).sum()
        planted += (kind == 1).sum()
        named += (flagged != 2).sum()
    worker.close()
    figure("robust.campaign.recall", hit / planted)
    figure("robust.campaign.precision", hit / max(1, named))


def sentences():
    """(text, positive) of rt-polarity, and of the paid reviews cut into sentences of the same length."""
    folder = trees_data.SOURCE
    honest = [(line.strip(), kind == "pos") for kind in ("pos", "neg")
              for line in (folder / f"rt_polarity/rt-polarity.{kind}").read_text(errors="replace").split("\n") if line.strip()]
    paid = []
    with open(folder / "deceptive_opinion/deceptive-opinion.csv", newline="", errors="replace") as file:
        for row in csv.DictReader(file):
            if row["label"].strip() == "1":
                for text in re.split(r"(?<=[.!?])\s+", row["Ori_Review"]):
                    if 8 <= len(text.split()) <= 40:
                        paid.append((re.sub(r"([.,!?])", r" \1", text.lower()), row["polarity"].strip() == "positive"))
    return honest, paid


def reviews(context):
    """Bought sentences, filed under the wrong sign by hired accounts about one product in a burst of two days, among
    honest ones about 300 products over a year. The models judge by the words alone. Means over draws."""
    honest, paid = sentences()
    worker = ours(context, "reviews", threads=2)
    for percent in (1, 5, 10, 20):
        results = []
        for draw in range(2 if context.quick else 5):
            random = np.random.default_rng(100 * percent + draw)
            order = random.permutation(len(honest))
            cut = len(honest) // 5
            start = datetime.datetime(2025, 1, 1)
            rows, accounts = [], 0

            def add(text, positive, account, product, minutes, bought):
                rows.append((text, "yes" if positive else "no", account, f"p{product}",
                             (start + datetime.timedelta(minutes=int(minutes))).isoformat(), bought))

            pool = list(order[cut:])
            while pool:
                accounts += 1
                for _ in range(min(len(pool), int(random.geometric(0.4)))):
                    text, positive = honest[pool.pop()]
                    add(text, positive, f"a{accounts}", min(int(random.pareto(1) * 10), 299), random.integers(365 * 1440), False)
            wanted, bought = len(rows) * percent // 100, list(random.permutation(len(paid)))
            while wanted > 0:
                product, burst, sign = random.integers(300), random.integers(363 * 1440), bool(random.random() < 0.7)
                for _ in range(int(random.integers(8, 14))):
                    accounts += 1
                    for _ in range(int(random.integers(3, 6))):
                        while bought and paid[bought[-1]][1] == sign:
                            bought.insert(0, bought.pop())
                        if wanted > 0:
                            wanted -= 1
                            add(paid[bought.pop()][0], sign, f"a{accounts}", product, burst + random.integers(2880), True)
            rows = [rows[i] for i in random.permutation(len(rows))]
            tests = [(honest[i][0], "yes" if honest[i][1] else "no", "t", "p0", start.isoformat(), False) for i in order[:cut]]
            for name, table in (("train", rows), ("test", tests)):
                with open(context.file(name + ".csv"), "w", newline="") as file:
                    writer = csv.writer(file)
                    writer.writerow(["text", "positive", "account", "product", "posted"])
                    writer.writerows(row[:5] for row in table)
            files = [context.file(name) for name in ("train.csv", "test.csv", "blocked.npy")]
            without, with_screen = map(float, worker.ask("run " + " ".join(files)).split())
            is_bought = np.array([row[5] for row in rows])
            blocked = np.zeros(len(rows), bool)
            blocked[list_of(files[2])] = True
            results.append((blocked[is_bought].mean(), blocked[~is_bought].mean(), without, with_screen))
        for name, values in zip(("recall", "false_positive_rate", "accuracy_without", "accuracy_with"), zip(*results)):
            figure(f"robust.reviews.{name}_{percent}", statistics.mean(values))
    worker.close()


def accounts(name, seed):
    """A table with labels and accounts that say nothing: sizes fall geometrically, one in four has a single row."""
    random = np.random.default_rng(seed)
    if name == "adult":
        lines = [line.split(",") for line in
                 (trees_data.SOURCE / "adult_keele_modified/adult.data").read_text().split("\n")[1:] if line]
        lines = [lines[i] for i in random.permutation(len(lines))[:12_000]]
        table, y = [row[:-1] for row in lines], [row[-1].strip() for row in lines]
    else:
        x, y = classes_of(name)
        table = [[f"{v:.6g}" for v in row] for row in x]
    owner = np.repeat(np.arange(len(y)), random.geometric(0.25, size=len(y)))[:len(y)]
    owner = owner[random.permutation(len(y))]
    return [row + [f"a{who}", f"c{label}"] for row, who, label in zip(table, owner, y)]


def newcomers(context):
    """New accounts that file four rows each of other classes under one label (plant_patterns, 2 % of the rows), where
    no times give them away: share of their rows that the screen blocks, and of all other rows. Means over the files
    and draws; and over generated marketplaces without their times."""
    worker = ours(context, "newcomers", threads=2)
    results = {"": [], "_marketplace": []}
    for seed in range(21, 23 if context.quick else 26):
        for name in ("adult", "spambase", "pendigits", "marketplace"):
            path = name
            if name != "marketplace":
                path = context.file("newcomers.csv")
                with open(path, "w", newline="") as file:
                    writer = csv.writer(file)
                    rows = accounts(name, seed)
                    writer.writerow([f"f{i}" for i in range(len(rows[0]) - 2)] + ["account", "label"])
                    writer.writerows(rows)
            numbers = [float(v) for v in worker.ask(f"run {path} {seed}").split()]
            print(f"  {name}, {seed}: new accounts' rows blocked {numbers[0]:.3f}, other rows {numbers[1]:.4f} (without the "
                  f"campaign {numbers[2]:.4f})" + (f"; its own poison {numbers[3]:.3f}, honest rows {numbers[4]:.4f}"
                                                   if name == "marketplace" else ""), flush=True)
            results["_marketplace" if name == "marketplace" else ""].append(numbers)
    worker.close()
    for kind, values in results.items():
        figure("robust.newcomers.recall" + kind, statistics.mean(v[0] for v in values))
        figure("robust.newcomers.blocked_others" + kind, statistics.mean(v[1] for v in values))


def ingest(context):
    """The screen (copies, bursts, out-of-fold model, label errors, sources, isolation forest) and two more outlier scores
    over 1,000,000 x 28 rows of 50,000 accounts, two threads."""
    worker = ours(context, "ingest", threads=2)
    seconds, shown = worker.process.stdout.readline().split(" ", 1)
    worker.close()
    print("ingest 1m28: " + shown.strip(), flush=True)
    figure("robust.ingest_1m28.seconds", float(seconds))


def parts():
    golden = [f"robust.confident.{name}{suffix}" for suffix in ("", "_aggregate") for name in ("auroc", "ap", "precision", "recall")]
    return [(golden, confident_golden), (["robust.confident.different_from_cleanlab"], confident_equal),
            (["robust.confident.vs_peer"], confident_speed),
            ([f"robust.roni.{name}{kind}" for kind in ("", "_nine", "_flips")
              for name in ("recall", "false_positive_rate")] + ["robust.roni.false_positive_rate_clean"], roni),
            (["robust.campaign.recall", "robust.campaign.precision"], campaigns),
            ([f"robust.reviews.{name}_{percent}" for percent in (1, 5, 10, 20) for name in
              ("recall", "false_positive_rate", "accuracy_without", "accuracy_with")], reviews),
            ([f"robust.newcomers.{name}{kind}" for kind in ("", "_marketplace") for name in ("recall", "blocked_others")],
             newcomers),
            (["robust.ingest_1m28.seconds"], ingest)]
