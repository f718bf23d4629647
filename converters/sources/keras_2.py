"""Open files of Keras 2 with tf_keras, which is Keras 2 and can be installed beside Keras 3.

tf_keras imports every module that a file names, in its safe mode, too, and has no safe mode for `.h5`. So each class
and function that a file names must be one of tf_keras, a function of TensorFlow that only computes, or the user's own.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgepress.runtime.errors import InputError, ModelFileError

PACKAGE = "tf-keras"

_DATA = frozenset(
    {"__tuple__", "__ellipsis__", "__tensor__", "__numpy__", "__bytes__", "TensorShape", "TypeSpec", "CompositeTensor"}
)
"""Values that a configuration writes like objects."""
_FUNCTION_LAYERS = ("TFOpLambda", "SlicingOpLambda")
"""Layers that call a function of TensorFlow by the name in their configuration."""
_MODULES = ("keras", "tf_keras", "tensorflow", "builtins")
"""The packages of the classes and functions below, as files name them."""
_PURE = ("math", "linalg", "signal")
"""Parts of TensorFlow that hold nothing but functions of tensors."""
_NN = """
    atrous_conv2d avg_pool avg_pool1d avg_pool2d avg_pool3d batch_normalization bias_add conv1d conv1d_transpose
    conv2d conv2d_transpose conv3d conv3d_transpose convolution crelu depth_to_space depthwise_conv2d dropout elu
    embedding_lookup gelu l2_normalize leaky_relu local_response_normalization log_softmax max_pool max_pool1d
    max_pool2d max_pool3d moments pool relu relu6 selu separable_conv2d sigmoid silu softmax softplus softsign
    space_to_batch space_to_depth swish tanh top_k
"""
"""Functions of `tf.nn`, as text: others read files (the samplers' vocabularies) or take functions."""
_IMAGE = """
    adjust_brightness adjust_contrast adjust_gamma central_crop convert_image_dtype crop_to_bounding_box
    extract_patches flip_left_right flip_up_down grayscale_to_rgb hsv_to_rgb pad_to_bounding_box
    per_image_standardization resize resize_bilinear resize_images resize_nearest_neighbor resize_with_crop_or_pad
    resize_with_pad rgb_to_grayscale rgb_to_hsv rgb_to_yiq rgb_to_yuv rot90 transpose yiq_to_rgb yuv_to_rgb
"""
"""Functions of `tf.image`, likewise."""
_BARE = """
    abs add add_n argmax argmin argsort batch_to_space bitcast boolean_mask broadcast_to cast clip_by_norm
    clip_by_value concat constant convert_to_tensor cumsum divide einsum ensure_shape equal exp expand_dims eye fill
    floor gather gather_nd greater greater_equal identity less less_equal linspace logical_and logical_not
    logical_or matmul maximum meshgrid minimum multiply negative norm not_equal one_hot ones ones_like pad pow range
    rank realdiv reduce_all reduce_any reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_sum
    repeat reshape reverse reverse_sequence roll round saturate_cast sequence_mask shape sigmoid sign size slice
    sort space_to_batch space_to_batch_nd split sqrt square squeeze stack stop_gradient strided_slice subtract tanh
    tensordot tile transpose truediv unstack where zeros zeros_like
"""
"""Functions of `tf` itself, likewise; of `tf.keras.backend`, those of these names."""
_OPERATORS = "add eq getitem ne"
"""Functions of `tf.__operators__`, likewise."""


def load(path: Path, config: Any, objects: Mapping[str, Any], *, trust: bool) -> Any:
    """Load a model without its optimizer, in a copy of whose file the types are float32.

    Args:
        path: A `.keras` or `.h5` file.
        config: The configuration in it.
        objects: Classes and functions of the user's by their names.
        trust: Whether code in the file may be run.

    Raises:
        ModelFileError: It names classes or functions that are not known, or holds code.
        ModuleNotFoundError: tf_keras is not installed.
    """
    import keras
    import tensorflow as tf

    log = tf.compat.v1.logging
    level = tf.compat.v1.logging.get_verbosity()
    log.set_verbosity(log.ERROR)  # importing tf_keras warns of functions that it uses itself
    try:
        import tf_keras
    finally:
        log.set_verbosity(level)
    objects = {"relu6": tf.nn.relu6, **objects}  # what MobileNet of Keras 2.1 needs
    for name, own in objects.items():
        if isinstance(own, type) and issubclass(own, keras.layers.Layer):
            raise InputError(
                f"The custom class {name} is a layer of Keras 3, and {path} a file of Keras 2.",
                f"Import keras from tf_keras in the module of {name}, or give another module with that class.",
            )
    for node in objects_of(config):
        if not trust:
            refuse_code(path, node, objects)
        name = str(node["class_name"])
        if (own := objects.get(_without_package(name))) is not None:
            objects |= {str(alias): own for alias in (name, node.get("registered_name")) if alias}
    with tf_keras.utils.custom_object_scope(objects):  # which activations need that are written as objects
        model = tf_keras.models.load_model(path, compile=False, safe_mode=not trust)
    for layer in model._flatten_layers():
        if hasattr(layer, "_could_use_gpu_kernel"):  # its call then takes `unroll` into account
            layer._could_use_gpu_kernel = False
    return model


def forget_training(config: Any) -> bool:
    """Remove optimizers and losses, which tf_keras would make for models inside models; whether there were any."""
    compiled = [node for node in objects_of(config) if node.get("compile_config")]
    for node in compiled:
        node["compile_config"] = None
    return bool(compiled)


def name_functions(config: Any, own: Collection[str]) -> bool:
    """Replace the user's functions, written as objects, by their names; whether there were any.

    tf_keras writes activations of a `.h5` as objects, and reads only names there. A function that was registered for a
    package is `package>name`.
    """
    changed = False
    waiting = [config] if isinstance(config, dict | list) else []
    while waiting:
        node = waiting.pop()
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            is_function = isinstance(value, dict) and value.get("class_name") == "function"
            if is_function and (name := _without_package(value.get("config"))) in own:
                node[key] = name
                changed = True
            elif isinstance(value, dict | list):
                waiting.append(value)
    return changed


def prefer_keras_2() -> None:
    """Let `tf.keras`, in modules of the user's that are imported after this, be Keras 2, if TensorFlow allows it."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"


def refuse_code(path: Path, node: Mapping[str, Any], own: Collection[str]) -> None:
    """Refuse an object of a configuration that is code, or whose class or function is not known.

    Args:
        path: The file, for messages.
        node: A dictionary with a "class_name".
        own: Names of the user's classes and functions.

    Raises:
        ModelFileError: It is one.
    """
    name = str(node["class_name"])
    config = node.get("config")
    full_name = str(config) if name == "function" else name
    kind = "function" if name == "function" else "class"
    class_name = _without_package(full_name)
    if class_name in own or name in _DATA:
        return
    module = str(node.get("module") or "keras")
    known = full_name in _functions() if kind == "function" else class_name in _classes()
    settings = config if isinstance(config, dict) else {}
    if name in ("Lambda", "__lambda__"):
        raise ModelFileError(
            f"{path} holds a Lambda layer, which is code and is not run by default.",
            "If you trust the file's origin, give --trust; better, save it with layers instead of Lambdas.",
        )
    if name in _FUNCTION_LAYERS and not computes(str(settings.get("function"))):
        raise ModelFileError(
            f"{path} calls the function tf.{settings.get('function')} of TensorFlow, which may do more than compute.",
            "If you trust the file's origin, give --trust.",
        )
    if isinstance(settings.get("vocabulary"), str):
        raise ModelFileError(
            f"{path} reads a vocabulary from another file ({settings['vocabulary']}).",
            "Save the part of it after its text layer, which takes numbers.",
        )
    if not (known and module.partition(".")[0] in _MODULES):
        raise ModelFileError(
            f"{path} has the {kind} {class_name}, which Keras 2 does not know.",
            f"Register it with --custom MODULE:{class_name}.",
        )


def _without_package(name: Any) -> str:
    """The name of a class or function in its module, without the package that it was registered for."""
    return str(name).rpartition(">")[2]


def computes(function: str) -> bool:
    """Whether a function of TensorFlow, "math.add", does nothing but compute its result."""
    room, _, name = function.removeprefix("compat.v1.").rpartition(".")
    if room in _PURE:
        return True
    rooms = {"": _BARE, "nn": _NN, "image": _IMAGE, "__operators__": _OPERATORS, "keras.backend": _BARE + _NN}
    return name in (_functions() if room == "keras.activations" else rooms.get(room, "").split())


def objects_of(config: Any, name: str = "") -> Iterator[dict[str, Any]]:
    """The objects in a configuration, dictionaries with a "class_name"; those of the class `name` if it is given."""
    waiting = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            waiting += node.values()
            if "class_name" in node and name in ("", node["class_name"]):
                yield node
        elif isinstance(node, list):
            waiting += node


def _classes() -> frozenset[str]:
    """Names of the classes that run no code of a file, also as earlier versions wrote them."""
    import tf_keras as keras

    rooms = (keras.layers, keras.layers.experimental, keras.initializers, keras.regularizers, keras.constraints)
    names = {name for room in rooms for name, value in vars(room).items() if isinstance(value, type)} - {"Lambda"}
    older = {f"{name}{version}" for name in names for version in ("V1", "V2")}
    return frozenset(names | older | {"Functional", "Sequential", "Model", "Policy", *_FUNCTION_LAYERS})


def _functions() -> frozenset[str]:
    """Names of the functions that layers take, as activations."""
    import tf_keras as keras

    return frozenset(set(vars(keras.activations)) - {"deserialize", "get", "serialize"} | {*_NN.split()})
