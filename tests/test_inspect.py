"""`edgepress inspect` on real files: a LeNet in its ten formats, files that others made, and files that are broken."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress.converters.inspection import Inspection, read, tflite_file
from edgepress.converters.inspection.report import Node, Port
from edgepress.converters.inspection.tflite_releases import RELEASES
from edgepress.toolkit import console, inspect_table
from edgepress.toolkit.errors import ModelFileError
from edgepress.toolkit.inspect import inspect

LENET_MACS = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10
LENET_PARAMETERS = 61_706
TFLITE = ("float32", "float16", "dynamic", "int8", "int16x8")
ONNX = ("float32", "float16", "dynamic", "int8")
OLD_INTERPRETER = "EDGEPRESS_TFLITE_RUNTIME_PYTHON"
"""Environment variable that names a Python with tflite-runtime 2.14; tests that need it are skipped without."""


@pytest.fixture(scope="module")
def found(run: Any) -> dict[str, Inspection]:
    """Every variant, inspected once."""
    return {scheme: inspect(path) for scheme, path in run.variants.items()}


@pytest.fixture(scope="module")
def keras_found(run: Any) -> Inspection:
    return inspect(run.model)


def operation(inspection: Inspection, name: str) -> dict[str, Any]:
    return next(row for row in inspection.operations() if row["operation"] == name)


@pytest.mark.parametrize("scheme", [*(f"tflite-{p}" for p in TFLITE), *(f"onnx-{p}" for p in ONNX)])
def test_every_variant_has_its_parents_size_and_work(found: Any, keras_found: Inspection, scheme: str) -> None:
    f = found[scheme]
    assert f.macs == keras_found.macs == LENET_MACS
    assert keras_found.parameters == LENET_PARAMETERS
    assert 0 <= f.parameters - LENET_PARAMETERS <= 6  # scales inside the graph
    assert f.contract is not None
    assert f.contract.scheme == scheme
    assert f.engine is not None
    assert f.engine.opens
    assert not f.custom_operations
    assert not f.macs_not_counted
    assert f.weights_bytes + f.metadata_bytes + f.rest_bytes == f.size_bytes == Path(f.file).stat().st_size
    assert f.weights_bytes >= f.weights[0].size_bytes > 0.3 * f.size_bytes
    assert 0 < f.rest_bytes < 0.25 * f.size_bytes
    assert json.loads(json.dumps(f.as_dict(), allow_nan=False))["macs"] == LENET_MACS


def test_peak_memory_is_what_one_counts_by_hand(found: Any, keras_found: Inspection) -> None:
    pool = 28 * 28 * 6 + 14 * 14 * 6  # the first pooling reads the first convolution's output
    assert found["tflite-float32"].peak_activation_bytes == keras_found.peak_activation_bytes == 4 * pool
    assert found["tflite-int8"].peak_activation_bytes == pool
    assert found["tflite-int16x8"].peak_activation_bytes == 2 * pool
    assert found["onnx-int8"].peak_activation_bytes == pool  # QDQ: as ONNX Runtime runs it
    assert found["onnx-float32"].peak_activation_bytes == 4 * 2 * 28 * 28 * 6  # Relu stands apart
    assert 200_000 < found["tflite-float16"].unpacked_weights_bytes < 4 * LENET_PARAMETERS
    assert found["tflite-int8"].unpacked_weights_bytes == 0


def test_interfaces(found: Any) -> None:
    (source,), (sink,) = found["tflite-int8"].inputs, found["tflite-int8"].outputs
    assert (source.shape, source.dtype, source.scale, source.zero_point) == ((1, 28, 28, 1), "uint8", 1.0, 0)
    assert (sink.shape, sink.dtype, sink.scale, sink.zero_point) == ((1, 10), "uint8", 1 / 256, 0)
    (source,), (sink,) = found["onnx-int8"].inputs, found["onnx-int8"].outputs
    assert (source.name, source.shape, source.dtype) == ("input", (None, 28, 28, 1), "uint8")
    assert (sink.dtype, sink.scale) == ("float32", None)


def test_what_computes_in_float(found: Any) -> None:
    assert found["tflite-float32"].still_float == ()
    assert found["tflite-int8"].still_float == ()
    assert any(name.startswith("Softmax ") for name in found["onnx-int8"].still_float)
    assert operation(found["tflite-dynamic"], "FULLY_CONNECTED")["computes_in"] == "dynamic"
    assert operation(found["tflite-int16x8"], "CONV_2D")["data_types"] == "int16 x int8 -> int16"
    assert operation(found["onnx-int8"], "Conv")["computes_in"] == "int8"
    assert operation(found["onnx-dynamic"], "MatMulInteger")["computes_in"] == "dynamic"


def test_oldest_engines(found: Any) -> None:
    releases = {scheme: dict(f.runtime.releases) for scheme, f in found.items()}
    assert releases["tflite-float32"]["tensorflow_lite"] == "1.5"
    assert releases["tflite-float16"]["tensorflow_lite"] == "1.15"
    assert releases["tflite-dynamic"]["tflite_runtime"] == "2.7"
    assert releases["tflite-int8"]["tflite_runtime"] == releases["tflite-int16x8"]["tflite_runtime"] == "2.12"
    assert found["tflite-int8"].runtime.because == ("FULLY_CONNECTED int8 x int8 per channel",)
    assert releases["onnx-int8"] == {"onnxruntime": "1.12"}


def test_delegate_coverage(found: Any) -> None:
    f = found["tflite-float32"]
    assert (f.engine.delegate, f.engine.partitions) == ("XNNPACK", 1)
    assert operation(f, "CONV_2D")["delegated"] == 2
    assert operation(f, "CAST")["delegated"] == 0
    assert not any(n.delegated for n in found["tflite-int16x8"].nodes)
    assert all(n.delegated is None for n in found["onnx-int8"].nodes)


def test_keras_layers(keras_found: Inspection) -> None:
    f = keras_found
    assert (f.format, f.inputs[0].shape, f.outputs[0].shape) == ("keras", (None, 28, 28, 1), (None, 10))
    assert operation(f, "Dense")["count"] == 3
    assert f.weights[0].size_bytes == 4 * 400 * 120


def tflite_model(code: int, version: int, custom: bytes = b"", name: bytes = b"tensor") -> bytes:
    """A `.tflite` of one operation."""
    from ai_edge_litert import schema_py_generated as fb
    from ai_edge_litert.tools import flatbuffer_utils

    tensors = [fb.TensorT(shape=[1, 3], name=name, buffer=0) for _ in range(2)]
    step = fb.OperatorT(opcodeIndex=0, inputs=[0], outputs=[1])
    opcode = fb.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=min(code, 127), version=version)
    if custom:
        opcode.customCode = custom
    graph = fb.SubGraphT(tensors=tensors, inputs=[0], outputs=[1], operators=[step])
    model = fb.ModelT(version=3, operatorCodes=[opcode], subgraphs=[graph], buffers=[fb.BufferT()])
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def test_a_tflite_product_may_transpose_its_first_factor(tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as fb
    from ai_edge_litert.tools import flatbuffer_utils

    shapes = ([2, 7, 5], [2, 7, 3], [2, 5, 3])
    tensors = [fb.TensorT(shape=shape, name=f"t{i}".encode(), buffer=0) for i, shape in enumerate(shapes)]
    kind, options = fb.BuiltinOptions.BatchMatMulOptions, fb.BatchMatMulOptionsT(adjX=True)
    step = fb.OperatorT(opcodeIndex=0, inputs=[0, 1], outputs=[2], builtinOptionsType=kind, builtinOptions=options)
    opcode = fb.OperatorCodeT(builtinCode=fb.BuiltinOperator.BATCH_MATMUL, deprecatedBuiltinCode=126, version=1)
    graph = fb.SubGraphT(tensors=tensors, inputs=[0, 1], outputs=[2], operators=[step])
    model = fb.ModelT(version=3, operatorCodes=[opcode], subgraphs=[graph], buffers=[fb.BufferT()])
    path = tmp_path / "model.tflite"
    path.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    f = tflite_file.read(path)
    assert f.macs == 5 * 3 * 7  # two items
    assert f.peak_activation_bytes is None
    assert "is 2, taken as a batch" in f.notes[0]


def test_custom_and_flex_operations_are_named(tmp_path: Path) -> None:
    custom = 32
    for name, flex in ((b"fake-op", False), (b"FlexErf", True)):
        path = tmp_path / "model.tflite"
        path.write_bytes(tflite_model(custom, 1, name))
        f = inspect(path)
        assert (f.flex_operations if flex else f.custom_operations) == (name.decode(),)
        assert (f.custom_operations if flex else f.flex_operations) == ()
        assert f.engine is not None
        assert not f.engine.opens
        assert f.runtime is not None
        assert set(f.runtime.releases.values()) == {None}


def test_an_operation_too_new_for_every_release_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_model(0, 99))
    f = inspect(path)
    assert f.runtime is not None
    assert f.runtime.unknown == ("ADD version 99",)
    assert f.engine is not None
    assert "ADD" in f.engine.error


def test_litert_knows_every_version_in_the_table() -> None:
    from ai_edge_litert import schema_py_generated as fb
    from ai_edge_litert.interpreter import Interpreter

    missing = []
    for operation, row in RELEASES.items():
        for version, release in enumerate(row.split(), start=1):
            try:
                Interpreter(model_content=tflite_model(getattr(fb.BuiltinOperator, operation), version))
            except ValueError as e:  # options that this model lacks come after the version's check
                if release != "-" and "Didn't find op" in str(e):
                    missing.append((operation, version))
    assert not missing


def test_onnx_of_others(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, "wide"])
    sink = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Mine", ["c"], ["y"], name="mine", domain="my.domain"),
    ]
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("my.domain", 1)]
    model = helper.make_model(helper.make_graph(nodes, "g", [source], [sink], [weight]), opset_imports=opsets)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    f = inspect(path)
    assert f.contract is None
    assert f.inputs == (Port(name="x", shape=(None, 3, 8, None), dtype="float32"),)
    assert (operation(f, "Conv")["macs"], f.parameters) == (8 * 1 * 4 * 3, 12)
    assert f.custom_operations == ("my.domain.Mine",)
    assert f.macs_not_counted == ("my.domain.Mine",)
    assert f.peak_activation_bytes is None
    assert any("x[3]" in note for note in f.notes)
    assert f.engine is not None
    assert not f.engine.opens


def onnx_model(path: Path, nodes: list[Any], source: Any, sink: Any, constants: dict[str, Any]) -> Inspection:
    """Write an `.onnx` from x to y and read it; a node is its operation, inputs, output and attributes."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", source), ("y", sink))]
    made = [helper.make_node(kind, inputs, [output], **more) for kind, inputs, output, more in nodes]
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(made, "g", ends[:1], ends[1:], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return read(path)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_an_onnx_lstm_counts_its_two_matrices(tmp_path: Path, dtype: Any) -> None:
    shapes = {"w": (1, 24, 4), "r": (1, 24, 6), "b": (1, 48), "h": (1, 1, 6)}
    constants = {f"{name}16": np.ones(shape, dtype) for name, shape in shapes.items()}
    casts = [("Cast", [f"{name}16"], name, {"to": 1}) for name in shapes]
    step = ("LSTM", ["x", "w", "r", "b", "", "h", "h"], "y", {"hidden_size": 6})
    f = onnx_model(tmp_path / "model.onnx", [*casts, step], [10, 1, 4], [10, 1, 1, 6], constants)
    assert (f.macs, f.macs_not_counted) == (10 * 24 * 10, ())


def test_an_onnx_product_may_transpose_its_first_factor(tmp_path: Path) -> None:
    step = ("Gemm", ["x", "w"], "y", {"transA": 1})
    f = onnx_model(tmp_path / "model.onnx", [step], [16, 1], [1, 3], {"w": np.ones((16, 3), np.float32)})
    assert f.macs == 48


def test_onnx_branches_are_not_counted(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    bodies = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3])],
        )
        for name in ("then", "else")
    }
    constants = {"w": np.ones((4, 3), np.float32), "c": np.array(True)}
    f = onnx_model(tmp_path / "model.onnx", [("If", ["c"], "y", bodies)], [1, 4], [1, 3], constants)
    assert f.macs_not_counted == ("If",)
    assert f.notes == ("Not looked into: the bodies of If.",)


@pytest.mark.parametrize(("shape", "peak"), [((-1, 2, 2), 4 * (16 + 4)), ((8, 2, 2), None)])
def test_figures_of_an_onnx_file_with_a_fixed_batch_are_for_one(tmp_path: Path, shape: Any, peak: int | None) -> None:
    constants = {"w": np.ones((16, 4), np.float32), "s": np.array(shape)}
    nodes = [("MatMul", ["x", "w"], "a", {}), ("Reshape", ["a", "s"], "y", {})]
    f = onnx_model(tmp_path / "model.onnx", nodes, [8, 16], [8, 2, 2], constants)
    assert f.inputs[0].shape == (8, 16)
    assert (f.macs, f.peak_activation_bytes) == (64, peak)
    assert any("8 items" in note or "is 8, taken as a batch" in note for note in f.notes)


def opened(path: Path) -> Inspection:
    """What Keras makes of a file, in this process."""
    from edgepress.converters.inspection.keras_graph import open_in_keras

    return open_in_keras(path, read(path))


@pytest.mark.parametrize("stateful", [False, True])
def test_figures_of_a_keras_file_with_a_fixed_batch_are_for_one(tmp_path: Path, stateful: bool) -> None:
    import keras

    def model(batch: int | None) -> Any:
        inner = keras.Sequential([keras.Input(batch_shape=(batch, 6)), keras.layers.Dense(3)])
        lstm = keras.layers.LSTM(6, stateful=stateful and batch is not None)
        return keras.Sequential([keras.Input(batch_shape=(batch, 10, 4)), lstm, inner])

    found = []
    for batch in (None, 8):
        model(batch).save(tmp_path / f"{batch}.keras")
        found.append(opened(tmp_path / f"{batch}.keras"))
    free, fixed = found
    assert fixed.inputs[0].shape == (8, 10, 4)
    assert fixed.macs == free.macs == 10 * 24 * 10 + 18
    assert fixed.parameters == free.parameters
    assert fixed.peak_activation_bytes == free.peak_activation_bytes
    assert fixed.notes == ("It takes 8 items at a time: figures are for one.",)


def test_a_keras_file_that_is_held_to_its_batch_shows_no_figures_for_one(tmp_path: Path) -> None:
    import keras

    source = keras.Input(batch_shape=(8, 6))
    x = keras.ops.reshape(keras.layers.Dense(4)(source), (8, 2, 2))
    keras.Model(source, keras.layers.Dense(3)(keras.layers.Flatten()(x))).save(tmp_path / "model.keras")
    f = opened(tmp_path / "model.keras")
    assert (f.parameters, f.macs_not_counted, f.peak_activation_bytes) == (43, ("Dense",), None)
    assert "figures for one are not known" in f.notes[0]


def test_keras_layers_that_multiply_nothing_or_can_not_be_counted(tmp_path: Path) -> None:
    import keras

    source = keras.Input((4, 4))
    x = keras.layers.PReLU()(keras.layers.LayerNormalization(axis=(1, 2))(source))
    keras.Model(source, keras.layers.Dot(axes=2)([x, x])).save(tmp_path / "model.keras")
    f = opened(tmp_path / "model.keras")
    assert (f.macs, f.macs_not_counted) == (0, ("Dot",))


def test_keras_files_open_as_conversion_opens_them(tmp_path: Path) -> None:
    import h5py
    import keras

    model = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.DepthwiseConv2D(3, dtype="float16")])
    model.save(tmp_path / "model.keras")
    model.save(tmp_path / "model.h5")
    asis = opened(tmp_path / "model.keras")
    assert (asis.notes, asis.nodes[0].data_types) == ((), "float32 x float16 -> float16")
    shutil.copy(tmp_path / "model.keras", tmp_path / "zip.h5")
    shutil.copy(tmp_path / "model.h5", tmp_path / "hdf5.keras")
    with h5py.File(tmp_path / "model.h5", "r+") as file:  # as Keras 2 wrote it
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][-1]["config"]["groups"] = 1
        file.attrs["model_config"] = json.dumps(config)
    for name in ("model.h5", "zip.h5", "hdf5.keras"):
        f = opened(tmp_path / name)
        assert f.engine is not None
        assert f.engine.opens, f.engine.error
        assert f.macs == asis.macs > 0
        assert "as edgepress convert mends it" in f.notes[0]


def test_a_deflated_keras_file_is_read_and_damage_in_it_is_one_error(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(run.model) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name != "edgepress.json":
                new.writestr(name, old.read(name))
    whole = path.read_bytes()
    assert sum(int(np.prod(w.shape)) for w in read(path).weights) == LENET_PARAMETERS
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    for member in members:
        start = member.header_offset + 30 + len(member.filename)
        broken = bytes(b ^ 0xA5 for b in whole[start : start + 40])
        path.write_bytes(whole[:start] + broken + whole[start + 40 :])
        with pytest.raises(ModelFileError, match="is damaged"):
            read(path)
    path.write_bytes(re.sub(rb"(PK\x01\x02.{6})\x08\x00", lambda m: m[1] + b"\x63\x00", whole, flags=re.DOTALL))
    with pytest.raises(ModelFileError, match="can't unpack"):
        read(path)


def test_loops_and_unknown_ranks_of_a_saved_model_are_told(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.w = tf.Variable(tf.ones((4, 4)))

    def loop(x: Any) -> dict[str, Any]:
        start = (tf.constant(0), tf.zeros((1, 4)))
        return {"y": tf.while_loop(lambda i, _: i < 3, lambda i, h: (i + 1, tf.matmul(x + h, module.w)), start)[1]}

    def product(x: Any) -> dict[str, Any]:
        return {"y": tf.matmul(tf.reshape(x, (3, 1)), module.w[:3], transpose_a=True)}

    def ranks(x: Any) -> dict[str, Any]:
        return {"y": tf.reshape(x, (-1, 4)) @ module.w}

    found = {}
    for function, shape in ((loop, (1, 4)), (product, (1, 3)), (ranks, None)):
        signature = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32, name="x")], autograph=False)
        tf.saved_model.save(module, tmp_path / function.__name__, signatures=signature)
        found[function] = read(tmp_path / function.__name__)
    f = found[loop]
    assert (f.parameters, f.macs) == (16, 0)
    assert any(name.endswith("While") for name in f.macs_not_counted)
    assert any("Not looked into: the bodies of" in note for note in f.notes)
    assert found[product].macs == 12
    f = found[ranks]
    assert (f.inputs[0].shape, f.peak_activation_bytes, f.macs_not_counted) == (None, None, ("MatMul",))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.tflite")
    with pytest.raises(ModelFileError, match="neither a file nor a folder"):
        inspect(tmp_path / "model.tflite")


def test_weights_without_a_model_are_shown_and_named_as_such(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.zeros((20, 10), np.float32)
        file["optimizer/vars/0"] = np.zeros(50, np.float32)
        file[b"layers/caf\xe9"] = np.zeros(0, np.float32)
    f = inspect(path)
    assert f.weights[-1].name == "layers/caf\N{REPLACEMENT CHARACTER}"
    assert (f.format, f.parameters, f.weights_bytes, f.nodes) == ("h5", 200, 800, ())
    assert f.engine is None
    assert any("weights and no architecture" in note for note in f.notes)


def test_a_keras_file_that_keras_refuses_still_shows_its_layers(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(run.model) as source, zipfile.ZipFile(path, "w") as target:
        for member in source.infolist():
            content = source.read(member)
            if member.filename == "config.json":
                content = content.replace(b'"class_name": "Flatten"', b'"class_name": "NoSuchLayer"')
            target.writestr(member, content)
    f = inspect(path)
    assert f.engine is not None
    assert not f.engine.opens
    assert "NoSuchLayer" in f.engine.error
    assert operation(f, "NoSuchLayer")["count"] == 1
    assert f.parameters == LENET_PARAMETERS
    assert f.macs_not_counted


@pytest.mark.slow
def test_saved_model_folder(run: Any, tmp_path: Path) -> None:
    from edgepress.converters import load_keras

    load_keras(run.model).export(tmp_path / "saved", verbose=False)
    f = inspect(tmp_path / "saved")
    assert (f.format, f.macs, f.inputs[0].shape) == ("saved_model", LENET_MACS, (None, 28, 28, 1))
    assert f.weights_bytes == 4 * LENET_PARAMETERS
    assert f.peak_activation_bytes == 4 * 2 * 28 * 28 * 6
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"not a graph")
    with pytest.raises(ModelFileError, match="can't load"):
        inspect(tmp_path / "saved")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("missing.tflite", None, "can't be read"),
        ("empty.tflite", b"", "an empty file"),
        ("text.tflite", b"hello, world", "of another kind"),
        ("text.onnx", b"hello, world", "can't be parsed|holds no ONNX graph"),
        ("head.tflite", b"\x1c\x00\x00\x00TFL3", "damaged"),
        ("head.h5", b"\x89HDF\r\n\x1a\n", "damaged"),
        ("head.keras", b"PK\x03\x04 and no more", "damaged"),
        ("any.zip", b"PK\x03\x04 and no more", "of another kind"),
    ],
)
def test_what_is_no_model_gets_one_error(tmp_path: Path, name: str, content: bytes | None, match: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match=match):
        inspect(path)


def test_a_folder_without_a_model_gets_one_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no SavedModel"):
        inspect(tmp_path)


def test_a_file_that_takes_too_long_is_given_up(run: Any) -> None:
    try:  # Keras alone takes longer than this to import; on a slow machine, reading does too
        f = inspect(run.model, time_limit_s=0.5)
    except ModelFileError as e:
        said = e.message
    else:
        assert f.engine is not None
        assert not f.engine.opens
        assert f.parameters == LENET_PARAMETERS
        said = f.engine.error
    assert "no answer in 0.5 s" in said


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as fb

    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_model(fb.BuiltinOperator.NEG, 1, name=b"caf\xe9"))
    f = inspect(path)
    assert f.inputs[0].name == "caf\N{REPLACEMENT CHARACTER}"
    assert f.engine is not None
    assert f.engine.opens
    assert any("UTF-8" in note for note in f.notes)


def test_a_crash_of_the_engine_is_part_of_the_result(tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as fb

    path = tmp_path / "model.tflite"
    path.write_bytes(tflite_model(fb.BuiltinOperator.SPLIT, 1))  # LiteRT 2.3 reads the input that it lacks
    f = inspect(path)
    assert [n.operation for n in f.nodes] == ["SPLIT"]
    assert f.engine is not None
    assert not f.engine.opens
    if "ended with" not in f.engine.error:
        pytest.skip("this LiteRT does not crash any more")
    assert "SIGSEGV" in f.engine.error


def damaged(data: bytes, seed: int) -> bytes:
    """A copy with bits flipped, a piece cut off, moved or blanked."""
    r, copy = random.Random(seed), bytearray(data)
    kind, start = seed % 4, r.randrange(len(data))
    if kind == 0:
        for _ in range(r.choice((1, 20, 300))):
            copy[r.randrange(len(copy))] ^= 1 << r.randrange(8)
    elif kind == 1:
        del copy[start:]
    elif kind == 2:
        copy[start:start] = data[: r.randrange(1, 5000)]
    else:
        copy[start : start + 2000] = bytes(len(copy[start : start + 2000]))
    return bytes(copy)


def reads_or_refuses(read: Callable[[Path], Inspection], path: Path) -> None:
    """Either there is a result, whole, or one error that names the file."""
    try:
        json.dumps(read(path).as_dict(), allow_nan=False)
    except ModelFileError as e:
        error = e
    else:
        return
    assert str(path) in error.message


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 1 << 32), scheme=st.sampled_from(["tflite-int8", "tflite-float16"]))
def test_a_damaged_tflite_is_read_or_refused(run: Any, tmp_path_factory: Any, seed: int, scheme: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged-{os.getpid()}.tflite"
    path.write_bytes(damaged(run.variants[scheme].read_bytes(), seed))
    reads_or_refuses(tflite_file.read, path)  # the reader of flatbuffers is Python alone: it may run here


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scheme", ["tflite-int8", "tflite-float32", "onnx-int8", "onnx-float32"])
def test_a_damaged_file_never_harms_us(run: Any, tmp_path: Path, scheme: str, seed: int) -> None:
    path = tmp_path / run.variants[scheme].name
    path.write_bytes(damaged(run.variants[scheme].read_bytes(), seed))
    reads_or_refuses(inspect, path)


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_keras_file_never_harms_us(run: Any, tmp_path: Path, seed: int) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(damaged(run.model.read_bytes(), seed))
    reads_or_refuses(inspect, path)


def shown(table: Any) -> str:
    from rich.console import Console

    screen = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    screen.print(table)
    return screen.export_text()


def test_tables_show_what_was_found(found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", lambda: 100)
    f = found["tflite-int8"]
    summary, operations = shown(inspect_table.summary_table(f)), shown(inspect_table.operations_table(f))
    for text in (
        "scale 1, zero point 0",
        "61,706",
        "416,520",
        "5.88 kB",
        "tflite-runtime 2.12",
        "XNNPACK takes 8 of 11",
    ):
        assert text in " ".join(summary.split())
    assert "2/2" in operations
    assert "0/1" in operations
    assert "120x400" in shown(inspect_table.weights_table(f))
    assert "input_quantized" in shown(inspect_table.nodes_table(f))


@given(st.text(), st.text())
def test_names_from_files_are_neither_markup_nor_control(name: str, operation: str) -> None:
    node = Node(operation=operation, name=name, version=1, data_types="[/]", computes_in="", parameters=None, macs=None)
    port = Port(name=name, shape=(1,), dtype=operation)
    f = Inspection(
        file=name, format="tflite", size_bytes=1, nodes=(node,), inputs=(port,), custom_operations=(operation, "[/x]")
    )
    for make in (inspect_table.summary_table, inspect_table.operations_table, inspect_table.nodes_table):
        assert "\x1b" not in shown(make(f))
    json.dumps(f.as_dict(), ensure_ascii=False).encode()


def test_command(run: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from edgepress.toolkit.cli import main

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = str(run.variants["tflite-int8"])
    for arguments, code in ((["inspect", path, "--json"], 0), (["inspect", str(tmp_path / "no.tflite"), "--json"], 1)):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert int(caught.value.code or 0) == code
        document = json.loads(capsys.readouterr().out)
        assert document["error"]["kind"] == "model_file" if code else document["macs"] == LENET_MACS
    with pytest.raises(SystemExit):
        main(["inspect", path, "--nodes"])
    assert "FULLY_CONNECTED" in capsys.readouterr().out


def old_interpreter() -> str:
    python = os.environ.get(OLD_INTERPRETER, "")
    if not shutil.which(python):
        pytest.skip(f"{OLD_INTERPRETER} names no Python with tflite-runtime 2.14")
    return python


@pytest.mark.slow
def test_tflite_runtime_knows_exactly_the_versions_of_its_release(tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as fb

    python, release = old_interpreter(), (2, 14)
    expected = {}
    for operation, row in RELEASES.items():
        for version, of in enumerate([*row.split(), "-"], start=1):
            name = f"{operation}@{version}.tflite"
            (tmp_path / name).write_bytes(tflite_model(getattr(fb.BuiltinOperator, operation), version))
            expected[name] = of != "-" and tuple(int(n) for n in of.split(".")) <= release
    script = """if True:
        import json, pathlib, sys
        from tflite_runtime.interpreter import Interpreter
        found = {}
        for path in pathlib.Path(sys.argv[1]).iterdir():
            try:
                Interpreter(model_content=path.read_bytes())
                found[path.name] = True
            except (ValueError, RuntimeError) as e:
                found[path.name] = "Didn't find op" not in str(e) and "out of range" not in str(e)
        print(json.dumps(found))
    """
    result = subprocess.run([python, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == expected


@pytest.mark.slow
def test_files_run_on_tflite_runtime_as_predicted(run: Any, digits: Any, tmp_path: Path) -> None:
    from litert_quantizer import recipe
    from litert_quantizer.quantizer import Quantizer

    python = old_interpreter()
    wrong = Quantizer(run.variants["tflite-float32"].read_bytes(), recipe.dynamic_wi8_afp32()).quantize(None)
    (tmp_path / "per-channel.tflite").write_bytes(bytes(wrong.quantized_model))  # type: ignore[arg-type]
    files = [*(run.variants[f"tflite-{p}"] for p in TFLITE), tmp_path / "per-channel.tflite"]
    np.savez(tmp_path / "items.npz", x=digits.test.read(slice(None)), y=digits.test.y)
    script = """if True:
        import json, sys
        import numpy as np
        from tflite_runtime.interpreter import Interpreter
        items, found = np.load(sys.argv[1]), []
        for path in sys.argv[2:]:
            interpreter = Interpreter(model_path=path)
            interpreter.allocate_tensors()
            source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
            right = 0
            for x, y in zip(items["x"], items["y"]):
                interpreter.set_tensor(source, x[None])
                interpreter.invoke()
                right += int(interpreter.get_tensor(sink).argmax() == y)
            found.append(right / len(items["y"]))
        print(json.dumps(found))
    """
    command = [python, "-c", script, str(tmp_path / "items.npz"), *map(str, files)]
    accuracies = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for path, accuracy in zip(files, accuracies, strict=True):
        runtime = inspect(path).runtime
        assert runtime is not None
        runs = runtime.releases["tflite_runtime"] is not None
        assert (accuracy > 0.9) == runs, (path, accuracy, runtime)
    assert accuracies[-1] < 0.5
