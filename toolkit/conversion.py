"""Convert a model, one's own or anybody's, to files for boards.

A model of `edgepress train` says itself what it takes and what it was trained on. Of a foreign one, what its file says
of itself is read, flags say more, and every guess is told (`on_note`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters import SCHEMES, Conversion, Facts, Guess, Options, Variant, guess_contract, parse_schemes
from edgepress.converters.contract.metadata import read_labels
from edgepress.converters.proof.compare import ITEMS
from edgepress.toolkit.data import calibration_rows, open_data
from edgepress.toolkit.data.npz import stored_item
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.evaluation import data_for

CALIBRATION_IMAGES = 200
CALIBRATION_BATCH = 50


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """What a user says of a model that edgepress did not train; see `guess_contract` for the fields.

    `labels` is the path of a file, `custom` and `trust` are those of `Options`, and `softmax` puts softmax behind a
    model that ends in logits instead of leaving it to the runtime.
    """

    labels: Path | None = None
    task: str | None = None
    threshold: float | None = None
    input_range: str | None = None
    mean: str | None = None
    std: str | None = None
    color: str | None = None
    resize: str | None = None
    channels_first: bool | None = None
    softmax: bool = False
    custom: tuple[str, ...] = ()
    trust: bool = False

    @property
    def says_anything(self) -> bool:
        """Whether any of what shapes the contract was given."""
        return dataclasses.replace(self, custom=(), trust=False, softmax=False) != Foreign()


def convert_model(
    model: str | Path,
    to: str = "all",
    *,
    data: str | None = None,
    out: str | Path | None = None,
    foreign: Foreign | None = None,
    calibration_images: int = CALIBRATION_IMAGES,
    verify: bool = True,
    skip_unreadable: bool = False,
    on_note: Callable[[str], None] | None = None,
    on_start: Callable[[str], None] | None = None,
    on_done: Callable[[Variant], None] | None = None,
) -> list[Variant]:
    """Convert a model to some schemes.

    Args:
        model: A `.keras`, `.h5`, `.hdf5`, `.tflite` or `.onnx` file, or a SavedModel's folder.
        to: "all", a format, or scheme names separated by commas.
        data: The data to calibrate on, as for training; None opens what the model's contract names. A foreign model
            names none, and can then have no scheme that calibrates. Only the training split is calibrated on.
        out: Folder for the files; None makes `variants` beside the model.
        foreign: What to know of a model that edgepress did not train.
        calibration_images: How many training items the ranges of activations are taken from.
        verify: Whether a file whose answers are too far from its parent's is an error.
        skip_unreadable: Leave out images that can't be read instead of failing.
        on_note: Called with what the user must know meanwhile: guesses, and what was left out.
        on_start: Called with each scheme before work on it begins.
        on_done: Called with each variant as it is made or has failed.

    Returns:
        One variant a scheme, in the order asked for; a failed one has `path` None and its reason in `error`.

    Raises:
        EdgepressError: Nothing can be converted: the model, the data or an option can't be used.

    Example:
        >>> from edgepress.toolkit import convert
        >>> [v.status for v in convert("edgepress-demo/model.keras", "tflite-int8,onnx-int8", out="int8")]
        ['ok', 'ok']
    """
    path, said = Path(model), foreign or Foreign()
    schemes = parse_schemes(to)
    if calibration_images < 1:
        raise InputError(f"calibration_images is {calibration_images}; at least 1 is needed.")
    with Conversion(path, options=Options(said.custom, said.trust)) as conversion:
        schemes, left_out = _possible(schemes, conversion.facts, asked=to)
        if _are_numbers(said, conversion.facts, data):
            said = dataclasses.replace(said, color="none")
            left_out = [
                *left_out,
                f"input: {data} holds numbers in the model's shape: no images; --color says otherwise",
            ]
        own = conversion.facts.contract if not said.says_anything else None
        guess = Guess(contract=own, model_shape=own.input.shape) if own else _guess(conversion, said)
        opened, notes = None, list(guess.notes)
        if own is not None and own.data is not None:  # it was trained here: its labels are the data's
            opened, notes = data_for(own, data, where=path, skip_unreadable=skip_unreadable)
        elif data is not None:
            opened = open_data(data, input=guess.contract.input, skip_unreadable=skip_unreadable)
            guess = _with_labels_of(opened, guess)
            notes = list(guess.notes)
        elif calibrated := [name for name in schemes if SCHEMES[name].calibrated]:
            raise InputError(
                f"{', '.join(calibrated)} must be calibrated, and {path} does not say what it was trained on.",
                "Name data like those it was trained on with --data, or leave these schemes out.",
            )
        for note in (*left_out, *notes):
            if on_note is not None:
                on_note(note)
        calibration, proof = None, None
        if opened is not None:
            calibration = _part(opened.train, calibration_rows(opened.train, calibration_images))
            held_out = opened.val if len(opened.val) else opened.train
            proof = held_out.read(calibration_rows(held_out, ITEMS))
        variants = conversion.run(
            schemes,
            guess,
            calibration=partial(_batches, calibration),
            out=Path(out) if out is not None else path.parent / "variants",
            softmax=said.softmax,
            proof=proof,
            proof_name=opened.source if opened is not None else "seeded",
            enforce=verify,
            on_start=on_start,
            on_done=on_done,
        )
        alike = [v.verification for v in variants if v.verification is not None and not v.verification.varies]
        if alike and on_note is not None:
            on_note(
                f"the model gives nearly the same answer to all {alike[0].items} items that its files were compared on "
                f"({alike[0].on}), which proves little: check --input-range, or name data like its own with --data"
            )
        return variants


def summary(variants: Iterable[Variant], notes: Sequence[str] = ()) -> dict[str, Any]:
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
                "verification": dataclasses.asdict(v.verification) if v.verification else None,
                "other_format_error": v.other_format_error,
                "notes": list(v.notes),
            }
            for v in variants
        ],
        "notes": list(notes),
    }


def notes_by_text(variants: Iterable[Variant]) -> dict[str, list[str]]:
    """What is to be known of variants, each with the schemes of which it is true."""
    found: dict[str, list[str]] = {}
    for variant in variants:
        for note in variant.notes:
            found.setdefault(note, []).append(variant.scheme)
    return found


def _possible(schemes: tuple[str, ...], facts: Facts, *, asked: str) -> tuple[tuple[str, ...], list[str]]:
    """What "all" means for a source: a `.tflite` gives TFLite files alone, an `.onnx` ONNX ones; and a note of it."""
    if asked.strip().lower() != "all" or facts.format not in ("tflite", "onnx"):
        return schemes, []
    possible = tuple(name for name in schemes if SCHEMES[name].format == facts.format)
    other = "onnx" if facts.format == "tflite" else "tflite"
    return possible, [f"{other} schemes are left out: a .{facts.format} file gives none. Give the model it came from."]


def _are_numbers(said: Foreign, facts: Facts, data: str | None) -> bool:
    """Whether what looks like an image is none, because the data are numbers of just that shape in an `.npz`."""
    about_images = (said.color, said.resize, said.channels_first, said.input_range, said.mean, said.std)
    if data is None or Path(data).suffix != ".npz" or facts.contract is not None or len(facts.shape) != 3:
        return False
    item = stored_item(Path(data)) if about_images == (None,) * len(about_images) else None
    return item is not None and item[0] != np.uint8 and item[1] == facts.shape


def _guess(conversion: Conversion, said: Foreign) -> Guess:
    facts = conversion.facts
    return guess_contract(
        facts.shape,
        facts.outputs,
        dtype=facts.dtype,
        ends_in=facts.ends_in,
        looks=facts.looks,
        metadata=facts.metadata,
        labels=read_labels(said.labels) if said.labels is not None else None,
        task=said.task or ("sigmoid" if said.softmax and facts.outputs == 1 else None),
        threshold=said.threshold,
        input_range=said.input_range,
        mean=said.mean,
        std=said.std,
        color=said.color,
        resize=said.resize,
        channels_first=said.channels_first,
    )


def _with_labels_of(data: DataSet, guess: Guess) -> Guess:
    """A model without labels takes the data's, if there are as many; other classes serve for calibration alone."""
    numbers = tuple(map(str, range(len(guess.contract.labels))))
    if set(guess.contract.labels) == set(data.labels):
        return guess
    if guess.contract.labels != numbers or len(data.labels) != len(numbers):
        note = f"data: {data.source} has other classes than the model; it serves for calibration alone"
        return dataclasses.replace(guess, notes=(*guess.notes, note))
    note = f"labels: {len(numbers)} from {data.source}, in its order; --labels says otherwise"
    notes = tuple(n for n in guess.notes if not n.startswith("labels:"))
    return dataclasses.replace(guess, contract=guess.contract.replace(labels=data.labels), notes=(*notes, note))


def _part(split: Split, rows: npt.NDArray[np.int64]) -> Split:
    """A split of some rows alone, so that no others travel to another process."""
    return Split(split.source.part(split.indices[rows]), np.arange(len(rows)), split.y[rows])


def _batches(split: Split | None) -> Iterable[npt.NDArray[Any]]:
    for x, _ in split.batches(CALIBRATION_BATCH) if split is not None else ():
        yield x
