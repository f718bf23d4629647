"""Several outputs, ends of 16 bits, numbers of classes: what is kept, what is refused, and that the hints help."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.converters import annotation
from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints
from edgepress.converters.schemes import SCHEMES, finer, schemes_for
from edgepress.converters.sources.open import open_source
from edgepress.runtime import Contract, InputError, ModelFileError, load
from edgepress.runtime.errors import EdgepressError
from edgepress.toolkit.conversion.convert import convert
from edgepress.toolkit.measurement.evaluation import evaluate

LABELS = ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def net() -> Any:
    """A net of four numbers with two heads, "classes" and "features"."""
    import keras

    keras.utils.set_random_seed(0)
    x = keras.Input((4,), name="numbers")
    features = keras.layers.Dense(6, activation="relu", name="features")(x)
    return keras.Model(x, [features, keras.layers.Dense(3, activation="softmax", name="classes")(features)])


def items() -> Any:
    return np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)


def tflite(function: Any, dtype: Any, *, sixteen: bool = False) -> bytes:
    """A function of one item as a TFLite file; `sixteen` quantizes it with ends of 16 bits."""
    import tensorflow as tf

    traced = tf.function(function, input_signature=[tf.TensorSpec((1, 4), dtype)]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced])
    if sixteen:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([item[np.newaxis]] for item in items())
        operations = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [operations]
        converter.inference_input_type = converter.inference_output_type = tf.int16
    return bytes(converter.convert())


def saved(net: Any, kind: str, folder: Path) -> Path:
    """The net in a file of this kind."""
    import tensorflow as tf

    path = folder / f"net.{kind}"
    if kind in ("keras", "h5"):
        net.save(path)
    elif kind == "saved_model":
        module = tf.Module()
        module.net = net
        names = ("features", "classes")
        serve = tf.function(lambda x: dict(zip(names, net(x, training=False), strict=True)))
        signature = serve.get_concrete_function(tf.TensorSpec((None, 4), tf.float32))
        tf.saved_model.save(module, str(path), signatures=signature)
    else:
        path.write_bytes(tflite(lambda x: net(x, training=False), tf.float32))
    return path


@pytest.mark.parametrize("kind", ["keras", "h5", "saved_model", "tflite"])
def test_of_several_outputs_one_is_chosen_by_name(kind: str, net: Any, tmp_path: Path) -> None:
    path = saved(net, kind, tmp_path)
    with pytest.raises(ModelFileError, match="outputs") as caught:
        open_source(path)
    assert "--output NAME" in caught.value.hint
    with pytest.raises(InputError, match="no output 'other'") as unknown:
        open_source(path, Hints(output="other"))
    names = unknown.value.hint.partition("--output: ")[2].rstrip(".").split(", ")
    assert len(names) == 2
    features, classes = (array.numpy() for array in net(items()))
    answered = {name: open_source(path, Hints(output=name)).answer(items()) for name in names}
    assert sorted(array.shape[1] for array in answered.values()) == [3, 6]
    for array in answered.values():
        np.testing.assert_allclose(array, classes if array.shape[1] == 3 else features, atol=1e-5)


def test_labels_beside_the_probabilities_are_left_out(net: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    def both(x: Any) -> Any:
        scores = net(x, training=False)[1]
        return {"label": tf.argmax(scores, axis=1), "scores": scores}

    (tmp_path / "net.tflite").write_bytes(tflite(both, tf.float32))
    module = tf.Module()
    module.net = net
    signature = tf.function(both).get_concrete_function(tf.TensorSpec((None, 4), tf.float32))
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=signature)
    for path in (tmp_path / "net.tflite", tmp_path / "saved"):
        np.testing.assert_allclose(open_source(path).answer(items()), net(items())[1], atol=1e-5)


@pytest.mark.parametrize("kind", ["tflite", "keras"])
def test_the_hint_for_the_number_of_a_class_is_followed(kind: str, net: Any, tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    path = tmp_path / f"net.{kind}"
    if kind == "tflite":
        path.write_bytes(tflite(lambda x: tf.argmax(net(x, training=False)[1], axis=1), tf.float32))
    else:
        keras.Model(net.inputs, keras.ops.argmax(net.outputs[1], axis=1)).save(path)
    source = open_source(path)
    with pytest.raises(InputError, match="number of a class") as caught:
        guess_contract(source.facts)
    hint = caught.value.hint
    name = shlex.split(hint.partition("--output ")[2])[0].rstrip(".") if "--output" in hint else "classes"
    source = open_source(path, Hints(output=name))
    answered, expected = source.answer(items()), net(items())[1].numpy()
    assert answered.argmax(axis=1).tolist() == expected.argmax(axis=1).tolist()
    assert guess_contract(source.facts).contract.task == ("softmax" if kind == "keras" else "logits")  # TFLite drops it


def described(path: Path, **hints: Any) -> Contract:
    found: list[Any] = []
    annotation.describe(annotation.DescribeJob(path, Hints(**hints)), found.append)
    contract = found[0].contract
    assert isinstance(contract, Contract)
    return contract


def test_files_with_ends_of_16_bits_answer(net: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    expected = net(items())[1].numpy()
    half = tmp_path / "half.tflite"
    half.write_bytes(tflite(lambda x: tf.cast(net(tf.cast(x, tf.float32))[1], tf.float16), tf.float16))
    whole = tmp_path / "whole.tflite"
    whole.write_bytes(tflite(lambda x: net(x, training=False)[1], tf.float32, sixteen=True))
    for path, atol in ((half, 2e-3), (whole, 2e-2)):
        contract = described(path)
        assert contract.task == "softmax"
        np.testing.assert_allclose(load(path, contract=contract).scores(items()), expected, atol=atol)
    source = open_source(half)
    assert source.facts.dtype == "float32"
    np.testing.assert_allclose(source.answer(items()), expected, atol=1e-5)


@pytest.mark.slow
def test_evaluate_takes_the_labels_of_the_data_where_a_converted_file_has_none(net: Any, tmp_path: Path) -> None:
    import keras

    keras.Model(net.inputs, net.outputs[1]).save(tmp_path / "net.keras")
    (variant,) = convert(tmp_path / "net.keras", "tflite-float32", out=tmp_path)
    assert variant.path is not None
    assert load(variant.path).contract.labels == ("0", "1", "2")
    x = np.random.default_rng(1).normal(size=(90, 4)).astype(np.float32)
    y = net(x)[1].numpy().argmax(axis=1)
    np.savez(tmp_path / "named.npz", x=x, y=y, labels=np.array(LABELS))
    found = evaluate(variant.path, data=str(tmp_path / "named.npz"))
    assert found["accuracy"] == 1
    assert any("labels: 3 from" in note for note in found["notes"])
    np.savez(tmp_path / "four.npz", x=x, y=np.arange(90) % 4, labels=np.array([*LABELS, "dog"]))
    with pytest.raises(Exception, match="has 3 labels"):
        evaluate(variant.path, data=str(tmp_path / "four.npz"))


def test_more_bits_are_advised_where_there_are_some() -> None:
    for target in ("cpu", "integer-only"):
        for scheme in (SCHEMES[name] for name in schemes_for(target)):
            seen = [scheme.name]
            while name := finer(SCHEMES[seen[-1]], target):
                assert name in schemes_for(target)
                assert name not in seen
                seen.append(name)
            assert SCHEMES[seen[-1]].is_float32 or target == "integer-only"


@pytest.mark.slow
def test_the_hint_for_numbers_beyond_float16_is_followed(tmp_path: Path) -> None:
    import keras

    x = keras.Input((4,))
    large = keras.layers.Dense(3, activation="relu")
    model = keras.Model(x, keras.layers.Rescaling([1e-3, 1e-6, 1e-9])(large(x)))
    large.set_weights([np.random.default_rng(0).normal(size=(4, 3)) * [1e3, 1e6, 1e9], np.zeros(3)])
    model.save(tmp_path / "large.keras")
    (failed,) = convert(tmp_path / "large.keras", "onnx-float16", out=tmp_path, rewrites=False)
    assert failed.error
    advised = next(word.strip(".;,") for word in failed.hint.split() if word.strip(".;,") in SCHEMES)
    assert advised == "onnx-float32"
    (fixed,) = convert(tmp_path / "large.keras", advised, out=tmp_path)
    assert fixed.error == ""


@pytest.mark.slow
def test_no_range_of_pixels_is_advised_for_tokens(tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    model = keras.Sequential([keras.Input((6,)), layers.Embedding(9, 4), layers.Flatten(), layers.Dense(3)])
    model.save(tmp_path / "tokens.keras")
    with pytest.raises(EdgepressError, match="not probabilities") as failed:
        convert(tmp_path / "tokens.keras", "onnx-float32", out=tmp_path, hints=Hints(task="softmax"))
    said = f"{failed.value.message} {failed.value.hint}"
    assert "--input-range" not in said
    assert "--task logits" in said
    (fixed,) = convert(tmp_path / "tokens.keras", "onnx-float32", out=tmp_path, hints=Hints(task="logits"))
    assert fixed.error == ""


def test_a_keras_file_that_does_not_load_is_exported_where_it_does(tmp_path: Path) -> None:
    import keras

    class Own(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return 2 * x

    model = keras.Sequential([keras.Input((4,)), Own(), keras.layers.Softmax()])
    model.save(tmp_path / "own.keras")
    with pytest.raises(ModelFileError) as caught:
        open_source(tmp_path / "own.keras", Hints(custom=("json:JSONDecoder",)))
    assert "--custom MODULE:Own" in caught.value.hint
    text = (tmp_path / "own.keras").read_bytes()
    (tmp_path / "newer.keras").write_bytes(text.replace(b'"class_name": "Softmax"', b'"class_name": "Softbax"'))
    with pytest.raises(ModelFileError) as newer:
        open_source(tmp_path / "newer.keras", Hints(custom=()))
    assert "--custom MODULE:Softbax" not in newer.value.hint
    model.export(tmp_path / "saved", verbose=False)
    np.testing.assert_allclose(open_source(tmp_path / "saved").answer(items()), model(items()), atol=1e-6)
