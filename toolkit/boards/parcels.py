"""Prepare what is sent to boards: a bundle of each file, and the test items as one array."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgepress.runtime import Contract
from edgepress.toolkit.benchmarking.plan import find_files
from edgepress.toolkit.boards.session import Parcel
from edgepress.toolkit.bundles.build import SAMPLES, bundle
from edgepress.toolkit.bundles.verify import verify
from edgepress.toolkit.data.for_model import contract_of, data_for
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.errors import InputError

PART = 64
"""Number of items held in memory while the array is written."""


@dataclass(frozen=True)
class Cargo:
    """The files and items for all boards.

    Attributes:
        parcels: One per file.
        contracts: The contracts of the files.
        data: The data, with the test items that are sent; None if accuracy is not measured.
        items: The test items as an `.npy` file; None if accuracy is not measured.
        notes: Warnings for the user.
    """

    parcels: tuple[Parcel, ...]
    contracts: tuple[Contract, ...]
    data: DataSet | None = None
    items: Path | None = None
    notes: tuple[str, ...] = ()


def pack(
    files: Sequence[Path],
    folder: Path,
    *,
    data: str | None,
    limit: int,
    skip_unreadable: bool = False,
    on_step: Callable[[str], None],
) -> Cargo:
    """Bundle the model files and write the test items.

    Args:
        files: Model files, bundles of them (`.zip`), or one folder of model files.
        folder: Folder to write to.
        data: Data of the samples and the test items; None: neither is sent.
        limit: Maximum number of test items.
        skip_unreadable: Leave out unreadable images instead of raising an error.
        on_step: Called with a sentence when a step begins.

    Raises:
        EdgepressError: A file or the data can't be used, or the files have different inputs or labels.
    """
    parcels, contracts = _bundles(files, folder, data=data, on_step=on_step)
    if data is None:
        return Cargo(parcels, contracts)
    for contract, parcel in zip(contracts, parcels, strict=True):
        if (contract.input, contract.labels) != (contracts[0].input, contracts[0].labels):
            hint = "Benchmark them separately."
            raise InputError(f"{parcel.file} has another input or other labels than {parcels[0].file}.", hint)
    opened, notes = data_for(contracts[0], data, where=parcels[0].file, skip_unreadable=skip_unreadable)
    if len(opened.test) > limit:
        notes.append(f"Accuracy on boards: {limit} of the {len(opened.test)} test items (--items).")
        test = Split(opened.test.source, opened.test.indices[:limit], opened.test.y[:limit])
        opened = replace(opened, test=test)
    _write_items(opened.test, folder / "items.npy")
    return Cargo(parcels, contracts, opened, folder / "items.npy", tuple(notes))


def _bundles(
    files: Sequence[Path], folder: Path, *, data: str | None, on_step: Callable[[str], None]
) -> tuple[tuple[Parcel, ...], tuple[Contract, ...]]:
    """Bundle each model file, and verify the given bundles."""
    parcels = []
    contracts = []
    paths = list(files) if any(f.suffix == ".zip" for f in files) else find_files(files)
    for i, path in enumerate(paths):
        if path.suffix == ".zip":
            verified = verify(path)
        else:
            on_step(f"bundling {path.name}")
            target = folder / f"{i}.zip"
            samples = SAMPLES if data is not None else 0
            verified = bundle(path, target, data=data, samples=samples).verified
        manifest = verified.manifest
        if manifest.format != "zip":
            raise InputError(f"{path} is a {manifest.format}; boards accept only bundles of the format zip.")
        model = next(f for f in manifest.files if f.path == manifest.model)
        extracted = folder / str(i) / manifest.model
        extracted.parent.mkdir(parents=True)
        with zipfile.ZipFile(verified.path) as archive:
            extracted.write_bytes(archive.read(f"{manifest.name}/{manifest.model}"))
        contracts.append(contract_of(extracted))
        about = {"name": manifest.name, "model": manifest.model, "scheme": manifest.scheme}
        parcels.append(Parcel(path, verified.path, **about, size_bytes=model.size_bytes, sha256=model.sha256))
    return tuple(parcels), tuple(contracts)


def _write_items(split: Split, path: Path) -> None:
    """Write all items of a split to one `.npy` file, a few at a time."""
    first = split.read([0])
    shape = (len(split), *first.shape[1:])
    array = np.lib.format.open_memmap(path, mode="w+", dtype=first.dtype, shape=shape)
    for start in range(0, len(split), PART):
        rows = slice(start, start + PART)
        array[rows] = split.read(rows)
    array.flush()
