"""A published folder whose calls can be cut, for tests of publishing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import scripts

from edgepress.runtime import installed
from edgepress.runtime.updates.releases import Release
from edgepress.toolkit.shipping.published.folder import read_repository

simulated = scripts.script("benchmarks/updates/simulated.py")


class CutError(Exception):
    """Stands for a kill."""


def cut_here(*_: Any, **__: Any) -> None:
    raise CutError


def listed(publisher: Any) -> dict[int, Release]:
    """The releases that boards see, by number."""
    return {r.release: r for r in read_repository(publisher.site, publisher.keys).releases["demo"].releases}


def accept_changes(release: Path) -> None:
    """Let the changed files of an installed release count as those that were installed."""
    names = [name for name in installed._names(release) if name not in (installed.SUMS, "former")]
    installed._write_list(release, {name: installed._sum_of(release / name) for name in names})
