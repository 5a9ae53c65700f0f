"""PyTorch's side of nn_train.py: nn_train_peer.py train|quality JSON. Lines on stdin as for peer_nn_worker."""
import json
import sys
import time

import numpy as np
import torch
from torch import nn


def network(name, inputs=28):
    if name == "cnn":
        return nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                             nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                             nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10))
    widths = {"mlp": (784, 512, 512, 10), "tabular": (28, 256, 256, 1), "adult": (inputs, 128, 64, 2)}[name]
    layers = []
    for i in range(len(widths) - 1):
        layers += [nn.Linear(widths[i], widths[i + 1]), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def train(model="mlp", batch=32, compiled=False, channels_last=False):
    net = network(model)
    values = model == "tabular"
    x = torch.randn(64 * batch, 28 if values else 784)
    y = torch.randint(0, 2 if values else 10, (64 * batch,))
    if model == "cnn":
        x = x.reshape(-1, 1, 28, 28)
    if channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    if values:
        y = y.float().reshape(-1, 1)
    loss_of = nn.BCEWithLogitsLoss() if values else nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    forward = (lambda a, b: loss_of(net(a), b))
    if compiled:
        forward = torch.compile(forward)
    batches = list(zip(x.split(batch), y.split(batch)))
    at = 0

    def step():
        nonlocal at
        optimizer.zero_grad(set_to_none=True)
        loss = forward(*batches[at])
        loss.backward()
        optimizer.step()
        at = (at + 1) % len(batches)

    step()  # compiles

    def run(budget=0.5):
        start, steps, seconds = time.perf_counter(), 0, 0.0
        while seconds < budget:
            for _ in range(4):
                step()
            steps += 4
            seconds = time.perf_counter() - start
        return seconds / steps
    run(0.3)
    return run


def quality(model="mlp", folder="", epochs=5, batch=128):
    x, y, x_test, y_test = (torch.from_numpy(np.load(f"{folder}/{name}.npy"))
                            for name in ("x_train", "y_train", "x_test", "y_test"))
    y, y_test = y.long(), y_test.long()
    x, x_test = x.reshape(len(y), -1), x_test.reshape(len(y_test), -1)

    def run(seed):
        torch.manual_seed(seed)
        net = network(model, x.shape[1])
        loss_of = nn.CrossEntropyLoss()
        optimizer = torch.optim.Adam(net.parameters(), fused=True)
        for _ in range(epochs):
            for rows in torch.randperm(len(y)).split(batch):
                optimizer.zero_grad(set_to_none=True)
                loss_of(net(x[rows]), y[rows]).backward()
                optimizer.step()
        with torch.no_grad():
            return (net(x_test).argmax(1) == y_test).double().mean().item()
    return run


def main():
    settings = json.loads(sys.argv[2])
    torch.set_num_threads(settings.pop("threads"))
    torch.set_num_interop_threads(1)
    run = {"train": train, "quality": quality}[sys.argv[1]](**settings)
    for line in sys.stdin:
        line = line.strip()
        print("ok" if line == "ready" else f"{run(int(line)) if sys.argv[1] == 'quality' else run():.9f}", flush=True)


main()
