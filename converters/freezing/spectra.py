"""Spectra of a frozen graph whose length LiteRT can't compute, written as products with matrices.

LiteRT's RFFT2D takes powers of two alone (tflite/kernels/rfft2d.cc), and TFLite's converter makes it of each RFFT. The
real and the imaginary part of a spectrum are products with cosines and sines, as the definition of the discrete Fourier
transform says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.converters.arrays import Array
from edgepress.converters.freezing.forms import add_float_node, become, value_of

LARGEST = 1024
"""Longest spectrum that becomes products: their matrices have its square of numbers, 4 MB here."""
PARTS = ("Real", "Imag", "ComplexAbs")
"""What may read a spectrum that becomes products."""


def write_spectra(definition: Any) -> None:
    """Write spectra of float32 whose length is no power of two, and of whose parts alone are read, in place."""
    import tensorflow as tf

    nodes = {node.name: node for node in definition.node}
    lengths = {node.name: value_of(nodes, node.input[1]) for node in definition.node if node.op == "RFFT"}
    graph = None
    for name, value in lengths.items():
        length = 0 if value is None else int(value.item())
        readers = [node for node in definition.node if {name, f"{name}:0"} & {*node.input}]
        if length < 2 or not length & (length - 1) or length > LARGEST or {r.op for r in readers} - {*PARTS}:
            continue
        if graph is None:
            graph = tf.Graph()
            with graph.as_default():
                tf.import_graph_def(definition, name="")
        source = graph.get_operation_by_name(name).inputs[0]
        if source.dtype != tf.float32 or source.shape.rank is None or source.shape.rank < 2 or not source.shape[-1]:
            continue
        cosines, sines = parts_of_spectrum(source.shape[-1], length)
        for reader in readers:
            if reader.op != "ComplexAbs":
                matrix = cosines if reader.op == "Real" else sines
                become(definition, reader, "BatchMatMulV2", [source.name, matrix], T=tf.float32)
                continue
            squares = []
            for part, matrix in (("real", cosines), ("imag", sines)):
                product = f"{reader.name}/{part}"
                add_float_node(definition, "BatchMatMulV2", product, [source.name, matrix])
                add_float_node(definition, "Square", f"{product}/square", [product])
                squares.append(f"{product}/square")
            add_float_node(definition, "AddV2", f"{reader.name}/power", squares)
            become(definition, reader, "Sqrt", [f"{reader.name}/power"], T=tf.float32)
        definition.node.remove(nodes[name])


def parts_of_spectrum(size: int, length: int) -> tuple[Array, Array]:
    """Matrices whose products with rows of values are the real and imaginary parts of their spectrum.

    Args:
        size: Number of values; those behind `length` are cut off, and zeros are added to fewer.
        length: Length of the spectrum.

    Returns:
        Both of shape (size, length // 2 + 1), float32.
    """
    rows = np.eye(size, length)
    spectrum = np.fft.rfft(rows)
    return spectrum.real.astype(np.float32), spectrum.imag.astype(np.float32)
