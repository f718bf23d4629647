"""Files that Keras 2 wrote: opened by tf_keras with equal answers, described, and refused if they hold code."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_models import refused

from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints
from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.errors import ConversionError
from edgepress.converters.inspection import open_in_engine, read
from edgepress.converters.inspection.report import Inspection
from edgepress.converters.sources.keras_2 import computes
from edgepress.converters.sources.open import open_source
from edgepress.runtime import InputError, ModelFileError
from edgepress.runtime.errors import MissingExtraError

SIDE = 12


@pytest.fixture(autouse=True)
def _keras_3_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tf.keras` of other tests in this process stays Keras 3."""
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "0")


def image() -> Any:
    import tf_keras

    return tf_keras.Input((SIDE, SIDE, 3))


def classified(y: Any) -> Any:
    from tf_keras import layers

    return layers.Dense(4, activation="softmax")(layers.GlobalAveragePooling2D()(y))


def sequential() -> Any:
    import tf_keras
    from tf_keras import layers

    inner = tf_keras.Sequential([layers.SeparableConv2D(4, 3, strides=2), layers.BatchNormalization()])
    model = tf_keras.Sequential([image(), layers.RandomFlip(), layers.Rescaling(1 / 127.5, -1), inner])
    for layer in (layers.ThresholdedReLU(0.1), layers.Conv2DTranspose(3, 3, strides=2), layers.Flatten()):
        model.add(layer)
    model.add(layers.Dense(4, activation="softmax"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def functional() -> Any:
    import tensorflow as tf
    import tf_keras
    from tf_keras import layers

    inside = image()
    body = tf_keras.Model(inside, layers.DepthwiseConv2D(3)(layers.Conv2D(4, 3, activation="relu")(inside)))
    body.compile("sgd", "mse")
    x = image()
    y = body(tf_keras.applications.mobilenet_v2.preprocess_input(x))
    y = tf.concat([tf.nn.relu6(y[:, 1:] * 2.0 + 0.5), y[:, :-1]], axis=-1)
    return tf_keras.Model(x, classified(y))


def caffe() -> Any:
    import tf_keras
    from tf_keras import layers

    x = image()
    y = tf_keras.applications.resnet50.preprocess_input(x)  # x[..., ::-1], which `.keras` can't hold
    return tf_keras.Model(x, classified(layers.Conv2D(4, 3)(layers.Rescaling(1 / 128)(y))))


def recurrent() -> Any:
    import tf_keras
    from tf_keras import layers

    x = tf_keras.Input((3, 3))
    y = layers.Bidirectional(layers.LSTM(4, return_sequences=True, dropout=0.5))(x)
    return tf_keras.Model(x, layers.Dense(4, activation="softmax")(layers.GRU(3)(y)))


def convolutional_loop() -> Any:
    """Whose `unroll` tf_keras ignores."""
    import tf_keras
    from tf_keras import layers

    x = tf_keras.Input((3, 6, 6, 2))
    return tf_keras.Model(x, classified(layers.ConvLSTM2D(3, 3)(x)))


def written(make: Callable[[], Any], path: Path) -> Any:
    import tf_keras

    tf_keras.utils.set_random_seed(7)
    model = make()
    model.save(path)
    return model


def items_for(model: Any) -> Any:
    shape = (6, *model.input_shape[1:])
    random = np.random.default_rng(1)
    return (random.integers(0, 256, shape) if len(shape) == 4 else random.normal(size=shape)).astype(np.float32)


def answers(source: Any, items: Any) -> dict[str, Any]:
    """What the source and the float files of both formats answer."""
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    adapter = guess_contract(source.facts).adapter
    interpreter = Interpreter(model_content=source.tflite(adapter))
    interpreter.allocate_tensors()
    found: dict[str, Any] = {"source": source.answer(items), "tflite": []}
    for item in items:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], item[np.newaxis])
        interpreter.invoke()
        found["tflite"].append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    session = onnxruntime.InferenceSession(source.onnx(adapter).SerializeToString())
    (taken,) = session.get_inputs()
    given = items.astype(np.uint8) if taken.type == "tensor(uint8)" else items
    return found | {"onnx": session.run(None, {taken.name: given})[0]}


@pytest.mark.parametrize(
    ("make", "suffix"),
    [
        (sequential, ".h5"),
        (functional, ".keras"),
        (caffe, ".h5"),
        pytest.param(recurrent, ".keras", marks=pytest.mark.slow),
        pytest.param(convolutional_loop, ".h5", marks=pytest.mark.slow),
        pytest.param(functional, ".h5", marks=pytest.mark.slow),
    ],
)
def test_the_files_of_both_formats_answer_as_tf_keras_does(
    make: Callable[[], Any], suffix: str, tmp_path: Path
) -> None:
    model = written(make, tmp_path / f"net{suffix}")
    before = (tmp_path / f"net{suffix}").read_bytes()
    items = items_for(model)
    expected = model(items, training=False).numpy()
    assert np.ptp(expected, axis=0).max() > 1e-3, "a net that answers the same for all items proves nothing"
    for answered in answers(open_source(tmp_path / f"net{suffix}"), items).values():
        np.testing.assert_allclose(answered, expected, atol=1e-5)
    assert (tmp_path / f"net{suffix}").read_bytes() == before


@pytest.mark.parametrize(
    ("policy", "suffix"), [("mixed_float16", ".h5"), ("mixed_bfloat16", ".keras"), ("float64", ".h5")]
)
def test_mixed_precision_becomes_float32(policy: str, suffix: str, tmp_path: Path) -> None:
    import tf_keras

    tf_keras.mixed_precision.set_global_policy(policy)
    try:
        other = written(functional, tmp_path / f"net{suffix}")
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    same = functional()
    same.set_weights([w.astype(np.float32) for w in other.get_weights()])
    source, items = open_source(tmp_path / f"net{suffix}"), items_for(same)
    assert source.facts.dtype == "float32"
    np.testing.assert_allclose(source.answer(items), same(items), atol=1e-6)


def test_a_file_is_opened_by_its_content(tmp_path: Path) -> None:
    model = written(functional, tmp_path / "net.keras")
    shutil.move(tmp_path / "net.keras", tmp_path / "other.h5")
    items = items_for(model)
    np.testing.assert_allclose(open_source(tmp_path / "other.h5").answer(items), model(items), atol=1e-6)


def test_tokens_and_old_names_are_known(tmp_path: Path) -> None:
    import h5py
    import tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential([layers.Embedding(9, 4, input_length=5), layers.Flatten(), layers.Dense(3)])
    model.add(layers.Activation("softmax"))
    model.save(tmp_path / "tokens.h5")
    assert open_source(tmp_path / "tokens.h5").facts.dtype == "int32"

    path = tmp_path / "old.h5"
    model = written(lambda: tf_keras.Sequential([image(), layers.BatchNormalization(), layers.Flatten()]), path)
    with h5py.File(path, "r+") as file:  # as TensorFlow 1.13 wrote it, without the version of Keras
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            layer["class_name"] = layer["class_name"].replace("BatchNormalization", "BatchNormalizationV1")
        file.attrs["model_config"] = json.dumps(config)
        del file.attrs["keras_version"]
    items = items_for(model)
    np.testing.assert_allclose(open_source(path).answer(items), model(items), atol=1e-5)


def described(path: Path, size: str | None = None) -> Inspection:
    """What `edgepress inspect` shows, without its child process."""
    return open_in_engine(path, read(path, size), size)


def test_inspect_shows_the_layers(tmp_path: Path) -> None:
    import tf_keras
    from tf_keras import layers

    written(functional, tmp_path / "net.keras")
    found = described(tmp_path / "net.keras")
    assert found.engine is not None
    assert found.engine.name.startswith("tf_keras 2.")
    assert (found.engine.opens, found.producer.startswith("keras 2.")) == (True, True)
    kinds = [node.operation for node in found.nodes]
    assert {"Conv2D", "DepthwiseConv2D", "TFOpLambda", "Dense"} <= {*kinds}
    assert found.macs == 10 * 10 * 4 * 27 + 8 * 8 * 4 * 9 + 8 * 4
    assert found.parameters == (4 * 27 + 4) + (4 * 9 + 4) + (8 * 4 + 4)

    inner = tf_keras.Sequential([tf_keras.Input((None, None, 3)), layers.Conv2D(2, 3)])
    x = tf_keras.Input((None, None, 3))
    tf_keras.Model(x, classified(inner(x))).save(tmp_path / "free.h5")
    assert described(tmp_path / "free.h5", "8").macs == 6 * 6 * 2 * 27 + 2 * 4


def changed_config(path: Path, change: Callable[[Any], None]) -> Path:
    """The file with another configuration."""
    import h5py

    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            change(config)
            file.attrs["model_config"] = json.dumps(config)
        return path
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(scope="module")
def plain_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tf_keras

    folder = tmp_path_factory.mktemp("plain")
    x = tf_keras.Input((4,))
    y = tf_keras.layers.Dense(3, name="dense")(x * 2.0)
    for suffix in (".h5", ".keras"):
        tf_keras.Model(x, tf_keras.layers.Softmax()(y)).save(folder / f"net{suffix}")
    return folder


def as_activation(module: str, name: str) -> Callable[[Any], None]:
    def change(config: Any) -> None:
        function = {"module": module, "class_name": "function", "config": name, "registered_name": name}
        layer(config, "Dense")["config"]["activation"] = function

    return change


def as_function(name: str) -> Callable[[Any], None]:
    return lambda config: layer(config, "TFOpLambda")["config"].update(function=name)


def as_layer(module: str, name: str, **settings: Any) -> Callable[[Any], None]:
    def change(config: Any) -> None:
        dense = layer(config, "Dense")
        dense.update({"class_name": name, "module": module, "registered_name": name})
        dense["config"] = {"name": dense["config"]["name"], **settings}

    return change


def as_initializer(module: str, name: str) -> Callable[[Any], None]:
    def change(config: Any) -> None:
        value = {"class_name": name, "module": module, "registered_name": name, "config": {"args": "touch pwned"}}
        layer(config, "Dense")["config"]["kernel_initializer"] = value

    return change


def layer(config: Any, kind: str) -> Any:
    return next(one for one in config["config"]["layers"] if one["class_name"] == kind)


ATTACKS = {
    "function of os": as_activation("os", "system"),
    "function of keras.utils": as_activation("keras.utils", "get_file"),
    "known name elsewhere": as_activation("antigravity", "relu"),
    "builtin": as_activation("builtins", "eval"),
    "class of subprocess": as_initializer("subprocess", "Popen"),
    "class elsewhere": as_initializer("antigravity", "Zeros"),
    "optimizer's name": as_initializer("keras.callbacks", "CSVLogger"),
    "Lambda": as_layer("keras.layers", "Lambda", function=["4wEAAAA=", None, None], function_type="lambda"),
    "class method": as_layer("tf_keras.src.layers.core.tf_op_layer", "ClassMethod", cls_symbol="io.gfile.GFile"),
    "property": as_layer("tf_keras.src.layers.core.tf_op_layer", "InstanceProperty", attr_name="__class__"),
    "raw operation": as_layer("keras", "TensorFlowOpLayer", node_def={"op": "WriteFile"}),
    "vocabulary": as_layer("keras.layers", "StringLookup", vocabulary="/etc/passwd"),
    **{
        name: as_function(name)
        for name in (
            *("io.write_file", "io.read_file", "compat.v1.io.write_file", "compat.v1.read_file", "raw_ops.WriteFile"),
            *("py_function", "numpy_function", "load_op_library", "print", "saved_model.load", "keras.utils.get_file"),
            *("nn.fixed_unigram_candidate_sampler", "keras.backend.set_session", "keras.models.load_model", "map_fn"),
            *("math.__builtins__.eval", "nn.x.relu", "", "None"),
        )
    },
}


@pytest.mark.parametrize(("attack", "suffix"), [(attack, (".h5", ".keras")[n % 2]) for n, attack in enumerate(ATTACKS)])
def test_code_and_names_of_code_are_refused(attack: str, suffix: str, plain_files: Path, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    shutil.copy(plain_files / path.name, path)
    changed_config(path, ATTACKS[attack])
    imported = set(sys.modules)
    with pytest.raises((ModelFileError, ConversionError)) as caught:
        open_source(path)
    assert any(hint in caught.value.hint for hint in ("--trust", "--custom", "text layer")), str(caught.value)
    assert "antigravity" not in set(sys.modules) - imported
    assert not Path("pwned").exists()
    found = described(path)
    assert found.engine is not None
    assert not found.engine.opens
    assert len(found.engine.error) < 300


def test_functions_that_only_compute_are_known() -> None:
    import tensorflow as tf

    for name in ("math.add", "compat.v1.math.argmax", "__operators__.getitem", "nn.silu", "image.resize", "cast"):
        assert computes(name)
    named = [n for n in dir(tf.io) if computes(f"io.{n}") or computes(n) or computes(f"compat.v1.{n}")]
    assert named == []
    assert [n for n in dir(tf.raw_ops) if computes(f"raw_ops.{n}")] == []


def test_a_lambda_runs_with_trust_alone(tmp_path: Path) -> None:
    import tf_keras

    for suffix in (".h5", ".keras"):
        path = tmp_path / f"code{suffix}"
        layers = [tf_keras.Input((4,)), tf_keras.layers.Lambda(lambda x: x * 2), tf_keras.layers.Softmax()]
        tf_keras.Sequential(layers).save(path)
        with pytest.raises(ModelFileError, match="Lambda") as caught:
            open_source(path)
        assert "--trust" in caught.value.hint
        items = np.array([[0.0, 1, 2, 3]], np.float32)
        expected = np.exp(2 * items) / np.exp(2 * items).sum()
        np.testing.assert_allclose(open_source(path, Hints(trust=True)).answer(items), expected, atol=1e-6)


OWN = """
import tensorflow as tf

@tf.keras.utils.register_keras_serializable("{package}")
class Doubling(tf.keras.layers.Layer):
    def call(self, x):
        return x * 2.0

def doubled_tanh(x):
    return tf.tanh(x) * 2.0
"""
MAKE = """
import sys, numpy as np, tensorflow as tf
from {module} import Doubling, doubled_tanh
layers = tf.keras.layers
x = tf.keras.Input((4,))
model = tf.keras.Model(x, layers.Softmax()(layers.Dense(3, activation=doubled_tanh)(Doubling()(x))))
for path in sys.argv[1:]:
    model.save(path)
print(model(np.ones((1, 4), np.float32)).numpy().tolist())
"""


@pytest.mark.slow
def test_the_users_classes_are_those_of_tf_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_keras_2.py").write_text(OWN.format(package="mine"))
    (tmp_path / "make.py").write_text(MAKE.format(module="own_keras_2"))
    paths = [tmp_path / "own.keras"]
    command = [sys.executable, str(tmp_path / "make.py"), *map(str, paths)]
    environment = os.environ | {"TF_USE_LEGACY_KERAS": "1", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (expected,) = json.loads(done.stdout)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    custom = ("own_keras_2:Doubling", "own_keras_2:doubled_tanh")
    for path in paths:
        assert "--custom MODULE:" in refused(path)
        with Conversion(path, hints=Hints(custom=custom)) as conversion:
            guess = guess_contract(conversion.facts)
            variants = conversion.run(
                ["tflite-float32"], guess.contract, adapter=guess.adapter, calibration=list, out=tmp_path
            )
        assert [v.error for v in variants] == [""]
        assert expected == pytest.approx(_one_answer(variants[0].path), abs=1e-5)


def _one_answer(path: Path | None) -> Any:
    from edgepress.runtime import load

    assert path is not None
    return load(path).scores(np.ones((1, 4), np.float32))[0].tolist()


def test_a_class_of_keras_3_is_no_class_for_keras_2(plain_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "support"))
    importlib.import_module("foreign_layers")
    with pytest.raises(InputError, match="layer of Keras 3") as caught:
        open_source(plain_files / "net.h5", Hints(custom=("foreign_layers:Doubling",)))
    assert "tf_keras" in caught.value.hint


def test_without_tf_keras_the_error_says_what_to_install(plain_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    for name in ("net.h5", "net.keras"):
        with pytest.raises(MissingExtraError, match=r"file of Keras 2\..* needs the package tf-keras") as caught:
            open_source(plain_files / name)
        assert "pip install 'edgepress[toolkit]'" in caught.value.hint


def test_functions_of_packages_are_the_users_under_their_own_names() -> None:
    """Not those of Keras that have the same name."""
    from edgepress.converters.sources.keras_2 import name_functions, refuse_code

    activation = {"class_name": "function", "config": "mine>gelu", "registered_name": "function"}
    with pytest.raises(ModelFileError, match="the function gelu, which Keras 2 does not know") as caught:
        refuse_code(Path("net.h5"), activation, set())
    assert "--custom MODULE:gelu." in caught.value.hint
    refuse_code(Path("net.h5"), activation, {"gelu"})
    refuse_code(Path("net.h5"), activation | {"config": "gelu"}, set())
    config = {"layers": [{"config": {"activation": activation}}]}
    assert not name_functions(config, {"other"})
    assert name_functions(config, {"gelu"})
    assert config["layers"][0]["config"]["activation"] == "gelu"
