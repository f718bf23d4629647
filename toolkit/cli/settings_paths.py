"""The paths in an edgepress.toml that was found: whether the command that runs may read and write them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgepress.toolkit.cli import found_files, written
from edgepress.toolkit.cli.settings_file import FileOption, Settings, named_instead, wrong


def checked_targets(
    settings: Settings, context: Any, mine: Mapping[str, FileOption], plan: Mapping[str, Mapping[str, Any]]
) -> list[Path]:
    """Check what a command reads and writes because a file that was found says so, and return what it writes.

    Raises:
        UsageError: A path leads out of the file's folder, or to what edgepress did not write for it.
    """
    command = context.info_name
    folder = settings.path.parent
    targets: list[Path] = []
    for where, name, value, place in _paths(context, mine, plan):
        problem = found_files.refusal(where, name, value, folder)
        if not problem and found_files.JUDGED[where, name].kind == "reads":
            stray = found_files.strays(value, folder)
            problem = f"leads to {stray}, and a file that was found reads files below its folder only" if stray else ""
        elif not problem:
            new = [Path(value), *([Path(f"{value}.sig")] if command == "bundle" else [])]
            other = next(filter(None, map(written.foreign, new)), "")
            problem = f"leads to {other}, which edgepress did not write for this file" if other else ""
            targets += new
        if problem:
            hint = f"{named_instead(settings.path, command)} Or give the option yourself."
            raise wrong(settings.path, settings.text, place, f"{place[-1]} {problem}.", hint=hint)
    return targets


def _paths(
    context: Any, mine: Mapping[str, FileOption], plan: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str, Any, tuple[str, ...]]]:
    """The paths from a file that was found: command or table of a plan, option, value, and place in the file."""
    command = context.info_name
    parameters = context.params
    values = [(command, name, each.value, each.place) for name, each in mine.items()]
    values += [(f"sweep.{t}", key, value, ("sweep", t, key)) for t, keys in plan.items() for key, value in keys.items()]
    typed = parameters.get("data") and "data" not in mine
    for where, name, value, place in values:
        if name == "source" and typed:
            continue
        if (where, name) in found_files.JUDGED and found_files.JUDGED[where, name].kind in ("reads", "writes"):
            yield where, name, value, place
    yield from _defaults(context, mine, [("sweep", table) for table in plan])


def _defaults(
    context: Any, mine: Mapping[str, FileOption], tables: list[tuple[str, ...]]
) -> Iterator[tuple[str, str, Any, tuple[str, ...]]]:
    """The paths that a command writes to because of what the file says, although it does not name them."""
    from edgepress.toolkit.benchmarking.more import TO_LABEL
    from edgepress.toolkit.benchmarking.plan import folder_of
    from edgepress.toolkit.training.choosing import AUTO, CHOSEN
    from edgepress.toolkit.training.run_folder import default_folder

    command = context.info_name
    parameters = context.params
    places = {name: each.place for name, each in mine.items()}
    # The user wants this run.
    again = any(parameters.get(flag) and flag not in mine for flag in ("resume", "overwrite"))
    causes = {"train": ("data", "arch", "resume"), "benchmark": ("more",), "bundle": ("format",)}.get(command, ())
    because = [places[name] for name in causes if name in places]
    if command == "sweep" and context.get_parameter_source("out").name == "DEFAULT":
        because = [*tables, *places.values()]
    if not because:
        return
    if command == "train" and parameters["out"] is None and parameters["data"] and not again:
        for arch in CHOSEN if parameters["arch"] == AUTO else (parameters["arch"],):
            yield command, "out", default_folder(parameters["data"], arch), because[0]
    elif command == "benchmark" and parameters["differences"] is None:
        folder = parameters["out"] or folder_of(parameters["files"])
        yield command, "differences", folder / TO_LABEL, because[0]
    elif command == "bundle" and parameters["out"] is None:
        yield command, "out", parameters["file"].with_suffix(f".{parameters['format']}"), because[0]
    elif command == "sweep":
        yield command, "out", parameters["out"], because[0]
