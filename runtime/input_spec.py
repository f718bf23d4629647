"""What one item of a model's input looks like, as a part of its contract; and records made of a contract's JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np

from edgepress.runtime.resize import Resize, resize_rule


def record(cls: type[Any], raw: Any, **parse: Callable[[Any], Any]) -> Any:
    """A dataclass made of a JSON object. Unknown fields are ignored, and missing ones have their defaults.

    Args:
        cls: The dataclass.
        raw: The object.
        parse: By field, a function that makes its value of the one in the object. Null stays None where that is the
            default.

    Raises:
        ValueError: It is not an object, or has no value for a field without a default.
        Exception: Whatever `parse` or `cls` raises on values that do not fit.
    """
    if not isinstance(raw, dict):
        raise ValueError(f"{cls.__name__} is not an object")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    needed = [n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING]
    if missing := [name for name in needed if name not in raw]:
        raise ValueError(f"{cls.__name__} has no {', '.join(missing)}")
    values = {name: value for name, value in raw.items() if name in fields}
    names = {name for name, value in values.items() if value is not None or fields[name].default is not None}
    return cls(**values | {name: parse[name](values[name]) for name in names & parse.keys()})


InputType = Literal["uint8", "float32", "int8", "int16", "int32", "int64"]
Color = Literal["grey", "rgb"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What one item looks like as the file takes it.

    Attributes:
        shape: Shape of an item, without the batch: (height, width, channels) of an image, anything else of a tensor.
        dtype: "uint8" for pixels; for tensors "float32", or an integer type, as for tokens.
        color: "grey" (1 channel) or "rgb" (3) for images; None if items are tensors.
        resize: How an image of another size is fitted: "stretch" ignores its aspect ratio, "crop" fills the frame and
            cuts off the rest, "crop:F" shows only the share F of each side of what "crop" shows, about its center,
            "pad" shows the whole image on black.
        value_range: Smallest and largest value that an item may hold, (0, 255) for pixels; None if unbounded.
    """

    shape: tuple[int, ...]
    dtype: InputType = "uint8"
    color: Color | None = None
    resize: Resize = "stretch"
    value_range: tuple[float, float] | None = None

    @property
    def is_image(self) -> bool:
        """Whether items are images."""
        return self.color is not None

    @property
    def is_integer(self) -> bool:
        """Whether items are tensors of whole numbers."""
        return self.color is None and self.dtype != "float32"

    @property
    def item(self) -> np.dtype[Any]:
        """What an item holds: `np.empty(n, spec.item)` are n items."""
        return np.dtype((self.dtype, self.shape))

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest value of made-up items: the value range; if unbounded, one that the type holds."""
        return self.value_range or {"float32": (-1.7254, 1.7254), "uint8": (0.0, 255.0)}.get(self.dtype, (0.0, 127.0))

    @classmethod
    def image(cls, height: int, width: int, color: Color, resize: Resize = "stretch") -> InputSpec:
        """The input of a model that takes raw uint8 pixels, 0-255, height x width x channels."""
        channels = 1 if color == "grey" else 3
        return cls(shape=(height, width, channels), color=color, resize=resize, value_range=(0.0, 255.0))


def input_spec_from(raw: Any) -> InputSpec:
    """Parse and check the input in a contract.

    Raises:
        Exception: Of any kind; it is damaged.
    """
    spec: InputSpec = record(InputSpec, raw, shape=tuple, value_range=_range)
    if not spec.shape or not all(isinstance(n, int) and 0 < n < 1 << 24 for n in spec.shape):
        raise ValueError(f"input shape is {list(spec.shape)}")
    if spec.dtype not in get_args(InputType):
        raise ValueError(f"input dtype is {spec.dtype!r}, accepted: {', '.join(get_args(InputType))}")
    if spec.color not in (*get_args(Color), None):
        raise ValueError(f"input color is {spec.color!r}")
    if spec.value_range is not None:
        low, high = spec.value_range
        least, most = (low, high) if spec.dtype == "float32" else (np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max)
        if not least <= low <= high <= most:
            raise ValueError(f"input range is {low:g} to {high:g}, accepted: a low and a high {spec.dtype}")
    if spec.is_image and spec.dtype != "uint8":
        raise ValueError(f"input dtype is {spec.dtype!r}, but images are uint8")
    resize_rule(spec.resize)
    if spec.is_image and (len(spec.shape) != 3 or spec.shape[2] != (1 if spec.color == "grey" else 3)):
        raise ValueError(f"input shape {list(spec.shape)} does not fit color {spec.color!r}")
    return spec


def _range(values: Any) -> tuple[float, float]:
    low, high = map(float, values)
    return low, high
