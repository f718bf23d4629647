"""The commands of the last mile: `bundle` makes one file for a board, `verify` checks it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.app import Data, Json, app, command
from edgepress.toolkit.text import size

if TYPE_CHECKING:
    from edgepress.toolkit.bundles.build import Bundle

BOARDS_HELP = "pi64-py311, pi64-py313, pi32-py311, pc64-py311 or pc64-py313, separated by commas."


@app.command()
@command
def bundle(
    file: Annotated[Path, typer.Argument(help="A .tflite or .onnx file made by edgepress convert.")],
    out: Annotated[Path | None, typer.Option(help="The bundle.", show_default="FILE.zip, beside FILE")] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the application; a board updates what has the same.", show_default="FILE's")
    ] = None,
    format: Annotated[str, typer.Option(help="zip, to install, or pyz, which a Python with the engine runs.")] = "zip",
    board: Annotated[str | None, typer.Option(help=BOARDS_HELP, show_default="all that run FILE")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Bring the boards' wheels; needs --board.")] = False,
    data: Data = None,
    samples: Annotated[int, typer.Option(min=0, max=100, help="Test items to bring and to prove it with.")] = 8,
    engine: Annotated[
        str | None,
        typer.Option(help="What gives the samples' answers: litert, tflite-runtime, onnxruntime or openvino."),
    ] = None,
    sign: Annotated[Path | None, typer.Option(help="Sign with this key of OpenSSH: OUT.sig.")] = None,
    json_output: Json = False,
) -> None:
    """One file for a board: model, runtime, samples, installer, pinned packages."""
    from edgepress.toolkit.bundles.build import build_bundle

    made = build_bundle(
        file,
        out,
        name=name,
        format=format,  # type: ignore[arg-type]  # mypy does not narrow str to a Literal
        boards=board.split(",") if board else (),
        offline=offline,
        data=data,
        samples=samples,
        engine=engine,
        sign=sign,
        on_step=screen.step,
    )
    for text in made.notes:
        screen.note(text)
    if json_output:
        screen.document(made.to_dict())
    else:
        _show_bundle(made)


@app.command()
@command
def verify(
    bundle: Annotated[Path, typer.Argument(help="A .zip or .pyz made by edgepress bundle.")],
    key: Annotated[
        Path | None, typer.Option(help="Public key (.pub) or allowed signers: require their signature.")
    ] = None,
    signature: Annotated[
        Path | None, typer.Option(help="The signature.", show_default="BUNDLE.sig, beside BUNDLE")
    ] = None,
    json_output: Json = False,
) -> None:
    """Is a bundle whole, unchanged and, with --key, signed? Nothing is unpacked."""
    from edgepress.toolkit.bundles.verify import verify_bundle

    found = verify_bundle(bundle, key=key, signature=signature)
    if json_output:
        screen.document(found.to_dict())
        return
    m = found.manifest
    screen.say(f"{bundle} is whole and unchanged: {m.name} {m.id[:12]}, {m.scheme}, {len(m.files) + 1} files.")
    if found.signer:
        screen.say(f"Signed by {found.signer}.", style="bold green")
    else:
        why = "its signature was not checked: give --key" if found.signature else "it is not signed"
        screen.say(f"Who made it is not known: {why}.", style="yellow")
    screen.say(f"SHA-256 {found.sha256}")


def _show_bundle(made: Bundle) -> None:
    found, m = made.verified, made.verified.manifest
    rows = [[f.path, size(f.size_bytes)] for f in m.files if not f.path.startswith("edgepress/")]
    sources = [f.size_bytes for f in m.files if f.path.startswith("edgepress/")]
    rows.append([f"edgepress/ ({len(sources)} files)", size(sum(sources))])
    screen.show(screen.table("", [("file", "left"), ("size", "right")], rows))
    screen.say(f"{found.path}: {size(found.size_bytes)}, {m.name} {m.id[:12]}, {m.scheme}", style="bold")
    screen.say(f"SHA-256 {found.sha256}")
    if found.signature:
        screen.say(f"Signature: {found.signature}")
    if m.format == "pyz":
        screen.say(f"Run: python {found.path.name} classify IMAGE")
        return
    screen.say(f"Installs on {', '.join(made.boards)}. On the board:")
    screen.say(f"  python3 -m zipfile -e {found.path.name} . && sh {m.name}/install.sh")
