"""Convert a trained model to files for boards, calibrated on its training split."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters import Variant, convert, parse_schemes
from edgepress.toolkit.data import calibration_rows
from edgepress.toolkit.data.types import Split
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.evaluate import contract_of, data_for

CALIBRATION_IMAGES = 200
CALIBRATION_BATCH = 50


def convert_model(
    model: str | Path,
    to: str = "all",
    *,
    data: str | None = None,
    out: str | Path | None = None,
    calibration_images: int = CALIBRATION_IMAGES,
    skip_unreadable: bool = False,
    on_note: Callable[[str], None] | None = None,
    on_start: Callable[[str], None] | None = None,
    on_done: Callable[[Variant], None] | None = None,
) -> list[Variant]:
    """Convert a `.keras` model to some schemes.

    Args:
        model: A `.keras` file from `edgepress train`.
        to: "all", a format, or scheme names separated by commas.
        data: The data to calibrate on, as for training; None opens what the model's contract names. Only the
            training split is used.
        out: Folder for the files; None makes `variants` beside the model.
        calibration_images: How many training items the ranges of activations are taken from.
        skip_unreadable: Leave out images that can't be read instead of failing.
        on_note: Called with what the user must know meanwhile.
        on_start: Called with each scheme before work on it begins.
        on_done: Called with each variant as it is made or has failed.

    Returns:
        One variant a scheme, in the order asked for; a failed one has `path` None and its reason in `error`.

    Raises:
        EdgepressError: Nothing can be converted: the model, the data or an option can't be used.
    """
    path = Path(model)
    schemes = parse_schemes(to)
    if calibration_images < 1:
        raise InputError(f"calibration_images is {calibration_images}; at least 1 is needed.")
    if path.suffix != ".keras":
        raise InputError(f"{path} is not a .keras file.", "Name the model.keras that edgepress train made.")
    contract = contract_of(path)
    opened, notes = data_for(contract, data, where=path, skip_unreadable=skip_unreadable)
    for note in notes:
        if on_note is not None:
            on_note(note)
    rows = calibration_rows(opened.train, calibration_images)
    folder = Path(out) if out is not None else path.parent / "variants"
    return convert(
        path,
        schemes,
        calibration=lambda: _batches(opened.train, rows),
        out=folder,
        contract=contract,
        on_start=on_start,
        on_done=on_done,
    )


def summary(variants: Iterable[Variant]) -> dict[str, Any]:
    """The variants as `convert --json` prints them."""
    return {
        "variants": [
            {
                "file": str(v.path) if v.path is not None else None,
                "scheme": v.scheme,
                "size_bytes": v.size_bytes,
                "status": v.status,
                "error": f"{v.error} {v.hint}".strip(),
                "seconds": round(v.seconds, 2),
            }
            for v in variants
        ]
    }


def _batches(split: Split, rows: npt.NDArray[np.int64]) -> Iterable[npt.NDArray[Any]]:
    for start in range(0, len(rows), CALIBRATION_BATCH):
        yield split.read(rows[start : start + CALIBRATION_BATCH])
