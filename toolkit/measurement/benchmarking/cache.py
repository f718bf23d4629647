"""Answers kept on disk, so that an interrupted evaluation can resume.

Answers depend on the file's bytes, the engine and its version, the number of threads, the CPU, and the decoded items: a
hash over all of these names a folder, and each shard of the split is a file in it. A shard's file begins with the hash
of its content, so that a damaged one is detected and made again; it is renamed when complete, so that two concurrent
evaluations at worst write the same file twice. Above a limit, the least recently used folders are removed.

If the cache cannot be written, evaluations work as usual but cannot be resumed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np

from edgepress import __version__
from edgepress.converters.files import sha256_of_file, write_bytes
from edgepress.runtime import ENGINES, EdgepressError
from edgepress.toolkit.data.types import DataSet
from edgepress.toolkit.machine.environments import engine_version
from edgepress.toolkit.machine.host import describe_host, disk_bytes
from edgepress.toolkit.workers.answer import Part
from edgepress.toolkit.workers.opening import Candidate

LIMIT_BYTES = 64 << 20
"""Limit on disk; an evaluation of 10,000 images of 224 x 224 takes about 1 MB, of small images a tenth."""
FORMAT = 7
"""Increment it when decoding, `Model.scores` or the layout of a shard's file change."""
ANSWER_BYTES = 8
"""Bytes of an answer in a shard's file, or of that for each label: the class, or whether it is there, and its score."""
ITEM_BYTES = 5
"""Further bytes of an item: its certainty, and whether the answer is accepted."""
RANKED_BYTES = 8
"""Bytes of each of an item's best classes: the class and its score."""


class Shelf:
    """The kept answers of one candidate to the test split of one data set, or to the items used instead.

    Args:
        cache: The folder of all; None keeps nothing. Outputs of models without labels are too large to be kept.
        candidate: The file and engine that answer. Nothing is kept if the engine or its version is unknown.
        data: The data set whose test split is answered.
    """

    def __init__(self, cache: Path | None, candidate: Candidate, data: DataSet) -> None:
        key = _key(candidate, data) if cache is not None and data.labels else None
        self._folder = cache / key if cache is not None and key is not None else None
        self._answer_shape = (len(data.labels),) if data.multilabel else ()
        if self._folder is not None:
            with contextlib.suppress(OSError):
                os.utime(self._folder)  # recently used: not the next to be removed

    def get(self, rows: slice) -> Part | None:
        """The answers to these items of the split, None if they are missing or damaged."""
        if self._folder is None:
            return None
        try:
            content = self._path(rows).read_bytes()
        except OSError:
            return None
        body = content[32:]
        count = len(range(*rows.indices(rows.stop)))
        answers = count * math.prod(self._answer_shape)
        start = 8 + ANSWER_BYTES * answers + ITEM_BYTES * count
        ranked, excess = divmod(len(body) - start, RANKED_BYTES * count)
        if hashlib.sha256(body).digest() != content[:32] or ranked < 0 or excess:
            return None
        predicted = np.frombuffer(body, "<i4", answers, 8).astype(np.int64).reshape(count, *self._answer_shape)
        confidence = np.frombuffer(body, "<f4", answers, 8 + 4 * answers).reshape(count, *self._answer_shape)
        certainty = np.frombuffer(body, "<f4", count, 8 + ANSWER_BYTES * answers)
        accepted = np.frombuffer(body, "<i1", count, 8 + ANSWER_BYTES * answers + 4 * count)
        values = ranked * count
        classes = np.frombuffer(body, "<i4", values, start).astype(np.int64).reshape(count, ranked)
        scores = np.frombuffer(body, "<f4", values, start + 4 * values).reshape(count, ranked)
        columns = (predicted, confidence, accepted, certainty, classes, scores)
        return Part(columns, float(np.frombuffer(body, "<f8", 1)[0]))

    def put(self, rows: slice, part: Part) -> None:
        """Keep the answers to these items."""
        if self._folder is None:
            return
        predicted, confidence, accepted, certainty, classes, scores = part.columns
        body = np.array(part.seconds, "<f8").tobytes()
        body += predicted.astype("<i4").tobytes() + confidence.astype("<f4").tobytes()
        body += certainty.astype("<f4").tobytes() + accepted.tobytes()
        body += classes.astype("<i4").tobytes() + scores.astype("<f4").tobytes()
        with contextlib.suppress(EdgepressError):
            write_bytes(self._path(rows), hashlib.sha256(body).digest() + body)

    def _path(self, rows: slice) -> Path:
        assert self._folder is not None
        return self._folder / f"{rows.start}-{rows.stop}-{rows.step or 1}"


def prune(cache: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
    """Remove the least recently used folders until the rest takes at most `limit_bytes` on disk."""
    folders = []
    with contextlib.suppress(OSError):
        for folder in cache.iterdir():
            with contextlib.suppress(OSError):  # removed by another evaluation
                used = disk_bytes(f.stat() for f in folder.iterdir())
                folders.append((folder.stat().st_mtime, used, folder))
    left = limit_bytes
    for _, used, folder in sorted(folders, reverse=True):
        left -= used
        if left < 0:
            shutil.rmtree(folder, ignore_errors=True)


def _key(candidate: Candidate, data: DataSet) -> str | None:
    host = describe_host()
    version = engine_version(candidate.engine) if candidate.engine in ENGINES else ""
    try:
        sha256 = sha256_of_file(candidate.file)
    except OSError:
        return None  # opening the file will report the error
    if not version:
        return None
    about = [FORMAT, __version__, sha256, candidate.engine, version, candidate.threads, host["cpu"], host["machine"]]
    split = [data.tested, hashlib.sha256(np.ascontiguousarray(data.test.y).tobytes()).hexdigest()]
    about += [data.sha256, split, data.labels, dataclasses.asdict(data.input)]
    about += [candidate.contract] if candidate.contract else []
    if data.input.is_image:
        about.append(importlib.metadata.version("pillow"))
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()
