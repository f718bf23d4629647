"""The command `bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.shipping.bundles.boards import BOARDS
from edgepress.toolkit.shipping.bundles.verify import Format
from edgepress.toolkit.text import size

if TYPE_CHECKING:
    from edgepress.toolkit.shipping.bundles.build import Bundle


@options.with_model_hints
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
        options.Several(
            help=f"Kinds of boards, separated by commas: {', '.join(BOARDS)}",
            show_default="all that can run the file",
            autocompletion=options.list_of(BOARDS),
        ),
    ] = None,
    offline: Annotated[bool, Option("--offline", help="Include the boards' wheels; needs --board")] = False,
    data: options.Data = None,
    samples: Annotated[int, Option(min=0, max=100, help="Test items to include, with their answers")] = 8,
    reading: Reading = STRICT,
    engine: Annotated[
        options.Engine | None,
        options.engine_option("Engine that computes the samples' answers; native: the board builds the model as C"),
    ] = None,
    sign: Annotated[Path | None, Option(help="Sign with this OpenSSH key; writes OUT.sig")] = None,
    updates: Annotated[
        Path | None, Option(help="Let boards update themselves from this folder of edgepress publish init")
    ] = None,
    keys: Annotated[
        list[Path] | None,
        Option(help="With --updates: folder of its keys, of which only trusted.json is read; may be repeated"),
    ] = None,
    release: Annotated[
        int | None,
        Option(min=1, help="Number of the release, which only rises", show_default="with --updates, the next one"),
    ] = None,
    shadow: Annotated[
        int,
        Option(min=0, help="With --updates: frames that a board lets both releases answer before it switches; 0: none"),
    ] = 200,
    max_slowdown: Annotated[
        float, Option(min=1, help="Boards refuse the release if it takes more than so many times as long")
    ] = 1.2,
    min_agreement: Annotated[
        str | None,
        Option(
            metavar="SHARE",
            help="Boards refuse the release if it agrees less often with the one in use, such as 95%",
            show_default="measured with the newest published release",
        ),
    ] = None,
    mqtt: Annotated[bool, Option("--mqtt", help="Include the package that --mqtt of the runtime needs")] = False,
    json_output: options.Json = False,
) -> None:
    """Pack a model, the runtime, samples, an installer and pinned packages into one file for a board."""
    from edgepress.toolkit.shipping.bundles.build import bundle as work

    built = call_with(work, locals(), board=board or (), on_step=screen.step)
    screen.note(*built.notes)
    if json_output:
        screen.document(built.to_dict())
    else:
        _show(built)


def _show(built: Bundle) -> None:
    verified = built.verified
    m = built.verified.manifest
    rows = [[f.path, size(f.size_bytes)] for f in m.files if not f.path.startswith("edgepress/")]
    sources = [f.size_bytes for f in m.files if f.path.startswith("edgepress/")]
    rows.append([f"edgepress/ ({len(sources)} files)", size(sum(sources))])
    screen.show(screen.table([("File", "left"), ("Size", "right")], rows))
    screen.say(f"{verified.path}: {size(verified.size_bytes)}, {m.name} {m.id[:12]}, {m.scheme}", style="bold")
    screen.say(f"SHA-256 {verified.sha256}")
    if m.release is not None:
        screen.say(f"Release {m.release}")
    if verified.signature:
        screen.say(f"Signature: {verified.signature}")
    if m.format == "pyz":
        screen.shell_command(f"Run: {shell_line('python', Path(verified.path.name), 'classify', 'IMAGE')}")
        return
    where = ", ".join(built.boards) or "any board with Python, NumPy, Pillow and a C compiler"
    screen.say(f"Installs on {where}. On the board:")
    unpacked = shell_line("python3", "-m", "zipfile", "-e", Path(verified.path.name), ".")
    screen.shell_command(f"  {unpacked} && sh {m.name}/install.sh")
