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
    if name == "text":
        return Text()
    if name == "transformer":
        return Transformer()
    widths = {"mlp": (784, 512, 512, 10), "tabular": (28, 256, 256, 1), "adult": (inputs, 128, 64, 2)}[name]
    layers = []
    for i in range(len(widths) - 1):
        layers += [nn.Linear(widths[i], widths[i + 1]), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Text(nn.Module):
    """Rows of ids with -1 as padding, or (ids, offsets) without it."""
    def __init__(self, sparse=True):
        super().__init__()
        self.bag = nn.EmbeddingBag(32769, 64, mode="mean", padding_idx=32768, sparse=sparse)
        nn.init.normal_(self.bag.weight, std=1 / 8)  # as ours; its default of 1 learns worse
        self.head = nn.Linear(64, 2)

    def forward(self, x):
        if isinstance(x, tuple):
            return self.head(self.bag(*x))
        x = x.long()
        return self.head(self.bag(torch.where(x < 0, 32768, x)))


class Layer(nn.Module):
    def __init__(self, width=256, heads=4):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).reshape(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(y.transpose(1, 2).reshape(x.shape))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(2048, 256)
        self.layers = nn.Sequential(*(Layer() for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(256), nn.Linear(256, 2)

    def forward(self, x):
        return self.head(self.norm(self.layers(self.table(x))).mean(1))


class Both:
    """SparseAdam for the table, the fused Adam for the rest."""
    def __init__(self, net):
        table = net.bag.weight
        self.all = [torch.optim.SparseAdam([table]),
                    torch.optim.Adam([p for p in net.parameters() if p is not table], fused=True)]

    def zero_grad(self, set_to_none=True):
        for one in self.all:
            one.zero_grad(set_to_none=set_to_none)

    def step(self):
        for one in self.all:
            one.step()


def optimizer_of(net):
    if isinstance(net, Text) and net.bag.sparse:
        return Both(net)
    return torch.optim.Adam(net.parameters(), fused=True)


def start_as_ours(net):
    """Weights from the distributions that ours start from: dense Glorot, convolutions He, both normal; biases zero."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_normal_(layer.weight)
        elif isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        else:
            continue
        nn.init.zeros_(layer.bias)


def train(model="mlp", batch=32, compiled=False, channels_last=False, sparse=True, folder="", autocast=False, budget=0.5):
    net = Text(sparse) if model == "text" else network(model)
    values = model == "tabular"
    x = torch.randn(64 * batch, 28 if values else 784)
    y = torch.randint(0, 2 if values else 10, (64 * batch,))
    if model == "cnn":
        x = x.reshape(-1, 1, 28, 28)
    if channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    if model == "transformer":
        x, y = torch.randint(0, 2048, (64 * batch, 128)), y % 2
    if values:
        y = y.float().reshape(-1, 1)
    loss_of = nn.BCEWithLogitsLoss() if values else nn.CrossEntropyLoss()
    optimizer = optimizer_of(net)
    forward = (lambda a, b: loss_of(net(a), b))
    if compiled:
        forward = torch.compile(forward)
    batches = list(zip(x.split(batch), y.split(batch)))
    if model == "text":
        x, y = (torch.from_numpy(np.load(f"{folder}/{name}_train.npy")).long() for name in "xy")
        full = [r for r in torch.arange(len(y)).split(batch) if len(r) == batch]
        lengths = (x >= 0).sum(1)
        batches = [((x[r][x[r] >= 0], torch.cumsum(lengths[r], 0) - lengths[r]), y[r]) for r in full]
    at = 0

    def step():
        nonlocal at
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = forward(*batches[at])
        loss.backward()
        optimizer.step()
        at = (at + 1) % len(batches)

    step()  # compiles

    def run():
        start, steps, seconds = time.perf_counter(), 0, 0.0
        while seconds < budget:
            for _ in range(4):
                step()
            steps += 4
            seconds = time.perf_counter() - start
        return seconds / steps
    run()
    return run


def quality(model="mlp", folder="", epochs=5, batch=128):
    x, y, x_test, y_test = (torch.from_numpy(np.load(f"{folder}/{name}.npy"))
                            for name in ("x_train", "y_train", "x_test", "y_test"))
    y, y_test = y.long(), y_test.long()
    x, x_test = x.reshape(len(y), -1), x_test.reshape(len(y_test), -1)
    if model == "cnn":
        x, x_test = x.reshape(-1, 1, 28, 28), x_test.reshape(-1, 1, 28, 28)

    def run(seed):
        torch.manual_seed(seed)
        net = network(model, x.shape[1])
        start_as_ours(net)
        loss_of = nn.CrossEntropyLoss()
        optimizer = optimizer_of(net)
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
