"""The command `convert`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from edgepress.converters.contract.hints import Hints
from edgepress.converters.numeric.statistics import CALIBRATION_METHODS
from edgepress.converters.schemes import BASELINES, SCHEMES, TARGETS
from edgepress.converters.variant import Variant
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.cli.frame import code_of
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.text import first_sentence

if TYPE_CHECKING:
    from edgepress.toolkit.conversion.convert import Variants


@options.with_source_hints
def convert(
    model: options.Model,
    hints: Hints,
    to: Annotated[
        str,
        options.Several(
            help=f"Schemes, separated by commas: {options.SCHEMES_HELP}",
            autocompletion=options.list_of(options.MANY_SCHEMES),
        ),
    ] = "all",
    data: Annotated[
        str | None,
        Option(
            help=f"{options.DATA_HELP}; labels are not needed, so a folder of images will do",
            show_default=options.TRAINED_ON,
            autocompletion=options.complete_data,
        ),
    ] = None,
    out: Annotated[Path | None, Option(help="Folder for the files", show_default="variants, next to the model")] = None,
    calibration: Annotated[
        str,
        Option(
            help="How ranges of integers follow from calibration items; auto tries the others on validation items",
            metavar=f"<{'|'.join(CALIBRATION_METHODS)}>",
            autocompletion=options.list_of(CALIBRATION_METHODS),
        ),
    ] = "auto",
    samples: Annotated[int, Option("--samples", min=1, help="Number of training items in the calibration set")] = 200,
    verify: Annotated[bool, Option(help="Reject files whose answers differ too much from the model's")] = True,
    reading: Reading = STRICT,
    target: Annotated[
        str,
        Option(
            help="Where the files will run: cpu, or integer-only (no float operation), for microcontrollers and NPUs",
            metavar=f"<{'|'.join(TARGETS)}>",
            autocompletion=options.list_of(TARGETS),
        ),
    ] = TARGETS[0],
    repairs: Annotated[bool, Option(help="Equalize channels and correct biases where that keeps accuracy")] = True,
    rewrites: Annotated[bool, Option(help="Rewrite graphs so that the engines run them faster")] = True,
    max_drop: Annotated[
        float | None,
        Option(
            min=0,
            max=100,
            help="tflite-mixed, onnx-mixed: accuracy that may be lost on validation items, percentage points",
            show_default="0.5, or no limit with --keep-float",
        ),
    ] = None,
    keep_float: Annotated[
        str, Option(help="tflite-mixed, onnx-mixed: layers to keep in float, such as 'conv1|head'", show_default=False)
    ] = "",
    verbose: Annotated[
        bool,
        Option("--verbose", help="Print the rewrites and repairs of each file, and what to do about rejected ones"),
    ] = False,
    json_output: options.Json = False,
) -> int:
    """Convert any Keras, TFLite or ONNX classifier to quantized files, each verified against the source model."""
    from edgepress.toolkit.cli.tables import repairs_table, rewrites_table, variants_table
    from edgepress.toolkit.conversion import convert as conversion

    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        screen.note(text)

    variants = call_with(
        conversion.convert,
        locals(),
        on_note=note,
        on_step=screen.step,
        on_start=lambda scheme: screen.step(f"Converting to {scheme}"),
    )
    if json_output:
        screen.document(conversion.summary(variants, notes))
    else:
        screen.show(variants_table(variants))
        for details in filter(None, (rewrites_table(variants), repairs_table(variants)) if verbose else ()):
            screen.say()
            screen.show(details)
        screen.say()
        screen.note(*(f"{', '.join(names)}: {text}" for text, names in conversion.notes_by_text(variants).items()))
        for line in outcome(variants, verbose=verbose):
            screen.say(line)
        given: dict[str, tuple[object, object]] = {
            "--to": (to, "all"),
            "--out": (out, None),
            "--target": (target, TARGETS[0]),
            "--samples": (samples, 200),
            "--calibration": (calibration, "auto"),
            "--max-drop": (max_drop, None),
            "--keep-float": (keep_float, ""),
        }
        words = [word for name, (value, usual) in given.items() if value != usual for word in (name, f"{value}")]
        if line := next_line(variants, model, data, words, reading):
            screen.next_command(line)
    return code_of(v.path is not None for v in variants)


def next_line(variants: Variants, model: Path, data: str | None, words: Sequence[str | Path], reading: Reading) -> str:
    """The one command that makes sense after a conversion; "" if there is none.

    Args:
        variants: What was converted.
        model: The source model.
        data: The data that were given.
        words: The options of the conversion that are not the usual ones, without those about data and the model.
        reading: How the data were read.
    """
    if variants.source is not None and variants.source.better is not None:
        of_data = ["--data", data] if data else []
        return shell_line(
            "edgepress", "convert", model, *words, *of_data, *variants.source.better.words, *reading.words
        )
    paths = [v.path for v in variants if v.path is not None]
    if not paths:
        return ""
    named = [*data_words(paths[0], data), *reading.words]
    if any(path.match(f"*-{SCHEMES[name].precision}.*") for path in paths[0].parent.iterdir() for name in BASELINES):
        return shell_line("edgepress", "benchmark", paths[0].parent, *named)
    measured = variants.source is not None  # without a float file, `benchmark` has nothing to compare others with
    return shell_line("edgepress", "evaluate" if measured else "bundle", paths[0], *named)


def data_words(file: Path, data: str | None) -> list[str]:
    """The option that names data in a command for a converted file, if the file does not remember its own."""
    from edgepress.toolkit.data.for_model import contract_of

    return [] if contract_of(file).known_data is not None else ["--data", data or "DATA"]


def outcome(variants: Sequence[Variant], *, verbose: bool = False) -> list[str]:
    """How many files were written, why each other was rejected, and what to do about these.

    Args:
        variants: The files, and what stands in their place.
        verbose: Whether reasons are whole instead of one sentence each.
    """
    rejected = [v for v in variants if v.path is None]
    folder = next((f" to {v.path.parent}" for v in variants if v.path is not None), "")
    line = f"{len(variants) - len(rejected)} of {len(variants)} files written{folder}"
    if not rejected:
        return [f"{line}."]
    reasons = {v.scheme: v.error if verbose else first_sentence(v.error) for v in rejected}
    if len(rejected) == 1:
        lines = [f"{line}; {rejected[0].scheme} was rejected: {reasons[rejected[0].scheme]}"]
    else:
        lines = [f"{line}; {len(rejected)} were rejected:", *(f"  {name}: {why}" for name, why in reasons.items())]
    hints = {v.hint: [other.scheme for other in rejected if other.hint == v.hint] for v in rejected if v.hint}
    return [*lines, *(hint if len(hints) == 1 else f"{', '.join(names)}: {hint}" for hint, names in hints.items())]
