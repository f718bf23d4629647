"""The command `convert`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from edgepress.converters.contract.hints import Hints
from edgepress.converters.options.conversion import AS_USUAL, ConversionOptions
from edgepress.converters.options.records import changed_words
from edgepress.converters.schemes import BASELINES, SCHEMES
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
    how: ConversionOptions = AS_USUAL,
    reading: Reading = STRICT,
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
        words = [*(["--to", to] if to != "all" else []), *(["--out", f"{out}"] if out else []), *changed_words(how)]
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
