"""The command `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import screen
from edgepress.toolkit.cli.options import DATA_HELP, Json, list_of, with_model_hints
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.shipping.exporting.job import ACCELERATORS, MICROCONTROLLERS, USUAL_ACCELERATOR, Language
from edgepress.toolkit.text import count, percent, size


@with_model_hints
def export(
    file: Annotated[
        Path, Argument(help="A .tflite file of convert --target integer-only, or another integer-only one")
    ],
    hints: Hints,
    to: Annotated[
        str,
        Option(
            help="What to write: c99, which needs nothing else; tflm, for firmware with TensorFlow Lite Micro; "
            "esphome, a model of sound for micro_wake_word; ethos-u, for Arm's NPUs; or wasm, a page for browsers "
            "and a package for npm",
            autocompletion=list_of(get_args(Language)),
        ),
    ] = "c99",
    out: Annotated[
        Path | None,
        Option(
            help="Folder to write",
            show_default="next to the file, with -c99, -arduino, -tflm, -esphome, -ethos-u or -wasm after its name",
        ),
    ] = None,
    board: Annotated[
        str | None,
        Option(
            help=f"Refuse a file that does not fit this board (with tflm, without its own code and stack): "
            f"{', '.join(MICROCONTROLLERS)}",
            autocompletion=list_of(MICROCONTROLLERS),
        ),
    ] = None,
    data: Annotated[
        str | None, Option(help=f"{DATA_HELP}; its test items go into the self-test", show_default="random items")
    ] = None,
    samples: Annotated[int, Option(min=1, max=1000, help="Items in the self-test")] = 8,
    reading: Reading = STRICT,
    specialize: Annotated[
        bool, Option("--specialize", help="Give each layer C of its own: faster, several times the code; for c99")
    ] = False,
    layout: Annotated[
        str,
        Option(
            help="How a folder of c99 is arranged: cmake, or arduino, a library of the Arduino IDE",
            autocompletion=list_of(("cmake", "arduino")),
        ),
    ] = "cmake",
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace files in the folder that no export wrote, or that you changed")
    ] = False,
    name: Annotated[
        str, Option(help="What names of functions, macros and files begin with, for several models in one firmware")
    ] = "model",
    stream: Annotated[
        int | None,
        Option(min=1, help="Take a stream: so many new rows of a window (steps, channels) a call, not a whole one"),
    ] = None,
    label: Annotated[
        str | None, Option(help="Label that ESPHome hears", show_default="the only one that is not background")
    ] = None,
    accelerator: Annotated[
        str, Option(help="NPU that ethos-u compiles for", autocompletion=list_of(ACCELERATORS))
    ] = USUAL_ACCELERATOR,
    json_output: Json = False,
) -> None:
    """Write a file as C99 for a microcontroller, for firmware with TensorFlow Lite Micro or ESPHome, or as a page."""
    from edgepress.toolkit.shipping.exporting.export import export as work

    exported = call_with(work, locals(), on_step=screen.step)
    screen.note(*exported.notes)
    if json_output:
        screen.document(exported.to_dict())
        return
    selftest = exported.report["selftest"]
    chip = MICROCONTROLLERS[board] if board else None
    rows = []
    for name, kind, size_bytes in _list_memory(exported.report):
        share = percent(size_bytes / getattr(chip, kind), ".1f") if chip else ""
        rows.append([name, size(size_bytes), share])
    if "macs" in exported.report:
        rows.append(["Multiply-accumulates", count(exported.report["macs"]), ""])
    heading = f"Share of {board}" if board else ""
    if "estimate" in exported.report:
        about = exported.report["estimate"]
        rows.append(
            [
                f"One item, estimated by Vela at {about['clock_hz'] / 1e6:g} MHz",
                f"{1000 * about['inference_s']:.3g} ms",
                "",
            ]
        )
    screen.show(screen.table([("What", "left"), ("Takes", "right"), (heading, "right")], rows))
    if to in ("tflm", "ethos-u"):
        screen.say("TFLM's own code and stack come on top.")
    correct = "" if selftest["right"] is None else f", {selftest['right']} of which get their label"
    screen.say(f"Self-test: {selftest['items']} items ({selftest['source']}){correct}")
    folder = exported.folder
    if to == "esphome":
        screen.say(f"Wake word: {exported.report['word']}. Model and manifest for ESPHome: {folder}")
        return
    if to == "ethos-u":
        npu = f"{exported.report['npu_operations']} operations on the NPU"
        left = sum(exported.report["cpu_operations"].values())
        screen.say(f"{accelerator}: {npu}, {left or 'none'} on the processor. Sources for firmware with TFLM: {folder}")
        return
    if to == "wasm":
        page = size(exported.report["wasm"]["page"])
        screen.say(f"Page for browsers, {page}: {folder / 'index.html'}. Package for npm: {folder}")
        return
    if layout == "arduino":
        screen.say(f"Library for the Arduino IDE: {folder}. Copy it to the sketchbook's folder libraries.")
        return
    clone = ["-DTFLM_DIR=CLONE_OF_TFLM"] if to == "tflm" else []
    build = shell_line("cmake", "-S", folder, "-B", folder / "build", *clone)
    screen.shell_command(f"Build and test: {build} && {shell_line('cmake', '--build', folder / 'build')}", style="bold")


def _list_memory(report: dict[str, Any]) -> list[tuple[str, str, int]]:
    """Name, memory ("ram" or "flash") and bytes of each part."""
    if "wasm" in report:
        return [
            ("WebAssembly", "flash", report["wasm"]["bytes"]),
            ("WebAssembly, gzipped", "flash", report["wasm"]["gzip"]),
        ]
    ram = report["ram"]
    flash = report["flash"]
    if "stack" in ram:
        return [
            ("Arena", "ram", ram["arena"]),
            ("Stack, about", "ram", ram["stack"]),
            ("Flash, about", "flash", flash["total"]),
        ]
    return [("Arena, with margin", "ram", ram["arena"]), ("File, in flash", "flash", flash["file"])]
