"""Nets whose kernels end with every number of values behind whole vectors; the rest is drawn."""

from __future__ import annotations

import random
from collections.abc import Callable

from c99_graphs import Maker
from c99_lookup import FUNCTIONS, function_of
from c99_matrices import Matrices, bound_of, product_of
from c99_quotients import difference, quotient, repeated
from c99_spatial import Spatial

TAILS = range(1, 17)
"""Values behind whole vectors of 16 bytes; 16 stands for none."""
Draw = random.Random
_KERNELS = ((1, 1), (2, 2), (3, 3), (1, 3), (3, 2))


def _image(name: str, draw: Draw, *, width: int = 0, channels: int = 0) -> Maker:
    """An image of 3 to 5 rows; width and channels are drawn where they are 0."""
    return Maker(name, (draw.randint(3, 5), width or draw.randint(3, 6), channels or draw.randint(1, 6)))


def _conv(m: Maker, draw: Draw, channels: int = 0) -> Maker:
    same = min(m.shape[:2]) < 3 or draw.random() < 0.5
    return m.conv(
        channels or draw.randint(1, 7),
        draw.choice(_KERNELS),
        draw.choice(((1, 1), (2, 1), (1, 2))),
        same=same,
        activation=draw.choice((0, 1, 3)),
    )


def _depthwise(m: Maker, draw: Draw, kernel: tuple[int, int], multiplier: int = 1) -> Maker:
    return m.depthwise(multiplier, kernel, draw.choice(((1, 1), (2, 2))), activation=draw.choice((0, 1, 3)))


def _depthwise_taps(name: str, n: int, draw: Draw) -> Maker:
    kernel = draw.choice(((1, n), (n, 1), (2, (n + 1) // 2)))
    m = Maker(name, (kernel[0] + draw.randint(0, 2), kernel[1] + draw.randint(0, 2), draw.choice((4, 8, 12))))
    return _depthwise(m, draw, kernel)


def _pool(m: Maker, draw: Draw, kind: str) -> Maker:
    kernel = draw.choice(((2, 2), (3, 3), (1, 2)))
    return m.pool(kind, kernel, draw.choice(((1, 1), (2, 2))), same=draw.random() < 0.5)


def _join(m: Maker, draw: Draw, kind: str, other: str) -> Maker:
    """With a constant of as many values, with one of the last axis, which is repeated, or with another activation."""
    activation = draw.choice((0, 1, 3))
    if other == "activation":
        return m.quantize(0.07).join(kind, m.net.input, activation=activation)
    return m.join(kind, m.values(m.shape if other == "same" else m.shape[-1:]), activation=activation)


def _transpose(name: str, n: int, draw: Draw) -> Maker:
    m = Matrices(name, draw.sample([n, draw.randint(1, 4), draw.randint(2, 5)], 3))
    return m.transpose(0, *draw.choice(((1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 2, 1))))


def _cut(name: str, n: int, draw: Draw, *, strided: bool) -> Maker:
    """The tail is what is kept of a drawn axis."""
    kept = draw.sample([n, draw.randint(1, 3), draw.randint(1, 4)], 3)
    begins = [draw.randint(0, 3) for _ in kept]
    shape = [begin + length + draw.randint(0, 2) for begin, length in zip(begins, kept, strict=True)]
    return Matrices(name, tuple(shape)).cut(*zip(begins, kept, strict=True), strided=strided)


def _product(name: str, n: int, draw: Draw, axis: str) -> Maker:
    """The tail is the length of sums, or the number of columns."""
    turned = draw.random() < 0.5, draw.random() < 0.5
    depth, columns = (n, draw.randint(1, 3)) if axis == "depth" else (draw.randint(1, 5), n)
    rows = draw.randint(1, 3)
    heads = draw.choice(((), (2,)))
    return product_of(Matrices(name, (*heads, *((depth, rows) if turned[0] else (rows, depth)))), turned, columns)


def _bilinear(name: str, n: int, draw: Draw, axis: str) -> Maker:
    m = Spatial(
        name, (draw.randint(1, 4), n if axis == "width" else 3, n if axis == "channels" else draw.randint(1, 4))
    )
    corners, centers = draw.choice(((False, False), (True, False), (False, True)))
    return m.resize(draw.randint(1, 7), draw.randint(1, 9), corners=corners, centers=centers, bilinear=True)


KINDS: dict[str, Callable[[str, int, Draw], Maker]] = {
    "dense-inputs": lambda name, n, draw: Maker(name, (n + draw.choice((0, 0, 16, 496)),)).dense(
        draw.choice((1, 3, 4, 6, 8)), single=draw.random() < 0.5, activation=draw.choice((0, 1))
    ),
    "dense-outputs": lambda name, n, draw: Maker(name, (draw.randint(1, 40),)).dense(n),
    "dense-rows": lambda name, n, draw: Maker(name, (draw.randint(2, 3), n)).dense(draw.randint(1, 7), rows=True),
    "dense-least-weight": lambda name, n, draw: Maker(name, (n,)).dense(draw.randint(4, 9)).extreme_weights(),
    "dense-one-output": lambda name, n, draw: Maker(name, (n + 256,)).dense(1),
    "conv-channels": lambda name, n, draw: _conv(_image(name, draw, channels=n), draw),
    "conv-outputs": lambda name, n, draw: _conv(_image(name, draw), draw, n),
    "conv-width": lambda name, n, draw: _conv(_image(name, draw, width=n), draw),
    "conv-words": lambda name, n, draw: _image(name, draw, channels=4 * n).conv(
        draw.randint(1, 6), draw.choice(((1, 1), (3, 1), (1, 2))), same=draw.random() < 0.5
    ),
    "conv-least-weight": lambda name, n, draw: _conv(
        _image(name, draw, channels=n), draw, draw.randint(4, 9)
    ).extreme_weights(),
    "conv-one-channel": lambda name, n, draw: Maker(name, (3, 3, n + 64)).conv(
        1, (2, 2), same=draw.random() < 0.5, activation=draw.choice((0, 1))
    ),
    "depthwise-taps": _depthwise_taps,
    "depthwise-channels": lambda name, n, draw: _depthwise(
        _image(name, draw, channels=n), draw, draw.choice(((3, 3), (2, 3), (1, 2))), draw.choice((1, 1, 2))
    ),
    "depthwise-words": lambda name, n, draw: _depthwise(
        _image(name, draw, channels=4 * n), draw, draw.choice(((3, 3), (2, 2)))
    ),
    **{
        f"{kind.lower().replace('_pool_2d', '-pool')}-{axis}": (
            lambda name, n, draw, kind=kind, axis=axis: _pool(_image(name, draw, **{axis: n + 2}), draw, kind)
        )
        for kind in ("MAX_POOL_2D", "AVERAGE_POOL_2D")
        for axis in ("width", "channels")
    },
    "mean-inner": lambda name, n, draw: _image(name, draw, channels=n).mean([1, 2]),
    "mean-middle": lambda name, n, draw: _image(name, draw, width=n).mean([2]),
    **{
        f"{kind.lower()}-{other}": (
            lambda name, n, draw, kind=kind, other=other: _join(
                Maker(name, (n,)) if other == "same" else Maker(name, (draw.randint(2, 3), draw.randint(1, 3), n)),
                draw,
                kind,
                other,
            )
        )
        for kind in ("ADD", "SUB", "MUL")
        for other in ("same", "repeated", "activation")
    },
    "table": lambda name, n, draw: Maker(name, (n,)).quantize(draw.uniform(0.02, 0.2)),
    "pad": lambda name, n, draw: Maker(name, (draw.randint(1, 3), n, draw.randint(1, 3))).pad(
        *(draw.randint(0, 3) for _ in range(4))
    ),
    "softmax": lambda name, n, draw: Maker(name, (draw.randint(1, 3), n)).end("SOFTMAX", beta=draw.choice((0.5, 1.0))),
    "function": lambda name, n, draw: function_of(Maker(name, (n + 32,)), FUNCTIONS[n % len(FUNCTIONS)]),
    "absolute": lambda name, n, draw: Maker(name, (n + 16,)).activate("ABS", draw.choice((1.0, 0.4, 2.5))),
    "quotient": lambda name, n, draw: quotient(name, (draw.randint(1, 3), n)),
    "difference": lambda name, n, draw: difference(name, (draw.randint(1, 3), n)),
    "repeated": lambda name, n, draw: repeated(name, (*draw.sample([n, draw.randint(1, 3), draw.randint(1, 3)], 3),)),
    "bound": lambda name, n, draw: bound_of(Matrices(name, (3, draw.randint(1, 3), n))),
    "transpose": _transpose,
    "slice": lambda name, n, draw: _cut(name, n, draw, strided=False),
    "strided-slice": lambda name, n, draw: _cut(name, n, draw, strided=True),
    **{
        f"product-{axis}": lambda name, n, draw, axis=axis: _product(name, n, draw, axis)
        for axis in ("depth", "columns")
    },
    **{
        f"bilinear-{axis}": lambda name, n, draw, axis=axis: _bilinear(name, n, draw, axis)
        for axis in ("width", "channels")
    },
    "chain": lambda name, n, draw: _chain(_image(name, draw, channels=n), draw, n),
}
"""What makes a net of a kind from its name, a length with the tail, and the draw of everything else."""


def _chain(m: Maker, draw: Draw, n: int) -> Maker:
    """Kernels that read what the one before has written, in one arena."""
    m.conv(n, (3, 3), activation=1)
    kept = m.at
    m.depthwise(1, (3, 3)).join("ADD", kept).pool("AVERAGE_POOL_2D", (2, 2), (2, 2)).flat()
    return m.dense(draw.randint(1, 9)).end("SOFTMAX", beta=1.0)


def tail_net(kind: str, tail: int, seed: int) -> bytes:
    """A net of a kind with a tail; the rest is drawn by the seed."""
    name = f"{kind}-{tail}-{seed}"
    return KINDS[kind](name, tail, random.Random(name)).model()
