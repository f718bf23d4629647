"""What the bodies of several architectures share. Importing this imports Keras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import layers

from edgepress.toolkit.training.options import Options


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


def convolution(x: Any, filters: int, size: int, **arguments: Any) -> Any:
    """A convolution with "same" padding, whose initial weights suit ReLU (He et al. 2015, arXiv:1502.01852)."""
    return layers.Conv2D(filters, size, padding="same", kernel_initializer="he_normal", **arguments)(x)


def dropout(x: Any, rate: float) -> Any:
    """Dropout; no layer at a rate of 0."""
    return layers.Dropout(rate)(x) if rate else x


def scale_channels(channels: int, width: float) -> int:
    """Channels times width, rounded to a multiple of 8, for which kernels are fastest."""
    return max(8, round(channels * width / 8) * 8)
