"""The text of an edgepress.toml with every option, made from the options of the commands.

Options that were chosen are set; the others stand in comments, each a valid line once its # is removed.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from edgepress.runtime.text import one_line
from edgepress.toolkit.cli.commands import READS
from edgepress.toolkit.cli.found_files import may_stand
from edgepress.toolkit.cli.help import FOREIGN
from edgepress.toolkit.cli.option_table import option_type, options_of
from edgepress.toolkit.cli.settings_file import SHARED

HEAD = """\
# Options of edgepress commands; what the command line says wins. `edgepress init` wrote this file, and
# docs/configuration.md explains it.
# A line that begins with # and a name is an option with its default, or with an example where that is not one value.
# Paths are relative to this file.

"""
HINTS = FOREIGN
"""The panel of the options that stand below [convert] only, although other commands have them, too."""
WIDTH = 120
"""Longest line of the file that `edgepress init` writes, characters."""
EXAMPLES: dict[str, Any] = {
    "arch": ["lenet", "resnet8"],
    "augmentation": ["none", "affine"],
    "baseline": "tflite-float32",
    "base": "mobilenet.tflite",
    "batch_size": 32,
    "board": "pi@raspberrypi.local",
    "channels_first": False,
    "cluster": "local:2",
    "cpus": [0],
    "data": "digits",
    "depth": 11,
    "differences": "to-label",
    "dropout": 0.2,
    "engine": "litert",
    "epochs": 20,
    "events": "events.csv",
    "fail_if": ["drop>0.5", "size>5%"],
    "features": "MobilenetV1/Logits/AvgPool_1a/AvgPool",
    "group": "object[0-9]+",
    "input_range": [0, 1],
    "jobs": 1,
    "keep_float": "conv1|head",
    "label_column": "activity",
    "labels": "labels.txt",
    "learning_rate": 0.001,
    "macs": "50%",
    "max_drop": 1.0,
    "minutes": 10.0,
    "min_agreement": 0.95,
    "keys": ["keys"],
    "max_flash": "128kB",
    "max_latency": "5ms",
    "max_memory": "64MB",
    "max_ram": "32kB",
    "max_size": "200kB",
    "mean": [123.7, 116.3, 103.5],
    "more": "new-images",
    "name": "my-model",
    "old": "results/old.json",
    "out": "results",
    "output": "scores",
    "processes": 1,
    "release": 1,
    "resize": "crop:0.875",
    "rounds": 20,
    "search": 20,
    "seeds": 3,
    "sign": "signing.key",
    "size": "96",
    "sound": "channels=32,pcan=0",
    "std": [58.4, 57.1, 57.4],
    "store": "results",
    "stream": ["street.wav"],
    "teacher": "runs/large/model.keras",
    "threads": 1,
    "threshold": 0.5,
    "tls_ca": "ca.pem",
    "tls_cert": "client.pem",
    "tls_key": "client.key",
    "to": ["tflite-int8", "onnx-int8"],
    "updates": "site",
    "step": 64,
    "width": 0.5,
    "window": 128,
}
"""Values of options without a default; a Literal's first value needs none."""
OTHERS: dict[tuple[str, str], Any] = {
    ("bundle", "board"): ["pi64-py313"],
    ("sweep", "size"): ["32", "48x64"],
    ("sweep", "width"): [0.35, 0.5],
}
"""Examples of options that mean something else in one command."""
PLAN: dict[str, dict[str, Any]] = {
    "dimensions": {"depth": [11, 16], "dropout": [0.0, 0.2], "batch_size": [32, 64], "learning_rate": [1e-3, 3e-3]},
    "training": {"patience": 10, "class_weights": True, "weights": "imagenet", "freeze": True},
}
"""What only the tables of a plan say, with examples."""


def template(commands: Mapping[str, Any], chosen: Mapping[tuple[str, str], Any], notes: Mapping[str, str]) -> str:
    """The text of a file.

    Args:
        commands: The commands by name, as click has them.
        chosen: Values to set, by table ("" for none) and name of the parameter.
        notes: Comments to options above all tables, by name of the parameter.
    """
    parts = [HEAD]
    for name, users in SHARED.items():
        option = next(o for o in options_of(commands[users[0]]) if o.name == name)
        value = chosen.get(("", name), EXAMPLES.get(name, option.default))
        comment = notes.get(name) or f"{_help(option)}. For {', '.join(users)}"
        parts += _line(option, value, comment, is_set=("", name) in chosen)
    for command in READS:
        parts.append(f"\n[{command}]\n")
        for option in list_options(commands, command):
            value = chosen.get((command, option.name), example(commands, command, option))
            parts += _line(option, value, _help(option), is_set=(command, option.name) in chosen)
        for option in (o for o in options_of(commands[command]) if (command, o.name) in chosen):
            if not may_stand(command, option.name, value := chosen[command, option.name]):
                parts += _line(option, value, f"{_help(option)}. For edgepress --config", is_set=False)
        if command == "sweep":
            parts += _plan()
    return "".join(parts)


def list_options(commands: Mapping[str, Any], command: str) -> list[Any]:
    """The options in a command's table: not those above all tables, of other tables, or for files that are named."""
    return [
        option
        for option in options_of(commands[command])
        if command not in SHARED.get(option.name, ())
        and may_stand(command, option.name, EXAMPLES.get(option.name, option.default))
        and (command == "convert" or getattr(option, "rich_help_panel", None) != HINTS)
    ]


def example(commands: Mapping[str, Any], command: str, option: Any) -> Any:
    """The default of an option, or an example if it has none."""
    if (command, option.name) in OTHERS:
        return OTHERS[command, option.name]
    kind = option_type(commands[command], option.name)
    if option.default not in (None, ""):
        return option.default if isinstance(option.default, (bool, int, float)) else str(option.default)
    return kind.__args__[0] if hasattr(kind, "__args__") and option.name not in EXAMPLES else EXAMPLES[option.name]


def toml(value: Any) -> str:
    """A value in TOML.

    Raises:
        ValueError: It is a text that is no Unicode, such as a file name that can't be decoded.
    """
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, str):
        value.encode()  # a UnicodeEncodeError is a ValueError
        return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in json.dumps(value, ensure_ascii=False))
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def _line(option: Any, value: Any, comment: str, *, is_set: bool) -> Iterator[str]:
    """An option with its comment: behind it, or above it if that is long."""
    key = max(option.opts, key=len).lstrip("-")
    comment = one_line(comment)
    line = f"{'' if is_set else '#'}{key} = {toml(value)}"
    if len(whole := f"{line:<28}  # {comment}") <= WIDTH:
        yield f"{whole}\n"
        return
    yield from (f"# {part}\n" for part in textwrap.wrap(comment, WIDTH - 2, break_on_hyphens=False))
    yield f"{line}\n"


def _help(option: Any) -> str:
    """The help of an option on one line, with what holds where none is given."""
    default = option.show_default if isinstance(option.show_default, str) else ""
    return " ".join(f"{option.help}{f' (default: {default})' if default else ''}".split())


def _plan() -> Iterator[str]:
    for name, keys in PLAN.items():
        yield f"\n[sweep.{name}]  # as in a plan: docs/sweep.md\n"
        yield from (f"#{key} = {toml(value)}\n" for key, value in keys.items())
