"""What integer kernels can do with the scales of a convolution or dense layer.

A sum of products is multiplied by (scale of the input * scale of the weights / scale of the output). XNNPACK accepts
factors below 256 (xnn_define_tensor and `xnn_create_convolution2d_nhwc_qs8_qc8w`, src/operators/convolution-nhwc.c);
of a file that has larger ones, LiteRT 2.3 frees memory twice and ends the process.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.errors import ScaleError
from edgepress.converters.to_tflite.graph import Graph

LARGEST = 255.0
"""Largest factor that all kernels accept."""


def requantization(
    source: float, weights: npt.NDArray[np.floating[Any]], output: float
) -> npt.NDArray[np.floating[Any]]:
    """The factor of each channel from the scales of the input, of the weights, shape (channels,), and of the output."""
    return np.asarray(source * weights / output)


def refuse_scales(model: bytes) -> None:
    """Refuse a quantized TFLite model that kernels can't compute.

    Raises:
        ConversionError: A factor is too large; the message names its tensor.
    """
    graph = Graph(model)
    for op in graph.operators:
        if graph.kind(op) not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        (source, _), (weights, _) = (graph.scales(int(i)) for i in op.inputs[:2])
        output, _ = graph.scales(int(op.outputs[0]))
        if not (len(source) == len(output) == 1 and weights and output[0] > 0):
            continue
        if np.max(requantization(source[0], np.array(weights), output[0])) > LARGEST:
            raise ScaleError(
                f"The weights of {graph.output_name(op)} have channels whose scales are too far apart for "
                "integer kernels.",
                "Use a scheme that computes in float, such as tflite-float16.",
            )
