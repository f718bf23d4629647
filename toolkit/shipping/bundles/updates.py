"""What a bundle with updates has more than others: keys, where it looks, its number, limits of the shadow run.

They are read from the published folder (`edgepress publish init`), after all of it was verified from `trusted.json`
beside the publisher's keys (`edgepress.toolkit.shipping.published`).

The limits of the shadow run that a bundle with updates brings, and the agreement that the workstation measures.

Before a board switches to a new release, it lets both releases answer the same frames
(`edgepress.runtime.updates.shadow`). How often they should agree is measured here, on the test items, with the models
of the newest published release. The lower end of the 95 % interval goes into the bundle under the model's SHA-256, so
that a board with another model does not take it for its own.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import edgepress.runtime.updates
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.runtime.errors import parsing
from edgepress.runtime.updates.frames import MAX_FRAMES
from edgepress.runtime.updates.place import EARLIER_ROOTS, ROOT, SETTINGS
from edgepress.toolkit.data.types import DataSet, Split
from edgepress.toolkit.errors import BundleError, EdgepressError, InputError
from edgepress.toolkit.measurement.benchmarking.collect import collect_answers
from edgepress.toolkit.shipping.bundles.boards import UPDATES_PINS, add_pins
from edgepress.toolkit.shipping.bundles.verify import verify
from edgepress.toolkit.stats.samples import share_interval
from edgepress.toolkit.text import SHARE, parse
from edgepress.toolkit.workers.opening import Candidate

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile

    from edgepress.toolkit.shipping.published.files import Keys
    from edgepress.toolkit.shipping.published.folder import Repository


FILES = Path(__file__).parent / "files"
UNITS = ("update.unit", "timer.unit")
"""Files in `files/` that only bundles with updates contain."""


def open_published(folder: str | Path | None, keys: Keys | None) -> Repository | None:
    """The verified state of a published folder; None without one.

    Args:
        folder: The folder; None: the bundle has no updates.
        keys: Folders of keys with `trusted.json`, which says what is trusted; no private key is read.

    Raises:
        InputError: Only one of both was given.
        PublishError: The folder does not go on from what is trusted, or is damaged.
    """
    if folder is None and keys:
        raise InputError("--keys is about updates, and this bundle has none.", "Give the folder: --updates FOLDER")
    if folder is None:
        return None
    if not keys:
        problem = f"Nothing says which keys {folder} may be signed with."
        raise InputError(
            problem, "Give the folder of publish init --keys, of which only trusted.json is read: --keys KEYS"
        )
    from edgepress.toolkit.shipping.published.folder import read_repository, remember

    repository = read_repository(Path(folder), keys)
    with suppress(InputError):  # to note what was seen is not needed to build a bundle
        remember(repository)
    return repository


def add_updates(folder: Path, published: Repository, *, shadow: Mapping[str, Any] | None = None) -> None:
    """Add the updater, its settings and its packages to a bundle that is laid out in a folder.

    Args:
        folder: The folder.
        published: The published folder.
        shadow: The limits of the shadow run (`runtime.updates.shadow.RunLimits`); None: there is none.
    """
    url = published.record.url
    settings = {"schema_version": 1, "name": folder.name, "url": url, "shadow": dict(shadow or {})}
    *earlier, newest = sorted(published.roots)
    (folder / ROOT).parent.mkdir()
    (folder / ROOT).write_bytes(published.roots[newest])
    for version in earlier:
        path = folder / EARLIER_ROOTS / f"{version}.root.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(published.roots[version])
    (folder / SETTINGS).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    for unit in UNITS:
        text = (FILES / unit).read_text(encoding="utf-8").replace("@NAME@", folder.name)
        (folder / unit).write_text(text, encoding="utf-8", newline="\n")
    package = folder / "edgepress" / "runtime" / "updates"
    package.mkdir()
    for source in Path(edgepress.runtime.updates.__file__).parent.glob("*.py"):
        shutil.copyfile(source, package / source.name)
    add_pins(folder, UPDATES_PINS)


SHADOW_FRAMES = 200
"""Number of frames that both releases answer."""
MAX_SLOWDOWN = 1.2
"""Largest ratio of the median latencies, new to old."""
ITEMS = 1000
"""Largest number of test items on which the agreement is measured."""


@dataclass(frozen=True)
class ShadowLimits:
    """Limits that hold on every board; fields as those of `edgepress.runtime.updates.shadow.RunLimits`."""

    frames: int
    max_slowdown: float
    min_agreement: float | None

    @classmethod
    def of(cls, frames: int, max_slowdown: float, min_agreement: str | float | None, *, updates: bool) -> ShadowLimits:
        """The limits, after checks.

        Raises:
            InputError: One is out of range, or the bundle has no updates.
        """
        if not updates and (frames, max_slowdown, min_agreement) != (SHADOW_FRAMES, MAX_SLOWDOWN, None):
            problem = "--shadow, --max-slowdown and --min-agreement are about updates, and this bundle has none."
            raise InputError(problem, "Give the published folder: --updates FOLDER")
        if not 0 <= frames <= MAX_FRAMES:
            raise InputError(f"--shadow is {frames}; accepted: 0 to {MAX_FRAMES} frames.")
        if not 1 <= max_slowdown <= 1000:
            raise InputError(f"--max-slowdown is {max_slowdown:g}; accepted: 1 to 1000, such as 1.2.")
        least = parse("--min-agreement", min_agreement, SHARE)
        if least is not None and least > 1:
            raise InputError(f"--min-agreement is {min_agreement}; accepted: at most 100%.")
        return cls(frames, max_slowdown, least)


def measured_agreement(
    model: Path,
    data: DataSet | None,
    limits: ShadowLimits,
    *,
    published: Repository,
    name: str,
    on_step: Callable[[str], None],
) -> tuple[dict[str, Any], list[str]]:
    """Measure how often a model agrees with those of the newest published release.

    Args:
        model: The model file.
        data: The data whose test items both answer; None: nothing is measured.
        limits: The limits for all boards; if they say how often files should agree, nothing is measured.
        published: The published folder.
        name: Name of the application.
        on_step: Called with a sentence when a step begins.

    Returns:
        The limits as the bundle holds them, and notes.
    """
    stored_limits: dict[str, Any] = asdict(limits) | {"measured": {}}
    releases = published.releases_of(name)
    newest = max((release.release for release, _ in releases), default=0)
    if not limits.frames or limits.min_agreement is not None or not newest:
        return stored_limits, []
    if data is None:
        return stored_limits, [
            f"Without data, the agreement with release {newest} is not measured, and boards do not judge it."
        ]
    on_step(f"Measuring the agreement with release {newest}")
    few = replace(data, test=Split(data.test.source, data.test.indices[:ITEMS], data.test.y[:ITEMS]))
    notes = []
    with ScratchFolder() as temporary:
        for release, target in releases:
            if release.release != newest:
                continue
            try:
                sha256, former = _model_of(_copied(published.folder, target, Path(temporary)), Path(temporary))
                stored_limits["measured"][sha256] = _agreement(former, model, few)
            except EdgepressError as e:
                what = f"The agreement with release {newest} is not known, and boards do not judge it:"
                notes.append(f"{what} {e.message}")
    return stored_limits, notes


def _copied(published: Path, target: TargetFile, folder: Path) -> Path:
    """A private copy of a published bundle, which is the one that was signed."""
    from edgepress.toolkit.shipping.published.files import target_pieces

    path = folder / f"{target.hashes['sha256']}.zip"
    with (
        parsing(target.path, "Copy it from your backup.", failed="is damaged", error=BundleError),
        path.open("wb") as out,
    ):
        out.writelines(target_pieces(published, target))
    return path


def _model_of(bundle: Path, folder: Path) -> tuple[str, Path]:
    """SHA-256 and file of the model in a bundle, unpacked into a folder."""
    manifest = verify(bundle).manifest
    (sha256,) = [file.sha256 for file in manifest.files if file.path == manifest.model]
    path = folder / sha256 / manifest.model
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(bundle) as archive:
        path.write_bytes(archive.read(f"{manifest.name}/{manifest.model}"))
    return sha256, path


def _agreement(former: Path, model: Path, data: DataSet) -> float:
    """Lower end of the interval of the share of items with the same best class, 0-1."""
    best = []
    for answers in collect_answers([Candidate(former, None, 1), Candidate(model, None, 1)], data):
        if isinstance(answers, EdgepressError):
            raise answers
        assert answers.classes is not None
        best.append(answers.classes[:, 0])
    low = share_interval(int(np.sum(best[0] == best[1])), len(best[0])).low
    assert low is not None
    return round(low, 4)
