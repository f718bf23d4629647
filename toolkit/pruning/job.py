"""What travels between `prune` and its child process, and the plan of a run."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from edgepress.converters.errors import ConversionError
from edgepress.converters.files import whole_file
from edgepress.toolkit.pruning.targets import Targets
from edgepress.toolkit.tuning.job import GraphJob


@dataclass(frozen=True, kw_only=True)
class PruneJob(GraphJob):
    """Prune the model that is open.

    Attributes:
        targets: How small it shall be.
        importance: A measure, or "auto".
    """

    targets: Targets
    importance: str


@dataclass(frozen=True)
class Plan:
    """What a run does, which a resumed one does not decide again.

    Attributes:
        shares: Share of the multiply-accumulates that is left after each part.
        block: What wide layers are cut to multiples of.
        steps: Steps of the training of each part; 0 of the last one, until that is measured.
    """

    shares: list[float]
    block: int
    steps: list[int]


def read_plan(path: Path) -> Plan:
    """The plan of a run that is resumed.

    Raises:
        ConversionError: It can't be read.
    """
    try:
        return Plan(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as e:
        raise ConversionError(f"The plan {path} can't be read: {e}.", "Start again with overwrite.") from e


def save_plan(plan: Plan, path: Path) -> None:
    """Write the plan of a run."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(plan)), encoding="utf-8")
