"""The Typer application, built from one table of commands.

To add a command, write a module of its name in this folder and add a row to `COMMANDS`. The module holds a function of
the same name (options as parameters, help as its docstring), or, for a group, a Typer application named `app`. Nothing
heavy is imported until a command runs, so that `edgepress --help` answers at once. Options of the commands in
`settings_file.READS` can stand in edgepress.toml without further code; one without a default needs an example in
`template.EXAMPLES`, and each a row in `found_files.TABLE`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from edgepress import __version__
from edgepress.runtime.text import one_line
from edgepress.toolkit.cli import screen, settings
from edgepress.toolkit.cli.frame import command
from edgepress.toolkit.cli.help import WORDS, HelpfulCommand, HelpfulGroup, with_help_all
from edgepress.toolkit.cli.settings_file import NAME
from edgepress.toolkit.errors import UsageError

COMMANDS = {
    "demo": "edgepress demo --out my-demo",
    "init": "edgepress init --data photos/ --max-size 200kB",
    "train": "edgepress train --data photos/ --arch mobilenet-v2 --out runs/photos",
    "evaluate": "edgepress evaluate runs/photos/model.keras",
    "convert": "edgepress convert runs/photos/model.keras --to tflite-int8,onnx-int8",
    "tune": "edgepress tune runs/photos/model.keras --bits 4 --minutes 10",
    "compress": "edgepress compress runs/photos/model.keras --max-size 200kB --max-latency 5ms",
    "prune": "edgepress prune runs/photos/model.keras --macs 50% --minutes 10",
    "sweep": "edgepress sweep --data photos/ --arch mobilenet-v2,resnet8 --size 64,96",
    "benchmark": "edgepress benchmark runs/photos/variants --max-drop 1",
    "calibrate": "edgepress calibrate runs/photos/variants/model-int8.tflite --max-error 2%",
    "profile": "edgepress profile model-int8.tflite --plot layers.svg",
    "diagnose": "edgepress diagnose runs/photos/variants/*.tflite",
    "report": "edgepress report runs/photos/variants --format md",
    "compare": "edgepress compare old/benchmark.json new/benchmark.json --fail-if 'drop>0.5'",
    "predict": "edgepress predict model-int8.tflite photos/cat.jpg --top 1",
    "play": "edgepress play runs/photos/variants",
    "label": "edgepress label collected/raspberrypi-local",
    "improve": "edgepress improve runs/photos --new collected/raspberrypi-local",
    "annotate": "edgepress annotate published.tflite --input-range -1,1 --out model.tflite",
    "inspect": "edgepress inspect model-int8.tflite",
    "bundle": "edgepress bundle model-int8.tflite --board pi64-py313",
    "export": "edgepress export model-int8-integer-only.tflite --board pico2 --out model-c99",
    "verify": "edgepress verify model-int8.zip --key sender.pub",
    "publish": "edgepress publish model-int8.zip --to site --keys keys --share 10%",
    "board": "edgepress board bench pi@raspberrypi.local runs/photos/variants",
    "engine": "edgepress engine add openvino",
    "doctor": "edgepress doctor",
}
"""Each command, which is a module of this folder, with an example of its use; in the order of `--help`."""


class _Commands(HelpfulGroup):
    """Lists groups and commands in the order of `COMMANDS`, and words errors about choices as those about numbers."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=list(COMMANDS).index)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, found, rest = super().resolve_command(ctx, args)
        if not ctx.resilient_parsing and not WORDS & {*rest}:
            settings.apply(ctx, self.commands, str(name), quiet="--json" in rest)
        return name, found, rest

    def make_context(self, *words: Any, **more: Any) -> Any:
        with _reword_errors():
            return super().make_context(*words, **more)

    def invoke(self, ctx: Any) -> Any:
        with _reword_errors():
            return super().invoke(ctx)


@contextmanager
def _reword_errors() -> Iterator[None]:
    """Let usage errors say what was given as one line, and without pydantic's words, which Typer passes on."""
    try:
        yield
    except Exception as e:
        if hasattr(e, "format_message"):
            e.message = e.message.removeprefix("Value error, ")  # type: ignore[attr-defined]
            if getattr(e, "option_name", "") in ("--config", "--no-config"):
                e.message += f" It stands before the command: edgepress {e.option_name} ..."  # type: ignore[attr-defined]
            message = one_line(e.format_message())
            e.format_message = lambda: message
        raise


class _Command(HelpfulCommand):
    """Says which options are from edgepress.toml before it runs."""

    def invoke(self, ctx: Any) -> Any:
        line = settings.begin(ctx)
        if line and not ctx.params.get("json_output"):
            screen.step(line)
        try:
            return super().invoke(ctx)
        finally:
            settings.end(ctx)


def _version(wanted: bool) -> None:
    if wanted:
        screen.say(f"edgepress {__version__}")
        raise typer.Exit


def _main(
    version: Annotated[
        bool, Option("--version", callback=_version, is_eager=True, help="Print the version and exit")
    ] = False,
    config: Annotated[
        Path | None,
        Option(
            envvar="EDGEPRESS_CONFIG",
            help="File of options",
            show_default=f"{NAME} here, or above it in the repository",
        ),
    ] = None,
    no_config: Annotated[bool, Option("--no-config", help="Read no file of options")] = False,
) -> None:
    """Turn an image classifier into the file that a small board should run, and prove that it works."""


def build() -> typer.Typer:
    """The application with all commands of the table."""
    app = typer.Typer(
        name="edgepress",
        cls=_Commands,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        epilog=f"Start with: {COMMANDS['demo']}",
    )
    app.callback()(_main)
    for name, example in COMMANDS.items():
        module = importlib.import_module(f"edgepress.toolkit.cli.{name}")
        epilog = f"Example: {example}"
        if hasattr(module, "app"):
            for each in module.app.registered_commands:
                each.cls = HelpfulCommand
            kind = getattr(module, "group", HelpfulGroup)
            app.add_typer(module.app, name=name, cls=kind, no_args_is_help=True, epilog=epilog)
        else:
            app.command(name, cls=_Command, epilog=epilog)(command(with_help_all(getattr(module, name))))
    return app


app = build()


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    as_json = "--json" in arguments
    try:
        return int(app(list(arguments), prog_name="edgepress", standalone_mode=not as_json) or 0)
    except UsageError as e:  # of edgepress.toml
        screen.error(e, as_json=as_json)
        return 2
    except Exception as e:  # Typer's usage errors, which are click's own or Typer's copies of them
        if not hasattr(e, "format_message"):
            raise
        screen.error(UsageError(e.format_message(), "See --help."), as_json=True)
        return 2
