"""Weights of four bits as a stage of tuning, kept only if the file of four bits gets better by it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from edgepress.converters.errors import ConversionError
from edgepress.converters.graph.program import Program, UnknownOperationError
from edgepress.converters.statistics import Ranges
from edgepress.converters.to_tflite.four_bits import four_bit_names
from edgepress.converters.tuning.channel_ranges import channel_ranges, tensor_ranges
from edgepress.converters.tuning.judge import Judge
from edgepress.converters.tuning.repair import Repaired, Stage, with_own_biases
from edgepress.converters.tuning.rounding import rounded
from edgepress.runtime.errors import first_line

Array = npt.NDArray[Any]
PRECISION = "int4"


def round_to_four_bits(
    model: bytes,
    items: Array,
    judge: Judge,
    *,
    input_range: tuple[float, float] | None = None,
    on_layer: Callable[[int, int], None] | None = None,
) -> Repaired:
    """Try to round the weights of a float graph so that its file of four bits answers best.

    Args:
        model: The float `.tflite`, batch 1, after the repairs that its 8-bit file got.
        items: Unlabelled items (n, *item shape), some hundred, such as calibration items.
        judge: Scores files on items that are not among these, where there are others.
        input_range: Range of the input, if it is known beforehand.
        on_layer: Called with the number of finished operations and of all.

    Returns:
        The rounded graph as tuning "int4", if it was kept, and the stage.
    """
    try:
        return _tried(model, items, judge, input_range, on_layer)
    except UnknownOperationError as e:
        return Repaired(notes=(f"Weights were rounded to the nearest step: an operation is not known ({e}).",))
    except ConversionError as e:
        return Repaired(notes=(f"Weights were rounded to the nearest step: {e.message}",))
    except Exception as e:  # a bug of ours or of a library must not cost a conversion that works without tuning
        traceback.print_exc()
        return Repaired(notes=(f"Rounding to four bits failed unexpectedly: {type(e).__name__}: {first_line(e)}.",))


def _tried(
    model: bytes,
    items: Array,
    judge: Judge,
    input_range: tuple[float, float] | None,
    on_layer: Callable[[int, int], None] | None,
) -> Repaired:
    start = time.perf_counter()
    names = four_bit_names(model)
    if not names:
        return Repaired()
    ready = with_own_biases(model)
    ranges = _ranges(ready, items, input_range)
    before = judge.score(model, ranges, PRECISION)
    found = rounded(ready, items, ranges, layers=names, on_layer=on_layer)
    after = judge.score(found.model, _ranges(found.model, items, input_range), PRECISION)
    kept = after.better_than(before)
    what = f"the weights of {len(found.layers)} operations rounded, by {found.items} items"
    stage = Stage("rounding", PRECISION, kept, before, after, time.perf_counter() - start, what)
    return Repaired({PRECISION: found.model} if kept else {}, (stage,))


def _ranges(model: bytes, items: Array, input_range: tuple[float, float] | None) -> Ranges:
    program = Program(model)
    return tensor_ranges(channel_ranges(program, items), {}, program.source, input_range)
