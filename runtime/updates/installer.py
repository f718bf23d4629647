"""Unpack a bundle and run its own install.sh, which installs it beside the release in use, tests it and switches.

What `edgepress publish` has signed is a bundle that `edgepress verify` accepts. The checks here are against bundles
that somebody published by another way: of another application, another number, or with names that lead elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from edgepress.runtime.errors import UpdateError, parsing
from edgepress.runtime.filetypes import open_regular
from edgepress.runtime.updates.place import Place
from edgepress.runtime.updates.releases import NAME, Release

MAX_FILES = 2000
"""Limit on the number of files in a bundle."""
MAX_DEPTH = 8
"""Limit on the number of folders around a file in a bundle."""
MAX_MANIFEST = 1 << 20
"""Limit on the size of a manifest."""
INSTALL_S = 3600
"""Limit on the time of install.sh, which may download packages."""
REFUSED = 3
"""Exit code of install.sh if the release itself is to blame: its self-test failed, or its service does not start."""
UNSURE = 4
"""Exit code of install.sh if the self-test ended without a result, such as when it was killed for want of memory."""


class VerdictError(UpdateError):
    """A release that is not tried again."""


class UnsureError(UpdateError):
    """A failure for which the release may or may not be to blame, because its self-test gave no result."""


def read_bundle(bundle: Path, place: Place) -> tuple[int, str]:
    """Number and id of a bundle that a user gives.

    Raises:
        UpdateError: It can't be read, has no number, or is of another application.
    """
    with parsing(bundle, "Give a bundle of edgepress bundle.", failed="is not a bundle", error=UpdateError):
        with (
            open_regular(bundle) as whole,
            zipfile.ZipFile(whole) as archive,
            archive.open(archive.infolist()[0]) as first,
        ):
            manifest = json.loads(first.read(MAX_MANIFEST))
        name = str(manifest["name"])
        release = manifest.get("release")
        release_id = str(manifest["id"])
    if name != place.name:
        raise UpdateError(f"{bundle} is a bundle of {name}, not of {place.name}.", "Build it with --name.")
    if type(release) is not int:
        raise UpdateError(f"{bundle} has no release number.", "Build it with: edgepress bundle --updates FOLDER")
    return release, release_id


def unpack(bundle: Path, place: Place, release: Release, folder: Path) -> Path:
    """Unpack a bundle into an empty folder, and return the folder of its files.

    Raises:
        VerdictError: It is not the bundle that the list of releases describes.
        UpdateError: It could not be written or read, such as on a full disk; it is tried again.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        stated = _unpack(bundle, place, folder)
    except (OSError, MemoryError) as e:  # says nothing about the release
        raise system_error(e, f"{bundle.name} can't be unpacked to {folder}") from e
    described = (place.name, release.release, release.id)
    if stated != described:
        problem = f"the bundle is {stated[0]} {stated[1]} ({str(stated[2])[:12]}), not {place.name} {release.release}"
        raise VerdictError(
            f"Refused (wrong software): {problem} ({release.id[:12]}).", "Ask whoever publishes the updates."
        )
    return folder / place.name


def system_error(error: OSError | MemoryError, what: str = "") -> UpdateError:
    """The error for what the system refuses; `what` could not be done."""
    reason = "there is too little memory" if isinstance(error, MemoryError) else error.strerror or str(error)
    named = getattr(error, "filename", None)
    what = what or (str(named) if named else "")
    hint = "Check the space on the disk and the permissions; run it as the user who installed. It is tried again."
    return UpdateError(f"{what}: {reason}." if what else f"{reason}.", hint)


def _unpack(bundle: Path, place: Place, folder: Path) -> tuple[object, object, object]:
    """Unpack a bundle; name, number and id in its manifest."""
    with _verdict(bundle), zipfile.ZipFile(bundle) as archive:
        members = archive.infolist()
        size = bundle.stat().st_size
        if len(members) > MAX_FILES or sum(member.file_size for member in members) > size:
            raise ValueError("it unpacks to more than its own size")
        for member in members:
            parts = member.filename.split("/")
            if not 2 <= len(parts) <= MAX_DEPTH or parts[0] != place.name or not all(map(NAME.fullmatch, parts)):
                raise ValueError(f"the name {member.filename!r} is not accepted")
            path = folder.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, path.open("wb") as out:
                shutil.copyfileobj(source, out)
        manifest = json.loads((folder / place.name / "MANIFEST.json").read_bytes())
        return manifest["name"], manifest.get("release"), manifest["id"]


@contextlib.contextmanager
def _verdict(bundle: Path) -> Iterator[None]:
    """Turn what is wrong with a bundle into a verdict, but not what the system refuses."""
    trouble: OSError | MemoryError | None = None
    with parsing(bundle, failed="is not a bundle", error=VerdictError):
        try:
            yield
        except (OSError, MemoryError) as e:
            trouble = e
    if trouble is not None:
        raise trouble


def run_installer(place: Place, folder: Path, action: str) -> str:
    """Run install.sh of an unpacked bundle; returns what it says.

    Args:
        place: The installation.
        folder: The unpacked bundle.
        action: "stage", "switch", "confirm", "health" or "back".

    Raises:
        VerdictError: The release failed its self-test, or its service does not start.
        UnsureError: Its self-test ended without a result.
        UpdateError: It could not be installed for another reason, such as a full disk; it is tried again.
    """
    words = ["sh", str(folder / "install.sh"), action, "--prefix", str(place.prefix), *_how(place)]
    try:
        process = subprocess.run(
            words,
            capture_output=True,
            encoding="utf-8",
            errors="replace",  # pip and programs of others write what they like
            stdin=subprocess.DEVNULL,
            timeout=INSTALL_S,
        )
    except subprocess.TimeoutExpired as e:
        raise UpdateError(f"install.sh {action} did not end in {INSTALL_S} s.", "It is tried again.") from e
    if process.returncode == 0:
        return process.stdout
    lines = [line.removeprefix("Error: ") for line in process.stderr.strip().splitlines() if line.strip()]
    errors = [at for at, line in enumerate(process.stderr.strip().splitlines()) if line.startswith("Error: ")]
    problem = " ".join(lines[errors[-1] :] if errors else lines[-2:]) or f"install.sh ended with {process.returncode}."
    if process.returncode == REFUSED:
        raise VerdictError(problem, "The release in use goes on; this one is not tried again.")
    if process.returncode == UNSURE:
        raise UnsureError(problem, "The release in use goes on; the update is tried again.")
    if action == "stage":
        raise UpdateError(problem, "The release in use goes on; the update is tried again.")
    raise UpdateError(
        problem, "The next update tests the release that is in use then, and goes back if it does not work."
    )


def staging_folder(place: Place, release: Release) -> Path:
    """The folder of a release that is installed beside the one in use; it may be the one that ran before."""
    former = former_folder(place)
    folders = [proof.parent for proof in (place.prefix / "releases").glob("*/selftest.json")]
    for folder in sorted(folders, key=lambda each: (each.resolve() == former, each)):
        with contextlib.suppress(OSError, ValueError):
            manifest = json.loads((folder / "MANIFEST.json").read_bytes())
            if manifest["id"] == release.id and folder.resolve() != place.release_folder:
                return folder
    raise UpdateError(f"Release {release.release} is not in {place.prefix / 'releases'}.", "It is tried again.")


def former_folder(place: Place) -> Path:
    """The folder of the release that ran before the one in use, which may not be there."""
    return (place.release_folder / "former").resolve()


def remove_release(folder: Path) -> None:
    """Remove a release that is not in use; first what says that it is complete, as install.sh does."""
    (folder / "selftest.json").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _how(place: Place) -> list[str]:
    """Options of install.sh so that a release is installed as the one in use was."""
    interpreter = (place.release_folder / "interpreter").read_text(encoding="utf-8").strip()
    if place.release_folder.name.endswith("-system"):
        return ["--system", "--python", interpreter]
    python = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    return ["--python", str(python)] if python.exists() else []
