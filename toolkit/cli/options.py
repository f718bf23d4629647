"""Options that several commands share, and the choices that options offer, read from the tables they belong to.

A fixed choice is a `Literal`: Typer lists its values in the help, completes them, and exits with 2 on any other value.
Options that take several values separated by commas (`Several`) are text with a completion callback (`list_of`).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from typer import Argument, Option

from edgepress.converters.contract.hints import Hints
from edgepress.converters.contract.metadata import ChannelOrder
from edgepress.converters.options.records import settings_of
from edgepress.converters.schemes import ALL, SCHEMES
from edgepress.runtime.adapter import PerImage
from edgepress.runtime.contract import Task
from edgepress.runtime.engines import ENGINES, PACKAGED
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli.help import FOREIGN
from edgepress.toolkit.cli.option_table import CommaList, expand_groups
from edgepress.toolkit.cli.option_table import list_of as list_of
from edgepress.toolkit.cli.record_options import option_of
from edgepress.toolkit.cli.settings import is_from_file
from edgepress.toolkit.data import ACCEPTED, NAMES
from edgepress.toolkit.data.options import RESIZE
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.measurement.benchmarking import options as benchmarking
from edgepress.toolkit.stats.choice import Prefer
from edgepress.toolkit.training.nets.architectures import ARCHITECTURES
from edgepress.toolkit.training.options import TRUST_HELP, RunOptions
from edgepress.toolkit.workers.trace import TRACERS

if TYPE_CHECKING:
    Architecture: TypeAlias = str
    ChosenArchitecture: TypeAlias = str
    Engine: TypeAlias = str
    PackagedEngine: TypeAlias = str
    Tracer: TypeAlias = str
else:  # made from tables, which type checkers can't follow
    Engine = Literal[tuple(ENGINES)]
    Tracer = Literal[tuple(TRACERS)]
    PackagedEngine = Literal[tuple(PACKAGED)]
    Architecture = Literal[tuple(ARCHITECTURES)]
    ChosenArchitecture = Literal[("auto", *ARCHITECTURES)]


def complete_data(incomplete: str) -> list[str]:
    """The built-in data sets and the paths that begin so; a folder ends in a slash, to be completed further."""
    place, begun = os.path.split(incomplete)
    try:
        entries = sorted(os.scandir(place or os.curdir), key=lambda each: each.name)
    except OSError:
        entries = []
    hidden = begun.startswith(".")
    shown = [each for each in entries if each.name.startswith(begun) and (hidden or not each.name.startswith("."))]
    paths = [f"{os.path.join(place, each.name)}{os.sep if each.is_dir() else ''}" for each in shown]
    return [*(name for name in NAMES if name.startswith(incomplete)), *paths]


DATA_HELP = f"Data set: {ACCEPTED}"
SIZE_HELP = "Fix sizes that the model's input leaves free: HEIGHTxWIDTH, or one number for all, such as a length"


def engine_option(help: str, names: Iterable[str] = ENGINES) -> Any:
    """The option that names one engine."""
    return Option(
        metavar="NAME", help=f"{help}: {', '.join(names)}", show_default="the first installed one that opens the file"
    )


Several = partial(Option, parser=CommaList, metavar="<text>")
MANY_ENGINES = option_of(benchmarking.MANY_ENGINES)
MANY_SCHEMES = ("all", *dict.fromkeys(s.format for s in SCHEMES.values()), *SCHEMES)
_BY_NAME = tuple(name for name in SCHEMES if name not in ALL)
SCHEMES_HELP = (
    f"{', '.join(name for name in MANY_SCHEMES if name not in _BY_NAME)}; by name alone: {', '.join(_BY_NAME)}"
)

Model = Annotated[Path, Argument(help="A .keras, .h5, .tflite or .onnx file, a SavedModel folder, or a run's folder")]
Baseline = Annotated[str | None, option_of(benchmarking.BASELINE)]
Resume = Annotated[bool, option_of(settings_of(RunOptions)["resume"][2])]
Json = Annotated[bool, Option("--json", help="Print one JSON document instead of text")]
TRAINED_ON = "the data the model was trained on"
Data = Annotated[str | None, Option(help=DATA_HELP, show_default=TRAINED_ON, autocompletion=complete_data)]
ThreadCounts = Annotated[str, option_of(benchmarking.THREADS)]
Threads = Annotated[int, Option(min=1, max=256, help="Threads the engine may use")]
MaxDrop = Annotated[float | None, option_of(benchmarking.LIMIT)]
Confidence = Annotated[str, option_of(benchmarking.SURE)]
Preference = Annotated[Prefer, option_of(benchmarking.PREFERENCE)]
Foreign = partial(Option, rich_help_panel=FOREIGN)
SeveralForeign = partial(Several, rich_help_panel=FOREIGN)
ChannelsFirst = Annotated[bool | None, Foreign("--channels-first/--channels-last", help="Layout of the model's input")]
Custom = Annotated[list[str] | None, Foreign(help="MODULE:CLASS of a custom Keras layer; may be repeated")]
Trust = Annotated[bool, Foreign("--trust", help=TRUST_HELP)]


def with_options(**groups: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of functions like `model_hints` in place of the parameters named after these.

    Args:
        groups: The function of each such parameter, which gets what that returns.
    """

    def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
        shared = {name: inspect.signature(group, eval_str=True).parameters for name, group in groups.items()}
        return expand_groups(function, groups, shared)

    return decorator


def pixel_scaling(
    input_range: Annotated[
        str | None, SeveralForeign(help="Values that the model expects for pixels 0 and 255, such as 0,1 or -1,1")
    ] = None,
    mean: Annotated[
        str | None,
        SeveralForeign(
            help="Per-channel mean, or one for all, subtracted from pixels 0-255; 0-1 if every --std is below 1"
        ),
    ] = None,
    std: Annotated[str | None, SeveralForeign(help="Per-channel standard deviation, applied after --mean")] = None,
    input: Annotated[
        PerImage | None,
        Foreign(
            help="Scaling of each image by its own values; standardize: mean 0 and standard deviation 1; minmax: 0 to 1"
        ),
    ] = None,
) -> dict[str, Any]:
    """The options that say how a model made elsewhere takes pixels, as fields of `Hints`."""
    return locals()


@with_options(scaling=pixel_scaling)
def model_hints(
    *,
    labels: Annotated[
        Path | None, Foreign(help="Text file with one label per line, in the order of the outputs")
    ] = None,
    scaling: dict[str, Any],
    color: Annotated[
        Literal[ChannelOrder, "none"] | None, Foreign(help="Channel order of the images; none: inputs are not images")
    ] = None,
    resize: Annotated[str | None, option_of(RESIZE, FOREIGN)] = None,
    channels_first: ChannelsFirst = None,
    size: Annotated[str | None, Foreign(help=SIZE_HELP)] = None,
    task: Annotated[Task | None, Foreign(help="Meaning of the outputs; none: the model is not a classifier")] = None,
    threshold: Annotated[
        float | None, Foreign(min=0, max=1, help="Decision threshold of a label, as a probability")
    ] = None,
    softmax: Annotated[
        bool,
        Foreign(
            "--softmax",
            help="Apply a softmax (sigmoids for one output, or for --task multilabel) to outputs that are logits",
        ),
    ] = False,
) -> Hints:
    """The options that describe a model made elsewhere, declared once for all commands that take one.

    A command decorated with `with_model_hints` has them in place of its parameter `hints`.
    """
    return call_with(Hints, locals() | scaling)


with_model_hints = with_options(hints=model_hints)


@with_model_hints
def source_hints(
    hints: Hints,
    output: Annotated[
        str,
        Foreign(
            help="Name of the output to keep of a model with several; logits, in convert alone: leave the last softmax "
            "or sigmoid to the runtime",
            show_default=False,
        ),
    ] = "",
    custom: Custom = None,
    trust: Trust = False,
) -> Hints:
    """The same and those about what to take of a model, and of code in it, for commands that open a source model."""
    return replace(hints, output=output, custom=tuple(custom or ()), trust=trust)


with_source_hints = with_options(hints=source_hints)


def stream_options(
    stream: Annotated[
        list[Path] | None,
        Option(help="Recording, or folder of recordings, to hear as listen does; may be repeated", metavar="<path>"),
    ] = None,
    events: Annotated[
        Path | None,
        Option(help="With --stream: CSV of what there is to hear: start_s, end_s, label, and perhaps file"),
    ] = None,
    step: Annotated[
        int | None,
        Option(
            min=1,
            help="With --stream: frames between answers",
            show_default="as the file says, else a quarter of a window",
        ),
    ] = None,
) -> dict[str, Any]:
    """The options of commands that hear recordings.

    A command decorated with `with_stream_options` has them in place of its parameter `sound`.
    """
    return locals()


with_stream_options = with_options(sound=stream_options)


def refuse_of_items(words: Iterable[str]) -> None:
    """Refuse options that recordings have no use for; those of edgepress.toml are for items, and change nothing.

    Args:
        words: What was given, as on the command line; words that are no option are values.

    Raises:
        InputError: One of them was given.
    """
    keys = {word: word.removeprefix("--").removeprefix("no-").replace("-", "_") for word in words if word[:2] == "--"}
    keys |= {"--channels-last": "channels_first"} if "--channels-last" in keys else {}
    if given := ", ".join(word for word, key in keys.items() if not is_from_file(key)):
        problem = f"--stream doesn't take {given}: recordings are heard one after the other, and not stored."
        raise InputError(problem, f"Leave out {given}, or --stream.")
