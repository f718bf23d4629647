"""The command `bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.bundles.boards import BOARDS
from edgepress.toolkit.bundles.manifest import Format
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.options import Data, Engine, Json, engine_option, list_of, with_model_hints
from edgepress.toolkit.text import size

if TYPE_CHECKING:
    from edgepress.toolkit.bundles.build import Bundle


@with_model_hints
def bundle(
    file: Annotated[Path, Argument(help="A .tflite or .onnx file of edgepress convert, or any classifier")],
    hints: Hints,
    out: Annotated[Path | None, Option(help="File to write", show_default="next to the file, as .zip or .pyz")] = None,
    name: Annotated[
        str | None,
        Option(
            help="Name of the application; a board updates an application of the same name",
            show_default="the name of the file",
        ),
    ] = None,
    format: Annotated[Format, Option(help="zip: to install; pyz: to run with a Python that has the engine")] = ("zip"),
    board: Annotated[
        str | None,
        Option(
            help=f"Kinds of boards, separated by commas: {', '.join(BOARDS)}",
            show_default="all that can run the file",
            autocompletion=list_of(BOARDS),
        ),
    ] = None,
    offline: Annotated[bool, Option("--offline", help="Include the boards' wheels; needs --board")] = False,
    data: Data = None,
    samples: Annotated[int, Option(min=0, max=100, help="Test items to include, with their answers")] = 8,
    engine: Annotated[Engine | None, engine_option("Engine that computes the samples' answers")] = None,
    sign: Annotated[Path | None, Option(help="Sign with this OpenSSH key; writes OUT.sig")] = None,
    json_output: Json = False,
) -> None:
    """Pack a model, the runtime, samples, an installer and pinned packages into one file for a board."""
    from edgepress.toolkit.bundles.build import bundle as work

    made = work(
        file,
        out,
        name=name,
        format=format,
        boards=board.split(",") if board else (),
        offline=offline,
        data=data,
        samples=samples,
        engine=engine,
        sign=sign,
        hints=hints,
        on_step=screen.step,
    )
    screen.note(*made.notes)
    if json_output:
        screen.document(made.to_dict())
    else:
        _show(made)


def _show(made: Bundle) -> None:
    found, m = made.verified, made.verified.manifest
    rows = [[f.path, size(f.size_bytes)] for f in m.files if not f.path.startswith("edgepress/")]
    sources = [f.size_bytes for f in m.files if f.path.startswith("edgepress/")]
    rows.append([f"edgepress/ ({len(sources)} files)", size(sum(sources))])
    screen.show(screen.table([("File", "left"), ("Size", "right")], rows))
    screen.say(f"{found.path}: {size(found.size_bytes)}, {m.name} {m.id[:12]}, {m.scheme}", style="bold")
    screen.say(f"SHA-256 {found.sha256}")
    if found.signature:
        screen.say(f"Signature: {found.signature}")
    if m.format == "pyz":
        screen.say(f"Run: python {found.path.name} classify IMAGE")
        return
    screen.say(f"Installs on {', '.join(made.boards)}. On the board:")
    screen.say(f"  python3 -m zipfile -e {found.path.name} . && sh {m.name}/install.sh")
