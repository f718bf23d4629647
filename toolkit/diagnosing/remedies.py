"""What may mend a file that is inaccurate: the conversions that there are, in the order in which they are tried."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgepress.converters.diagnosis.layer import Layer
from edgepress.converters.kept import layer_name
from edgepress.converters.schemes import SCHEMES
from edgepress.runtime.contract import Contract
from edgepress.toolkit.conversion import convert

FEW, MOST = 3, 0.5
"""Number of layers that may be kept in float, and the share of the error that they must have together."""
OPTIONS = {
    "data": "--data",
    "calibration": "--calibration",
    "samples": "--samples",
    "target": "--target",
    "keep_float": "--keep-float",
}
"""Options of `edgepress convert` by argument of `convert`."""


@dataclass(frozen=True)
class Conversion:
    """A conversion that may mend a file.

    Attributes:
        text: What it does, to follow "Try to".
        scheme: What to convert to.
        arguments: Arguments of `convert`, as the command has them, too.
    """

    text: str
    scheme: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def command(self, model: str, extra: Sequence[str] = ()) -> str:
        """The command that does it."""
        words = ["edgepress", "convert", model, "--to", self.scheme]
        for name, value in self.arguments.items():
            words += [OPTIONS[name], str(value)]
        return shlex.join([*words, *extra])


def conversions(contract: Contract, layers: Sequence[Layer], data: str | None) -> list[Conversion]:
    """The conversions that may mend a file, those that fit its worst layer first.

    Args:
        contract: Its contract.
        layers: Its layers, those with a fault first.
        data: The data set if the model does not name it.
    """
    if contract.scheme not in SCHEMES:
        return []
    base: dict[str, Any] = {} if data is None else {"data": data}
    if contract.target != "cpu":
        base["target"] = contract.target
    found: dict[tuple[str, str], Conversion] = {}
    for one in _fitting(contract, layers):
        if one.scheme in SCHEMES and _offers(one.arguments):
            arguments = {**base, **one.arguments}
            found.setdefault((one.scheme, repr(arguments)), Conversion(one.text, one.scheme, arguments))
    return list(found.values())


def _offers(arguments: Mapping[str, Any]) -> bool:
    """Whether this version of `convert` has these arguments."""
    return arguments.keys() <= inspect.signature(convert).parameters.keys()


def _fitting(contract: Contract, layers: Sequence[Layer]) -> Iterator[Conversion]:
    scheme = SCHEMES[contract.scheme]
    fault = layers[0].fault if layers else ""
    repaired = bool(contract.tuning.get("repairs"))
    again = "convert it again, with the ranges of data like its training data"
    if fault in ("range", "clipped", "weights"):
        yield Conversion(again if scheme.calibrated else "convert it again", scheme.name)
    if scheme.tuning and not repaired:
        yield Conversion("equalize its channels and correct its biases, as conversions do by default", scheme.name)
    if scheme.calibrated and not fault:
        yield Conversion("take ranges by the error of rounding", scheme.name, {"calibration": "mse"})
    if scheme.calibrated and fault in ("range", "clipped", ""):
        yield Conversion("calibrate on more items", scheme.name, {"samples": 1000})
    worst = [layer for layer in layers if layer.cost > 0][:FEW]
    if sum(layer.cost for layer in worst) >= MOST:
        mixed = f"{scheme.format}-mixed"
        names = "|".join(f"{re.escape(layer_name(layer.name))}$" for layer in worst)
        yield Conversion("keep its costliest layers in float", mixed, {"keep_float": names})
    if fault == "outlier" or scheme.precision in ("int4", "int8"):
        yield Conversion("keep activations in 16 bits, which most CPUs compute slowly", f"{scheme.format}-int16x8")
    yield Conversion("keep activations in float", f"{scheme.format}-float16")
