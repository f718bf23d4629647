"""What an edgepress.toml may set that was found and not named: each option of each command, with the reason.

A repository that somebody has cloned may hold such a file, so it runs no code, reads and writes below its own folder
only, and replaces only what edgepress wrote there for such a file before. An option without a row here is accepted from
named files only, and a test fails until it is judged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgepress.runtime.engines import PACKAGED
from edgepress.toolkit.data import BUILTIN, NAMES, paths_of
from edgepress.toolkit.data.readers.shards import CLASSES

Kind = Literal["free", "reads", "writes", "named"]


@dataclass(frozen=True)
class Judged:
    """What options may do when they are from a file that was found.

    Attributes:
        options: Their names, as parameters.
        commands: The commands that have them; "sweep.data" is a table of a plan below [sweep].
        kind: "free": any value; "reads", "writes": paths below the folder of the file; "named": no value.
        why: The reason; after "because" for the last kind.
        accepts: Values that are accepted whatever the kind is, such as names where others are paths.
    """

    options: str
    commands: str
    kind: Kind
    why: str
    accepts: Callable[[Any], bool] = lambda value: False


def _is_few(count: Any) -> bool:
    return isinstance(count, int) and count <= (os.cpu_count() or 1)


def _is_no_path(text: Any) -> bool:
    return isinstance(text, str) and not {"/", "\\"} & {*text}


def _is_no_file(weights: Any) -> bool:
    return weights in ("auto", "none", "imagenet")


def _is_data(name: Any) -> bool:
    return isinstance(name, str) and name.removeprefix(BUILTIN) in NAMES


def _names_packages(engines: Any) -> bool:
    """Whether all engines are packages: their names are in a table, and nothing is installed."""
    names = engines if isinstance(engines, list) else str(engines).split(",")
    return all(str(name).strip() in ("all", "", *PACKAGED) for name in names)


SOURCES = "convert tune compress prune"
MODELS = f"{SOURCES} evaluate benchmark compare bundle"
TABLE = (
    Judged("data", f"train {MODELS} sweep", "reads", "data", _is_data),
    Judged("more", "benchmark", "reads", "images without use of their labels", _is_data),
    Judged("stream events", "evaluate", "reads", "recordings, and a table of what there is to hear"),
    Judged("step", "evaluate", "free", "a number of frames"),
    Judged("labels", MODELS, "reads", "a text file, shown as one line of escaped text a label"),
    Judged("out", "train convert tune prune compress sweep benchmark report bundle", "writes", "results"),
    Judged("differences", "benchmark", "writes", "images to label"),
    Judged("store", "sweep", "writes", "results of jobs, which are also read"),
    Judged("overwrite", "train tune prune", "named", "it deletes what an earlier run made"),
    Judged("trust", f"train {SOURCES}", "named", "it runs code from model files"),
    Judged("custom", f"train {SOURCES}", "named", "it imports Python modules"),
    Judged("teacher", "train", "named", "it opens a model"),
    Judged("base", "train", "named", "it opens a model"),
    Judged("features", "train", "free", "a name that is looked for in a model"),
    Judged("weights", "train", "named", "it opens a model", _is_no_file),
    Judged("baseline", "benchmark", "named", "it is the path of a model", _is_no_path),
    Judged("insecure", "sweep", "named", "it lets others run code"),
    Judged("scheduler", "sweep", "named", "it sends work to another machine"),
    Judged("cluster", "sweep", "named", "other users of this machine can connect to a cluster"),
    Judged("tls_ca tls_cert tls_key", "sweep", "named", "it says who another machine must be"),
    Judged("board", "compress", "named", "it sends work to another machine"),
    Judged("python", "compress", "named", "it is a program that runs on the board"),
    Judged("ssh_config", "compress", "named", "the configuration of ssh can run programs"),
    Judged("sign", "bundle", "named", "it signs with your key"),
    Judged("updates keys", "bundle", "named", "it says who may update boards"),
    Judged("release", "bundle", "free", "a number"),
    Judged("shadow max_slowdown min_agreement", "bundle", "named", "it weakens what boards check before they switch"),
    Judged("jobs", "evaluate", "named", "more processes than CPUs can use up the memory", _is_few),
    Judged("processes", "sweep", "named", "more processes than CPUs can use up the memory", _is_few),
    Judged("board", "bundle", "free", "a kind of board, a name in a table"),
    Judged("mqtt", "bundle", "free", "whether a pinned package is included"),
    Judged(
        "engine",
        "evaluate bundle benchmark compare",
        "named",
        "native runs a library that lies beside the model",
        _names_packages,
    ),
    Judged("engine", "compress", "free", "a name in a table, in which native is not"),
    Judged("arch", "train sweep", "free", "a name in a table"),
    Judged("augmentation", "train tune prune sweep", "free", "a name in a table"),
    Judged("to", "convert sweep", "free", "names in a table, of which those of files follow"),
    Judged("format", "compress report bundle", "free", "a name in a table"),
    Judged("format_", "compare", "free", "a name in a table"),
    Judged("scheme", "compare", "free", "a name that is looked for in results"),
    Judged("calibration target", "convert", "free", "a name in a table"),
    Judged("importance", "prune", "free", "a name in a table"),
    Judged("color resize size", f"train {MODELS}", "free", "how images are read; at worst, memory runs out"),
    Judged("size", "sweep", "free", "how images are read; at worst, memory runs out"),
    Judged(
        "input input_range mean std channels_first",
        f"train {MODELS}",
        "free",
        "numbers and names of what a model takes",
    ),
    Judged("output", SOURCES, "free", "a name that is looked for in a model"),
    Judged("task threshold softmax", MODELS, "free", "what the outputs of a model mean"),
    Judged(
        "skip_unreadable",
        f"train {SOURCES} evaluate benchmark compare bundle sweep",
        "free",
        "what is left out is listed",
    ),
    Judged("name", "bundle", "free", "a name of few characters, which is checked"),
    Judged("old", "report", "reads", "a result, shown as escaped text"),
    Judged("licence", "report", "free", "text of a model card"),
    Judged("keep_float", "convert", "free", "a pattern of names of layers; at worst, it takes long"),
    Judged("fail_if", "compare", "free", "limits that are compared with results"),
    Judged("width depth dropout freeze", "train", "free", "the size of a net; at worst, memory runs out"),
    Judged("width", "sweep", "free", "the size of a net; at worst, memory runs out"),
    Judged("batch_size epochs patience learning_rate class_weights", "train", "free", "numbers of a training"),
    Judged("epochs seeds search search_seed early_stopping", "sweep", "free", "numbers of trainings"),
    Judged("seed", "train tune prune compress", "free", "a number"),
    Judged("group", "train", "free", "a pattern that runs with a limit on its time, or a column of the data"),
    Judged("group", "sweep.data", "free", "as the option of this name"),
    Judged("window step label_column", "train sweep.data", "free", "how rows of CSV files become items"),
    Judged("sound", "train", "free", "numbers of the front end, which are checked"),
    Judged("resume", "train tune prune", "free", "it goes on with what the folder of the results holds"),
    Judged("bits", "tune", "free", "a number"),
    Judged("minutes", "train tune prune compress", "free", "a limit on time"),
    Judged("macs", "prune", "free", "a limit"),
    Judged("max_drop", "convert compress benchmark", "free", "a limit"),
    Judged("max_size max_latency", "compress prune sweep", "free", "a limit"),
    Judged("max_memory max_ram max_flash", "compress", "free", "a limit"),
    Judged("samples", "convert bundle", "free", "a number of items"),
    Judged("verbose", "convert", "free", "what is printed"),
    Judged("verify repairs rewrites", "convert", "free", "whether a step is done; the contract of the file says so"),
    Judged("offline", "bundle", "free", "whether packages are loaded, whose hashes are known"),
    Judged("threads", "evaluate benchmark compare sweep", "free", "a number, which is limited"),
    Judged("rounds", "benchmark compare sweep", "free", "a number; at worst, it takes long"),
    Judged("batch cpus time_cap limits profile", "benchmark", "free", "how files are timed; at worst, it takes long"),
    Judged("cache", "evaluate", "free", "whether answers are kept in the user's own cache"),
    Judged("strict unproven", "compare", "free", "how limits are decided"),
    Judged("confidence prefer", "compress benchmark compare sweep", "free", "which file is recommended"),
    Judged("source", "sweep.data", "reads", "data", _is_data),
    Judged("color resize skip_unreadable", "sweep.data", "free", "how images are read"),
    Judged("weights", "sweep.training", "named", "it opens a model", _is_no_file),
    Judged("epochs patience class_weights freeze", "sweep.training", "free", "numbers of trainings"),
    Judged("arch width depth size augmentation to", "sweep.dimensions", "free", "as options of these names"),
    Judged("dropout batch_size learning_rate seed seeds", "sweep.dimensions", "free", "numbers of trainings"),
    Judged("rounds threads", "sweep.timing", "free", "numbers of the timing"),
)
JUDGED = {(command, name): row for row in TABLE for command in row.commands.split() for name in row.options.split()}
"""The rows by command and option."""
UNJUDGED = Judged("", "", "named", "nobody has judged what it can do")


def may_stand(command: str, option: str, value: Any) -> bool:
    """Whether an example of an option may stand in a file that will be found."""
    row = JUDGED.get((command, option), UNJUDGED)
    return row.kind != "named" or row.accepts(value)


def refusal(command: str, option: str, value: Any, folder: Path) -> str:
    """Why a file that was found in a folder may not set an option to a value; "" if it may.

    Args:
        command: The command, or the table of a plan, "sweep.data".
        option: The name of the parameter.
        value: The value; a path as seen from the working directory.
        folder: The folder of the file.
    """
    row = JUDGED.get((command, option), UNJUDGED)
    if row.kind == "free" or value is False or row.accepts(value):
        return ""
    if row.kind == "named":
        return f"is accepted only from a file that you name, because {row.why}"
    paths = paths_of(str(value)) if row.kind == "reads" else [str(value)]
    for path in dict.fromkeys([*paths[:1], *map(os.path.dirname, paths)]):
        place = _place(path, folder)
        if place is None:
            return f"leads out of the folder of the file, and a file that was found {row.kind} below that only"
        if row.kind == "writes" and any(part.startswith(".") for part in place.parts):
            return "leads to a hidden folder or file, and a file that was found writes to none"
    return ""


def strays(value: Any, folder: Path) -> str:
    """What data of a file that was found must not hold: the first link that leads out of the folder, pipe or device."""
    waiting = [os.path.expanduser(path) for path in paths_of(str(value))]
    waiting += [os.path.join(os.path.dirname(path), CLASSES) for path in waiting if not os.path.isdir(path)]
    seen = set[str]()
    while waiting:
        path = os.path.realpath(waiting.pop())
        if path in seen:
            continue
        seen.add(path)
        if _place(path, folder) is None or (
            os.path.exists(path) and not os.path.isdir(path) and not os.path.isfile(path)
        ):
            return path
        waiting += _entries(path)
    return ""


def _entries(folder: str) -> Iterator[str]:
    """Folders, links and what is neither a folder nor a file in a folder; hidden ones are never read as data."""
    if not os.path.isdir(folder):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and not entry.is_file(follow_symlinks=False):
                yield entry.path


def _place(path: str, folder: Path) -> Path | None:
    """A path relative to a folder, after links are resolved; None if it does not lie below."""
    try:
        whole = Path(os.path.realpath(os.path.expanduser(path)))
        return whole.relative_to(os.path.realpath(folder))
    except (OSError, ValueError):  # the latter of a path that holds a zero byte, too
        return None
