"""How TFLite's Fourier transforms are written in ONNX: complex numbers are pairs along one more axis at the end.

The names of complex tensors are left out, because ONNX has no type for what they hold.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from edgepress.converters.to_onnx.emission import Emission, Ends, Write, plain


def _transform(e: Emission, inputs: Ends, outputs: Ends) -> None:
    """RFFT2D, over the last two axes; that of series has one row."""
    (source, lengths_tensor), (target,) = inputs, outputs
    lengths = [int(length) for length in e.known(lengths_tensor).ravel()]
    rank = len(e.shape(source))
    rows, columns = (e.extra(np.array(length, np.int64), e.step(target, "length")) for length in lengths)
    last = e.extra(np.array([-1], np.int64), e.step(target, "axis"))
    real = e.node("Unsqueeze", [e.in_order(source), last], e.step(target, "real"))
    pairs = e.node("DFT", [real, columns], e.step(target, "pairs"), axis=rank - 1, onesided=1)
    if (lengths[0], e.shape(source)[-2]) != (1, 1):
        pairs = e.node("DFT", [pairs, rows], e.step(target, "pairs_of_rows"), axis=rank - 2)
    e.alias(target, pairs)


def _half(place: int, e: Emission, inputs: Ends, outputs: Ends) -> None:
    """The real or the imaginary part."""
    (source,), (target,) = inputs, outputs
    words = {"starts": place, "ends": place + 1, "axes": -1}
    starts, ends, last = (e.extra(np.array([n], np.int64), e.step(target, word)) for word, n in words.items())
    half = e.node("Slice", [e.in_order(source), starts, ends, last], e.step(target, "half"))
    e.make(target, plain(len(e.shape(target))), lambda name: e.node("Squeeze", [half, last], name))


def _magnitude(e: Emission, inputs: Ends, outputs: Ends) -> None:
    (source,), (target,) = inputs, outputs
    pairs = e.in_order(source)
    order = plain(len(e.shape(target)))
    e.make(target, order, lambda name: e.node("ReduceL2", [pairs], name, axes=[-1], keepdims=0))


SPECTRA: dict[str, Write] = {
    "RFFT2D": _transform,
    "REAL": partial(_half, 0),
    "IMAG": partial(_half, 1),
    "COMPLEX_ABS": _magnitude,
}
"""Functions by the kind of operation."""
