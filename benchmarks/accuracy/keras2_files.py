"""Files of Keras 2 as tf_keras writes them, converted in both formats and compared with tf_keras.

    python benchmarks/accuracy/keras2_files.py [--seed 0] [--keep FOLDER]

Fifteen kinds of architectures with random sizes and weights are saved as `.h5` and as `.keras`. The table shows, for
each file, the largest difference between the answers of tf_keras in float32 and those of `tflite-float32` and
`onnx-float32`. What was trained in mixed precision is compared with the same weights in float32, in which edgepress
computes.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras import layers

from edgepress.converters.contract.hints import Hints
from edgepress.runtime import load
from edgepress.toolkit.conversion.convert import convert

SCHEMES = ("tflite-float32", "onnx-float32")
ITEMS = 16
LARGEST_ERROR = 1e-4
"""Largest difference of a probability that counts as equal."""
CLASSES = 5

Random = np.random.Generator


def even(random: Random, low: int, high: int) -> int:
    """A random even number."""
    return 2 * int(random.integers(low // 2, high // 2, endpoint=True))


def classified(y: Any) -> Any:
    """Probabilities of features that have positions."""
    return layers.Dense(CLASSES, activation="softmax")(layers.GlobalAveragePooling2D()(y))


def image(random: Random) -> Any:
    """An input of square images."""
    side = even(random, 32, 48)
    return tf_keras.Input((side, side, 3))


def plain(random: Random) -> Any:
    """A Sequential of ordinary layers."""
    width = even(random, 4, 12)
    return tf_keras.Sequential(
        [
            image(random),
            layers.Rescaling(1 / 127.5, -1),
            layers.Conv2D(width, 3, strides=2, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.ZeroPadding2D(1),
            layers.DepthwiseConv2D(3, depth_multiplier=2, activation="swish"),
            layers.MaxPooling2D(),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(CLASSES, activation="softmax", kernel_regularizer="l2"),
        ]
    )


def separable(random: Random) -> Any:
    """Separable convolutions, dilated ones among them."""
    x = image(random)
    y = layers.SeparableConv2D(even(random, 4, 12), 3, strides=2, activation="relu")(layers.Rescaling(1 / 255)(x))
    y = layers.SeparableConv2D(even(random, 4, 12), 3, dilation_rate=2, depth_multiplier=2, padding="same")(y)
    return tf_keras.Model(x, classified(layers.LeakyReLU(0.2)(y)))


def transposed(random: Random) -> Any:
    """Transposed convolutions, and layers that Keras 3 no longer has."""
    x = image(random)
    y = layers.Conv2D(even(random, 4, 8), 3, strides=2, padding="same")(layers.Rescaling(1 / 128, -1)(x))
    y = layers.ThresholdedReLU(0.1)(y)
    y = layers.Conv2DTranspose(even(random, 4, 8), 3, strides=2, padding="same", activation="elu")(y)
    y = layers.UpSampling2D(2, interpolation="bilinear")(layers.AveragePooling2D()(y))
    return tf_keras.Model(x, classified(y))


def augmented(random: Random) -> Any:
    """Random layers in front, as tutorials put them."""
    kinds = [
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.1),
        layers.RandomZoom(0.2),
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomContrast(0.2),
        layers.RandomBrightness(0.2),
        layers.GaussianNoise(0.1),
    ]
    chosen = [kinds[i] for i in random.permutation(len(kinds))[:4]]
    normalization = layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[900.0, 1000.0, 1100.0])
    body = [layers.Conv2D(even(random, 4, 12), 3, activation="relu"), layers.GlobalMaxPooling2D()]
    head = layers.Dense(CLASSES, activation="softmax")
    return tf_keras.Sequential([image(random), *chosen, normalization, *body, head])


def nested(random: Random) -> Any:
    """A Sequential in a Sequential in a Functional model."""
    x = image(random)
    inner = tf_keras.Sequential([layers.Conv2D(even(random, 4, 8), 3), layers.BatchNormalization(), layers.ReLU()])
    outer = tf_keras.Sequential([layers.Rescaling(1 / 255), inner, layers.MaxPooling2D()], name="features")
    return tf_keras.Model(x, classified(outer(x)))


def transfer(random: Random) -> Any:
    """A net of keras.applications without its classifier, inside a model of the user's."""
    x = image(random)
    applications = tf_keras.applications
    sizes: dict[str, Any] = {"include_top": False, "weights": None, "input_shape": x.shape[1:]}
    kind = random.integers(3)
    if kind == 0:
        body = applications.MobileNetV2(alpha=0.35, **sizes)
    elif kind == 1:
        body = applications.MobileNet(alpha=0.25, **sizes)
    else:
        body = applications.EfficientNetB0(**sizes)
    body.trainable = False
    return tf_keras.Model(x, classified(body(layers.Rescaling(1 / 127.5, -1)(x), training=False)))


def branches(random: Random) -> Any:
    """Residuals, concatenation and squeeze-and-excitation."""
    x = image(random)
    width = even(random, 4, 12)
    y = layers.Conv2D(width, 3, padding="same", activation="relu")(layers.Rescaling(1 / 255)(x))
    z = layers.DepthwiseConv2D(3, padding="same")(y)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(z)
    gate = layers.Conv2D(width, 1, activation="hard_sigmoid")(gate)
    y = layers.Add()([y, layers.Multiply()([z, gate])])
    return tf_keras.Model(x, classified(layers.Concatenate()([y, layers.AveragePooling2D(3, 1, "same")(y)])))


def preprocessed(random: Random) -> Any:
    """`preprocess_input` inside, which becomes operations of TensorFlow."""
    x = image(random)
    families = tf_keras.applications
    family = (families.mobilenet_v2, families.densenet)[random.integers(2)]
    y = layers.Conv2D(even(random, 4, 12), 3, activation="relu")(family.preprocess_input(x))
    return tf_keras.Model(x, classified(y))


def operations(random: Random) -> Any:
    """Functions and operators of TensorFlow on tensors of Keras."""
    x = image(random)
    y = tf.cast(x, tf.float32)[:, 2:, :, ::-1] / 127.5 - 1.0
    y = layers.Conv2D(even(random, 4, 8), 3, strides=2)(y)
    y = tf.nn.relu6(y + 0.5) * tf.sigmoid(y)
    y = tf.concat([y, tf.abs(y) ** 2], axis=-1)
    y = tf.image.resize(y, (9, 9))
    y = tf.transpose(tf.pad(y, [[0, 0], [1, 1], [0, 0], [0, 0]]), [0, 2, 1, 3])
    y = tf.reduce_mean(y, axis=[1, 2])
    return tf_keras.Model(x, tf.nn.softmax(layers.Dense(CLASSES)(y)))


def mixed(random: Random) -> Any:
    """Mixed precision, with a head in float32."""
    tf_keras.mixed_precision.set_global_policy(("mixed_float16", "mixed_bfloat16")[random.integers(2)])
    x = image(random)
    y = layers.Conv2D(even(random, 4, 12), 3, activation="relu")(layers.Rescaling(1 / 255)(x))
    y = layers.SeparableConv2D(even(random, 4, 12), 3)(layers.BatchNormalization()(y))
    y = layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(y))
    return tf_keras.Model(x, layers.Activation("softmax", dtype="float32")(y))


def recurrent(random: Random) -> Any:
    """Loops over time."""
    x = tf_keras.Input((even(random, 6, 12), 4))
    y = layers.Bidirectional(layers.LSTM(even(random, 4, 8), return_sequences=True, dropout=0.2))(x)
    y = layers.TimeDistributed(layers.Dense(6, activation="tanh"))(y)
    y = (layers.GRU, layers.SimpleRNN)[random.integers(2)](5)(y)
    return tf_keras.Model(x, layers.Dense(CLASSES, activation="softmax")(y))


def tokens(random: Random) -> Any:
    """Whole numbers that are looked up."""
    length = even(random, 8, 16)
    return tf_keras.Sequential(
        [
            layers.Embedding(50, even(random, 4, 8), input_length=length),
            layers.Conv1D(even(random, 4, 8), 3, padding="causal", activation="relu"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )


def attention(random: Random) -> Any:
    """A block of a transformer."""
    width = even(random, 8, 12)
    x = tf_keras.Input((even(random, 6, 10), width))
    y = layers.LayerNormalization()(x)
    y = layers.Add()([x, layers.MultiHeadAttention(2, width // 2)(y, y)])
    y = layers.Dense(width, activation="gelu")(layers.LayerNormalization()(y))
    return tf_keras.Model(x, layers.Dense(CLASSES, activation="softmax")(layers.GlobalAveragePooling1D()(y)))


def activations(random: Random) -> Any:
    """Activations and normalizations with weights or arguments of their own."""
    x = image(random)
    y = layers.Rescaling(1 / 64, -2)(x)
    for layer in (layers.PReLU(shared_axes=[1, 2]), layers.ELU(0.7), layers.Softmax(), layers.LeakyReLU(0.1)):
        y = layer(layers.Conv2D(even(random, 4, 8), 3, strides=(1, 2))(y))
    y = layers.UnitNormalization()(layers.GroupNormalization(2)(y))
    return tf_keras.Model(x, classified(layers.SpatialDropout2D(0.2)(y)))


def shared(random: Random) -> Any:
    """Layers that are called several times."""
    x = image(random)
    width = even(random, 4, 8)
    once = layers.Conv2D(width, 1, activation="relu")(layers.Rescaling(1 / 255)(x))
    again = layers.Conv2D(width, 3, padding="same", activation="relu", kernel_constraint="max_norm")
    norm = layers.BatchNormalization()
    y = layers.Average()([norm(again(once)), norm(again(again(once)))])
    return tf_keras.Model(x, classified(layers.Cropping2D(1)(y)))


KINDS: tuple[Callable[[Random], Any], ...] = (
    *(plain, separable, transposed, augmented, nested, transfer, branches, preprocessed, operations, mixed, recurrent),
    *(tokens, attention, activations, shared),
)


def with_random_weights(model: Any, random: Random) -> None:
    """Give batch norms statistics, and biases values, that are not those of a new model."""
    for weight in model.weights:
        if "seed_generator" in weight.name or not weight.dtype.is_floating:
            continue
        values = weight.numpy()
        changed = values * random.uniform(0.7, 1.4, values.shape) + random.uniform(0, 0.1, values.shape)
        weight.assign(changed.astype(values.dtype))


def made(kind: Callable[[Random], Any], seed: int, path: Path) -> Any:
    """Save a model of this kind, and return the function that it computes in float32."""
    tf_keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    try:
        model = kind(random)
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    with_random_weights(model, random)
    model.save(path)
    if kind is not mixed:
        return model
    config = tf_keras.models.clone_model(model).get_config()
    for layer in config["layers"]:
        layer["config"]["dtype"] = "float32"
    twin = tf_keras.Model.from_config(config)
    twin.set_weights(model.get_weights())
    return twin


def items_for(kind: Callable[[Random], Any], model: Any, random: Random) -> Any:
    """Items as a converted file takes them: pixels, whole numbers, or numbers."""
    shape = (ITEMS, *model.input_shape[1:])
    if kind is tokens:
        return random.integers(0, 50, shape).astype(np.int32)
    if len(shape) == 4:
        return random.integers(0, 256, shape).astype(np.uint8)
    return random.normal(size=shape).astype(np.float32)


def errors_of(path: Path, model: Any, items: Any) -> list[str]:
    """The largest difference of each scheme's answers from the model's, or why there is no file."""
    expected = model(items.astype(np.float32), training=False).numpy()
    with tempfile.TemporaryDirectory() as out:
        variants = convert(path, ",".join(SCHEMES), out=out, hints=Hints(task="softmax"))
        return [v.error or f"{np.abs(load(v.path).scores(items) - expected).max():.1e}" for v in variants]


def main() -> None:
    """Print the table; exit code 1 if a file is not equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files")
    options = parser.parse_args()
    equal = total = 0
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        print(f"| file (tf_keras {tf_keras.__version__}, seed {options.seed}) | {' | '.join(SCHEMES)} |")
        print(f"|---|{'---|' * len(SCHEMES)}")
        for number, kind in enumerate(KINDS):
            for suffix in (".h5", ".keras"):
                path = folder / f"{kind.__name__}{suffix}"
                seed = options.seed * 1000 + 2 * number + (suffix == ".keras")
                model = made(kind, seed, path)
                errors = errors_of(path, model, items_for(kind, model, np.random.default_rng(seed)))
                print(f"| {path.name} | {' | '.join(errors)} |", flush=True)
                total += 1
                equal += all(_is_small(error) for error in errors)
        print(f"\n{equal} of {total} files answer as tf_keras does, within {LARGEST_ERROR:g}, in both formats.")
    raise SystemExit(equal < total)


def _is_small(error: str) -> bool:
    try:
        return float(error) <= LARGEST_ERROR
    except ValueError:
        return False


if __name__ == "__main__":
    main()
