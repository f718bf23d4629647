"""Which commands of a result's file are shown as advice: those of a form that edgepress advises, written anew.

Anybody may have written the file, and readers copy what a report advises. So a stored command is taken apart, and only
what it holds of known commands, safe options and names is put together again; another one is not shown. No option here
runs code of a model, sends work elsewhere, installs, signs or replaces anything.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import shlex
from typing import TypeVar

from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.remarks.remark import Remark
from edgepress.toolkit.results.figures import Finding
from edgepress.toolkit.results.records import Benchmark

READING = "--data --labels --input-range --mean --std --input --color --resize --channels-first --channels-last --size"
MEANING = "--task --threshold --softmax --output --skip-unreadable"
TRAINING = "--arch --width --depth --dropout --freeze --epochs --batch-size --learning-rate --patience --class-weights"
OPTIONS = {
    "train": f"{READING} {MEANING} {TRAINING} --augmentation --seed --weights --teacher --group --minutes --out",
    "evaluate": f"{READING} {MEANING} --engine --threads",
    "benchmark": f"{READING} {MEANING} --engine --baseline --max-drop --confidence --prefer --threads --more",
    "convert": f"{READING} {MEANING} --to --target --calibration --samples --keep-float",
}
"""The options that advice has, by command."""
NEW_FOLDER = re.compile(r"runs/(?!\.)[^/]+")
"""Where a training that is advised writes: it replaces nothing, as `train` refuses a folder that holds something."""
DROPPED = " (The file names a command here that edgepress does not advise; it is not shown.)"
"""What stands behind a text whose command is left out."""
_Advised = TypeVar("_Advised", Remark, Finding)


def advised(command: str) -> str:
    """The command as `shell_line` writes it, "" if it is none that edgepress advises."""
    try:
        words = shlex.split(command)
    except ValueError:
        return ""
    if words[:1] != ["edgepress"] or len(words) < 2 or words[1] not in OPTIONS or shell_line(*words) != command:
        return ""
    options = [word for word in words if word.startswith("-") and not re.fullmatch(r"-[\d.].*", word)]
    places = [place for option, place in itertools.pairwise(words) if option == "--out"]
    known = {*options} <= {*OPTIONS[words[1]].split()} and all(NEW_FOLDER.fullmatch(place) for place in places)
    return command if known else ""


def with_own_commands(result: Benchmark) -> Benchmark:
    """A result without the commands that are not of edgepress."""
    rows = tuple(dataclasses.replace(row, findings=tuple(map(_checked, row.findings))) for row in result.results)
    return dataclasses.replace(result, results=rows, remarks=tuple(map(_checked, result.remarks)))


def _checked(part: _Advised) -> _Advised:
    if not part.command or advised(part.command):
        return part
    return dataclasses.replace(part, command="", text=part.text + DROPPED)
