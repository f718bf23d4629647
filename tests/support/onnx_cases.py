"""ONNX' own test cases, which are in its wheel, that have a float input: models, and what they make of inputs."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper

FOLDERS = ("pytorch-operator", "pytorch-converted", "simple")
"""Of cases that are files; those of single nodes are made by functions."""


class Case(NamedTuple):
    """A model of one float input, whose other inputs became constants.

    `model` takes `item` and makes `expected`; `kinds` are its operations.
    """

    name: str
    model: onnx.ModelProto
    item: Any
    expected: Any
    kinds: tuple[str, ...]


def _case(name: str, whole: onnx.ModelProto, inputs: list[Any], expected: Any) -> Case | None:
    """The case; None if no input is float, or what is expected is no number."""
    source = next((i for i, x in enumerate(inputs) if x.dtype == np.float32 and x.ndim), None)
    if source is None or expected.dtype not in (np.float32, np.int64, np.bool_):
        return None
    model = onnx.ModelProto()
    model.CopyFrom(whole)
    taken = model.graph.input[source]
    others = [(value.name, x) for value, x in zip(model.graph.input, inputs, strict=False) if value is not taken]
    model.graph.initializer.extend(numpy_helper.from_array(np.array(x, order="C"), name) for name, x in others)
    kept = onnx.ValueInfoProto()
    kept.CopyFrom(taken)
    del model.graph.input[:]
    model.graph.input.append(kept)
    return Case(name, model, inputs[source], expected, tuple(node.op_type for node in model.graph.node))


@functools.cache
def node_cases() -> tuple[Case, ...]:
    """Cases of single operations."""
    from onnx.backend.test.case.node import collect_testcases

    made = []
    for case in collect_testcases(None):
        if case.model is None or not case.data_sets or "_expanded" in case.name:
            continue
        inputs, outputs = case.data_sets[0]
        if all(isinstance(x, np.ndarray | np.generic) for x in (*inputs, outputs[0])):
            made.append(_case(case.name, case.model, [np.asarray(x) for x in inputs], np.asarray(outputs[0])))
    return tuple(case for case in made if case is not None)


def file_cases() -> Iterator[Case]:
    """Cases that are files: what PyTorch exports, and a few others."""
    root = Path(onnx.backend.test.__file__).parent / "data"
    for folder in sorted(each for name in FOLDERS for each in (root / name).iterdir()):
        model = onnx.load(folder / "model.onnx")
        if any(not value.type.HasField("tensor_type") for value in (*model.graph.input, model.graph.output[0])):
            continue
        data = folder / "test_data_set_0"
        try:
            inputs = [_read(data / f"input_{number}.pb") for number in range(len(model.graph.input))]
            case = _case(folder.name, model, inputs, _read(data / "output_0.pb"))
        except (FileNotFoundError, TypeError, ValueError):  # sequences and texts
            continue
        if case is not None:
            yield case


def _read(path: Path) -> Any:
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(tensor)
