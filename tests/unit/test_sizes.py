"""What `--size` makes of a shape whose sizes are free, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from edgepress.converters.contract.hints import fixed_shape, fixed_shapes, parse_size
from edgepress.runtime.errors import InputError


@pytest.mark.parametrize(
    ("shape", "size", "fixed"),
    [
        ((None, None, 3), "48x192", (48, 192, 3)),
        ((3, None, None), "48X192", (3, 48, 192)),
        ((None, None, 3), (48, 192), (48, 192, 3)),
        ((None, None, 1), "32", (32, 32, 1)),
        ((32, None, 3), "32x100", (32, 100, 3)),
        ((32, None, 3), "100", (32, 100, 3)),
        ((None, 16), "128", (128, 16)),
        ((None, 16), "128x16", (128, 16)),
        ((None, None, None), "8x9x3", (8, 9, 3)),
        ((28, 28, 1), None, (28, 28, 1)),
        ((28, 28, 1), "28x28", (28, 28, 1)),
        ((28, 28, 1), "28", (28, 28, 1)),
    ],
)
def test_a_size_fixes_what_is_free(shape: Any, size: Any, fixed: Any) -> None:
    assert fixed_shape(shape, size, "m") == fixed


@pytest.mark.parametrize(
    ("shape", "size"),
    [((32, None, 3), "48x100"), ((28, 28, 1), "32x32"), ((None, 16), "8x8"), ((None, None, None), "4x4"), ((), "4")],
)
def test_a_size_that_contradicts_the_file_is_refused(shape: Any, size: str) -> None:
    with pytest.raises(InputError, match=r"m\.onnx.*\["):
        fixed_shape(shape, size, "m.onnx")


@pytest.mark.parametrize("text", ["", "0", "-3", "4x", "ax4", "1e3", "4x-4", "9999999999"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="accepted"):
        parse_size(text)


def test_of_several_inputs_those_with_free_sizes_are_fixed() -> None:
    assert fixed_shapes([(None,), (4,), (None,)], "9", "m") == [(9,), (4,), (9,)]
    with pytest.raises(InputError):
        fixed_shapes([(5,), (4,)], "9", "m")
