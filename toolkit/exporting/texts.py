"""Texts of exported folders: the templates in `files/`, rows of C, and what input and output mean."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.emission import C_TYPES, lines
from edgepress.runtime import Contract
from edgepress.runtime.adapter import Adapter
from edgepress.toolkit.escaping import markdown

FILES = Path(__file__).parent / "files"
TYPES = C_TYPES | {"float32": "float"}
"""Types of C by the names of NumPy's."""


class TensorPort(NamedTuple):
    """The input or output of a file.

    Attributes:
        shape: Its shape with the batch.
        dtype: NumPy's name of its type.
        quantization: Scale and zero point; None if it is not quantized.
    """

    shape: tuple[int, ...]
    dtype: str
    quantization: tuple[float, int] | None


def fill(name: str, **values: str) -> str:
    """The text of a file in `files/` with a value for each `@NAME@`."""
    text = (FILES / name).read_text(encoding="utf-8")
    return re.sub(r"@([A-Z_]+)@", lambda key: values[key[1]], text)


def rows_of(items: npt.NDArray[Any]) -> str:
    """Items, shape (N, numbers), as rows of an array in C."""
    write = repr if items.dtype.kind == "f" else str
    return ",\n".join(f"{{{lines(map(write, row.tolist()))}}}" for row in items)


def table_of(rows: Iterable[tuple[str, str]]) -> str:
    """What takes how much, as a table in Markdown."""
    return "\n".join(["| what | takes |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)])


def input_text(source: TensorPort, contract: Contract | None) -> str:
    """What an item is, in Markdown."""
    shape = " x ".join(map(str, source.shape))
    text = f"One item of shape {shape}, {TYPES[source.dtype]}, the last axis fastest.{_real_values(source)}"
    if contract is None:
        return text
    if contract.input.is_image and contract.adapter in (None, Adapter(shape=contract.input.shape, sigmoid=True)):
        return f"{text} These are pixels 0 to 255, {contract.input.color}."
    if contract.adapter is not None:
        about = contract.adapter
        mean = list(about.mean)
        std = list(about.std)
        order = "blue first" if about.bgr else str(contract.input.color or "values")
        return f"{text} They are ({order} - {np.array(mean).tolist()}) / {std}, of pixels 0 to 255 for images."
    return text


def output_text(result: TensorPort, contract: Contract | None) -> str:
    """What an answer is, in Markdown."""
    text = f"{int(np.prod(result.shape))} numbers, {TYPES[result.dtype]}.{_real_values(result)}"
    if contract is None or not contract.labels:
        return text
    names = "\n".join(f"{number}. {markdown(label)}" for number, label in enumerate(contract.labels))
    ends = "sigmoid" if contract.adapter is not None and contract.adapter.sigmoid else ""
    ends = ends or ("softmax" if contract.task == "logits" else "")
    meaning = f"logits; a {ends} makes probabilities of them" if ends else contract.task
    return f"{text} Their meaning: {meaning}. Labels, also in `model_labels`:\n\n{names}"


def _real_values(port: TensorPort) -> str:
    if port.quantization is None:
        return ""
    scale, zero_point = port.quantization
    return f" A stored number q stands for {scale!r} * (q - {zero_point})."
