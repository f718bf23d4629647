"""The command `train`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from typer import Option

from edgepress.converters.contract.hints import Hints
from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen, settings
from edgepress.toolkit.columns import quality
from edgepress.toolkit.data import ACCEPTED
from edgepress.toolkit.data.options import DataOptions
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.training.nets.architectures import ARCHITECTURES
from edgepress.toolkit.training.options import TrainingOptions


@options.with_options(scaling=options.pixel_scaling)
def train(
    *,
    data: Annotated[
        str | None,
        Option(help=f"{options.DATA_HELP} (required)", show_default=False, autocompletion=options.complete_data),
    ] = None,
    arch: Annotated[
        options.ChosenArchitecture,
        Option(metavar="NAME", help=f"Architecture: auto (by the data: docs/training.md), {', '.join(ARCHITECTURES)}"),
    ] = "auto",
    opening: DataOptions,
    training: TrainingOptions,
    scaling: dict[str, Any],
    channels_first: options.ChannelsFirst = None,
    custom: options.Custom = None,
    json_output: options.Json = False,
) -> None:
    """Train a classifier; writes model.keras, its metrics and plots to a folder."""
    if data is None:
        raise InputError("There is no training data.", f"Name them with --data: {ACCEPTED}.")
    from edgepress.toolkit.cli.tables import evaluation_table, group_line
    from edgepress.toolkit.data import open_data
    from edgepress.toolkit.data.types import notes_of_skipped, pixel_notes
    from edgepress.toolkit.training.choosing import photo_size
    from edgepress.toolkit.training.loop import train as work
    from edgepress.toolkit.training.nets.base_net import find_base

    if training.base is not None and not settings.is_from_file("base"):  # what the file says of a net is about another
        arch = "auto" if settings.is_from_file("arch") else arch
        training = replace(training, weights="auto") if settings.is_from_file("weights") else training
        opening = replace(opening, size=None) if settings.is_from_file("size") else opening
    hints = Hints(**scaling, color=opening.color, channels_first=channels_first, custom=tuple(custom or ()))
    if training.base is None:
        if words := replace(hints, color="bgr" if hints.color == "bgr" else None).words:
            raise InputError(f"{words[0]} describes a model, and none is given.", "Name it with --from.")
    else:
        size = (opening.size,) if isinstance(opening.size, int) else opening.size
        hints = replace(hints, size=size, resize=None if opening.resize == "stretch" else opening.resize)
    net = find_base(training, arch, hints=hints, on_note=screen.note)
    how: dict[str, Any] = (
        {"photo_size": photo_size(arch, training.weights)} if net is None else {"input": net.input, "color": None}
    )
    opened = call_with(open_data, {"opening": opening}, source=data, **how)
    screen.note(*notes_of_skipped(opened.skipped), *opened.group_notes, *pixel_notes(opened))
    result = call_with(work, locals(), data=opened, base=net, on_note=screen.note)
    if json_output:
        screen.document({"model": str(result.model), **result.metrics})
        return
    screen.show(evaluation_table(result.metrics))
    screen.remarks(result.metrics.get("remarks", ()))  # runs of an older edgepress have none
    if line := group_line(result.metrics):
        screen.say(line)
    screen.say(f"Test {quality(result.metrics)}: {result.model}", style="bold")
    screen.next_command(shell_line("edgepress", "convert", result.model, *opening.words))
