"""Several inputs: an item is a record of arrays, one an input, as NumPy's structured arrays hold them.

A batch of records is one array of shape (N,), so that it is sliced, indexed, joined, stored and sent like a batch of
plain items. `InputRecord.item` says what a record holds. The runtime imports this only for a model of several inputs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.runtime.errors import ModelFileError
from edgepress.runtime.input_spec import InputSpec, input_spec_from

if TYPE_CHECKING:
    import numpy.typing as npt

MOST_INPUTS = 64
"""Inputs of a model at most."""
MOST_BYTES = (1 << 31) - 1
"""Bytes of a record at most, which is NumPy's bound."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedInput(InputSpec):
    """One of several inputs.

    Attributes:
        name: Its name, in the file and for callers.
        quantization: Scale and zero point in the file: real value = scale * (stored value - zero point).
    """

    name: str = ""
    quantization: tuple[float, int] = dataclasses.field(default=(1.0, 0), compare=False)  # callers see real values


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputRecord(InputSpec):
    """Several inputs. As one, they are a row: the values of all, in their order, as float32.

    Attributes:
        inputs: The inputs, in the order of the file.
    """

    inputs: tuple[NamedInput, ...] = ()

    @property
    def item(self) -> np.dtype[Any]:
        """What a record holds: by the name of each input, its array."""
        return np.dtype([(each.name, each.dtype, each.shape) for each in self.inputs])

    @classmethod
    def of(cls, inputs: Sequence[NamedInput]) -> InputRecord:
        """The record of these inputs."""
        return cls(shape=(sum(math.prod(each.shape) for each in inputs),), dtype="float32", inputs=tuple(inputs))


def inputs_of(spec: InputSpec | None) -> tuple[NamedInput, ...]:
    """The inputs of a model of several; none of a model of one."""
    return spec.inputs if isinstance(spec, InputRecord) else ()


def input_record_from(raw: dict[str, Any]) -> InputRecord:
    """Parse and check several inputs in a contract.

    Raises:
        Exception: Of any kind; it is damaged.
    """
    if not 2 <= len(raw["inputs"]) <= MOST_INPUTS:
        raise ValueError(f"it has {len(raw['inputs'])} inputs, accepted: 2 to {MOST_INPUTS}")
    inputs = []
    for each in raw["inputs"]:
        spec = input_spec_from({name: value for name, value in each.items() if name != "inputs"})
        scale, zero = each.get("quantization", (1.0, 0))
        if not isinstance(each["name"], str) or not each["name"] or not (0 < scale < math.inf and type(zero) is int):
            raise ValueError(f"input {each['name']!r} has no name, or a wrong quantization")
        each["name"].encode()  # a ValueError if it holds half of a surrogate pair, which no file can
        fields = {field.name: getattr(spec, field.name) for field in dataclasses.fields(InputSpec)}
        inputs.append(NamedInput(**fields, name=each["name"], quantization=(float(scale), zero)))
    if len({each.name for each in inputs}) < len(inputs):
        raise ValueError("two of its inputs have the same name")
    if (size := _record_bytes((each.dtype, each.shape) for each in inputs)) > MOST_BYTES:
        raise ValueError(f"its inputs take {size} bytes, accepted: up to {MOST_BYTES}")
    return InputRecord.of(inputs)


def _record_bytes(inputs: Iterable[tuple[Any, Sequence[int]]]) -> int:
    """Bytes of a record, from the type and the shape of each input."""
    return sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in inputs)


def input_name(stored: str) -> str:
    """The name of an input from that of its tensor, to which TensorFlow adds what callers do not know."""
    return stored.removeprefix("serving_default_").removesuffix(":0")


Port = tuple[str, Sequence[Any], Any, tuple[float, int]]
"""An input of a file: its name, its shape with the batch, its type, and its scale and zero point."""


def describe_several(path: Path, ports: Sequence[Port]) -> tuple[np.dtype[Any], dict[str, tuple[float, int]]]:
    """What a record of a file of several inputs holds, and their scales and zero points by name.

    Raises:
        ModelFileError: A size is free, the batches differ, two names are equal, an input has no batch, or a record is
            larger than NumPy's bound.
    """
    names = [input_name(name) for name, *_ in ports]
    sizes = [[n if isinstance(n, int) and n > 0 else -1 for n in shape] for _, shape, *_ in ports]
    is_free = any(min(size[1:], default=1) < 1 for size in sizes)
    has_one_batch = len({tuple(size[:1]) for size in sizes}) == 1 and all(sizes)
    too_large = _record_bytes((port[2], size[1:]) for port, size in zip(ports, sizes, strict=True)) > MOST_BYTES
    if not has_one_batch or len({*names}) < len(names) or is_free or too_large:
        listed = ", ".join(f"{name} {size}" for name, size in zip(names, sizes, strict=True))
        hint = "Several inputs need different names, one size of the batch, no other free size, and 2 GiB at most."
        raise ModelFileError(f"{path} has the inputs {listed}.", hint)
    fields = [(name, port[2], tuple(size[1:])) for name, port, size in zip(names, ports, sizes, strict=True)]
    return np.dtype(fields), {name: port[3] for name, port in zip(names, ports, strict=True)}


def feed_each(feed: Callable[[Any, Any], Any], places: Mapping[str, Any]) -> Callable[[Any, Any], None]:
    """A function that sets all inputs from records in place of `feed`, which sets one.

    Args:
        feed: Takes the place of an input and its array.
        places: The place of each input by its name.
    """

    def feed_records(_: Any, records: npt.NDArray[Any]) -> None:
        for name, place in places.items():
            feed(place, np.ascontiguousarray(records[name]))

    return feed_records


def run_each(run: Callable[[Any, Any], Any], places: Mapping[str, str]) -> Callable[[Any, Any], Any]:
    """A function that runs on records in place of `run`, which takes an array for each input by its name in the file.

    Args:
        run: Takes the names of outputs, and arrays by the names of inputs.
        places: The name of each input in the file by that for callers.
    """

    def run_records(outputs: Any, feeds: Mapping[str, npt.NDArray[Any]]) -> Any:
        (records,) = feeds.values()
        return run(outputs, {place: np.ascontiguousarray(records[name]) for name, place in places.items()})

    return run_records


def check_records(path: Path, item: np.dtype[Any], spec: InputSpec) -> None:
    """Compare the inputs of a file with those of its contract, of which one or both have several.

    Raises:
        ModelFileError: It has others.
    """
    stored = {name: item[name].shape for name in item.names or ()}
    said = {each.name: each.shape for each in inputs_of(spec)}
    if [*stored.items()] != [*said.items()]:
        raise ModelFileError(
            f"{path} contradicts its contract: it has the inputs {stored or 'of one tensor'}; the contract says "
            f"{said or 'one tensor'}.",
            "Convert the model again.",
        )


def match_names(given: Sequence[str], wanted: Sequence[str]) -> dict[str, str]:
    """The wanted name that each given one stands for: the same, or the only one that differs in case alone.

    Names that stand for none, or that several given ones could be, are left out.
    """
    exact = {name: name for name in given if name in wanted}
    rest = [name for name in wanted if name not in exact]
    others = [name for name in given if name not in exact]
    folded: dict[str, str] = {}
    for name in others:
        alike = [each for each in rest if each.casefold() == name.casefold()]
        same = [each for each in others if each.casefold() == name.casefold()]
        if len(alike) == len(same) == 1:
            folded[name] = alike[0]
    return exact | folded


def misfit(names: Mapping[str, str], given: Sequence[str], wanted: Sequence[str]) -> str:
    """Which wanted names are missing, and which given ones stand for none, in words; "" if all fit.

    Args:
        names: What `match_names` returns for them.
        given: The given names.
        wanted: The wanted ones.
    """
    missing = [name for name in wanted if name not in names.values()]
    unknown = [name for name in given if name not in names]
    parts = (("missing", missing), ("unknown", unknown))
    return "; ".join(f"{what}: {', '.join(some)}" for what, some in parts if some)
