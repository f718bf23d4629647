"""`edgepress export` of files that would take too long or too much: it ends, with files or one clear error."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from building_c import Library, missing
from c99_graphs import Maker, graph
from export_mutants import EXTREMES, mutated

from edgepress.converters.to_c import placement
from edgepress.converters.to_c.lowering import lower
from edgepress.toolkit.errors import EdgepressError, ModelFileError
from edgepress.toolkit.shipping.exporting import c99, job
from edgepress.toolkit.shipping.exporting.export import export

SECONDS = 20
"""Of the CPU, for a file whose answers are not computed."""


def lowered(data: bytes, folder: Path) -> Any:
    path = folder / "model.tflite"
    path.write_bytes(data)
    return lower(path)


def test_the_main_process_does_not_read_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise AssertionError("read in the main process")

    monkeypatch.setattr(c99, "lower", fail)
    monkeypatch.setattr(c99, "emit", fail)
    (tmp_path / "model.tflite").write_bytes(graph("softmax"))
    assert export(tmp_path / "model.tflite", samples=1).report["selftest"]["items"] == 1


@pytest.mark.usefixtures("plain_workers")
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"STEP_S": 0.0, "ITEM_S": 0.0}, "no answer in 0 s"),
        ({"MEMORY_LIMIT_BYTES": 1}, "of memory"),
        ({"MAX_FILE_BYTES": 100}, "export takes files of up to 100"),
    ],
)
def test_a_limit_is_one_error_and_nothing_is_written(
    limits: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(job, name, value)
    (tmp_path / "model.tflite").write_bytes(graph("softmax"))
    with pytest.raises(ModelFileError, match=message):
        export(tmp_path / "model.tflite", out=tmp_path / "c", samples=300)  # long enough for its memory to be seen
    assert not (tmp_path / "c").exists()


@pytest.mark.skipif(missing("gcc") != "", reason="gcc is not installed")
@pytest.mark.parametrize("kind", ["MAX_POOL_2D", "AVERAGE_POOL_2D"])
def test_windows_beyond_the_image_answer_as_their_part_inside(kind: str, tmp_path: Path) -> None:
    draw = random.Random()
    seed = draw.randrange(1 << 30)
    draw.seed(seed)
    size, window = (draw.randint(1, 9), draw.randint(1, 9)), (draw.randint(1, 4000), draw.randint(9, 4000))
    stride = (draw.randint(1, 3), draw.randint(1, 3))
    program = lowered(Maker(f"w{seed}", (*size, 3)).pool(kind, window, stride).model(), tmp_path)
    items = np.random.default_rng(seed).integers(-128, 128, (4, program.input.size)).astype(np.int8)
    g = program.steps[0].layer["geometry"]
    expected = np.zeros((4, g["out_height"], g["out_width"], 3), np.int64)
    for y, x in np.ndindex(expected.shape[1:3]):
        top, left = y * stride[0] - g["pad_y"], x * stride[1] - g["pad_x"]
        part = items.reshape(4, *size, 3)[:, max(top, 0) : top + window[0], max(left, 0) : left + window[1]]
        if kind == "MAX_POOL_2D":
            expected[:, y, x] = part.max(axis=(1, 2))
        else:
            total, count = part.astype(int).sum(axis=(1, 2)), part.shape[1] * part.shape[2]
            expected[:, y, x] = np.sign(total) * ((abs(total) + count // 2) // count)
    assert (program.answers(items) == expected.reshape(4, -1)).all(), seed
    library = Library(program, placement.place(program, 10), tmp_path / "c", "-O2")
    assert (library.answers(items) == expected.reshape(4, -1)).all(), seed


FAST = (
    "max pool of 4000 x 4000", "pool of a large image", "1,500 operations that read twice", "10,000 operations",
    "a cycle", "stride of 2^31 - 1", "negative window", "scale NaN", "empty tensor",
)  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in EXTREMES]
)
def test_extreme_files_are_placed_or_refused_in_time(name: str, tmp_path: Path) -> None:
    data = EXTREMES[name]()
    begin = time.process_time()
    with contextlib.suppress(EdgepressError):
        program = lowered(data, tmp_path)
        c99.merged_operations(program, c99.place_smallest(program)[0])
    assert time.process_time() - begin < (SECONDS if name in FAST else job.STEP_S)


@pytest.mark.parametrize("count", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_mutated_files_are_exported_or_refused_and_nothing_is_half_written(count: int, tmp_path: Path) -> None:
    first = random.randrange(1 << 30)
    for seed in range(first, first + count):
        path, folder = tmp_path / "model.tflite", tmp_path / str(seed)
        path.write_bytes(mutated(seed)[1])
        try:
            made = export(path, out=folder, samples=1)
        except EdgepressError:
            assert not folder.exists(), seed
        else:
            written = {each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()}
            assert {*made.report["files"], "report.json"} == written, seed
