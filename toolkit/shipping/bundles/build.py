"""Build a bundle: one file with everything that a board needs to run a model and to test it.

The files are laid out in a temporary folder as on the board, and the self-test runs there with the bundled sources; if
it passes, the folder is written as a zip. Bundles are reproducible: dates are fixed (or SOURCE_DATE_EPOCH), names are
sorted, and nothing depends on this machine.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import edgepress.runtime
from edgepress.converters.contract.hints import Hints
from edgepress.converters.files import whole_file, write_bytes
from edgepress.converters.process.scratch import ScratchFolder
from edgepress.converters.process.worker import ChildDied, run_in_child
from edgepress.converters.schemes import SCHEMES
from edgepress.runtime import Contract
from edgepress.runtime.engines import available_engines
from edgepress.runtime.native_session import LIBRARY
from edgepress.runtime.sessions import file_format
from edgepress.runtime.updates.releases import MAX_RELEASE
from edgepress.toolkit.conversion.inspection import write_annotated
from edgepress.toolkit.data.for_model import data_for, describe
from edgepress.toolkit.data.objects import Data, source_of
from edgepress.toolkit.data.reading import Reading, ReadingArguments
from edgepress.toolkit.errors import InputError, ModelFileError
from edgepress.toolkit.escaping import markdown
from edgepress.toolkit.shipping.bundles.archive import sign as sign_file
from edgepress.toolkit.shipping.bundles.archive import signature_path, write_archive
from edgepress.toolkit.shipping.bundles.boards import (
    MQTT_PINS,
    add_pins,
    board_lines,
    boards_for,
    download_wheels,
    pinned,
)
from edgepress.toolkit.shipping.bundles.native import ENGINE, add_native, check_native
from edgepress.toolkit.shipping.bundles.samples import SampleJob, choose_samples, prove, write_samples
from edgepress.toolkit.shipping.bundles.updates import (
    MAX_SLOWDOWN,
    SHADOW_FRAMES,
    UNITS,
    ShadowLimits,
    add_updates,
    measured_agreement,
    open_published,
)
from edgepress.toolkit.shipping.bundles.verify import NAME, Format, Manifest, Verified, describe_files, dos_date, verify
from edgepress.toolkit.text import input_text

if TYPE_CHECKING:
    from edgepress.toolkit.shipping.published.folder import Repository

SAMPLES = 8
"""Items of a bundle's self-test."""
FILES = Path(__file__).parent / "files"
EPOCH_1980 = 315532800
"""1 January 1980, the earliest date in a zip, in seconds."""
SILENCE_S = 120.0
"""Time limit for opening the model, and again for each sample, seconds."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that was built.

    Attributes:
        verified: The verified file.
        boards: Boards that it installs on.
        selftest: The JSON report of the self-test on this machine.
        notes: Warnings for the user.
    """

    verified: Verified
    boards: tuple[str, ...]
    selftest: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The file."""
        return self.verified.path

    def to_dict(self) -> dict[str, Any]:
        """The document that `bundle --json` prints."""
        m = self.verified.manifest
        return self.verified.to_dict() | {
            "format": m.format,
            "engine": m.engine,
            "boards": list(self.boards),
            "offline": m.offline,
            "release": m.release,
            "contents": [{"path": f.path, "size_bytes": f.size_bytes, "sha256": f.sha256} for f in m.files],
            "selftest": self.selftest,
            "notes": list(self.notes),
        }


def bundle(
    file: str | Path,
    out: str | Path | None = None,
    *,
    name: str | None = None,
    format: Format = "zip",
    board: str | Sequence[str] = (),
    offline: bool = False,
    data: Data | None = None,
    samples: int = SAMPLES,
    engine: str | None = None,
    sign: str | Path | None = None,
    updates: str | Path | None = None,
    keys: str | Path | Sequence[str | Path] | None = None,
    release: int | None = None,
    shadow: int = SHADOW_FRAMES,
    max_slowdown: float = MAX_SLOWDOWN,
    min_agreement: str | float | None = None,
    mqtt: bool = False,
    hints: Hints | None = None,
    on_step: Callable[[str], None] | None = None,
    **reading: Unpack[ReadingArguments],
) -> Bundle:
    """Build a bundle.

    Args:
        file: A `.tflite` or `.onnx` file with a contract and a self-test, or any classifier, which is then annotated.
        out: The bundle; None: next to the file, with its name.
        name: Name of the application and its folder; None: the file's. A board updates the application of this name.
        format: "zip" to install, or "pyz" to run with a Python that has the engine.
        board: Names in `BOARDS` to include pinned packages for, also as one text; empty: all that run the file.
        offline: Include the wheels of these packages.
        data: Data to take samples from; None: the data named in the file's contract.
        samples: Number of test items to include; none of a model without labels.
        engine: Engine that computes the samples' answers; None: the first that opens the file. "native": the bundle
            holds the model as C, which the board's compiler builds, for boards that no engine has packages for.
        sign: OpenSSH key to sign the bundle with.
        updates: Published folder (`edgepress publish init`) from which boards with this bundle take their updates.
        keys: With `updates`, folders of its keys; only `trusted.json` is read, which says what it may be signed with.
        release: Number of the release, which only rises; None: with `updates`, the next in that folder, else none.
        shadow: With `updates`, number of frames that the release and the one in use answer before a board switches.
        max_slowdown: Largest ratio of their median latencies with which a board switches.
        min_agreement: Least share of frames with the same answer, such as "90%"; None: as measured here.
        mqtt: Include the package that `--mqtt` of the runtime needs.
        hints: What you know of a file that edgepress did not make.
        on_step: Called with a sentence when a step begins.

    Raises:
        ModelFileError: The file has no contract or no self-test.
        InputError, DataError: An option or the data can't be used.
        BundleError: The self-test fails, packages can't be downloaded, or signing fails.

    Example:
        >>> from edgepress.toolkit import bundle
        >>> bundle("edgepress-demo/variants/model-int8.tflite", "app.zip").selftest["passed"]
        True
    """
    data = source_of(data)
    path = Path(file)
    step = on_step or (lambda text: None)
    boards = [one.strip() for one in board.split(",") if one.strip()] if isinstance(board, str) else board
    if native := engine == ENGINE:
        check_native(path, format, boards=boards, offline=offline, updates=updates, mqtt=mqtt)
    kind = file_format(path)
    about = describe(path, hints)
    name = path.stem if name is None else name
    published = open_published(updates, keys)
    limits = ShadowLimits.of(shadow, max_slowdown, min_agreement, updates=published is not None)
    manifest = _manifest(kind, about.contract, name=name, format=format, boards=boards, offline=offline)
    manifest = replace(manifest, boards=()) if native else manifest
    manifest = _with_number(manifest, published, release)
    if mqtt and format == "pyz":
        raise InputError("A pyz contains no packages, so --mqtt does not apply.", "Leave out --mqtt, or make a zip.")
    target = path.with_suffix(f".{format}") if out is None else Path(out)
    opened = None
    notes = ["Without samples, the self-test checks neither decoding nor resizing."]
    if samples and about.contract.task != "none":  # samples are items of a class
        if data is None and about.contract.known_data is None:
            hint = "Name the data to take samples from with --data, or leave samples out: --samples 0."
            raise InputError(f"{path} does not say what data it was trained on.", hint)
        opened, notes = data_for(about.contract, data, where=path, reading=Reading(**reading), numbered=about.numbered)
        about = about.labelled(opened)
    with ScratchFolder() as temporary:
        model = path
        if about.published:
            step("Describing the file")
            write_annotated(path, about.contract, model := Path(temporary, f"model.{kind}"))
        folder = _lay_out(Path(temporary) / name, model, contract=about.contract, manifest=manifest)
        if mqtt:
            add_pins(folder, MQTT_PINS)
        if native:
            step("Writing the model as C, and building it")
            model = add_native(folder, manifest.model)
        if published is not None:
            agreement, more = measured_agreement(model, opened, limits, published=published, name=name, on_step=step)
            add_updates(folder, published, shadow=agreement)
            notes += more
        if opened is not None:
            step("Choosing samples")
            expecting = next(iter(available_engines(kind)), engine) if native else engine  # as the file's self-test
            used = _write_samples(SampleJob(model, expecting, folder, choose_samples(opened, samples)))
            engine = engine if native else used
        for board in manifest.boards if offline else ():
            step(f"Downloading wheels for {board}")
            download_wheels(board, folder / f"requirements-{board}.txt", folder / "wheels")
        step("Running the self-test from the bundle")
        proof = prove(folder, engine) | {"file": str(path)}
        (folder / LIBRARY).unlink(missing_ok=True)
        manifest = replace(manifest, engine=engine or proof["engine"], files=describe_files(folder))
        step(f"Writing {target}")
        notes += _write(folder, manifest, target=target, key=sign)
    return Bundle(verify(target), manifest.boards, proof, (*about.notes, *notes))


def _manifest(
    kind: str, contract: Contract, *, name: str, format: Format, boards: Sequence[str], offline: bool
) -> Manifest:
    """Check the options, and describe the bundle; its files and engine are added later."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}", name):
        raise InputError(f"{name!r} is not a valid name; accepted: letters, digits and _ . + -.", "Use --name.")
    if format not in ("zip", "pyz"):
        raise InputError(f"The format is {format!r}; accepted: zip, pyz.")
    if format == "pyz" and boards:
        raise InputError("A pyz contains no packages, so --board does not apply.", "Leave out --board, or make a zip.")
    if offline and not boards:
        raise InputError("--offline needs the boards to include wheels for.", "Name them, as in --board pi64-py313.")
    lacking = SCHEMES[contract.scheme].lacking if contract.scheme in SCHEMES else ()
    return Manifest(
        name=name,
        format=format,
        edgepress=edgepress.__version__,
        model=f"model.{kind}",
        scheme=contract.scheme,
        engine="",
        dated=_member_date(),
        boards=boards_for(kind, boards, lacking=lacking) if format == "zip" else (),
        offline=offline,
        files=(),
    )


def _with_number(manifest: Manifest, published: Repository | None, release: int | None) -> Manifest:
    """The manifest with the number of its release, if it is to have one."""
    if published is not None and manifest.format == "pyz":
        raise InputError("A pyz has no installer, so --updates does not apply.", "Leave out --updates, or make a zip.")
    if release is not None and not 1 <= release <= MAX_RELEASE:
        raise InputError(f"The release is {release}; accepted: 1 to {MAX_RELEASE}.")
    if published is not None and release is None:
        release = published.next_release(manifest.name)
    return replace(manifest, release=release)


def _write(folder: Path, manifest: Manifest, *, target: Path, key: str | Path | None) -> list[str]:
    """Write the archive, and its signature next to it; returns notes."""
    (folder / NAME).write_bytes(manifest.to_bytes())
    top = folder
    names = [NAME, *(f.path for f in manifest.files)]
    if manifest.format == "zip":
        top = folder.parent
        names = [f"{manifest.name}/{name}" for name in names]
    beside = signature_path(target)
    with whole_file(target) as unfinished:
        write_archive(unfinished, top, names, date=dos_date(manifest.dated))
        signature = sign_file(unfinished, Path(key)) if key is not None else None
    if signature is not None:
        write_bytes(beside, signature)
    elif beside.exists():
        beside.unlink()
        return [f"Removed {beside}, the signature of an older bundle."]
    return []


def _lay_out(folder: Path, file: Path, *, contract: Contract, manifest: Manifest) -> Path:
    """Copy the model, the sources of the runtime, and the files for the installer and the user."""
    package = Path(edgepress.__file__)
    runtime = Path(edgepress.runtime.__file__).parent
    (folder / "edgepress" / "runtime" / "sound").mkdir(parents=True)
    shutil.copyfile(file, folder / manifest.model)
    shutil.copyfile(package, folder / "edgepress" / package.name)
    for source in (*runtime.glob("*.py"), *runtime.glob("page.*"), *runtime.glob("sound/*.py")):
        shutil.copyfile(source, folder / "edgepress" / "runtime" / source.relative_to(runtime))
    if manifest.format == "pyz":
        shutil.copyfile(Path(__file__).parent / "pyz_main.py", folder / "__main__.py")
        return folder
    about = {
        "NAME": folder.name,
        "MODEL": manifest.model,
        "SCHEME": markdown(contract.scheme),
        "SIZE": str(file.stat().st_size),
        "WHAT": f"A classifier with {len(contract.labels)} labels" if contract.labels else "A model without labels",
        "INPUT": input_text(contract.input),
        "VERSION": manifest.edgepress,
        "BOARDS": board_lines(manifest.boards),
    }
    for source in sorted(FILES.iterdir()):
        if source.name in UNITS:
            continue
        text = source.read_text(encoding="utf-8")
        for key, value in about.items():
            text = text.replace(f"@{key}@", value)
        (folder / source.name).write_text(text, encoding="utf-8", newline="\n")
    for board in manifest.boards:
        shutil.copyfile(pinned(board, file_format(file)), folder / f"requirements-{board}.txt")
    return folder


def _write_samples(job: SampleJob) -> str:
    """Write the samples in a child process; returns the engine's name."""
    try:
        *_, engine = run_in_child(write_samples, job, silence_s=SILENCE_S)
    except ChildDied as e:
        raise ModelFileError(f"{job.model} crashed the process that ran it ({e}).", "Convert the model again.") from e
    return str(engine)


def _member_date() -> str:
    """The date of all members: SOURCE_DATE_EPOCH (reproducible-builds.org), or 1980."""
    text = os.environ.get("SOURCE_DATE_EPOCH", str(EPOCH_1980))
    try:
        iso = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max(int(text), EPOCH_1980)))
        dos_date(iso)
    except (ValueError, OverflowError, OSError) as e:
        raise InputError(f"SOURCE_DATE_EPOCH is {text!r}; accepted: seconds since 1970, up to the year 2107.") from e
    return iso
