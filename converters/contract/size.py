"""The option `--size`: numbers for the sizes that a model's input leaves free.

>>> fixed_shape((None, None, 3), "48x192", "model.onnx")
(48, 192, 3)
>>> fixed_shape((None, 16), "128", "model.onnx")
(128, 16)
"""

from __future__ import annotations

from collections.abc import Sequence

from edgepress.runtime.errors import InputError, ModelFileError

Size = str | Sequence[int]
"""Numbers, or text in which "x" separates them: "64", "48x192"."""


def parse_size(size: Size) -> tuple[int, ...]:
    """The numbers of a size, each at least 1.

    Raises:
        InputError: It is something else.
    """
    parts = size.lower().split("x") if isinstance(size, str) else [str(n) for n in size]
    if not parts or not all(part.isdecimal() and len(part) < 10 and int(part) for part in parts):
        raise InputError(f"The size is {size!r}; accepted: SIDE or HEIGHTxWIDTH, such as 64 or 48x64.")
    return tuple(map(int, parts))


def fixed_shape(shape: Sequence[int | None], size: Size | None, where: str) -> tuple[int, ...]:
    """The shape of an item with all of its sizes fixed.

    One number fixes every free size; several are the sizes of neighbouring axes, such as height and width wherever the
    channels are, and have to agree with those that the file fixes.

    Args:
        shape: Shape of an item, without the batch; None for a size that the file leaves free.
        size: What they are fixed to.
        where: Name of the file, for messages.

    Raises:
        ModelFileError: A size is free and `size` is None.
        InputError: `size` does not fit the shape.
    """
    free = shape.count(None)
    text = ", ".join("?" if n is None else str(n) for n in shape)
    if size is None and free:
        raise ModelFileError(
            f"{where} takes items of shape [{text}], of which the sizes marked ? are free.",
            "Fix them with --size LENGTH." if free == 1 else "Fix them with --size HEIGHTxWIDTH, such as 48x192.",
        )
    numbers = () if size is None else parse_size(size)
    if len(numbers) == 1 and free:
        return tuple(numbers[0] if n is None else n for n in shape)
    for start in range(len(shape) - len(numbers) + 1):
        fixed = [*shape[:start], *numbers, *shape[start + len(numbers) :]]
        if all(old in (None, new) for old, new in zip(shape, fixed, strict=True)) and None not in fixed:
            return tuple(n for n in fixed if n is not None)
    raise InputError(
        f"The size {'x'.join(map(str, numbers))} does not fit {where}, which takes items of shape [{text}].",
        "Sizes marked ? are free; the others can't be changed.",
    )


def fixed_shapes(shapes: Sequence[Sequence[int | None]], size: Size, where: str) -> list[tuple[int, ...]]:
    """`fixed_shape` of each input that has free sizes, or of all inputs if none has; the others stay.

    Raises:
        InputError: `size` does not fit one of them.
    """
    free = [shape for shape in shapes if None in shape] or shapes
    return [fixed_shape(shape, size if shape in free else None, where) for shape in shapes]
