"""The command `improve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from edgepress.toolkit.arguments import call_with
from edgepress.toolkit.cli import options, screen
from edgepress.toolkit.cli.frame import code_of
from edgepress.toolkit.escaping import shell_line
from edgepress.toolkit.improvement.improving.options import AS_USUAL, ImproveOptions
from edgepress.toolkit.text import interval, percent, plural

if TYPE_CHECKING:
    from edgepress.toolkit.improvement.improving.improve import Improved
    from edgepress.toolkit.improvement.improving.proof import Proof

NOT_PROVEN = 3
"""Exit code if it is not proven that the model is better on new items and not worse on old ones."""


def improve(
    run: Annotated[Path, Argument(help="Folder of a run of edgepress train or improve")],
    new: Annotated[Path, Option(help="Labelled pictures, such as the folder of edgepress label")],
    data: Annotated[str | None, Option(help="The old data", show_default="those that the model names")] = None,
    how: ImproveOptions = AS_USUAL,
    json_output: options.Json = False,
) -> int:
    """Train a model on with new pictures beside old ones, prove the gain on held-out items, convert, calibrate."""
    from edgepress.toolkit.improvement.improving.improve import improve as work

    result = call_with(work, locals(), progress=not json_output, on_step=screen.step)
    screen.note(*result.notes)
    if json_output:
        screen.document(result.to_dict())
    else:
        _show(result, how)
    return code_of(result.asked) if result.verdict == "proven" else NOT_PROVEN


def _show(result: Improved, how: ImproveOptions) -> None:
    columns = [("Held-out items", "left"), ("Number", "right"), ("Before", "right"), ("After", "right")]
    rows = [[name, f"{proof.items:,}", percent(proof.before), percent(proof.after), _gain(proof)]
            for name, proof in (("new", result.new), ("old", result.old))]  # fmt: skip
    screen.show(screen.table([*columns, ("Gain, 95 % interval", "right")], rows))
    screen.say(_sentence(result.new, "better on new items", "worse on new items"))
    not_worse = f"at most {how.max_drop:g} pp worse on old items"
    screen.say(_sentence(result.old, not_worse, f"more than {how.max_drop:g} pp worse on old items"))
    if result.verdict == "worse":
        screen.say("Nothing was converted. Keep the old files; more new pictures, or fewer epochs, may help.")
        return
    for one in result.calibrated:
        if one.path is None:
            screen.say(f"{one.file} can't keep the promise of the old file; edgepress calibrate says which one it can.")
        if one.earlier is not None:
            screen.say(f"{one.earlier} is of an earlier calibration, not of this model.")
    for each in result.promised:
        new = plural(each.items, "held-out new item")
        share = percent(each.wrong / max(each.accepted, 1))
        screen.say(
            f"{each.file} accepts {each.accepted:,} of {new}, {each.wrong:,} wrongly ({share}; at most "
            f"{percent(each.at_most)} with a probability of {100 * each.confidence:g} %). Its promise is of old and "
            "new items together."
        )
    screen.say(f"Written: {result.model} and {plural(len(result.files), 'converted file')}.")
    if result.ship is not None:
        screen.next_command(shell_line("edgepress", "bundle", result.ship, *how.words))
    elif result.had_promise:
        screen.say("No file keeps the promise that an old file had, so none is named for a bundle.")
    elif result.files:  # which of them is best is measured
        screen.next_command(shell_line("edgepress", "benchmark", result.files[0].parent, *how.words))


def _gain(proof: Proof) -> str:
    gain = proof.gain
    return f"{interval(gain.estimate, gain.low, gain.high)} pp"


def _sentence(proof: Proof, good: str, bad: str) -> str:
    if proof.verdict == "open":
        more = None if proof.needed is None else proof.needed - proof.items
        if more is None:
            return f"Not proven: {good}. As it looks, more items would not prove it."
        return f"Not proven: {good}. About {max(more, 1):,} more held-out items would prove it, if all are like these."
    return f"Proven: {good if proof.verdict == 'proven' else bad}."
