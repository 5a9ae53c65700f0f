#!/usr/bin/env python3
"""Golden outputs and gradients of the ops, losses and optimizers for tests/nn/op_test.cpp, by PyTorch in double
precision from float32 inputs.

    python nn_ops.py > tests/nn/golden/nn_ops.txt      # torch 2.13.0

Format: `case NAME OP TRAINING`, then `attributes N ...`, per input `input RANK EXTENTS... VALUES` and per parameter
`parameter N VALUES` in the layout of the op, then `output`, `seed` (the gradient of the output), and per input and
parameter its gradient (`N VALUES`, N = 0: none).
"""
import sys

import torch
import torch.nn.functional as F

ROWS = 3
torch.manual_seed(7)
out = sys.stdout


def draw(*shape, positive=False):
    """Values that three decimals write exactly enough: both sides read the same float32."""
    x = torch.randn(*shape).mul(1000).round().div(1000)
    if positive:
        x = x.abs() + 0.25
    return x.to(torch.float32).to(torch.float64).requires_grad_()


def text(t):
    return " ".join(f"{v:.8g}" for v in t.detach().reshape(-1).tolist())


def put(name, t):
    out.write(f"{name} 0\n" if t is None else f"{name} {t.numel()} {text(t)}\n")


def case(name, op, inputs, parameters, run, attributes=(), training=False, layout=None, ids=False):
    """`parameters`: (torch tensor, function to the layout of the op). `run(*inputs, *parameters)` gives rows x ..."""
    tensors = [p for p, _ in parameters]
    y = run(*inputs, *tensors)
    seed = torch.randn(y.shape).mul(1000).round().div(1000).to(torch.float32).to(torch.float64)
    wanted = [t for t in [*inputs, *tensors] if t.requires_grad]
    slopes = dict(zip(map(id, wanted), torch.autograd.grad(y, wanted, seed)))
    out.write(f"case {name} {op} {int(training)}\nattributes {len(attributes)} {' '.join(map(str, attributes))}\n")
    for x in inputs:
        out.write(f"input {x.dim() - 1} {' '.join(map(str, x.shape[1:]))} {text(x)}\n")
    for p, to_layout in parameters:
        put("parameter", to_layout(p))
    put("output", y)
    put("seed", seed)
    for x in inputs:
        put("gradient", slopes.get(id(x)))
    for p, to_layout in parameters:
        put("gradient", to_layout(slopes[id(p)]) if id(p) in slopes else None)


def same(p):
    return p


def transposed(p):
    return p.t()


def images(run):
    """Ops take height x width x channels, torch channels first."""
    return lambda x, *p: run(x.permute(0, 3, 1, 2), *p).permute(0, 2, 3, 1)


# Elementwise.
for op, run, positive in [("relu", F.relu, 0), ("gelu", F.gelu, 0), ("silu", F.silu, 0), ("sigmoid", torch.sigmoid, 0),
                          ("tanh", torch.tanh, 0), ("exp", torch.exp, 0), ("log", torch.log, 1),
                          ("sqrt", torch.sqrt, 1)]:
    case(op, op, [draw(ROWS, 9, positive=positive)], [], run)
case("leaky_relu", "leaky_relu", [draw(ROWS, 9)], [], lambda x: F.leaky_relu(x, 0.1), [0.1])
case("softmax", "softmax", [draw(ROWS, 11)], [], lambda x: F.softmax(x, 1))
for op, run in [("add", torch.add), ("sub", torch.sub), ("mul", torch.mul), ("div", torch.div)]:
    case(op, op, [draw(ROWS, 2, 3), draw(ROWS, 2, 3, positive=op == "div")], [], run)
for op, run in [("sub", torch.sub), ("mul", torch.mul), ("div", torch.div)]:
    case(op + "_repeats", op, [draw(ROWS, 2, 3), draw(ROWS, 3, positive=op == "div")], [],
         lambda a, b, run=run: run(a, b[:, None, :]))

# Arrangement and reductions.
case("concat", "concat", [draw(ROWS, 2), draw(ROWS, 3)], [], lambda a, b: torch.cat([a, b], 1), [0])
case("concat_last", "concat", [draw(ROWS, 2, 1), draw(ROWS, 2, 2), draw(ROWS, 2, 1)], [],
     lambda *x: torch.cat(x, 2), [1])
case("slice", "slice", [draw(ROWS, 2, 5)], [], lambda x: x[:, :, 1:4], [1, 1, 3])
case("reshape", "reshape", [draw(ROWS, 2, 3)], [], lambda x: x.reshape(ROWS, 3, 2), [3, 2])
case("transpose", "transpose", [draw(ROWS, 2, 3, 4)], [], lambda x: x.permute(0, 3, 1, 2), [2, 0, 1])
case("reduce_sum", "reduce_sum", [draw(ROWS, 2, 3)], [], lambda x: x.sum(1), [1])
case("reduce_mean", "reduce_mean", [draw(ROWS, 3, 2, 4)], [], lambda x: x.mean((1, 2)), [3])
case("reduce_max", "reduce_max", [draw(ROWS, 3, 4)], [], lambda x: x.max(2)[0], [2])

# Products.
linear = lambda x, w, b: F.linear(x, w, b)  # noqa: E731
case("dense", "dense", [draw(ROWS, 37)], [(draw(19, 37), transposed), (draw(19), same)], linear, [19])
case("dense_positions", "dense", [draw(ROWS, 4, 5)], [(draw(6, 5), transposed), (draw(6), same)], linear, [6, 1])


def conv(name, height, width, channels, filters, kh, kw, stride=1, pad=0, dilation=1, groups=1):
    case(name, "conv2d", [draw(ROWS, height, width, channels)],
         [(draw(filters, channels // groups, kh, kw), lambda w: w.permute(2, 3, 1, 0)), (draw(filters), same)],
         images(lambda x, w, b: F.conv2d(x, w, b, stride, pad, dilation, groups)),
         [filters, kh, kw, stride, pad, dilation, groups])


conv("conv2d", 6, 5, 3, 4, 3, 3)
conv("conv2d_stride", 7, 7, 2, 5, 3, 3, stride=2, pad=1)
conv("conv2d_dilation", 8, 7, 1, 3, 2, 3, pad=2, dilation=2)
conv("conv2d_groups", 5, 5, 6, 4, 3, 3, pad=1, groups=2)
conv("conv2d_depthwise", 5, 6, 4, 4, 3, 3, pad=1, groups=4)
conv("conv2d_1x1", 3, 4, 5, 7, 1, 1)
conv("conv2d_tiles", 9, 8, 2, 3, 3, 3, pad=1)


def conv_transpose(name, height, width, channels, filters, kh, kw, stride=1, pad=0, more=0, dilation=1, groups=1):
    case(name, "conv_transpose2d", [draw(ROWS, height, width, channels)],
         [(draw(channels, filters // groups, kh, kw), lambda w: w.permute(0, 2, 3, 1)), (draw(filters), same)],
         images(lambda x, w, b: F.conv_transpose2d(x, w, b, stride, pad, more, groups, dilation)),
         [filters, kh, kw, stride, pad, more, dilation, groups])


conv_transpose("conv_transpose2d", 4, 3, 3, 2, 3, 3)
conv_transpose("conv_transpose2d_stride", 4, 3, 2, 3, 3, 2, stride=2, pad=1, more=1)
conv_transpose("conv_transpose2d_dilation", 3, 3, 2, 2, 2, 3, pad=1, dilation=2)
conv_transpose("conv_transpose2d_groups", 3, 4, 4, 6, 2, 2, stride=2, groups=2)

# Pools.
case("max_pool2d", "max_pool2d", [draw(ROWS, 5, 4, 3)], [], images(lambda x: F.max_pool2d(x, 2)), [2, 2, 2, 0])
case("max_pool2d_padded", "max_pool2d", [draw(ROWS, 5, 5, 2)], [], images(lambda x: F.max_pool2d(x, 3, 2, 1)),
     [3, 3, 2, 1])
case("average_pool2d", "average_pool2d", [draw(ROWS, 5, 4, 3)], [], images(lambda x: F.avg_pool2d(x, 2)), [2, 2, 2, 0])
case("average_pool2d_padded", "average_pool2d", [draw(ROWS, 5, 5, 2)], [],
     images(lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)), [3, 3, 2, 1])

# Normalisation.
for training in (True, False):
    mean, variance = draw(4).detach(), draw(4, positive=True).detach()
    case(f"batch_norm_{training}", "batch_norm", [draw(ROWS, 3, 2, 4)],
         [(draw(4), same), (draw(4), same), (mean, same), (variance, same)],
         images(lambda x, s, b, m, v: F.batch_norm(x, m.clone(), v.clone(), s, b, training, 0.1, 1e-5)),
         [1e-5, 0.1], training)
case("layer_norm", "layer_norm", [draw(ROWS, 8)], [(draw(8), same), (draw(8), same)],
     lambda x, s, b: F.layer_norm(x, (8,), s, b, 1e-5), [1e-5])
case("layer_norm_positions", "layer_norm", [draw(ROWS, 3, 6)], [(draw(6), same), (draw(6), same)],
     lambda x, s, b: F.layer_norm(x, (6,), s, b, 1e-5), [1e-5, 1])
case("rms_norm", "rms_norm", [draw(ROWS, 3, 6)], [(draw(6), same)], lambda x, s: F.rms_norm(x, (6,), s, 1e-5), [1e-5])

# Tables.
ids = torch.tensor([[0, 3, 3, 5], [1, 2, 0, 5], [4, 4, 4, 4]], dtype=torch.float64)
case("embedding", "embedding", [ids], [(draw(6, 5), same)], lambda x, w: F.embedding(x.long(), w), [6, 5])
for mean in (0, 1):
    case(f"embedding_bag_{mean}", "embedding_bag", [ids], [(draw(6, 5), same)],
         lambda x, w: F.embedding_bag(x.long(), w, mode="mean" if mean else "sum"), [6, 5, mean])


# Sequences.
def heads(x, count):
    return x.reshape(ROWS, x.shape[1], count, -1).transpose(1, 2)


def attention(name, queries, keys, width, count, causal):
    case(name, "attention", [draw(ROWS, queries, width), draw(ROWS, keys, width), draw(ROWS, keys, width)], [],
         lambda q, k, v: F.scaled_dot_product_attention(heads(q, count), heads(k, count), heads(v, count),
                                                        is_causal=causal).transpose(1, 2).reshape(ROWS, queries, width),
         [count, int(causal)])


attention("attention", 3, 5, 8, 2, False)
attention("attention_causal", 6, 6, 4, 1, True)
attention("attention_blocks", 2, 70, 2, 1, False)


def recurrent(name, op, cell, gates, positions, features, units):
    layer = cell(features, units, batch_first=True).double()
    x = draw(ROWS, positions, features)
    w, r, b, c = draw(gates * units, features), draw(gates * units, units), draw(gates * units), draw(gates * units)
    lstm = gates == 4
    if lstm:
        c = torch.zeros_like(c)  # the op has one bias

    def run(x, w, r, b, *rest):
        p = dict(weight_ih_l0=w, weight_hh_l0=r, bias_ih_l0=b, bias_hh_l0=rest[0] if rest else c)
        return torch.func.functional_call(layer, p, (x,))[0]

    case(name, op, [x], [(w, transposed), (r, transposed), (b, same)] + ([] if lstm else [(c, same)]), run, [units])


recurrent("gru", "gru", torch.nn.GRU, 3, 4, 3, 5)
recurrent("lstm", "lstm", torch.nn.LSTM, 4, 4, 3, 5)


def hardest(s, t):
    """Rows 0 and 2 are anchors: each has one row of its label and one of the other; row 1 has none of its own."""
    pick = [0, 2], [2, 0], [1, 1]
    return F.triplet_margin_loss(*(s[rows] for rows in pick), margin=2.5, eps=0, reduction="sum") / ROWS


# Losses: scores, target, value and gradient of the mean over rows; `KIND PARAMETER`.
labels = torch.tensor([2, 0, 3])
for name, kind, parameter, run, target in [
        ("cross_entropy", 0, 0, lambda s, t: F.cross_entropy(s, t), labels),
        ("smoothing", 0, 0.1, lambda s, t: F.cross_entropy(s, t, label_smoothing=0.1), labels),
        ("hinge", 2, 0, lambda s, t: F.multi_margin_loss(s, t), labels),
        ("binary_cross_entropy", 3, 0, lambda s, t: F.binary_cross_entropy_with_logits(s, t), None),
        ("mse", 4, 0, lambda s, t: F.mse_loss(s, t), None),
        ("huber", 5, 0.7, lambda s, t: F.huber_loss(s, t, delta=0.7), None),
        ("triplet", 6, 2.5, hardest, torch.tensor([1, 0, 1]))]:
    s = draw(ROWS, 4)
    t = draw(ROWS, 4, positive=True).detach().clamp(max=1) if target is None else target
    value = run(s, t)
    value.backward()
    out.write(f"loss {name} {kind} {parameter}\n")
    put("scores", s)
    put("target", t.double())
    put("value", value)
    put("gradient", s.grad)

# Optimizers: one weight along sin(0.7 t) + 0.2 for 25 steps; `KIND RATE DECAY MOMENTUM NESTEROV`.
for name, kind, options, make in [
        ("sgd", 0, (0.1, 0.01, 0.9, 0), lambda w: torch.optim.SGD([w], 0.1, momentum=0.9, weight_decay=0.01)),
        ("nesterov", 0, (0.1, 0, 0.9, 1), lambda w: torch.optim.SGD([w], 0.1, momentum=0.9, nesterov=True)),
        ("adam", 1, (0.05, 0.1, 0, 0), lambda w: torch.optim.Adam([w], 0.05, weight_decay=0.1)),
        ("adamw", 2, (0.05, 0.1, 0, 0), lambda w: torch.optim.AdamW([w], 0.05, weight_decay=0.1)),
        ("rmsprop", 3, (0.02, 0.1, 0.5, 0),
         lambda w: torch.optim.RMSprop([w], 0.02, momentum=0.5, weight_decay=0.1))]:
    w = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = make(w)
    path = []
    for t in range(1, 26):
        w.grad = torch.sin(torch.tensor([0.7 * t], dtype=torch.float64)) + 0.2
        optimizer.step()
        path.append(w.item())
    out.write(f"optimizer {name} {kind} {' '.join(map(str, options))}\n")
    put("path", torch.tensor(path))
out.write("end\n")
