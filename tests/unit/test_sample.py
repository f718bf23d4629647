"""Calibration items from many files: chosen without reading all of them, and none is a test item."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from edgepress.toolkit.data.splits import assign, sample

Rows = list[tuple[str, int, str]]


def digest_of(content: object) -> str:
    return hashlib.sha256(f"content of {content}".encode()).hexdigest()


def rows_of(sizes: list[int], part: str = "train") -> Rows:
    return [(f"{part}/{y}/{i}", y, part) for y, size in enumerate(sizes) for i in range(size)]


class Files:
    """Files of one byte more than their name is long, and which of them were read."""

    def __init__(self, rows: Rows, contents: list[object] | None = None) -> None:
        self.rows, self.read = rows, set[int]()
        self.contents = contents or [name for name, _, _ in rows]

    def digest(self, i: int) -> str:
        self.read.add(i)
        return digest_of(self.contents[i])

    def sample(self, count: int) -> dict[int, str] | None:
        return sample(self.rows, count, digest=self.digest, size=lambda i: len(str(self.contents[i])) + 1)

    def splits(self) -> np.ndarray:
        hashes = np.array([digest_of(content) for content in self.contents], np.bytes_)
        return assign(hashes, np.array([y for _, y, _ in self.rows]), np.array([part for _, _, part in self.rows]))


@pytest.mark.parametrize("sizes", [[6000, 6000], [3000, 40, 500], [60] * 120, [8000]])
def test_a_sample_has_no_test_items_and_reads_few_files(sizes: list[int]) -> None:
    files = Files(rows_of(sizes))
    chosen = files.sample(200)
    assert chosen is not None
    assert len(chosen) == 200
    assert "test" not in files.splits()[list(chosen)]
    assert len(files.read) < 0.3 * len(files.rows)
    assert all(found == digest_of(files.contents[i]) for i, found in chosen.items())


def test_a_sample_is_spread_over_the_classes_and_the_same_every_time() -> None:
    files = Files(rows_of([2000, 3000, 2000, 4000]))
    chosen = files.sample(100)
    assert chosen is not None
    assert chosen == Files(files.rows).sample(100)
    counts = np.bincount([files.rows[i][1] for i in chosen])
    assert counts.min() > 15


def test_copies_among_the_files_read_mean_that_all_must_be_read() -> None:
    rows = rows_of([3000, 3000])
    assert Files(rows, [i // 50 for i in range(6000)]).sample(200) is None


def test_classes_too_small_to_know_their_test_items_are_left_out() -> None:
    assert Files(rows_of([3] * 2000)).sample(200) is None


def test_a_given_test_split_needs_no_margin_and_its_copies_are_left_out() -> None:
    rows = rows_of([3000, 3000]) + rows_of([500, 500], "test")
    plain = Files(rows).sample(200)
    assert plain is not None
    contents: list[object] = [name for name, _, _ in rows]
    copied = list(plain)[:20]
    for place, i in enumerate(copied):
        contents[6000 + place] = contents[i]
    files = Files(rows, contents)
    chosen = files.sample(200)
    assert chosen is not None
    assert set(chosen) == set(plain) - set(copied)
    assert "test" not in files.splits()[list(chosen)]
