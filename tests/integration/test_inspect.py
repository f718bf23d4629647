"""`edgepress inspect` on real files: a LeNet in its ten formats, files that others made, and files that are broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inspecting import LENET_MACS, LENET_PARAMETERS, row_of, tflite_model

from edgepress.converters.inspection import Inspection, tflite_file
from edgepress.converters.inspection.report import Node, Port
from edgepress.converters.inspection.versions import operations
from edgepress.converters.to_tflite.flatbuffer import names_of
from edgepress.toolkit.cli import inspect as inspect_table
from edgepress.toolkit.cli import screen as screen_module
from edgepress.toolkit.conversion.inspection import inspect

TFLITE = ("float32", "float16", "dynamic", "int8", "int16x8")
ONNX = ("float32", "float16", "dynamic", "int8")
OLD_INTERPRETER = "EDGEPRESS_TFLITE_RUNTIME_PYTHON"
"""Environment variable that names a Python with tflite-runtime 2.14; tests that need it are skipped without."""


@pytest.fixture(scope="module")
def found(run: Any) -> dict[str, Inspection]:
    """Every variant, inspected once."""
    return {scheme: inspect(path) for scheme, path in run.variants.items()}


@pytest.mark.parametrize("scheme", [*(f"tflite-{p}" for p in TFLITE), *(f"onnx-{p}" for p in ONNX)])
def test_every_variant_has_its_parents_size_and_work(found: Any, keras_found: Inspection, scheme: str) -> None:
    f = found[scheme]
    # The first convolution of onnx-int8 reads four columns as channels: 24 outputs of 5x3x4 weights, not 6 of 5x5.
    macs = LENET_MACS + (28 * 7 * 24 * 60 - 28 * 28 * 6 * 25 if scheme == "onnx-int8" else 0)
    parameters = LENET_PARAMETERS + (24 * 61 - 6 * 26 if scheme == "onnx-int8" else 0)
    assert keras_found.macs == LENET_MACS
    assert f.macs == macs
    assert keras_found.parameters == LENET_PARAMETERS
    assert 0 <= f.parameters - parameters <= 6  # scales inside the graph
    assert f.contract is not None
    assert f.contract.scheme == scheme
    assert f.engine is not None
    assert f.engine.opens
    assert not f.custom_operations
    assert not f.macs_not_counted
    assert f.weights_bytes + f.metadata_bytes + f.rest_bytes == f.size_bytes == Path(f.file).stat().st_size
    assert f.weights_bytes >= f.weights[0].size_bytes > 0.3 * f.size_bytes
    assert 0 < f.rest_bytes < 0.25 * f.size_bytes
    assert json.loads(json.dumps(f.as_dict(), allow_nan=False))["macs"] == macs


def test_peak_memory_is_what_one_counts_by_hand(found: Any, keras_found: Inspection) -> None:
    pool = 28 * 28 * 6 + 14 * 14 * 6  # the first pooling reads the first convolution's output
    assert found["tflite-float32"].peak_activation_bytes == keras_found.peak_activation_bytes == 4 * pool
    assert found["tflite-int8"].peak_activation_bytes == pool
    assert found["tflite-int16x8"].peak_activation_bytes == 2 * pool
    # QDQ: as ONNX Runtime runs it; the Reshape behind the first convolution counts as a copy
    assert found["onnx-int8"].peak_activation_bytes == 2 * 28 * 28 * 6
    assert found["onnx-float32"].peak_activation_bytes == 4 * 2 * 28 * 28 * 6  # Relu stands apart
    assert 200_000 < found["tflite-float16"].unpacked_weights_bytes <= 4 * LENET_PARAMETERS
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
    assert row_of(found["tflite-dynamic"], "FULLY_CONNECTED")["computes_in"] == "dynamic"
    assert row_of(found["tflite-int16x8"], "CONV_2D")["data_types"] == "int16 x int8 -> int16"
    assert row_of(found["onnx-int8"], "Conv")["computes_in"] == "uint8"
    assert row_of(found["onnx-dynamic"], "MatMulInteger")["computes_in"] == "dynamic"


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
    assert row_of(f, "CONV_2D")["delegated"] == 2
    assert row_of(f, "CAST")["delegated"] == 0
    assert not any(n.delegated for n in found["tflite-int16x8"].nodes)
    assert all(n.delegated is None for n in found["onnx-int8"].nodes)


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
    for operation, row in operations().items():
        for version, release in enumerate(row["releases"].split(), start=1):
            try:
                Interpreter(model_content=tflite_model(getattr(fb.BuiltinOperator, operation), version))
            except ValueError as e:  # options that this model lacks come after the version's check
                if release != "-" and "Didn't find op" in str(e):
                    missing.append((operation, version))
    assert not missing


def shown(table: Any) -> str:
    from rich.console import Console

    screen = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    screen.print(table)
    return screen.export_text()


def test_tables_show_what_was_found(found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen_module, "width", lambda: 100)
    f = found["tflite-int8"]
    summary, operations = shown(inspect_table.summary_table(f)), shown(inspect_table.operations_table(f))
    for text in (
        "scale 1, zero point 0",
        "61,706",
        "416,520",
        "5.88 kB",
        "tflite-runtime 2.12",
        "XNNPACK takes 13 of 13 in 1 part",
        "Made for cpu; rewritten: lookup-islands, ends",
        "Islands SOFTMAX (1) as float kernel",
    ):
        assert text in " ".join(summary.split())
    assert "2/2" in operations
    assert "0/1" in shown(inspect_table.operations_table(found["tflite-float32"]))
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
    from edgepress.toolkit.cli.main import main

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
    for operation, row in operations().items():
        for version, of in enumerate([*row["releases"].split(), "-"], start=1):
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


def test_operations_and_types_have_the_names_of_the_schema() -> None:
    """Not those of attributes that Python gives to classes: 3.13 has `__firstlineno__`, a number."""
    from ai_edge_litert import schema_py_generated as schema

    for table in (schema.BuiltinOperator, schema.TensorType):
        names = [name for name in dir(table) if name.isupper()]
        assert {getattr(table, name): name for name in names} == names_of(table)
