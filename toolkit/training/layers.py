"""The bodies of the architectures: from the raw input to the features that the classifier sees.

Every body is a function `(source, options) -> features`: `source` is the model's input as it comes from the data
(pixels 0-255, or any tensor), `features` a Keras tensor of shape (batch, n). Normalization is the first layer of each.
Where a net was designed for one image size, pools and strides follow from the size that it gets; at the paper's size
they are the paper's. A net whose depth is in question is widened or thinned by `options.width`.

The MobileNets are those of `keras.applications`, rebuilt layer by layer (`_application`) because there they refuse
images under 32 pixels, always divide the image by 32, and bring padding layers that a board has no use for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a body can be told.

    Attributes:
        width: Factor on the number of channels, > 0.
        depth: Number of layers with weights that VGG counts: 11 or 16.
        dropout: Share of the features dropped before the classifier, [0, 1).
        pretrained: "imagenet", the path of a file of keras.applications, or None.
        mean, variance: Of a float32 tensor along its last axis, to normalize it by; None for pixels.
    """

    width: float = 1.0
    depth: int = 0
    dropout: float = 0.0
    pretrained: str | None = None
    mean: npt.NDArray[np.float32] | None = None
    variance: npt.NDArray[np.float32] | None = None


def dense(source: Any, options: Options) -> Any:
    """Two hidden layers of 64, the first net of the Keras primer; takes any shape."""
    from keras import layers

    x = layers.Flatten()(_normalize(source, options))
    for _ in range(2):
        x = layers.Dense(64, activation="relu")(x)
    return _dropout(x, options.dropout)


def lenet(source: Any, options: Options) -> Any:
    """LeNet-5 with ReLU and max pooling in place of tanh and subsampling.

    They learn faster, ReLU costs an integer kernel nothing (it is fused into the convolution; tanh is a table look-up
    of its own), and 61,706 parameters (28x28x1, 10 classes) stay as they were. In a larger image both pools grow, so
    that the map that the dense layers see stays near 5x5.
    """
    from keras import layers

    pools = [_lenet_pools(side) for side in source.shape[1:3]]
    x = _normalize(source, options)
    for filters, padding, pool in zip((6, 16), ("same", "valid"), zip(*pools, strict=True), strict=True):
        x = layers.Conv2D(filters, 5, padding=padding, activation="relu")(x)
        x = layers.MaxPooling2D(pool, padding="same")(x)
    x = layers.Flatten()(x)
    for units in (120, 84):
        x = layers.Dense(units, activation="relu")(x)
    return _dropout(x, options.dropout)


def _lenet_pools(side: int) -> tuple[int, int]:
    """The two pools along one side: 2, 2 at 28; their product grows with the side."""
    factor = side / 28
    first = max(1, round(factor**0.5))
    return 2 * first, 2 * max(1, round(factor / first))


def alexnet(source: Any, options: Options) -> Any:
    """AlexNet in one tower, without local response normalization.

    The first convolution is the paper's (11x11, stride 4) from 112 pixels on, 7x7 with stride 2 from 56 on, 5x5 with
    stride 1 below.
    """
    from keras import layers

    side = max(source.shape[1:3])
    kernel, stride = (11, 4) if side >= 112 else (7, 2) if side >= 56 else (5, 1)
    x = _normalize(source, options)
    for filters, size, step, pool in (
        (96, kernel, stride, True),
        (256, 5, 1, True),
        (384, 3, 1, False),
        (384, 3, 1, False),
        (256, 3, 1, True),
    ):
        units = _scaled(filters, options.width)
        x = layers.Conv2D(units, size, strides=step, padding="same", activation="relu", kernel_initializer="he_normal")(
            x
        )
        if pool:
            x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    return _two_dense(x, options)


def vgg(source: Any, options: Options) -> Any:
    """VGG-11 (configuration A) or VGG-16 (D): 3x3 convolutions and five pools.

    Like the paper it subtracts the mean colour of ImageNet; it also divides by 127.5, which the first kernel of
    ImageNet weights makes good. Pools round up, so that 28 pixels last for all five.
    """
    from keras import layers

    colour = source.shape[3] == 3
    mean = [123.68, 116.779, 103.939] if colour else 118.0
    x = _normalize(source, options, scale=1 / 127.5, offset=(-np.array(mean) / 127.5).tolist())
    repeats = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}[options.depth]
    convolutions = []
    for block, (filters, n) in enumerate(zip((64, 128, 256, 512, 512), repeats, strict=True), start=1):
        for i in range(1, n + 1):
            convolutions.append(
                layers.Conv2D(
                    _scaled(filters, options.width),
                    3,
                    padding="same",
                    activation="relu",
                    kernel_initializer="he_normal",
                    name=f"block{block}_conv{i}",
                )
            )
            x = convolutions[-1](x)
        x = layers.MaxPooling2D(2, padding="same", name=f"block{block}_pool")(x)
    if options.pretrained:
        from keras.applications import VGG16

        reference = VGG16(include_top=False, weights=options.pretrained)
        first = reference.get_layer("block1_conv1")
        kernel, bias = first.get_weights()  # for blue, green, red, each 0-255 less its mean
        first.set_weights([kernel[:, :, ::-1] * 127.5, bias])
        _copy_weights(reference, convolutions)
    return _two_dense(x, options)


def resnet8(source: Any, options: Options) -> Any:
    """The residual net of MLPerf Tiny's image classification: three blocks of two convolutions on 32x32.

    Images over 64 pixels are max pooled after the first convolution, to between 32 and 64.
    """
    from keras import layers

    def convolution(x: Any, filters: int, size: int, stride: int = 1) -> Any:
        return layers.Conv2D(filters, size, strides=stride, padding="same", kernel_initializer="he_normal")(x)

    def normalized(x: Any) -> Any:
        return layers.BatchNormalization(momentum=0.9)(x)

    x = layers.ReLU()(normalized(convolution(_normalize(source, options), 16, 3)))
    pool = -(-max(source.shape[1:3]) // 64)
    if pool > 1:
        x = layers.MaxPooling2D(pool, padding="same")(x)
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        y = layers.ReLU()(normalized(convolution(x, filters, 3, stride)))
        y = normalized(convolution(y, filters, 3))
        if stride > 1:
            x = convolution(x, filters, 1, stride)
        x = layers.ReLU()(layers.Add()([x, y]))
    return _dropout(layers.GlobalAveragePooling2D()(x), options.dropout)


def ds_cnn(source: Any, options: Options) -> Any:
    """The depthwise separable net of MLPerf Tiny's keyword spotting, whose own input is 49x10x1 (MFCC).

    The first convolution's stride is 2, and grows with the image so that the map after it has at most 32 rows.
    """
    from keras import layers

    def normalized(x: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    stride = max(2, -(-max(source.shape[1:3]) // 32))
    x = normalized(layers.Conv2D(64, (10, 4), strides=stride, padding="same")(_normalize(source, options)))
    x = _dropout(x, options.dropout / 2)
    for _ in range(4):
        x = normalized(layers.DepthwiseConv2D(3, padding="same")(x))
        x = normalized(layers.Conv2D(64, 1)(x))
    return layers.GlobalAveragePooling2D()(_dropout(x, options.dropout))


def mobilenet_v1(source: Any, options: Options) -> Any:
    """MobileNet of keras.applications; see `_application`."""
    from keras.applications import MobileNet

    def make(x: Any, weights: str | None) -> Any:
        return MobileNet(x.shape[1:], input_tensor=x, alpha=options.width, include_top=False, weights=weights)

    return _dropout(_application(source, options, make, sizes=(128, 160, 192, 224)), options.dropout)


def mobilenet_v2(source: Any, options: Options) -> Any:
    """MobileNetV2 of keras.applications; see `_application`."""
    from keras.applications import MobileNetV2

    def make(x: Any, weights: str | None) -> Any:
        return MobileNetV2(x.shape[1:], input_tensor=x, alpha=options.width, include_top=False, weights=weights)

    return _dropout(_application(source, options, make, sizes=(96, 128, 160, 192, 224)), options.dropout)


def mobilenet_v3_small(source: Any, options: Options) -> Any:
    """MobileNetV3-Small of keras.applications with its hidden layer of 1024; see `_application`."""
    from keras import layers
    from keras.applications import MobileNetV3Small

    def make(x: Any, weights: str | None) -> Any:
        return MobileNetV3Small(
            x.shape[1:],
            input_tensor=x,
            alpha=options.width,
            include_top=False,
            include_preprocessing=False,
            weights=weights,
        )

    x = _application(source, options, make, sizes=(224,))
    x = layers.Dense(_scaled(1024, max(1.0, options.width)), activation="hard_silu")(x)
    return _dropout(x, options.dropout)


def _application(
    source: Any, options: Options, make: Callable[[Any, str | None], Any], *, sizes: tuple[int, ...]
) -> Any:
    """The pooled features of a net of keras.applications, rebuilt for this input.

    `sizes` are the image sizes for which ImageNet weights exist; the nearest that is not smaller is taken.

    - Strides: the net divides the image by 32. Its first strides of 2 become 1 until at least 3 rows and columns are
      left of the shorter side: by 8 from 28 pixels on, by 16 from 48 on, by 32 from 96 on.
    - Padding layers go; their convolutions pad by themselves, to the same values at the even sizes they were made for.
    - Batch normalization's momentum becomes 0.9: at 0.999 its statistics take thousands of steps to become true,
      which a small data set does not have, and validation is at chance until then.
    - Grey images: one input channel. Pre-trained kernels of the first layer are summed over the colours, which is the
      same as showing the grey image three times.
    """
    import keras
    from keras import layers

    pretrained = options.pretrained
    side = min(size for size in sizes if size >= max(source.shape[1:3]))
    shape = (side, side, 3 if pretrained else source.shape[3])
    reference = make(_normalize(keras.Input(shape), options, scale=1 / 127.5, offset=-1.0), pretrained)

    spare = sum(min(source.shape[1:3]) < 3 * by for by in (16, 32))
    strided = [layer.name for layer in reference.layers if getattr(layer, "strides", (1, 1)) == (2, 2)]
    rebuilt: dict[str, Any] = {}

    def rebuild(layer: Any) -> Any:
        config = layer.get_config()
        if isinstance(layer, layers.BatchNormalization):
            config["momentum"] = 0.9
        if isinstance(layer, layers.DepthwiseConv2D):
            config["padding"] = "same"
        if layer.name in strided[:spare]:
            config["strides"] = (1, 1)
        rebuilt[layer.name] = layer.__class__.from_config(config)
        return rebuilt[layer.name]

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if isinstance(layer, layers.ZeroPadding2D) else layer(*args, **kwargs)

    body = keras.models.clone_model(reference, input_tensors=[source], clone_function=rebuild, call_function=call)
    if pretrained:
        _copy_weights(reference, body.layers)
    return layers.GlobalAveragePooling2D()(body.output)


def _copy_weights(reference: Any, to: list[Any]) -> None:
    """Copy weights by layer name; where the target sees grey, a kernel is summed over the colours."""
    for layer in to:
        values = reference.get_layer(layer.name).get_weights() if layer.weights else []
        if values and values[0].ndim == 4 and values[0].shape[2] == 3 and layer.weights[0].shape[2] == 1:
            values[0] = values[0].sum(axis=2, keepdims=True)
        if values:
            layer.set_weights(values)


def _normalize(source: Any, options: Options, *, scale: float = 1 / 255, offset: Any = 0.0) -> Any:
    """Pixels by a fixed scale, which folds into the first kernel; other tensors to mean 0 and variance 1."""
    from keras import layers

    if options.mean is not None:
        return layers.Normalization(mean=options.mean, variance=options.variance, name="normalization")(source)
    return layers.Rescaling(scale, offset, name="normalization")(source)


def _two_dense(x: Any, options: Options) -> Any:
    """The two hidden layers of 4096 that AlexNet and VGG share."""
    from keras import layers

    x = layers.Flatten()(x)
    for _ in range(2):
        units = _scaled(4096, options.width)
        x = layers.Dense(units, activation="relu", kernel_initializer="he_normal")(x)
        x = _dropout(x, options.dropout)
    return x


def _dropout(x: Any, rate: float) -> Any:
    from keras import layers

    return layers.Dropout(rate)(x) if rate else x


def _scaled(channels: int, width: float) -> int:
    """Channels times width, rounded to a multiple of 8, which kernels like best."""
    return max(8, round(channels * width / 8) * 8)
