"""The converted files of a run that is improved: of which kinds they are, and what they promise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edgepress.converters.schemes import SCHEMES
from edgepress.converters.targets import schemes_from
from edgepress.runtime.acceptance import Acceptance
from edgepress.runtime.contract import Contract
from edgepress.runtime.filetypes import VARIANTS
from edgepress.toolkit.calibrating.calibrate import FOLDER as CALIBRATED
from edgepress.toolkit.data.for_model import contract_of


class FormerFile(NamedTuple):
    """What `convert` makes: a scheme, for a target, with the last softmax or without it (`logits`)."""

    scheme: str
    target: str = "cpu"
    logits: bool = False


def kinds_to_make(folder: Path, to: str | None) -> list[FormerFile]:
    """The kinds to convert to: those of the old files, or of the schemes `to`, as the old files of these are."""
    former = [*dict.fromkeys(_kind(contract) for _, contract in _files(folder) if contract.scheme in SCHEMES)]
    if to is None:
        return former or [FormerFile("tflite-int8")]
    kinds = []
    for scheme in schemes_from(to, "cpu"):
        kinds += [kind for kind in former if kind.scheme == scheme] or [FormerFile(scheme)]
    return kinds


def promises(folder: Path) -> dict[FormerFile, Acceptance]:
    """The promise of each old file that has one."""
    return {_kind(contract): contract.accept for _, contract in _files(folder) if contract.accept is not None}


def not_repeated(folder: Path) -> list[str]:
    """What was done to old files and is not done to new ones, in words."""
    notes = []
    for path, contract in _files(folder):
        if contract.unknown is not None:
            notes.append(
                f"{path.name} rejects items of no class; the new file does not: edgepress calibrate --unknown."
            )
        if contract.ranges:
            notes.append(f"{path.name} has ranges of edgepress tune; the new file has not.")
    return notes


def _kind(contract: Contract) -> FormerFile:
    return FormerFile(contract.scheme, contract.target, contract.task == "logits")


def _files(folder: Path) -> Iterator[tuple[Path, Contract]]:
    """The converted files of a run, the calibrated ones last."""
    for place in (folder / VARIANTS, folder / VARIANTS / CALIBRATED):
        for path in sorted(place.glob("*")):
            if path.suffix in (".tflite", ".onnx"):
                yield path, contract_of(path)
