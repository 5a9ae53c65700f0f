"""AutoAttack, ART and Foolbox on the network that robustness_attack_worker.cpp has trained, in PyTorch.

Arguments: folder, network (mlp, cnn), threads. Answers lines:
  scores FILE                              ok; writes logits of rows.npy
  autoattack RADIUS STEPS QUERIES SEED     seconds, robust accuracy: APGD-CE, targeted APGD, Square
  art|foolbox RADIUS STEPS STEP COUNT BATCH   PGD of the first COUNT rows -> seconds, robust accuracy
  accuracy FILE RADIUS                     of these rows instead; an error if one lies further than RADIUS
"""
import importlib.metadata
import logging
import pathlib
import sys
import time

import numpy as np
import torch

folder, network, threads = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
torch.set_num_threads(threads)
logging.disable(logging.WARNING)


def load(name):
    return torch.from_numpy(np.load(folder / f"{name}.npy"))


def dense(number, pixels=None):
    """Ours: inputs x units, images with channels last; theirs: units x inputs, channels first."""
    weight, bias = load(f"weight{number}"), load(f"bias{number}")
    if pixels:
        height, width, channels = pixels
        weight = weight.reshape(height, width, channels, -1).permute(2, 0, 1, 3).reshape(weight.shape)
    layer = torch.nn.Linear(weight.shape[0], weight.shape[1])
    layer.weight.data, layer.bias.data = weight.T.contiguous(), bias.reshape(-1)
    return layer


def conv(number, channels):
    """Ours: (3 x 3 x channels) x filters."""
    weight, bias = load(f"weight{number}"), load(f"bias{number}")
    layer = torch.nn.Conv2d(channels, weight.shape[1], 3, padding=1)
    layer.weight.data = weight.reshape(3, 3, channels, -1).permute(3, 2, 0, 1).contiguous()
    layer.bias.data = bias.reshape(-1)
    return layer


relu, pool, flatten = torch.nn.ReLU, torch.nn.MaxPool2d, torch.nn.Flatten
if network == "mlp":
    model = torch.nn.Sequential(flatten(), dense(0), relu(), dense(1), relu(), dense(2))
else:
    model = torch.nn.Sequential(conv(0, 1), relu(), pool(2), conv(1, 16), relu(), pool(2), flatten(),
                                dense(2, (7, 7, 32)), relu(), dense(3))
model.eval().requires_grad_(False)  # no gradients of weights: the peers' attacks do not need them
x = load("rows").reshape(-1, 1, 28, 28)
y = load("labels").long()


def accuracy(rows):
    with torch.no_grad():
        return (model(rows).argmax(1) == y[: len(rows)]).double().mean().item()


def autoattack(radius, steps, queries, seed):
    from pyautoattack import AutoAttack
    bundle = AutoAttack(model, norm="Linf", eps=float(radius), version="custom", seed=int(seed),
                        attacks=["apgd-ce", "apgd-t", "square"])
    bundle.verbose = False
    bundle.apgd.n_restarts = 1  # as in its standard version
    bundle.apgd.n_iter = bundle.apgd_targeted.n_iter = int(steps)
    bundle.square.n_queries = int(queries)
    start = time.perf_counter()
    found, _ = bundle.run_standard_evaluation(x, y, batch_size=500)
    return time.perf_counter() - start, accuracy(found)


def art(radius, steps, step, count, batch):
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier
    classifier = PyTorchClassifier(model, torch.nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0, 1),
                                   device_type="cpu")
    attack = ProjectedGradientDescentPyTorch(classifier, eps=float(radius), eps_step=float(step), max_iter=int(steps),
                                             batch_size=int(batch), verbose=False)
    rows, labels = x[: int(count)].numpy(), y[: int(count)].numpy()
    start = time.perf_counter()
    found = attack.generate(rows, labels)
    return time.perf_counter() - start, accuracy(torch.from_numpy(found))


def foolbox(radius, steps, step, count, batch):
    import foolbox as library
    wrapped = library.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = library.attacks.LinfPGD(abs_stepsize=float(step), steps=int(steps), random_start=False)
    count, batch = int(count), int(batch)
    start = time.perf_counter()
    held = 0
    for first in range(0, count, batch):
        until = min(first + batch, count)
        held += (~attack(wrapped, x[first:until], y[first:until], epsilons=float(radius))[2]).sum().item()
    return time.perf_counter() - start, held / count


for line in sys.stdin:
    what, *arguments = line.split()
    if what == "versions":
        answer = [f"{p} {importlib.metadata.version(p)}" for p in
                  ("torch", "pyautoattack", "adversarial-robustness-toolbox", "foolbox")]
        print(", ".join(answer), flush=True)
        continue
    if what == "scores":
        with torch.no_grad():
            np.save(arguments[0], model(x).numpy())
        answer = ["ok"]
    elif what == "accuracy":
        rows = torch.from_numpy(np.load(arguments[0])).reshape(x.shape)
        furthest = (rows - x).abs().max().item()
        if furthest > float(arguments[1]) * (1 + 1e-6) or rows.min() < 0 or rows.max() > 1:
            raise SystemExit(f"a row lies {furthest} away")
        answer = [accuracy(rows)]
    else:
        answer = {"autoattack": autoattack, "art": art, "foolbox": foolbox}[what](*arguments)
    print(*answer, flush=True)
