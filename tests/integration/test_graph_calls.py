"""Graphs that call graphs, in TFLite and ONNX: what engines crash on or never finish is refused before they see it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from calling_graphs import FIELDS, Calls, calling, functions

from edgepress.runtime import ENGINES, ModelFileError, available_engines, load
from edgepress.runtime.flatbuffer import MAX_DEPTH, check_model
from edgepress.runtime.protobuf import MAX_CALLS, MAX_NODES, check_functions

CIRCLES: dict[str, list[Calls]] = {
    "itself": [[("IF", (0, 0))]],
    "two bodies": [[("WHILE", (2, 1))], [("WHILE", (2, 0))], []],
    "two conditions": [[("WHILE", (1, 2))], [("WHILE", (0, 2))], []],
    "three": [[("WHILE", (3, 1))], [("WHILE", (3, 2))], [("WHILE", (3, 1))], []],
    "two kinds": [[("WHILE", (2, 1))], [("IF", (0, 2))], []],
    "behind the second operation": [[("IF", (1, 1)), ("IF", (2, 2))], [], [("IF", (1, 2))]],
    "nothing calls it": [[], [("IF", (1, 1))]],
    "deep": [[("IF", (i + 1, i + 1))] for i in range(MAX_DEPTH)] + [[]],
}


@pytest.mark.parametrize("graphs", CIRCLES.values(), ids=CIRCLES)
def test_no_engine_is_given_graphs_that_call_each_other_in_a_circle(graphs: list[Calls], tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(calling(graphs))
    for engine in (name for name in available_engines() if "tflite" in ENGINES[name].formats):
        with pytest.raises(ModelFileError, match="graphs call each other in a circle"):
            load(path, engine)


def test_the_process_of_a_board_lives(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(calling(CIRCLES["two bodies"]))
    np.save(tmp_path / "item.npy", np.zeros(1, np.float32))
    command = [sys.executable, "-m", "edgepress.runtime", "classify", str(path), str(tmp_path / "item.npy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert "call each other in a circle" in done.stderr


@pytest.mark.parametrize("kind", FIELDS)
def test_every_operation_that_calls_graphs_is_looked_into(kind: str, tmp_path: Path) -> None:
    graphs = len(FIELDS[kind][1])
    for other in range(graphs):
        called = tuple(1 if n == other else 2 for n in range(graphs))
        back = tuple(0 if n == other else 2 for n in range(graphs))
        check_model(tmp_path, calling([[(kind, called)], [(kind, (2,) * graphs)], []]))
        with pytest.raises(ModelFileError, match="in a circle"):
            check_model(tmp_path, calling([[(kind, called)], [(kind, back)], []]))
        with pytest.raises(ModelFileError, match="an operation calls graph 9 of 3"):
            check_model(tmp_path, calling([[(kind, tuple(9 if n == 1 else n for n in called))], [], []]))


def test_options_of_another_operation_are_zeros(tmp_path: Path) -> None:
    """An interpreter takes them so: this IF, whose options say 1, calls its own graph."""
    check_model(tmp_path, calling([[("IF", (1, 1))], []]))
    for options in ("", "WHILE"):
        with pytest.raises(ModelFileError, match="in a circle"):
            check_model(tmp_path, calling([[("IF", (1, 1))], []], options=options))


def test_as_many_graphs_in_a_row_as_allowed_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(calling([[("IF", (i + 1, i + 1))] for i in range(MAX_DEPTH - 1)] + [[]]))
    check_model(path, path.read_bytes())


@pytest.mark.parametrize("shared", ["graphs", "tensors", "operators", "shape", "scale", "zeroPoint", "inputs"])
def test_a_vector_shared_by_thousands_of_tables_is_refused(shared: str, tmp_path: Path) -> None:
    """Each table alone is small; an interpreter copies the vector for each, 4 GB from 200 kB."""
    content, start = sharing(shared), time.process_time()
    assert len(content) < 1 << 20
    with pytest.raises(ModelFileError, match="its vectors have more elements than it has bytes"):
        check_model(tmp_path, content)
    assert time.process_time() - start < 5


def sharing(what: str) -> bytes:
    """A `.tflite` in which thousands of tables have one vector of thousands in common."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as fb

    many, b = 20_000, flatbuffers.Builder(1 << 20)

    def vector(elements: list[int], *, offsets: bool = False) -> int:
        b.StartVector(4, len(elements), 4)
        for element in elements:
            (b.PrependUOffsetTRelative if offsets else b.PrependInt32)(element)
        return int(b.EndVector())

    numbers = vector([1] * many)
    quantization = 0
    if what in ("scale", "zeroPoint"):
        fb.QuantizationParametersStart(b)
        add = fb.QuantizationParametersAddScale if what == "scale" else fb.QuantizationParametersAddZeroPoint
        add(b, numbers)
        quantization = fb.QuantizationParametersEnd(b)

    def tensor() -> int:
        fb.TensorStart(b)
        if what == "shape":
            fb.TensorAddShape(b, numbers)
        if quantization:
            fb.TensorAddQuantization(b, quantization)
        return int(fb.TensorEnd(b))

    def operator() -> int:
        fb.OperatorStart(b)
        if what == "inputs":
            fb.OperatorAddInputs(b, numbers)
        return int(fb.OperatorEnd(b))

    few, each = (1, many) if what in ("tensors", "operators") else (many // 4, 1)
    tensors = vector([t for t in [tensor() for _ in range(few)] for _ in range(each)], offsets=True)
    operators = vector([o for o in [operator() for _ in range(few)] for _ in range(each)], offsets=True)
    code = (fb.OperatorCodeStart(b), fb.OperatorCodeEnd(b))[1]
    fb.SubGraphStart(b)
    fb.SubGraphAddTensors(b, tensors)
    fb.SubGraphAddOperators(b, operators)
    graph = fb.SubGraphEnd(b)
    graphs = vector([graph] * (many if what in ("graphs", "tensors", "operators") else 1), offsets=True)
    codes = vector([code], offsets=True)
    fb.ModelStart(b)
    fb.ModelAddOperatorCodes(b, codes)
    fb.ModelAddSubgraphs(b, graphs)
    b.Finish(fb.ModelEnd(b), b"TFL3")
    return bytes(b.Output())


FUNCTIONS: dict[str, tuple[dict[str, list[str]], str]] = {
    "itself": ({"A": ["A"]}, "in a circle"),
    "each other": ({"A": ["B"], "B": ["A"]}, "in a circle"),
    "nothing calls them": ({"A": [], "B": ["C"], "C": ["B"]}, "in a circle"),
    "deep": ({f"A{i or ''}": [f"A{i + 1}"] for i in range(1000)} | {"A1000": []}, "in a row"),
    "twice as often": ({f"A{i or ''}": [f"A{i + 1}"] * 2 for i in range(30)} | {"A30": []}, r"stand for \d{10,} nodes"),
    "often": ({"A": ["B"] * 400, "B": ["C"] * 400, "C": []}, r"stand for \d{6} nodes"),
}


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("calls", "reason"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_of_onnx_are_not_called_without_bounds(
    calls: dict[str, list[str]], reason: str, inside: bool, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(functions(calls, inside=inside))
    with pytest.raises(ModelFileError, match=reason):
        load(path)


def test_functions_that_end_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(functions({"A": ["B", "B"], "B": ["C"] * 3, "C": []}))
    assert load(path).engine == "onnxruntime"
    assert MAX_CALLS < MAX_NODES


def test_a_name_in_another_domain_or_with_another_overload_is_another_function() -> None:
    import onnx

    model = onnx.load_from_string(functions({"A": ["B"] * 400, "B": ["C"] * 400, "C": []}))
    small = onnx.FunctionProto()
    small.CopyFrom(model.functions[2])
    small.name, small.overload = "B", "small"
    model.functions.append(small)
    with pytest.raises(ValueError, match="stand for 160000 nodes"):
        check_functions(model.SerializeToString())
    for node in model.functions[0].node:
        node.overload = "small"
    check_functions(model.SerializeToString())


def test_commands_refuse_them_all(tmp_path: Path) -> None:
    from edgepress.toolkit.conversion.convert import convert
    from edgepress.toolkit.conversion.inspection import inspect

    for name, content in (
        ("net.tflite", calling(CIRCLES["two bodies"])),
        ("net.onnx", functions(FUNCTIONS["each other"][0])),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="in a circle"):
            inspect(path)
        with pytest.raises(ModelFileError, match="in a circle"):
            convert(path, "tflite", out=tmp_path / "out")
