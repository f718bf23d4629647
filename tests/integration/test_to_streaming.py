"""Files of windows as files of a stream: each answer is that of the window that ends there, in NumPy and in C."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from building_c import Library, missing, selftest_output
from c99_graphs import Maker

from edgepress.converters.errors import ConversionError
from edgepress.converters.to_c import placement
from edgepress.converters.to_c.lowering import Program, lower
from edgepress.converters.to_tflite.streaming import to_streaming
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.shipping.exporting.export import export


def lowered(model: bytes, folder: Path, name: str) -> Program:
    path = folder / f"{name}.tflite"
    path.write_bytes(model)
    return lower(path)


def drawn_net(seed: int) -> tuple[bytes, int]:
    """A net over windows of maps (time, width, channels) that pads nothing along the time, and rows a call."""
    draw = random.Random(seed)
    width = draw.choice([1, 1, 3])
    stride = draw.choice([1, 1, 2, 3])
    kernel = draw.randint(stride, stride + 3)
    later = [draw.randint(1, 6) for _ in range(draw.randint(1, 3))]
    rows_left = draw.randint(1, 4)
    steps = rows_left - 1 + sum(n - 1 for n in later) + 1
    window = (steps - 1) * stride + kernel
    rows = stride * draw.randint(1, max(1, min(3, window // stride)))
    m = Maker(f"stream{seed}", (window, width, draw.choice([2, 5, 8])))
    m.conv(
        draw.choice([4, 6]), (kernel, draw.randint(1, width)), (stride, 1), same=False, activation=draw.choice([0, 1])
    )
    for size in later:
        kept = m.at
        way = draw.choice(["depthwise", "conv", "joined", "branches", "pool"])
        if way == "depthwise":
            m.depthwise(1, (size, 1), same=False).conv(draw.choice([3, 6]), (1, 1))
        elif way == "pool":
            m.pool(draw.choice(["MAX_POOL_2D", "AVERAGE_POOL_2D"]), (size, 1), (1, 1), same=False)
        else:
            if way == "joined":
                m.join(draw.choice(["ADD", "MUL"]), kept)
            else:
                m.pool("MAX_POOL_2D", (1, 1), (1, 1)).concatenate([kept], 3)
            m.conv(4, (size, 1), same=False)
    way = draw.choice(["flat", "mean", "whole"])
    if way == "mean":
        m.mean([1, 2])
    elif way == "whole":
        m.pool("AVERAGE_POOL_2D", m.shape[:2], m.shape[:2], same=False)
    return m.flat().dense(3).quantize(0.1).end("SOFTMAX", beta=1.0).model(), min(rows, window)


@pytest.mark.parametrize("number", range(12))
def test_a_stream_answers_what_the_file_answers_for_the_window_that_ends_there(number: int, tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    model, rows = drawn_net(seed)
    windows = lowered(model, tmp_path, "windows")
    stream = lowered(to_streaming(model, rows), tmp_path, "stream")
    window = windows.input.shape[1]
    calls = -(-window // rows) + 12
    series = np.random.default_rng(seed).integers(-128, 128, (calls * rows, windows.input.size // window))
    given = series.astype(np.int8).reshape(calls, -1)
    answers = stream.answers(given)
    full = [call for call in range(1, calls + 1) if call * rows >= window]
    items = np.stack([series[call * rows - window : call * rows].ravel() for call in full]).astype(np.int8)
    assert (answers[-len(full) :] == windows.answers(items)).all(), seed
    assert len(full) >= 12
    assert stream.input.size == rows * windows.input.size // window
    if not missing("gcc"):
        library = Library(stream, placement.place(stream, tries=20), tmp_path / "c", "-O1")
        assert (library.answers(given) == answers).all(), seed
        assert (library.answers(given) == answers).all(), f"{seed}: the second time, after a reset"


def test_a_stream_computes_new_rows_alone(tmp_path: Path) -> None:
    model = (
        Maker("few", (30, 1, 4)).conv(8, (3, 1), same=False).conv(8, (5, 1), same=False).mean([1, 2]).dense(2).model()
    )
    windows = lowered(model, tmp_path, "windows")
    stream = lowered(to_streaming(model, 1), tmp_path, "stream")
    assert stream.macs == 8 * 3 * 4 + 8 * 5 * 8 + 8 * 2
    assert windows.macs == 28 * 8 * 3 * 4 + 24 * 8 * 5 * 8 + 8 * 2


@pytest.mark.parametrize(
    ("model", "rows", "message"),
    [
        (lambda: Maker("same", (9, 1, 3)).conv(4, (3, 1)).flat().dense(2).model(), 1, "CONV_2D.*pads the time"),
        (lambda: Maker("pad", (9, 1, 3)).pad(1, 0, 0, 0).conv(4, (3, 1), same=False).model(), 1, "PAD.*pads the time"),
        (lambda: Maker("odd", (9, 1, 3)).conv(4, (3, 1), (2, 1), same=False).model(), 3, "one row in 2, of 3"),
        (lambda: Maker("rest", (10, 1, 3)).conv(4, (3, 1), (2, 1), same=False).model(), 2, "leaves 1 rows out"),
        (lambda: Maker("skips", (9, 1, 3)).conv(4, (1, 1), (2, 1), same=False).model(), 2, "skips rows"),
        (lambda: Maker("many", (9, 1, 3)).conv(4, (3, 1), same=False).model(), 10, "accepted: 1 to 9"),
        (lambda: Maker("values", (9,)).dense(2).model(), 1, "without a RESHAPE"),
        (lambda: (m := Maker("rows", (9, 1, 3))).join("ADD", m.values((9, 1, 3))).model(), 1, "a value for each row"),
    ],
)  # fmt: skip
def test_what_is_no_stream_is_refused_by_its_operation(model: object, rows: int, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        to_streaming(model(), rows)  # type: ignore[operator]


@pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
def test_export_writes_a_stream_whose_self_test_passes(tmp_path: Path) -> None:
    model, rows = drawn_net(5)
    (tmp_path / "ear.tflite").write_bytes(model)
    exported = export(tmp_path / "ear.tflite", out=tmp_path / "c", stream=rows, samples=3)
    window = lower(tmp_path / "ear.tflite").input.shape[1]
    report = exported.report["stream"]
    assert (report["rows"], report["window"]) == (rows, window)
    assert report["calls_before_answers"] == -(-window // rows) - 1
    assert exported.report["selftest"]["items"] == 3 * window // rows
    assert "items have the expected answer" in selftest_output(tmp_path / "c", "gcc")
    assert f"{rows} of them" in (tmp_path / "c" / "README.md").read_text()
    with pytest.raises(InputError, match="not for tflm"):
        export(tmp_path / "ear.tflite", "tflm", out=tmp_path / "t", stream=rows)
