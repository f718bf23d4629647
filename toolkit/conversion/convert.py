"""Convert any classifier to files for boards: `convert`, which the command of the same name calls.

A model that edgepress trained contains its contract: its input, its labels, and the data it was trained on. For any
other model, the contract is assembled from `Hints`, the file's metadata and guesses, which `on_note` reports.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from edgepress.converters.adapter import IF_ANY, LOGITS, InputAdapter
from edgepress.converters.contract.hints import Hints
from edgepress.converters.conversion.advice import LONGER, fragile_file
from edgepress.converters.conversion.conversion import Conversion
from edgepress.converters.conversion.float_graph import SourceJob, answer_source
from edgepress.converters.files import require_folder
from edgepress.converters.options.conversion import ConversionArguments, ConversionOptions
from edgepress.converters.options.records import record
from edgepress.converters.schemes import SCHEMES, Scheme, schemes_from
from edgepress.converters.variant import Variant
from edgepress.runtime.filetypes import VARIANTS
from edgepress.toolkit.conversion.plan import JUDGED, ConversionPlan, items_for, plan_for
from edgepress.toolkit.conversion.source_check import SourceCheck, check_source
from edgepress.toolkit.data.objects import Data, Model, opened_or_named
from edgepress.toolkit.data.reading import Reading, ReadingArguments
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.reports.notebooks.printed import Printed
from edgepress.toolkit.reports.notebooks.views import conversion_html
from edgepress.toolkit.results.run_files import model_in
from edgepress.toolkit.text import percent

__all__ = ["JUDGED", "Hints", "convert", "items_for", "notes_by_text", "summary"]


class ConvertArguments(ConversionArguments, ReadingArguments):
    """The arguments of `convert` that say how."""


@record(ConvertArguments)
@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertOptions(ConversionOptions, Reading):
    """How a model is converted, and its data are read."""

    def __post_init__(self) -> None:
        ConversionOptions.__post_init__(self)


class Variants(Printed, list[Variant]):
    """Converted files, a list that notebooks and `print` show as a table.

    Attributes:
        source: How the source model answered labelled items before files were made of it; None if there were none.
    """

    source: SourceCheck | None = None

    def _repr_html_(self) -> str:
        return conversion_html(summary(self)["variants"])


def convert(
    model: Model,
    to: str | Scheme | Iterable[str | Scheme] = "all",
    *,
    data: Data | None = None,
    out: str | Path | None = None,
    hints: Hints | None = None,
    on_note: Callable[[str], None] | None = None,
    on_step: Callable[[str], None] | None = None,
    on_start: Callable[[str], None] | None = None,
    on_done: Callable[[Variant], None] | None = None,
    **options: Unpack[ConvertArguments],
) -> Variants:
    """Convert a classifier to quantized files, each verified against the source model.

    Args:
        model: A `.keras`, `.h5`, `.hdf5`, `.tflite` or `.onnx` file, a SavedModel folder, or a run's folder.
        to: "all", a format, or scheme names separated by commas; or a list of such texts and of rows of `SCHEMES`.
        data: Data to calibrate (its training split) and verify on; None opens those that the model's contract names.
        out: Folder for the files; None: `variants` next to the model.
        hints: What you know of a model that edgepress did not train. With the output "logits", the files leave the last
            softmax or sigmoid to the runtime.
        on_note: Called with each guess and with each scheme or option that was left out.
        on_step: Called with what is done before the files are made, in words.
        on_start: Called with a scheme's name before its conversion.
        on_done: Called with each variant, converted or failed.

    Returns:
        A list of one variant per scheme, in the order of `to`; a failed one has `path` None and the reason in `error`.
        Its `source` says how the source model answers the data, if they have its labels, and what would be better.

    Raises:
        EdgepressError: The model, the data or an option can't be used.

    Example:
        >>> from edgepress.toolkit import convert
        >>> [v.status for v in convert("edgepress-demo/model.keras", "tflite-int8,onnx-int8", out="int8")]
        ['ok', 'ok']
    """
    data = opened_or_named(data)
    path = model_in(model)
    hints = hints or Hints()
    note = on_note or (lambda text: None)
    how = ConvertOptions(**options)
    described = dataclasses.replace(hints, output="") if hints.output == LOGITS else hints
    if is_logits := hints.output == LOGITS:
        hints = dataclasses.replace(hints, output=LOGITS + IF_ANY)
    schemes = schemes_from(to, how.target)
    if how.is_mixing and not any(SCHEMES[name].is_mixed for name in schemes):
        mixed = ", ".join(name for name, scheme in SCHEMES.items() if scheme.is_mixed)
        raise InputError(
            "--keep-float and --max-drop are for schemes of mixed precision, and none is asked for.",
            f"Add one to --to: {mixed}.",
        )
    folder = path.parent / VARIANTS if out is None else Path(out)
    require_folder(folder)
    with Conversion(path, hints=hints) as conversion:
        plan = plan_for(path, conversion.facts, hints, data=data, count=how.samples, reading=how)
        for text in (*conversion.facts.notes, *plan.notes):
            note(text)
        if plan.contract.ranges and how.calibration != "auto":
            note(f"--calibration {how.calibration} is not used for the ranges of {path}, which edgepress tune learned")
        possible = [name for name in schemes if plan.data is not None or not SCHEMES[name].calibrated]
        items = items_for(plan.data, how.samples, plan.contract)
        source = _checked_source(conversion, plan, items, hints, on_step=on_step)
        if source is not None and source.text:
            note(source.text)
        own = items["proof_own"] = (
            items["proof_own"] or source is not None
        )  # items of its labels; what is wrong is said
        variants = conversion.run(
            possible,
            plan.contract,
            adapter=plan.adapter,
            out=folder,
            **items,
            again=_words_to_open(plan, data, described, how),
            how=dataclasses.replace(how, repairs=how.repairs and plan.data is not None),
            logits=is_logits,
            on_step=on_step,
            on_start=on_start,
            on_done=on_done,
        )
        scaled = plan.contract.input.is_image and conversion.facts.takes_scaling
    if source is None or not source.is_wrong:
        _note_if_weak(variants, note, images=scaled, own=own, one_hot=conversion.facts.ends_in.lower() == "hardmax")
    if fragile := fragile_file(variants):
        note(_fragility(fragile))
    variants = _with_uncalibrated(variants, schemes, path, on_done or (lambda variant: None))
    result = Variants(variants)
    result.source = source
    return result


def _words_to_open(plan: ConversionPlan, data: object, hints: Hints, reading: Reading) -> tuple[str, ...]:
    """The options with which a command opens the model and its items again."""
    if isinstance(data, str):
        return ("--data", data, *hints.words, *reading.words)
    return (
        (*hints.words, *reading.words)
        if plan.data is None or data is None
        else ("--data", plan.data.source, *hints.words)
    )


def _checked_source(
    conversion: Conversion,
    plan: ConversionPlan,
    items: Mapping[str, Any],
    hints: Hints,
    *,
    on_step: Callable[[str], None] | None,
) -> SourceCheck | None:
    """How the source model answers the items of the proof, if they have labels."""
    labels = items.get("proof_labels")
    if labels is None or not len(labels):
        return None
    if on_step:
        on_step("Measuring the source model")

    def ask(some: npt.NDArray[Any], adapters: Sequence[InputAdapter]) -> Iterator[npt.NDArray[np.float32]]:
        return conversion.call(answer_source, SourceJob(some, tuple(adapters)))

    try:
        return check_source(
            items["proof"],
            labels,
            ask,
            contract=plan.contract,
            adapter=plan.adapter,
            facts=conversion.facts,
            hints=hints,
        )
    except EdgepressError:  # it does not run: each file will say so
        return None


def _fragility(variant: Variant) -> str:
    """What shows that a source model is fragile."""
    measured = variant.verification
    assert measured is not None
    return (
        f"the source model is fragile: {variant.scheme}, the nearest file in 8 bits, chooses its label for "
        f"{percent(measured.agreement, '.1f')} of {measured.items} items, and by its own probabilities it is undecided "
        f"about most of the others: {LONGER}"
    )


def _note_if_weak(
    variants: Iterable[Variant], note: Callable[[str], None], *, images: bool, own: bool, one_hot: bool = False
) -> None:
    proofs = [v.verification for v in variants if v.verification is not None]
    for weak in [proof for proof in proofs if not proof.varies or proof.saturated][:1]:
        how = "nearly the same for all" if not weak.varies else "saturated, 0 or 1, on"
        if one_hot:
            advice = "it ends in Hardmax, which makes 0 and 1 of all scores; keep these with --output NAME"
        elif own:  # their preparation is known, too
            advice = "these are of its own data, of which it has learned little" if not weak.varies else ""
        else:
            advice = f"{'check --input-range, or ' if images else ''}give its own data with --data"
        note(
            f"the model's outputs are {how} {weak.items} items that its files were verified on "
            f"({weak.on}), so the verification proves little{': ' if advice else ''}{advice}"
        )


def _with_uncalibrated(
    variants: Iterable[Variant], schemes: Sequence[str], path: Path, on_done: Callable[[Variant], None]
) -> list[Variant]:
    """The variants in the order of the schemes, with a failed one for each that can't be made without data."""
    by_scheme = {variant.scheme: variant for variant in variants}
    error = f"It must be calibrated, and {path} does not record its training data."
    hint = "Give data like its training data with --data."
    for scheme in schemes:
        if scheme not in by_scheme:
            by_scheme[scheme] = Variant(scheme, None, None, 0.0, error=error, hint=hint)
            on_done(by_scheme[scheme])
    return [by_scheme[scheme] for scheme in schemes]


def summary(variants: Iterable[Variant], notes: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON document of `convert --json`."""
    source = variants.source if isinstance(variants, Variants) else None
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
                "rewrites": dict(v.rewrites),
                "compression": dict(v.compression),
                "notes": list(v.notes),
            }
            for v in variants
        ],
        "notes": list(notes),
        "source": source and source.to_dict(),
    }


def notes_by_text(variants: Iterable[Variant]) -> dict[str, list[str]]:
    """The variants' notes, each with the schemes that it is true of."""
    schemes_by_text: dict[str, list[str]] = {}
    for variant in variants:
        for note in variant.notes:
            schemes_by_text.setdefault(note, []).append(variant.scheme)
    return schemes_by_text
