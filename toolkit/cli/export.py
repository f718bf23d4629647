"""The command `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.options import DATA_HELP, Json, list_of, with_model_hints
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.exporting.microcontrollers import MICROCONTROLLERS
from edgepress.toolkit.text import count, percent, size


@with_model_hints
def export(
    file: Annotated[
        Path, Argument(help="A .tflite file of convert --target integer-only, or another integer-only one")
    ],
    hints: Hints,
    to: Annotated[str, Option(help="What to write: c99", autocompletion=list_of(("c99",)))] = "c99",
    out: Annotated[
        Path | None, Option(help="Folder to write", show_default="next to the file, with -c99 behind its name")
    ] = None,
    board: Annotated[
        str | None,
        Option(
            help=f"Refuse a file that does not fit this board: {', '.join(MICROCONTROLLERS)}",
            autocompletion=list_of(MICROCONTROLLERS),
        ),
    ] = None,
    data: Annotated[
        str | None, Option(help=f"{DATA_HELP}; its test items go into the self-test", show_default="random items")
    ] = None,
    samples: Annotated[int, Option(min=1, max=1000, help="Items in the self-test")] = 8,
    specialize: Annotated[
        bool, Option("--specialize", help="Give each layer kernels of its own: faster, several times the code")
    ] = False,
    json_output: Json = False,
) -> None:
    """Write a file as C99 for a microcontroller, with the answers of TensorFlow Lite Micro."""
    from edgepress.toolkit.exporting.export import export as work

    made = work(
        file,
        to,  # type: ignore[arg-type]
        out,
        board=board,
        data=data,
        samples=samples,
        specialize=specialize,
        hints=hints,
        on_step=screen.step,
    )
    screen.note(*made.notes)
    if json_output:
        screen.document(made.to_dict())
        return
    ram, flash, selftest = (made.report[name] for name in ("ram", "flash", "selftest"))
    chip = MICROCONTROLLERS[board] if board else None
    rows = [
        ["Arena", size(ram["arena"]), percent(ram["arena"] / chip.ram, ".1f") if chip else ""],
        ["Stack, about", size(ram["stack"]), percent(ram["stack"] / chip.ram, ".1f") if chip else ""],
        ["Flash, about", size(flash["total"]), percent(flash["total"] / chip.flash, ".1f") if chip else ""],
        ["Multiply-accumulates", count(made.report["macs"]), ""],
    ]
    share = f"Share of {board}" if board else ""
    screen.show(screen.table([("What", "left"), ("Takes", "right"), (share, "right")], rows))
    right = "" if selftest["right"] is None else f", {selftest['right']} of which get their label"
    screen.say(f"Self-test: {selftest['items']} items ({selftest['source']}){right}")
    build = shell_line("cmake", "-S", made.folder, "-B", made.folder / "build")
    screen.say(f"Build and test: {build} && {shell_line('cmake', '--build', made.folder / 'build')}", style="bold")
