"""Keras layers of each architecture, from the raw input to the features before the classifier.

Each is a function `(source, options) -> features`: `source` is the model's raw input (pixels 0-255, or any tensor),
`features` a Keras tensor of shape (batch, n). The first layer normalizes. Pools and strides depend on the image size;
at the paper's size they are the paper's. `options.width` scales the number of channels. Importing this imports Keras.

The MobileNets of `keras.applications` are rebuilt layer by layer (`_application`), because the originals reject images
under 32 pixels, always divide the image by 32, and contain padding layers, which cost time on a board.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers

from edgepress.toolkit.training.nets.efficientnet import (
    convolution,
    copy_weights,
    dropout,
    efficientnet_lite,
    normalize,
    scale_channels,
    spare_strides,
)
from edgepress.toolkit.training.nets.options import Options


def dense(source: Any, options: Options) -> Any:
    """Two hidden layers of 64 units, the first net of the Keras primer; accepts any shape."""
    x = layers.Flatten()(normalize(source, options))
    for _ in range(2):
        x = layers.Dense(64, activation="relu")(x)
    return dropout(x, options.dropout)


def lenet(source: Any, options: Options) -> Any:
    """LeNet-5 with ReLU and max pooling instead of tanh and subsampling.

    These learn faster, and integer kernels fuse ReLU into the convolution, while tanh is a separate table look-up. The
    number of parameters is the paper's: 61,706 (28x28x1, 10 classes). Both pools grow with the image, so that the dense
    layers get a map of about 5x5.
    """
    pools = [_lenet_pools(side) for side in source.shape[1:3]]
    x = normalize(source, options)
    for filters, padding, pool in zip((6, 16), ("same", "valid"), zip(*pools, strict=True), strict=True):
        x = layers.Conv2D(filters, 5, padding=padding, activation="relu")(x)
        x = layers.MaxPooling2D(pool, padding="same")(x)
    x = layers.Flatten()(x)
    for units in (120, 84):
        x = layers.Dense(units, activation="relu")(x)
    return dropout(x, options.dropout)


def _lenet_pools(side: int) -> tuple[int, int]:
    """The two pool sizes along one side: 2, 2 at 28 pixels; their product grows with the side."""
    factor = side / 28
    first = max(1, round(factor**0.5))
    return 2 * first, 2 * max(1, round(factor / first))


def alexnet(source: Any, options: Options) -> Any:
    """AlexNet in one tower, without local response normalization.

    The first convolution is the paper's (11x11, stride 4) from 112 pixels, 7x7 with stride 2 from 56, else 5x5 with
    stride 1.
    """
    side = max(source.shape[1:3])
    kernel, stride = (11, 4) if side >= 112 else (7, 2) if side >= 56 else (5, 1)
    x = normalize(source, options)
    for filters, size, step, pool in (
        (96, kernel, stride, True),
        (256, 5, 1, True),
        (384, 3, 1, False),
        (384, 3, 1, False),
        (256, 3, 1, True),
    ):
        x = convolution(x, scale_channels(filters, options.width), size, strides=step, activation="relu")
        if pool:
            x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    return _two_dense(x, options)


def vgg(source: Any, options: Options) -> Any:
    """VGG-11 (configuration A) or VGG-16 (D): 3x3 convolutions and five pools.

    It subtracts the mean colour of ImageNet, as in the paper, and also divides by 127.5, for which the first kernel of
    ImageNet weights is rescaled. Pools round up, so that 28 pixels are enough for all five.
    """
    colour = source.shape[3] == 3
    mean = [123.68, 116.779, 103.939] if colour else 118.0
    x = normalize(source, options, scale=1 / 127.5, offset=(-np.array(mean) / 127.5).tolist())
    repeats = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}[options.depth]
    for block, (filters, n) in enumerate(zip((64, 128, 256, 512, 512), repeats, strict=True), start=1):
        for i in range(1, n + 1):
            units = scale_channels(filters, options.width)
            x = convolution(x, units, 3, activation="relu", name=f"block{block}_conv{i}")
        x = layers.MaxPooling2D(2, padding="same", name=f"block{block}_pool")(x)
    if options.pretrained:
        reference = keras.applications.VGG16(include_top=False, weights=options.pretrained)
        first = reference.get_layer("block1_conv1")
        kernel, bias = first.get_weights()  # for blue, green, red, each 0-255 minus its mean
        first.set_weights([kernel[:, :, ::-1] * 127.5, bias])
        copy_weights(reference, keras.Model(source, x).layers)
    return _two_dense(x, options)


def conv1d(source: Any, options: Options) -> Any:
    """Three convolutions along the time with pools between them, for windows (steps, channels).

    The first pool grows with the window, so that its output has at most 64 steps.
    """
    steps = source.shape[1]
    x = as_column(normalize(source, options))
    for block, filters in enumerate((16, 32, 64)):
        x = convolution(x, scale_channels(filters, options.width), (5, 1))
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        if block < 2:
            pool = 2 if block else max(2, -(-steps // 64))
            x = layers.MaxPooling2D((pool, 1), padding="same")(x)
    return dropout(layers.GlobalAveragePooling2D()(x), options.dropout)


def tcn(source: Any, options: Options) -> Any:
    """A temporal convolutional net for windows (steps, channels): residual blocks whose dilation doubles.

    There are as many as are needed for the last number to depend on the whole window. They look both ways, because a
    window is classified as a whole; and they have batch normalization, which folds into the kernels, instead of weight
    normalization.
    """

    def normalized(x: Any) -> Any:
        return layers.BatchNormalization(momentum=0.9)(x)

    units = scale_channels(24, options.width)
    x = layers.ReLU()(normalized(convolution(as_column(normalize(source, options)), units, (3, 1))))
    dilation = 1
    reach = 3  # steps on which a number depends
    while dilation == 1 or reach < source.shape[1]:
        y = layers.ReLU()(normalized(convolution(x, units, (3, 1), dilation_rate=(dilation, 1))))
        y = normalized(convolution(y, units, (3, 1), dilation_rate=(dilation, 1)))
        x = layers.ReLU()(layers.Add()([x, y]))
        reach += 4 * dilation
        dilation *= 2
    return dropout(layers.GlobalAveragePooling2D()(x), options.dropout)


STREAM_SHARES = (0.07, 0.13, 0.2, 0.3)
"""Length of the kernels along the time, as shares of the steps behind the first convolution of `stream_cnn`."""


def stream_cnn(source: Any, options: Options) -> Any:
    """Separable convolutions along the time that pad nothing, so that the net can take a stream (`export --stream`).

    The kernels grow from block to block and with the window, as those of microWakeWord. The first convolution takes
    every third step of windows of 32 or more, and its kernel is as long as needed to end with the window.
    """
    x = as_column(normalize(source, options))
    steps = x.shape[1]
    stride = 3 if steps >= 32 else 1
    size = 5 + (steps - 5) % stride
    of_relu = {"kernel_initializer": "he_normal", "use_bias": False}
    x = layers.Conv2D(scale_channels(32, options.width), (size, 1), strides=(stride, 1), **of_relu)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    steps = x.shape[1]
    for share in STREAM_SHARES:
        x = layers.DepthwiseConv2D((max(2, round(share * steps)), 1), use_bias=False)(x)
        x = layers.Conv2D(scale_channels(64, options.width), 1, **of_relu)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return dropout(layers.GlobalAveragePooling2D()(x), options.dropout)


def as_column(x: Any) -> Any:
    """Windows (steps, channels) as maps (steps, 1, channels), so that nets of images take them; images as they are."""
    return layers.Reshape((x.shape[1], 1, x.shape[2]))(x) if len(x.shape) == 3 else x


def resnet8(source: Any, options: Options) -> Any:
    """The residual net of MLPerf Tiny's image classification: three blocks of two convolutions on 32x32 images.

    Larger images (over 64 pixels) are max pooled after the first convolution, to 32 to 64 pixels. Of windows (steps,
    channels), all kernels, strides and pools are along the time.
    """
    of = _sides_of(source)

    def normalized(x: Any) -> Any:
        return layers.BatchNormalization(momentum=0.9)(x)

    x = as_column(normalize(source, options))
    pool = -(-max(x.shape[1:3]) // 64)
    x = layers.ReLU()(normalized(convolution(x, 16, of(3))))
    if pool > 1:
        x = layers.MaxPooling2D(of(pool), padding="same")(x)
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        y = layers.ReLU()(normalized(convolution(x, filters, of(3), strides=of(stride))))
        y = normalized(convolution(y, filters, of(3)))
        if stride > 1:
            x = convolution(x, filters, 1, strides=of(stride))
        x = layers.ReLU()(layers.Add()([x, y]))
    return dropout(layers.GlobalAveragePooling2D()(x), options.dropout)


def ds_cnn(source: Any, options: Options) -> Any:
    """The depthwise separable net of MLPerf Tiny's keyword spotting, designed for 49x10x1 inputs (MFCC).

    The first convolution has stride 2; the stride grows with the image, so that its output has at most 32 rows. Of
    windows (steps, channels), all kernels and strides are along the time.
    """
    of = _sides_of(source)

    def normalized(x: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    x = as_column(normalize(source, options))
    stride = max(2, -(-max(x.shape[1:3]) // 32))
    first = layers.Conv2D(64, (10, min(x.shape[2], 4)), strides=stride, padding="same")
    x = normalized(first(x))
    x = dropout(x, options.dropout / 2)
    for _ in range(4):
        x = normalized(layers.DepthwiseConv2D(of(3), padding="same")(x))
        x = normalized(layers.Conv2D(64, 1)(x))
    return layers.GlobalAveragePooling2D()(dropout(x, options.dropout))


def _sides_of(source: Any) -> Callable[[int], tuple[int, int]]:
    """A function that makes a size or a stride of both sides of images, and of the time alone of windows."""
    is_window = len(source.shape) == 3
    return lambda size: (size, 1 if is_window else size)


def mobilenet_v1(source: Any, options: Options) -> Any:
    """MobileNet of keras.applications; see `_application`."""
    return dropout(_application(source, options, "MobileNet", sizes=(128, 160, 192, 224)), options.dropout)


def mobilenet_v2(source: Any, options: Options) -> Any:
    """MobileNetV2 of keras.applications; see `_application`."""
    return dropout(_application(source, options, "MobileNetV2", sizes=(96, 128, 160, 192, 224)), options.dropout)


def mobilenet_v3_small(source: Any, options: Options) -> Any:
    """MobileNetV3-Small of keras.applications with its hidden layer of 1024; see `_application`."""
    x = _application(source, options, "MobileNetV3Small", sizes=(224,), include_preprocessing=False)
    x = layers.Dense(scale_channels(1024, max(1.0, options.width)), activation="hard_silu")(x)
    return dropout(x, options.dropout)


def _application(source: Any, options: Options, name: str, *, sizes: tuple[int, ...], **arguments: Any) -> Any:
    """The pooled features of a net of keras.applications, rebuilt for this input.

    `sizes` are the image sizes with ImageNet weights; the nearest that is not smaller is used.

    - Strides: the net divides the image by 32. Its first strides of 2 become 1 until the shorter side keeps at least 3
      rows or columns: the net divides by 8 from 28 pixels, by 16 from 48, by 32 from 96.
    - Padding layers are removed; their convolutions use "same" padding, which is equal at the even sizes of the paper.
    - Batch normalization gets a momentum of 0.9: at 0.999 its statistics need thousands of steps to converge, more than
      a small data set has, and validation accuracy is at chance until then.
    - Grey images: one input channel. Pre-trained kernels of the first layer are summed over the colours, which is the
      same as repeating the grey image three times.
    """
    pretrained = options.pretrained
    side = min(size for size in sizes if size >= max(source.shape[1:3]))
    shape = (side, side, 3 if pretrained else source.shape[3])
    pixels = normalize(keras.Input(shape), options, scale=1 / 127.5, offset=-1.0)
    arguments |= {"input_tensor": pixels, "alpha": options.width, "include_top": False, "weights": pretrained}
    reference = getattr(keras.applications, name)(pixels.shape[1:], **arguments)

    spare = spare_strides(source)
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
        copy_weights(reference, body.layers)
    return layers.GlobalAveragePooling2D()(body.output)


def _two_dense(x: Any, options: Options) -> Any:
    """The two hidden layers of 4096 units of AlexNet and VGG."""
    x = layers.Flatten()(x)
    for _ in range(2):
        units = scale_channels(4096, options.width)
        x = layers.Dense(units, activation="relu", kernel_initializer="he_normal")(x)
        x = dropout(x, options.dropout)
    return x


BODIES = {"dense": dense, "lenet": lenet, "alexnet": alexnet, "vgg": vgg, "resnet8": resnet8, "ds-cnn": ds_cnn}
BODIES |= {"conv1d": conv1d, "tcn": tcn, "stream-cnn": stream_cnn}
BODIES |= {"mobilenet-v1": mobilenet_v1, "mobilenet-v2": mobilenet_v2, "mobilenet-v3-small": mobilenet_v3_small}
BODIES |= {
    f"efficientnet-{variant}": partial(efficientnet_lite, variant=variant, width=width, depth=depth)
    for variant, width, depth in (("lite0", 1.0, 1.0), ("lite1", 1.0, 1.1), ("lite2", 1.1, 1.2))
}
"""The function of each row of `architectures.ARCHITECTURES`."""
