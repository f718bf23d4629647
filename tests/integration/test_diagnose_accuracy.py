"""Diagnoses of inaccurate files: the damaged layer is named first, and what can't be diagnosed is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from edgepress.converters.contract.write import onnx_with_contract, tflite_with_contract
from edgepress.converters.diagnosis.files import TFLiteFile
from edgepress.converters.diagnosis.matched import Rounding
from edgepress.converters.to_tflite import flatbuffer
from edgepress.converters.to_tflite.graph import Graph
from edgepress.runtime import read_contract
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.cli.app import run as cli
from edgepress.toolkit.diagnosis.accuracy.diagnose import diagnose_accuracy
from edgepress.toolkit.errors import EdgepressError

FEW: dict[str, Any] = {"data": "digits", "test_items": 60, "samples": 8, "attempt": False}


def scaled(path: Path, target: Path, tensor: str, factor: float) -> str:
    """Write an integer `.tflite` with another range of the tensor whose name contains a text; returns the name."""
    contract = read_contract(path)
    assert contract is not None
    graph = Graph(path.read_bytes())
    names = [(i, graph.name(i)) for i in range(len(graph.table.tensors))]
    held = [(i, name) for i, name in names if tensor in name and len(graph.scales(i)[0]) == 1]
    index, name = next((i, n) for i, n in held if graph.constant(i) is None)
    quantization = graph.table.tensors[index].quantization
    quantization.scale = [float(s) * factor for s in quantization.scale]
    for op in graph.operators:
        if index in [int(i) for i in op.inputs] and graph.kind(op) == "FULLY_CONNECTED":
            bias = graph.table.tensors[int(op.inputs[2])]
            codes = graph.constant(int(op.inputs[2]))
            assert codes is not None
            bias.buffer = flatbuffer.add_buffer(graph.root, np.rint(codes / factor).astype(codes.dtype))
            bias.quantization.scale = [float(s) * factor for s in bias.quantization.scale]
    target.write_bytes(tflite_with_contract(graph.to_bytes(), contract))
    return name


@pytest.mark.parametrize(
    "scheme",
    [
        "tflite-int8",
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("tflite-dynamic", "tflite-int16x8", "tflite-float16")),
    ],
)
def test_every_layer_of_a_tflite_file_is_measured(scheme: str, run: Any) -> None:
    found = diagnose_accuracy(run.model, run.variants[scheme], **FEW)
    assert (found.scheme, found.items) == (scheme, 60)
    assert found.agreement is not None
    assert found.agreement > 0.95
    assert sum("CONV" in layer.kind or layer.kind == "FULLY_CONNECTED" for layer in found.layers) >= 5
    assert sum(layer.cost for layer in found.layers) == pytest.approx(1)
    assert not any(layer.fault for layer in found.layers)
    assert {c.label for c in found.classes} <= {str(n) for n in range(10)}
    drops = [c.drop_pp for c in found.classes]
    assert drops == sorted(drops, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheme", ["onnx-dynamic", *(pytest.param(s, marks=pytest.mark.slow) for s in ("onnx-int8", "onnx-float16"))]
)
def test_every_layer_of_an_onnx_file_is_measured(scheme: str, run: Any) -> None:
    found = diagnose_accuracy(run.model, run.variants[scheme], **FEW)
    assert len([layer for layer in found.layers if layer.kind in ("CONV_2D", "FULLY_CONNECTED")]) >= 4
    assert any(layer.sqnr_db for layer in found.layers)
    assert not any(layer.fault for layer in found.layers)
    assert not [note for note in found.notes if "not found" in note]


@pytest.mark.slow
def test_a_range_that_is_too_wide_is_named_with_its_width(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "wide.tflite"
    name = scaled(run.variants["tflite-int8"], file, "dense", 10.0)
    found = diagnose_accuracy(run.model, file, **FEW)
    worst = found.layers[0]
    assert (worst.name, worst.fault) == (name, "range")
    assert worst.range_used is not None
    assert 0.05 < worst.range_used < 0.13
    assert "times as wide as its values" in found.text
    assert found.fixes[0].command.startswith(f"edgepress convert {run.model} --to tflite-int8")


@pytest.mark.slow
def test_a_range_that_is_too_narrow_is_named(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "narrow.tflite"
    name = scaled(run.variants["tflite-int8"], file, "dense", 0.1)
    found = diagnose_accuracy(run.model, file, **FEW)
    assert (found.layers[0].name, found.layers[0].fault) == (name, "clipped")
    assert found.layers[0].clipped is not None
    assert found.layers[0].clipped > 0.05


@pytest.mark.slow
def test_weights_that_are_wrong_in_the_file_are_named(run: Any, tmp_path: Path) -> None:
    contract = read_contract(run.variants["tflite-int8"])
    assert contract is not None
    graph = Graph(run.variants["tflite-int8"].read_bytes())
    op = next(op for op in graph.operators if graph.kind(op) == "CONV_2D")
    weights, bias = (graph.table.tensors[int(op.inputs[i])].quantization for i in (1, 2))
    for quantization in (weights, bias):
        quantization.scale = [64 * float(quantization.scale[0]), *map(float, quantization.scale[1:])]
    file = tmp_path / "wrong.tflite"
    file.write_bytes(tflite_with_contract(graph.to_bytes(), contract))
    found = diagnose_accuracy(run.model, file, **FEW)
    worst = found.layers[0]
    assert (worst.name, worst.fault) == (graph.name(int(op.outputs[0])), "weights")
    assert worst.weights_error == pytest.approx(63, rel=0.05)


def test_a_wrong_weight_where_a_rewrite_put_zeros_is_named(run: Any, tmp_path: Path) -> None:
    model = onnx.load(str(run.variants["onnx-int8"]))
    makers = {name: node for node in model.graph.node for name in node.output}
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    codes = next(t for t in model.graph.initializer if t.name == makers[first.input[1]].input[0])
    values = numpy_helper.to_array(codes).copy()
    between = np.argwhere((values == 0).all(axis=0))  # zeros of all outputs: columns beyond the window
    values[3, *between[0]] = 127
    codes.CopyFrom(numpy_helper.from_array(values, codes.name))
    onnx.save(model, str(tmp_path / "wrong.onnx"))
    found = diagnose_accuracy(run.model, tmp_path / "wrong.onnx", **FEW)
    assert (found.layers[0].name, found.layers[0].fault) == (first.output[0], "weights")
    assert found.layers[0].weights_steps == pytest.approx(127)


@pytest.mark.slow
def test_a_channel_that_is_larger_than_all_others_is_named(run: Any, tmp_path: Path) -> None:
    from edgepress.converters.graph.program import Program
    from edgepress.toolkit.conversion.convert import convert

    plain = tmp_path / "model.tflite"
    shutil.copy(run.variants["tflite-float32"], plain)
    contract = read_contract(plain)
    assert contract is not None
    program = Program(plain.read_bytes())
    dense = [step for step in program.weighted() if step.kind == "FULLY_CONNECTED"]
    first, second = dense[0], dense[1]
    values = np.asarray(
        program.run(np.full((1, *program.shapes[program.source][1:]), 100, program.dtype))[first.output]
    )
    channel = int(values[0].argmax())
    factor = np.ones(len(first.constants[1]), np.float32)
    factor[channel] = 64
    changed = {
        first.weights: first.constants[1] * factor[:, np.newaxis],
        first.bias: first.constants[2] * factor,
        second.weights: second.constants[1] / factor,
    }
    plain.write_bytes(tflite_with_contract(program.with_constants(changed), contract))
    made = convert(plain, "tflite-int8,onnx-int8", out=tmp_path / "v", repairs=False, verify=False)
    for variant in made:
        assert variant.path is not None
        found = diagnose_accuracy(plain, variant.path, **FEW)
        assert (found.layers[0].name, found.layers[0].fault) == (first.output, "outlier")
        assert found.layers[0].widest == channel
        assert "equalize" in found.fixes[0].text


@pytest.mark.slow
def test_the_command_prints_tables_a_document_and_a_plot(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    words = ["diagnose", str(run.model), str(run.variants["tflite-int8"]), "--data", "digits", "--samples", "4"]
    words += ["--test-items", "40", "--no-try"]
    shown = CliRunner().invoke(app, [*words, "--plot", str(tmp_path / "p.png")])
    assert shown.exit_code == 0
    assert "The file gives the model's label for" in shown.stdout
    assert "FULLY_CONNECTED" in shown.stdout
    assert (tmp_path / "p.png").stat().st_size > 10_000
    document = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert document["layers"][0]["cost"] > 0
    assert document["layer_items"] == 4


@pytest.mark.parametrize(
    ("files", "options", "words"),
    [
        (("tflite-int8",), [], "found 1"),
        (("model", "tflite-float32"), [], "nothing in it is quantized"),
        (("model", "model"), [], "not a quantized file"),
        (("model", "tflite-int8"), ["--plot", "p.txt"], "cannot hold a plot"),
        (("model", "tflite-int8"), ["--data", "no-such-folder"], "no-such-folder"),
        (("tflite-int8", "tflite-int8"), [], "quantized already"),
    ],
)
def test_what_can_not_be_diagnosed_is_refused_in_one_message(
    files: tuple[str, ...], options: list[str], words: str, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(run.model if name == "model" else run.variants[name]) for name in files]
    data = [] if "--data" in options else ["--data", "digits"]
    assert cli(["diagnose", *paths, *data, *options, "--json"]) != 0
    error = json.loads(capsys.readouterr().out)["error"]
    assert words in error["message"]
    assert error["hint"]


def test_a_file_of_another_model_is_refused(run: Any, tmp_path: Path) -> None:
    contract = read_contract(run.variants["tflite-int8"])
    assert contract is not None
    other = tmp_path / "other.tflite"
    labels = tuple(f"{label}!" for label in contract.labels)
    other.write_bytes(tflite_with_contract(run.variants["tflite-int8"].read_bytes(), contract.replace(labels=labels)))
    with pytest.raises(EdgepressError):
        diagnose_accuracy(run.model, other, **FEW)


def test_a_plot_needs_data(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["diagnose", str(run.variants["tflite-int8"]), "--plot", "p.png", "--json"]) == 1
    assert "--data" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_roundings_are_those_of_the_engine(run: Any) -> None:
    file = TFLiteFile(run.variants["tflite-int8"].read_bytes())
    name = next(name for name, r in file.roundings.items() if name in file.names and r.scale not in (1.0, 1 / 256))
    values = file.values(np.full((1, 28, 28, 1), 77, np.uint8), [name])[name]
    assert np.asarray(file.roundings[name].apply(values)) == pytest.approx(values, rel=1e-5)


def test_rounding_limits_values_and_keeps_zero() -> None:
    rounding = Rounding("static", 0.5, -128)
    assert rounding.limits == (0.0, 127.5)
    found = np.asarray(rounding.apply(np.array([[-1.0, 0.0, 0.3, 500.0]], np.float32)))
    assert found.tolist() == [[0.0, 0.0, 0.5, 127.5]]
    dynamic = np.asarray(Rounding("dynamic").apply(np.array([[0.0, 255.0], [0.0, 2.55]], np.float32)))
    assert dynamic == pytest.approx(np.array([[0, 255], [0, 2.55]]), rel=1e-5)


@pytest.mark.slow
def test_an_onnx_file_without_its_contract_is_matched_by_its_names(run: Any, tmp_path: Path) -> None:
    contract = read_contract(run.variants["tflite-int8"])
    assert contract is not None
    model = onnx.load(str(run.variants["onnx-int8"]))
    bare = contract.replace(scheme="onnx-int8", rewrites=(), parent_sha256="0" * 64, selftest=None)
    file = tmp_path / "bare.onnx"
    file.write_bytes(onnx_with_contract(model, bare).SerializeToString())
    found = diagnose_accuracy(run.model, file, **FEW)
    assert any("another file" in note for note in found.notes)
    assert len(found.layers) >= 4


@pytest.mark.slow
def test_without_data_a_note_says_how_accuracy_is_diagnosed(run: Any) -> None:
    shown = CliRunner().invoke(app, ["diagnose", str(run.model), str(run.variants["tflite-int8"]), "--runs", "2"])
    assert shown.exit_code == 4, "the model has no speed to diagnose, the file has"
    assert "add --data: edgepress diagnose MODEL FILE --data DATA" in " ".join(shown.stderr.split())
