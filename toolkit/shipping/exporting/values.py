"""C that makes the stored input of an exported model of real values, as the runtime prepares the same item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgepress.converters.to_c.emission import C_TYPES, lines
from edgepress.converters.to_c.lowering import Program
from edgepress.runtime import Contract
from edgepress.runtime.adapter import Adapter
from edgepress.toolkit.shipping.exporting.folder import fill
from edgepress.toolkit.shipping.exporting.vectors import quantization_of


@dataclass(frozen=True)
class ValueSources:
    """The C that normalizes and quantizes an item.

    Attributes:
        files: Its files by name.
        readme: What the README says of it.
    """

    files: dict[str, str]
    readme: str


def value_sources(program: Program, contract: Contract | None) -> ValueSources | None:
    """The C for a model of tensors of real values; None for one of images or whole numbers.

    Args:
        program: The program of the file.
        contract: What the file says of itself; None if nothing is known.
    """
    if contract is None or contract.input.dtype != "float32" or program.input.dtype not in ("int8", "uint8"):
        return None
    adapter = contract.adapter or Adapter(shape=contract.input.shape)
    scale, zero_point = quantization_of(program.input)
    limits = np.iinfo(program.input.dtype)
    channels = max(len(adapter.mean), len(adapter.std))
    words = {
        "TYPE": C_TYPES[program.input.dtype],
        "CHANNELS": str(channels),
        "MEAN": _floats(adapter.mean, channels),
        "STD": _floats(adapter.std, channels),
        "SCALE": _number(scale),
        "ZERO_POINT": str(zero_point),
        "LEAST": str(limits.min),
        "MOST": str(limits.max),
    }
    files = {f"model_values.{end}": fill(f"values/model_values.{end}", **words) for end in ("h", "c")}
    return ValueSources(files, fill("values/README.md"))


def _floats(values: tuple[float, ...], count: int) -> str:
    return lines(map(_number, np.broadcast_to(np.array(values), count).tolist()))


def _number(value: float) -> str:
    """A number as a float of C, exact."""
    return f"{float(np.float32(value)).hex()}f"
