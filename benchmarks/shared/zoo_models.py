"""Seeded nets whose answers depend on their input: every model of `keras.applications`, with random weights.

A net with fresh weights answers nearly the same whatever it is shown: its normalization layers hold statistics of
nothing, and a converter could lose half of it unnoticed. So every net is shown seeded images first. Those with batch
normalization take the statistics of these images, in one pass; the others (VGG, ConvNeXt) have the outputs of each
convolution and dense layer brought to mean 0 and variance 1, layer by layer (the data-dependent initialization of
Krahenbuhl et al. 2016, arXiv:1511.06856). ConvNeXt's residual branches, born with a factor of 1e-6, get 1.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.proof.compare import seeded_items
from edgepress.runtime.input_spec import InputSpec

SEED = 0
SHOWN, CALIBRATION, PROOF = 2, 1, 0
"""Seeds of the images that a net is shown first, that ranges are measured on, and that files are compared on."""
IMAGES, MEAN = 256, 1.0
CHEAP_FIRST = (
    *("MobileNet", "VGG", "ResNet50", "EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny", "Xception", "InceptionV3"),
    *("DenseNet121", "NASNetMobile", "EfficientNetV2B", "EfficientNetB", "DenseNet", "ResNet101", "EfficientNetV2S"),
    *(
        "ConvNeXtSmall",
        "ResNet152",
        "InceptionResNetV2",
        "ConvNeXtBase",
        "EfficientNetV2M",
        "NASNet",
        "EfficientNetV2L",
    ),
)
"""Beginnings of names in rough order of the time that they take; what is not here comes last."""


def names() -> list[str]:
    """Every model of `keras.applications`, cheap ones first: the functions there that take `weights`, `include_top`."""
    import keras

    found = [
        name
        for name, value in vars(keras.applications).items()
        if inspect.isfunction(value) and {"weights", "include_top"} <= set(inspect.signature(value).parameters)
    ]

    def cost(name: str) -> tuple[int, str]:
        return next((i for i, start in enumerate(CHEAP_FIRST) if name.startswith(start)), len(CHEAP_FIRST)), name

    return sorted(found, key=cost)


def smallest_input(name: str) -> int:
    """Smallest height and width that a model takes, as Keras itself says when it is given too small a one."""
    import keras

    try:
        getattr(keras.applications, name)(weights=None, input_shape=(1, 1, 3))
    except ValueError as e:
        if found := re.search(r"at least (\d+)x", str(e)):
            return int(found[1])
        raise
    return 1


def build(name: str, size: int, *, images: int = IMAGES) -> Any:
    """A model that ends in logits, with seeded weights, and statistics from seeded images (size, size, 3), 0-255."""
    import keras

    keras.utils.set_random_seed(SEED)
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classifier_activation=None)
    layers = _layers(model)
    for layer in layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # the moving statistics become those of the one batch
            if layer.center:
                layer.beta.assign(np.full(layer.beta.shape, MEAN))
        elif isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
        elif type(layer).__name__ == "LayerScale":
            layer.gamma.assign(np.ones(layer.gamma.shape))
    shown = seeded_items(InputSpec.image(size, size, "rgb"), images, seed=SHOWN).astype(np.float32)
    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers):
        model(shown, training=True)
        return model
    computing = [
        x for x in layers if isinstance(x, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense))
    ]
    for layer in computing:
        _normalize_when_called(layer)
    model(shown, training=False)
    for layer in computing:
        del layer.call  # the class's own again
    return model


def _layers(model: Any) -> list[Any]:
    """A model's layers, those of models inside it too."""
    return [x for layer in model.layers for x in (_layers(layer) if hasattr(layer, "layers") else [layer])]


def _normalize_when_called(layer: Any) -> None:
    """Let a layer's next call set its kernel and bias so that each output channel has mean `MEAN` and variance 1."""
    import keras

    call = layer.call

    def normalizing(x: Any, training: bool = False) -> Any:
        activation, layer.activation = layer.activation, keras.activations.linear
        y = np.asarray(call(x))
        layer.activation = activation
        every_but_last = tuple(range(y.ndim - 1))
        mean, std = y.mean(every_but_last), y.std(every_but_last) + 1e-6
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        kernel = np.asarray(layer.kernel)
        layer.kernel.assign(kernel / (std.reshape(kernel.shape[2:]) if depthwise else std))
        layer.bias.assign((np.asarray(layer.bias) - mean) / std + MEAN)
        return call(x)

    layer.call = normalizing


def answers(model: Any, items: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Keras' own answers to items (N, height, width, 3), 0-255: float32, shape (N, classes)."""
    return np.asarray(model(items.astype(np.float32), training=False))
