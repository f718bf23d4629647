"""A published folder whose calls can be cut, for tests of publishing."""

from __future__ import annotations

from typing import Any

import scripts

from edgepress.runtime.updates.releases import Release, parse_list
from edgepress.toolkit.publishing.repository import read_repository, target_path

simulated = scripts.script("benchmarks/updates/simulated.py")


class CutError(Exception):
    """Stands for a kill."""


def cut_here(*_: Any, **__: Any) -> None:
    raise CutError


def listed(publisher: Any) -> dict[int, Release]:
    """The releases that boards see, by number."""
    repository = read_repository(publisher.site)
    target = repository.targets.signed.targets["demo/releases.json"]
    return {r.release: r for r in parse_list(target_path(publisher.site, target).read_bytes(), "demo").releases}
