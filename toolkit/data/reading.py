"""How the data of a model are read: what its contract does not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypedDict

from edgepress.converters.options.records import Setting, changed_words, check_ranges, record


class ReadingArguments(TypedDict, total=False):
    """The arguments of functions that make a `Reading`."""

    skip_unreadable: bool


@record(ReadingArguments)
@dataclass(frozen=True, kw_only=True)
class Reading:
    """How data are read."""

    skip_unreadable: Annotated[
        bool,
        Setting(
            "Skip items that can't be read, and list them",
            more="False: one that can't be read is an error",
            words=("--skip-unreadable",),
        ),
    ] = False

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def arguments(self) -> ReadingArguments:
        """The arguments that make it."""
        return {"skip_unreadable": self.skip_unreadable}

    @property
    def words(self) -> list[str]:
        """The options in the next command, which reads the same data."""
        return changed_words(self, Reading)


STRICT = Reading()
"""What can't be read is an error."""
