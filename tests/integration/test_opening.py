"""How foreign models are opened: what is fixed, what is refused, and in which words."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_rewriting import OnnxNet

from edgepress.converters.calibration import tflite_statistics
from edgepress.converters.contract.guess import guess_contract
from edgepress.converters.contract.hints import Hints
from edgepress.converters.contract.metadata import parse_labels
from edgepress.converters.contract.write import tflite_with_contract
from edgepress.converters.errors import ConversionError
from edgepress.converters.schemes import SCHEMES
from edgepress.converters.sources.base import SourceModel
from edgepress.converters.sources.open import open_source
from edgepress.converters.to_onnx.interface import quantized_operations
from edgepress.converters.to_tflite import flatbuffer as flat
from edgepress.converters.to_tflite.convert import with_scheme
from edgepress.runtime import Contract, InputError, InputSpec, ModelFileError, load


def refusal(path: Path, *custom: str) -> str:
    with pytest.raises((ModelFileError, ConversionError, InputError)) as caught:
        open_source(path, Hints(custom=custom))
    return str(caught.value)


def opened(path: Path, *custom: str) -> SourceModel:
    return open_source(path, Hints(custom=custom))


def float_tflite(source: SourceModel) -> bytes:
    facts = source.facts
    return source.tflite(guess_contract(facts).adapter)


def ran(model: bytes, items: Any) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    answers = []
    for item in items:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], item[np.newaxis])
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.array(answers)


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A net of four numbers to three shares, saved as `.keras` and `.h5`, and made into `.tflite`."""
    import keras

    folder = tmp_path_factory.mktemp("dense")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.save(folder / "net.keras")
    model.save(folder / "net.h5")
    (folder / "net.tflite").write_bytes(float_tflite(opened(folder / "net.keras")))
    return folder, model


def test_the_one_tensor_in_a_dict_is_taken_out(dense: Any, tmp_path: Path) -> None:
    import keras

    _, model = dense
    x, items = keras.Input((4,)), np.ones((2, 4), np.float32)
    for number, (inputs, outputs) in enumerate([({"x": x}, {"y": model(x)}), (x, {"y": model(x)}), ([x], [model(x)])]):
        path = tmp_path / f"{number}.keras"
        keras.Model(inputs, outputs).save(path)
        np.testing.assert_allclose(opened(path).answer(items), model(items), atol=1e-6)


def test_a_keras_model_of_a_fixed_batch_is_opened_for_one_item_if_it_can_be(dense: Any, tmp_path: Path) -> None:
    import keras

    x = keras.Input(batch_shape=(8, 4))
    keras.Model(x, dense[1](x)).save(tmp_path / "free.keras")
    assert opened(tmp_path / "free.keras").answer(np.ones((2, 4), np.float32)).shape == (2, 3)

    keras.Model(x, dense[1](keras.ops.reshape(x, (8, 4)))).save(tmp_path / "fixed.keras")
    assert "takes 8 items at once" in refusal(tmp_path / "fixed.keras")

    steps = keras.Input(batch_shape=(8, 5, 2))
    keras.Model(steps, keras.layers.GRU(3, stateful=True, name="memory")(steps)).save(tmp_path / "stateful.keras")
    text = refusal(tmp_path / "stateful.keras")
    assert "takes 8 items at once and keeps state" in text
    assert "memory" in text


def test_models_without_an_input_of_numbers_are_refused(tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    one = keras.layers.Dense(2)
    text = keras.Input((), dtype="string")
    keras.Model(text, one(keras.layers.Hashing(4, output_mode="one_hot")(keras.ops.expand_dims(text, 1)))).save(
        tmp_path / "text.keras"
    )
    assert "takes text" in refusal(tmp_path / "text.keras")

    module = tf.Module()
    serve = tf.function(lambda x: tf.reshape(x, [1, 1]) * [[1.0, 2.0]], input_signature=[tf.TensorSpec((), tf.float32)])
    tf.saved_model.save(module, str(tmp_path / "scalar"), signatures=serve.get_concrete_function())
    assert "not a classifier" in refusal(tmp_path / "scalar")


def onnx_file(path: Path, nodes: list[Any], shape: list[Any] | None, *, functions: Any = (), domain: str = "x") -> Path:
    """A file from "x" (none if there is no shape) to "y" (n, 3), with weights "w" (4, 3)."""
    from onnx import TensorProto, helper, numpy_helper

    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)] if shape is not None else []
    weights = [numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "w")]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8), path)
    return path


def test_onnx_inputs_operations_and_functions(tmp_path: Path) -> None:
    from onnx import helper

    node = helper.make_node
    assert "inputs [], outputs" in refusal(onnx_file(tmp_path / "none.onnx", [node("Relu", ["w"], ["y"])], None))
    times = [node("Mul", ["x", "w"], ["y"])]
    assert "inputs [[]], outputs" in refusal(onnx_file(tmp_path / "scalar.onnx", times, []))

    scaler = node("Imputer", ["x"], ["s"], domain="ai.onnx.ml", imputed_value_floats=[0.0])
    text = refusal(
        onnx_file(tmp_path / "ml.onnx", [scaler, node("MatMul", ["s", "w"], ["y"])], ["n", 4], domain="ai.onnx.ml")
    )
    assert "classical machine learning" in text
    assert "Imputer of ai.onnx.ml" in text

    doubled = helper.make_function("mine", "Double", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [
        helper.make_opsetid("", 17)
    ])  # fmt: skip
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Double", ["m"], ["y"], domain="mine")]
    source = opened(onnx_file(tmp_path / "own.onnx", nodes, ["n", 4], functions=[doubled], domain="mine"))
    items = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_allclose(source.answer(items), 2 * items[:, :3])
    assert source.facts.ends_in == "Add"


def test_quantized_operations_are_known_by_a_rule() -> None:
    from onnx import ModelProto

    quantized = [
        "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearAdd", "QLinearSigmoid",
        "QGemm", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "QAttention", "DynamicQuantizeMatMul",
        "DynamicQuantizeLSTM", "MatMulNBits", "MatMulBnb4", "MatMulFpQ4", "GatherBlockQuantized",
        "QEmbedLayerNormalization", "QOrderedMatMul",
    ]  # fmt: skip
    model = ModelProto()
    for kind in [*quantized, "QuickGelu", "Unique", "Squeeze", "Sqrt", "BitShift", "FusedConv", "Conv", "MatMul"]:
        model.graph.node.add(op_type=kind)
    assert quantized_operations(model) == sorted(quantized)


def changed_tflite(dense: Any, path: Path, change: Any) -> Path:
    root, graph = flat.read((dense[0] / "net.tflite").read_bytes())
    change(root, graph)
    path.write_bytes(flat.write(root))
    return path


def test_tflite_files_that_do_not_run_as_they_are(dense: Any, tmp_path: Path) -> None:
    def without_operations(root: Any, graph: Any) -> None:
        graph.operators = []

    def of_the_future(root: Any, graph: Any) -> None:
        root.operatorCodes[0].version = 99

    assert "no operation that computes" in refusal(changed_tflite(dense, tmp_path / "a.tflite", without_operations))
    text = refusal(changed_tflite(dense, tmp_path / "b.tflite", of_the_future))
    assert "FULLY_CONNECTED of version 99" in text
    assert "damaged" not in text


@pytest.mark.parametrize("name", [b"\xff\xfe", b"", b"same"])
def test_names_in_a_tflite_file_that_are_no_names_are_mended(name: bytes, dense: Any, tmp_path: Path) -> None:
    def rename(root: Any, graph: Any) -> None:
        for tensor in graph.tensors:
            tensor.name = name

    source = opened(changed_tflite(dense, tmp_path / "names.tflite", rename))
    items = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    made = float_tflite(source)
    ranges = tflite_statistics(made, lambda: [items], None).ranges()
    whole = with_scheme(made, SCHEMES["tflite-int8"], ranges, uint8=False)
    assert len(whole) > 0
    np.testing.assert_allclose(source.answer(items), dense[1](items), atol=1e-5)


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a module of the user's with this text, under this name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


LAYER = "import keras\nclass Doubling(keras.layers.Layer):\n    def call(self, x):\n        "


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_custom_classes_are_named_when_they_are_missing_or_fail(suffix: str, own_module: Any, tmp_path: Path) -> None:
    import keras

    class Doubling(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x * 2.0

    own_module("own_right", LAYER + "return x * 2.0\n")
    own_module("own_call", LAYER + "raise ValueError('not today')\n")
    own_module(
        "own_init", "class Doubling:\n    @classmethod\n    def from_config(cls, config):\n        return {}['x']\n"
    )
    own_module("own_import", "raise NameError('oops')\n")
    path = tmp_path / f"own{suffix}"
    keras.Sequential([keras.Input((4,)), Doubling(), keras.layers.Softmax()]).save(path)

    assert "Doubling, which Keras does not know. Register it with --custom MODULE:Doubling" in refusal(path)
    text = refusal(path, "json:JSONEncoder")
    assert "Doubling, which Keras does not know (--custom gave json:JSONEncoder)" in text
    text = refusal(path, "own_call:Doubling")
    assert "with --custom own_call:Doubling: ValueError: not today" in text
    assert "Register" not in text
    assert "with --custom own_init:Doubling: KeyError: 'x'" in refusal(path, "own_init:Doubling")
    assert "'own_import:Doubling' can't be imported: NameError: oops" in refusal(path, "own_import:Doubling")
    assert opened(path, "own_right:Doubling").facts.outputs == 4


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64"])
def test_a_model_trained_in_other_floats_answers_in_float32(policy: str, tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    before = keras.mixed_precision.dtype_policy()

    def net() -> Any:
        x = keras.Input((8, 8, 1))
        y = layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(x))
        y = layers.GlobalAveragePooling2D()(y)
        return keras.Model(x, layers.Dense(3, activation="softmax")(y))

    keras.mixed_precision.set_dtype_policy(policy)
    try:
        other = net()
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    same = net()
    same.set_weights([np.asarray(w).astype(np.float32) for w in other.get_weights()])
    items = np.random.default_rng(0).normal(0, 3, (4, 8, 8, 1)).astype(np.float32)
    for name in ("net.keras", "net.h5")[: 1 if policy == "bfloat16" else 2]:  # which Keras can't read from HDF5 itself
        other.save(tmp_path / name)
        source = opened(tmp_path / name)
        assert source.facts.dtype == "float32"
        np.testing.assert_allclose(source.answer(items), same(items), atol=1e-6)
        np.testing.assert_allclose(ran(float_tflite(source), items), same(items), atol=1e-5)


def test_a_keras_file_is_opened_by_its_content(dense: Any, tmp_path: Path) -> None:
    folder, model = dense
    items = np.ones((2, 4), np.float32)
    for source, name in (("net.h5", "net.keras"), ("net.keras", "net.h5"), ("net.keras", "net.HDF5")):
        shutil.copy(folder / source, tmp_path / name)
        np.testing.assert_allclose(opened(tmp_path / name).answer(items), model(items), atol=1e-6)
    (tmp_path / "text.keras").write_text("no model")
    assert "a text file" in refusal(tmp_path / "text.keras")


def test_labels_numbered_by_name_are_turned_around() -> None:
    assert parse_labels(json.dumps({"dog": 1, "cat": 0})) == ("cat", "dog")
    for numbers in ({"cat": 0, "dog": 0}, {"cat": 1, "dog": 2}, {"cat": False, "dog": True}):
        assert parse_labels(json.dumps(numbers)) == ()


def test_what_keras_quantized_is_not_quantized_again(tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax", name="last")])
    model.quantize("int8")
    model.save(tmp_path / "int8.keras")
    assert "quantized already (1 layers, such as last)" in refusal(tmp_path / "int8.keras")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net.keras", "net.h5", "saved"])
@pytest.mark.parametrize("broken", [np.nan, -np.inf])
def test_weights_that_are_no_numbers_are_named(broken: float, name: str, tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.layers.Input((4,)), *(keras.layers.Dense(3, name=n) for n in ("first", "last"))])
    kernel, bias = model.layers[-1].get_weights()
    kernel[0, 0] = kernel[1, 0] = broken
    kernel[1, 0] *= -1
    model.layers[-1].set_weights([kernel, bias])
    path = tmp_path / name
    model.export(str(path), verbose=False) if name == "saved" else model.save(path)
    assert re.search(r"has weights that are NaN or infinite: (sequential\w*/)?last/kernel\.", refusal(path))


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_weights_of_onnx_that_are_no_numbers_are_named(broken: float, tmp_path: Path) -> None:
    """The advice was to give data like the training data."""
    net = OnnxNet((4,))
    net.add("MatMul", np.array([[1, 2], [broken, 0], [0, 1], [1, 1]], np.float32))
    net.add("Softmax")
    onnx.save(net.model(), tmp_path / "net.onnx")
    assert "has weights that are NaN or infinite: constant_0." in refusal(tmp_path / "net.onnx")


def test_words_that_are_not_ones_do_not_refuse_a_model(tmp_path: Path) -> None:
    net = OnnxNet((1,), onnx.TensorProto.INT64)
    net.add("Gather", np.array([[1, np.inf]], np.float32), "input")
    onnx.save(net.model(), tmp_path / "net.onnx")
    assert opened(tmp_path / "net.onnx").facts.dtype == "int64"


def test_a_mask_among_the_weights_may_be_infinite(tmp_path: Path) -> None:
    import keras

    last = keras.layers.Dense(3, activation="softmax")
    model = keras.Sequential([keras.layers.Input((4,)), last])
    last.set_weights([np.ones((4, 3)), np.array([0, -np.inf, 1])])
    model.save(tmp_path / "net.keras")
    assert opened(tmp_path / "net.keras").answer(np.ones((1, 4), np.float32))[0, 1] == 0


def test_recurrent_layers_are_unrolled_for_tflite(tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    x = keras.Input((6, 3))
    inner = keras.Sequential([keras.Input((6, 4)), layers.SimpleRNN(4, return_sequences=True)])
    y = layers.LSTM(4, return_sequences=True, dropout=0.3, name="first")(x)
    y = layers.Bidirectional(layers.GRU(3))(inner(y))
    model = keras.Model(x, layers.Dense(3, activation="softmax")(y))
    model.save(tmp_path / "recurrent.keras")
    source = opened(tmp_path / "recurrent.keras")
    items = np.random.default_rng(0).normal(size=(40, 6, 3)).astype(np.float32)
    expected = model(items)
    np.testing.assert_allclose(source.answer(items), expected, atol=1e-6)

    made = float_tflite(source)
    assert len(flat.read(made)[0].subgraphs) == 1
    np.testing.assert_allclose(ran(made, items), expected, atol=1e-5)
    ranges = tflite_statistics(made, lambda: [items], None).ranges()
    for scheme, path in (("tflite-int8", tmp_path / "8.tflite"), ("tflite-int16x8", tmp_path / "16.tflite")):
        path.write_bytes(with_scheme(made, SCHEMES[scheme], ranges, uint8=False))
        spec = InputSpec(shape=(6, 3), dtype="float32")
        contract = Contract(task="softmax", labels=tuple("abc"), input=spec, scheme="x")
        path.write_bytes(tflite_with_contract(path.read_bytes(), contract))
        np.testing.assert_allclose(load(path).scores(items), expected, atol=0.06)
    root, graph = flat.read((tmp_path / "8.tflite").read_bytes())
    assert {flat.kind(root, op) for op in graph.operators} >= {"FULLY_CONNECTED", "LOGISTIC", "TANH"}

    guess = guess_contract(source.facts)
    onnx = source.onnx(guess.adapter)
    assert {"LSTM", "Loop"} <= {node.op_type for node in onnx.graph.node}, "ONNX needs no unrolling"

    x = keras.Input((300, 3))
    keras.Model(x, layers.LSTM(3, name="long")(x)).save(tmp_path / "long.keras")
    with pytest.raises(ConversionError, match=r"layer long runs over 300 steps.*up to 256"):
        float_tflite(opened(tmp_path / "long.keras"))
