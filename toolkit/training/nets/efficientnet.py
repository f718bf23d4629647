"""EfficientNet-Lite as Keras layers, and what its body shares with others. Importing this imports Keras."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import ceil
from typing import Any

import keras
from keras import layers

from edgepress.toolkit.training.nets import packaged
from edgepress.toolkit.training.nets.options import Options


def spare_strides(source: Any) -> int:
    """How many strides of a net that divides the image by 32 are left out; see `_application`."""
    return sum(min(source.shape[1:3]) < 3 * by for by in (16, 32))


def copy_weights(reference: Any, to: list[Any]) -> None:
    """Copy weights by layer name."""
    names = [layer.name for layer in to if layer.weights]
    set_weights({name: reference.get_layer(name).get_weights() for name in names}, to)


def set_weights(values: Mapping[str, list[Any]], to: list[Any]) -> None:
    """Set weights by layer name; kernels for grey input are summed over the colours."""
    for layer in to:
        weights = list(values.get(layer.name, ()))
        if weights and weights[0].ndim == 4 and weights[0].shape[2] == 3 and layer.weights[0].shape[2] == 1:
            weights[0] = weights[0].sum(axis=2, keepdims=True)
        if weights:
            layer.set_weights(weights)


def normalize(source: Any, options: Options, *, scale: float = 1 / 255, offset: Any = 0.0) -> Any:
    """Scale pixels by a constant, which folds into the first kernel; normalize tensors to mean 0 and variance 1."""
    if options.mean is not None:
        return layers.Normalization(mean=options.mean, variance=options.variance, name="normalization")(source)
    return layers.Rescaling(scale, offset, name="normalization")(source)


def convolution(x: Any, filters: int, size: int | tuple[int, int], **arguments: Any) -> Any:
    """A convolution with "same" padding, whose initial weights suit ReLU (He et al. 2015, arXiv:1502.01852)."""
    return layers.Conv2D(filters, size, padding="same", kernel_initializer="he_normal", **arguments)(x)


def dropout(x: Any, rate: float) -> Any:
    """Dropout; no layer at a rate of 0."""
    return layers.Dropout(rate)(x) if rate else x


def scale_channels(channels: int, width: float) -> int:
    """Channels times width, rounded to a multiple of 8, for which kernels are fastest."""
    return max(8, round(channels * width / 8) * 8)


EFFICIENT_BLOCKS = (
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
)
"""The stages of EfficientNet-B0: repeats, channels, kernel, first stride, expansion (Tan and Le 2019, table 1)."""


def efficientnet_lite(source: Any, options: Options, *, variant: str, width: float, depth: float) -> Any:
    """EfficientNet-Lite: EfficientNet without squeeze-and-excitation, with ReLU6, whose stem and head do not scale.

    Strides and momentum as in `_application`. Its layers have the names of the weights' (`packaged.layer_weights`).
    """
    spare = spare_strides(source)

    def convolved(x: Any, name: str, norm: str, layer: Any, *, act: bool = True) -> Any:
        x = layer(padding="same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(epsilon=1e-3, momentum=0.9, name=norm)(x)
        return layers.ReLU(6)(x) if act else x

    x = normalize(source, options, scale=1 / 128, offset=-127 / 128)
    x = convolved(x, "conv_stem", "bn0", partial(layers.Conv2D, 32, 3, strides=1 if spare else 2))
    block = 0
    strided = 1
    for stage, (repeats, filters, kernel, first, expansion) in enumerate(EFFICIENT_BLOCKS):
        channels = scale_channels(filters, width)
        for i in range(repeats if stage in (0, len(EFFICIENT_BLOCKS) - 1) else ceil(repeats * depth)):
            stride = first if i == 0 else 1
            if stride == 2:
                stride = 1 if strided < spare else 2
                strided += 1
            name = f"block{block}"
            y = x
            if expansion > 1:
                expand = partial(layers.Conv2D, x.shape[-1] * expansion, 1)
                y = convolved(y, f"{name}_expand_conv", f"{name}_bn0", expand)
            y = convolved(
                y, f"{name}_depthwise_conv", f"{name}_bn1", partial(layers.DepthwiseConv2D, kernel, strides=stride)
            )
            y = convolved(y, f"{name}_project_conv", f"{name}_bn2", partial(layers.Conv2D, channels, 1), act=False)
            x = layers.Add()([x, y]) if i else y
            block += 1
    x = convolved(x, "conv_head", "bn1", partial(layers.Conv2D, 1280, 1))
    if options.pretrained:
        body = keras.Model(source, x).layers
        set_weights(packaged.weights_of(f"efficientnet-{variant}", body), body)
    return dropout(layers.GlobalAveragePooling2D()(x), options.dropout)
