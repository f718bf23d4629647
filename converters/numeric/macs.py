"""Count multiply-accumulates of operations that multiply by a kernel or a matrix, from their shapes.

Convolutions, dense layers, matrix products and recurrent layers are counted, for one item; additions, activations and
other elementwise work are not, as is customary. There is one function for each way of counting and one table for each
format, which its reader uses. Operations in no table multiply nothing; those in `OPAQUE` can't be counted (None).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Shape = tuple[int, ...] | None
"""A tensor's shape for one item; None if it is unknown."""
LEFT_OUT: Shape = (0,)
"""Stands for a tensor that is left out: nothing is multiplied by it."""
Rule = Callable[[Sequence[Shape], Shape], int | None]


def kernel(weights: int, *channels: int, data: int | None = None) -> Rule:
    """A kernel at input `weights`, applied whole at each position; `channels` are the axes that positions include.

    The positions are those of the output, or in transposed convolutions those of the input at `data`.
    """

    def count(inputs: Sequence[Shape], output: Shape) -> int | None:
        shape = _shape(inputs, weights)
        input_shape = _shape([output] if data is None else inputs, data or 0)
        if not shape or input_shape is None:
            return None
        return math.prod(input_shape) * math.prod(n for axis, n in enumerate(shape) if axis not in channels)

    return count


def product(left: int, axis: int = -1) -> Rule:
    """A matrix product that sums over one axis of the input at `left`, whose shape is already transposed if need be."""

    def count(inputs: Sequence[Shape], output: Shape) -> int | None:
        shape = _shape(inputs, left)
        return None if not shape or output is None else math.prod(output) * shape[axis]

    return count


def recurrent(*weights: int) -> Rule:
    """The matrices at inputs `weights`, once for each step of the sequence at input 0, whose last axis is features.

    By place, not by what is a constant: biases and first states may have two axes, too, and the matrices of a float16
    or integer file come out of a conversion. A matrix that is left out multiplies nothing.
    """

    def count(inputs: Sequence[Shape], output: Shape) -> int | None:
        sequence = _shape(inputs, 0)
        matrices = [inputs[place] for place in weights if place < len(inputs)]
        if not sequence or not matrices or None in matrices:
            return None
        return math.prod(sequence[:-1]) * sum(math.prod(shape) for shape in matrices if shape)

    return count


def lstm(inputs: Sequence[Shape], output: Shape) -> int | None:
    """TFLite's two LSTMs; the basic one has five inputs, with a single matrix."""
    return (recurrent(2) if len(inputs) <= 5 else recurrent(*LSTM))(inputs, output)


def transpose_shape(shape: Shape) -> Shape:
    """The shape of a matrix, or of a batch of them, with its last two axes exchanged."""
    return shape if shape is None or len(shape) < 2 else (*shape[:-2], shape[-1], shape[-2])


LSTM = (*range(1, 9), 16)
"""Where a TFLite LSTM reads matrices: four for the input, four for the last output, the projection. The others are
peepholes, biases, states and factors of a normalization (TensorFlow, lite/kernels/lstm_shared.h)."""

TFLITE: dict[str, Rule] = {
    "CONV_2D": kernel(1, 0),
    "DEPTHWISE_CONV_2D": kernel(1, 3),
    "FULLY_CONNECTED": kernel(1, 0),
    "CONV_3D": kernel(1, 4),
    "TRANSPOSE_CONV": kernel(1, 3, data=2),
    "CONV_3D_TRANSPOSE": kernel(1, 4, data=2),
    "BATCH_MATMUL": product(0),
    "LSTM": lstm,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": recurrent(*LSTM),
    "BIDIRECTIONAL_SEQUENCE_LSTM": recurrent(*LSTM, *(place + 17 for place in LSTM), *range(40, 48)),
    "RNN": recurrent(1, 2),
    "UNIDIRECTIONAL_SEQUENCE_RNN": recurrent(1, 2),
    "BIDIRECTIONAL_SEQUENCE_RNN": recurrent(1, 2, 5, 6, 10, 11),
    "SVDF": recurrent(1, 2),
}

ONNX: dict[str, Rule] = {
    "Conv": kernel(1, 0),
    "FusedConv": kernel(1, 0),
    "NhwcFusedConv": kernel(1, 0),
    "ConvInteger": kernel(1, 0),
    "QLinearConv": kernel(3, 0),
    "ConvTranspose": kernel(1, 0, data=0),
    "MatMul": product(0),
    "FusedMatMul": product(0),
    "MatMulInteger": product(0),
    "MatMulIntegerToFloat": product(0),
    "DynamicQuantizeMatMul": product(0),
    "MatMulNBits": product(0),
    "QLinearMatMul": product(0),
    "Gemm": product(0),
    "FusedGemm": product(0),
    "QGemm": product(0),
    "LSTM": recurrent(1, 2),
    "DynamicQuantizeLSTM": recurrent(1, 2),
    "GRU": recurrent(1, 2),
    "RNN": recurrent(1, 2),
}

TENSORFLOW: dict[str, Rule] = {
    "Conv2D": kernel(1, 3),
    "Conv3D": kernel(1, 4),
    "DepthwiseConv2dNative": kernel(1, 2, 3),
    "MatMul": product(0),
    "BatchMatMul": product(0),
    "BatchMatMulV2": product(0),
    "BatchMatMulV3": product(0),
}

OPAQUE = frozenset(
    {
        *("STABLEHLO_CONVOLUTION", "STABLEHLO_DOT_GENERAL"),
        *("Einsum", "Attention", "QAttention", "MultiHeadAttention", "GroupQueryAttention", "QLinearConvTranspose"),
        *("DeformConv", "Conv2DBackpropInput", "Conv3DBackpropInputV2", "XlaConvV2", "XlaDotV2", "SparseMatMul"),
        *("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3", "BlockLSTM", "BlockLSTMV2", "LSTMBlockCell", "GRUBlockCell"),
    }
)
"""Operations that multiply an unknown number of times."""


def count(table: dict[str, Rule], operation: str, inputs: Sequence[Shape], output: Shape) -> int | None:
    """Multiply-accumulates of one operation; None if it multiplies and can't be counted."""
    if operation in table:
        return table[operation](inputs, output)
    return None if operation in OPAQUE else 0


def _shape(shapes: Sequence[Shape], place: int) -> Shape:
    return shapes[place] if place < len(shapes) else None
