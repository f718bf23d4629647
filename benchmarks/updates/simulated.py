"""A published folder with its keys, bundles with a stub for a model, and boards that are folders.

The installer, `run` and the updater are the real ones; the runtime in the bundles is a stub whose self-test compares
the model with its hash, so that a board needs neither NumPy nor an engine.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "updates"))

from stubs import LEAN, MODEL, SELFTEST, STUB

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.text import json_text
from edgepress.runtime.updates.place import board_type, read_place
from edgepress.runtime.updates.update import status, update
from edgepress.toolkit.shipping.bundles.archive import write_archive
from edgepress.toolkit.shipping.bundles.updates import add_updates, open_published
from edgepress.toolkit.shipping.bundles.verify import NAME as MANIFEST
from edgepress.toolkit.shipping.bundles.verify import Manifest, describe_files, dos_date
from edgepress.toolkit.shipping.publishing.publish import Published, publish
from edgepress.toolkit.shipping.publishing.start import init

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = REPOSITORY / "toolkit" / "shipping" / "bundles" / "files"
RUNTIME = REPOSITORY / "runtime"
DATED = "1980-01-01T00:00:00Z"
"""Date of the members of bundles."""
APPLICATION = "demo"
"""Name of the application."""


@dataclass(frozen=True)
class How:
    """How a stub answers.

    Attributes:
        us: Time of an answer in microseconds.
        differs: Percentage of frames that it answers in another way.
        crashes: Percentage of frames at which it ends.
        ends: Name of a signal or of an error that ends it at its first answer.
    """

    us: int = 200
    differs: int = 0
    crashes: int = 0
    ends: str = ""


def make_bundle(
    out: Path,
    release: int | None,
    *,
    site: Path | None,
    keys: Path | None = None,
    broken: bool = False,
    boards: Sequence[str] = (),
    name: str = APPLICATION,
    size: int = 3000,
    how: How = How(),
    stub: str = "",
    shadow: Mapping[str, Any] | None = None,
    run: Path | None = None,
) -> Path:
    """Write a bundle whose model holds the number of its release.

    Args:
        out: The file.
        release: Number of the release.
        site: The published folder whose keys its boards trust; None: a bundle without updates.
        keys: Its folder of keys; None: the folder `keys` beside it.
        broken: Whether its self-test fails.
        boards: Types of boards that it is for; empty: that of this machine.
        name: Name of the application.
        size: Bytes of the model, about.
        how: How it answers.
        stub: What its self-test does before it compares anything.
        shadow: The limits of its shadow run; None: there is none.
        run: Where its updater looks for the folder in which a service keeps frames; None: where systemd makes it.
    """
    model = f"{name} {release}\n".encode() * (size // 8)
    files = {
        "model.tflite": model,
        "samples/hash": hashlib.sha256(b"" if broken else model).hexdigest().encode(),
        "samples/0.png": b"png",
        "samples/how.json": json.dumps(asdict(how)).encode(),
        "edgepress/__init__.py": b"",
        "edgepress/runtime/__init__.py": MODEL.encode(),
        "edgepress/runtime/selftest.py": SELFTEST.encode(),
        "edgepress/runtime/__main__.py": (stub + STUB).encode(),
        f"requirements-{board_type()}.txt": b"",
    }
    mqtt = ("mqtt.py", "mqtt_client.py", "mqtt_options.py")
    for module in ("errors.py", "filetypes.py", "installed.py", *mqtt, "system.py", "text.py"):
        files[f"edgepress/runtime/{module}"] = (RUNTIME / module).read_bytes()
    for script in ("install.sh", "run", "service.unit", "README.md"):
        text = (FILES / script).read_bytes()
        files[script] = text.replace(b"@NAME@", name.encode()).replace(b"@MODEL@", b"model.tflite")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / name
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        if site is not None:
            published = open_published(site, keys or site.with_name("keys"))
            assert published is not None
            add_updates(folder, published, shadow=shadow)
        if run is not None:
            module = folder / "edgepress" / "runtime" / "updates" / "frames.py"
            module.write_text(module.read_text() + f"RUN, LOOK_S = Path({str(run)!r}), 0.02\n")
        manifest = Manifest(
            name=name,
            format="zip",
            edgepress="0",
            model="model.tflite",
            scheme="tflite-int8",
            engine="stub",
            dated=DATED,
            boards=tuple(boards) or (board_type(),),
            offline=False,
            files=describe_files(folder),
            release=release,
        )
        (folder / MANIFEST).write_bytes(manifest.to_bytes())
        names = [f"{name}/{each}" for each in (MANIFEST, *(f.path for f in manifest.files))]
        out.parent.mkdir(parents=True, exist_ok=True)
        write_archive(out, folder.parent, names, date=dos_date(DATED))
    return out


def lean_python(folder: Path, options: str = "") -> str:
    """Write a Python that starts fast into a folder; its path. `options` are further ones, each with a space before."""
    path = folder / "python"
    packages = sysconfig.get_path("purelib")
    path.write_text(LEAN.format(packages=packages, python=sys.executable, options=options))
    path.chmod(0o755)
    return str(path)


class Publisher:
    """A published folder and its keys, below a folder; made with these options unless they are there."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.site = folder / "site"
        self.keys = folder / "keys"
        if not self.site.exists():
            init(self.site, self.keys, **options)

    def bundle(self, release: int, *, broken: bool = False, **more: Any) -> Path:
        """Make the bundle of a release; further arguments are those of `make_bundle`."""
        out = self.folder / "bundles" / f"{release}{'-broken' * broken}.zip"
        return make_bundle(out, release, site=self.site, broken=broken, **more)

    def publish(
        self, release: int, *, broken: bool = False, made: Mapping[str, Any] | None = None, **options: Any
    ) -> Published:
        """Make the bundle of a release, with further arguments of `make_bundle`, and publish it."""
        bundle = self.bundle(release, broken=broken, **(made or {}))
        return publish(bundle, self.site, keys=self.keys, **options)

    def copy(self, name: str) -> Path:
        """A copy of the published folder as it is now, such as a mirror may keep it."""
        return Path(shutil.copytree(self.site, self.folder / name))


class Board:
    """An installation in a folder, which is made unless it is there; `options` are those of its Python."""

    def __init__(self, folder: Path, *, board_id: str = "board", options: str = "") -> None:
        self.prefix = folder / "prefix"
        self.unpacked = folder / "unpacked"
        folder.mkdir(parents=True, exist_ok=True)
        self.python = lean_python(folder, options)
        if self.prefix.exists():
            return
        (self.prefix / "updates").mkdir(parents=True)
        (self.prefix / "releases").mkdir()
        (self.prefix / ".edgepress").write_text(f"{APPLICATION}\n")
        (self.prefix / "updates" / "board-id").write_text(board_id)

    def install(self, bundle: Path, action: str = "install", *options: str) -> subprocess.CompletedProcess[str]:
        """Unpack a bundle and run its installer."""
        shutil.rmtree(self.unpacked, ignore_errors=True)
        with zipfile.ZipFile(bundle) as archive:
            archive.extractall(self.unpacked)
        script = self.unpacked / APPLICATION / "install.sh"
        words = [action, "--prefix", str(self.prefix), "--python", self.python, "--system", *options]
        return _run(["sh", str(script), *words])

    def command(self, *words: str) -> list[str]:
        """The command line of a command of the release in use."""
        return ["sh", str(self.prefix / "current" / "run"), *words]

    def update(self, source: str | Path, *words: str) -> dict[str, Any]:
        """Run `run update --json`; the document that it prints."""
        done = _run(self.command("update", "--json", "--from", str(source), *words))
        if not done.stdout.strip():
            raise AssertionError(done.stderr)
        document: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return document

    def attempt(self, source: str | Path, **options: Any) -> str:
        """Update in this process: what was installed, "nothing new", or the refusal."""
        try:
            result = update(read_place(self.prefix / "current"), source=str(source), **options)
        except UpdateError as e:
            return str(e)
        return f"installed {result['release']}" if result["result"] == "installed" else str(result["result"])

    def status(self) -> dict[str, Any]:
        """What `run status --json` prints, asked in this process."""
        document: dict[str, Any] = json.loads(json_text(status(read_place(self.prefix / "current"))))
        return document

    def running(self) -> int | None:
        """The number of the release in use, read from its model; None if its files are not complete."""
        folder = (self.prefix / "current").resolve()
        return int((folder / "model.tflite").read_text().split()[1]) if complete(folder) else None


def complete(release: Path) -> bool:
    """Whether a release has all files of its manifest, and what the installation adds."""
    try:
        files = json.loads((release / MANIFEST).read_bytes())["files"]
        good = all(hashlib.sha256((release / f["path"]).read_bytes()).hexdigest() == f["sha256"] for f in files)
        passed = json.loads((release / "selftest.json").read_bytes())["passed"]
        interpreter = Path((release / "interpreter").read_text().strip())
        return good and passed is True and interpreter.exists()
    except (OSError, ValueError):
        return False


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
