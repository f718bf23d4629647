"""What is sent to boards: a bundle of every file, and the test items as one array."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgepress.runtime import Contract
from edgepress.toolkit.benchmarking.plan import find_files
from edgepress.toolkit.boards.session import Parcel
from edgepress.toolkit.bundles.build import SAMPLES, bundle
from edgepress.toolkit.bundles.verify import verify
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.evaluation import contract_of, data_for

PART = 64
"""Items read at once while they are written into the array."""


def make_parcels(
    files: Sequence[Path], folder: Path, *, data: str | None, on_step: Callable[[str], None]
) -> tuple[list[Parcel], list[Contract]]:
    """A bundle of each model file, and bundles as they are, with the contracts of their models.

    Args:
        files: Model files, bundles of them (`.zip`), or one folder of model files.
        folder: Where bundles are made.
        data: Where their samples come from; None: they bring none, and prove themselves by seeded items alone.
        on_step: Called with a sentence as each step begins.

    Raises:
        EdgepressError: A file can't be used.
    """
    parcels, contracts = [], []
    paths = list(files) if any(f.suffix == ".zip" for f in files) else find_files(files)
    for i, path in enumerate(paths):
        if path.suffix == ".zip":
            made = verify(path)
        else:
            on_step(f"bundling {path.name}")
            target, samples = folder / f"{i}.zip", SAMPLES if data is not None else 0
            made = bundle(path, target, data=data, samples=samples).verified
        manifest = made.manifest
        if manifest.format != "zip":
            raise InputError(f"{path} is a {manifest.format}; boards are sent bundles of the format zip.")
        model = next(f for f in manifest.files if f.path == manifest.model)
        extracted = folder / str(i) / manifest.model
        extracted.parent.mkdir()
        with zipfile.ZipFile(made.path) as archive:
            extracted.write_bytes(archive.read(f"{manifest.name}/{manifest.model}"))
        contracts.append(contract_of(extracted))
        parcels.append(
            Parcel(
                file=path,
                bundle=made.path,
                name=manifest.name,
                model=manifest.model,
                scheme=manifest.scheme,
                size_bytes=model.size_bytes,
                sha256=model.sha256,
            )
        )
    return parcels, contracts


def open_items(
    contracts: Sequence[Contract], parcels: Sequence[Parcel], data: str, *, limit: int, skip_unreadable: bool = False
) -> tuple[DataSet, list[str]]:
    """The data, as all files take them, with the first `limit` test items, and notes.

    Raises:
        EdgepressError: They can't be opened, or the files differ in what they take.
    """
    for contract, parcel in zip(contracts, parcels, strict=True):
        if (contract.input, contract.labels) != (contracts[0].input, contracts[0].labels):
            raise InputError(
                f"{parcel.file} takes other items or has other labels than {parcels[0].file}.",
                "Benchmark them one after the other.",
            )
    opened, notes = data_for(contracts[0], data, where=parcels[0].file, skip_unreadable=skip_unreadable)
    if len(opened.test) > limit:
        notes.append(f"Accuracy on boards: {limit} of the {len(opened.test)} test items (--items).")
        test = Split(opened.test.source, opened.test.indices[:limit], opened.test.y[:limit])
        opened = dataclasses.replace(opened, test=test)
    return opened, notes


def write_items(split: Split, path: Path) -> None:
    """All items of a split as one `.npy` file, a few in memory at a time."""
    first = split.read([0])
    shape = (len(split), *first.shape[1:])
    array = np.lib.format.open_memmap(path, mode="w+", dtype=first.dtype, shape=shape)
    for start in range(0, len(split), PART):
        rows = slice(start, start + PART)
        array[rows] = split.read(rows)
    array.flush()
