"""`bundle`: one file that holds all that a board needs to run a model and to prove it.

Everything is laid out in a temporary folder just as it will lie on the board, the self-test runs there with the
bundled sources, and only then is the folder written as a zip. The same inputs give the same bytes: dates are fixed (or
SOURCE_DATE_EPOCH), names are in order, nothing of this machine is inside.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgepress.runtime
from edgepress.converters.files import whole_file, write_bytes
from edgepress.converters.worker import ChildDied, run_in_child
from edgepress.runtime import Contract
from edgepress.runtime.sessions import file_format
from edgepress.toolkit.bundles.archive import write_archive
from edgepress.toolkit.bundles.boards import BOARDS, boards_for, download_wheels, pinned
from edgepress.toolkit.bundles.manifest import NAME, Format, Manifest, describe_files
from edgepress.toolkit.bundles.samples import SampleJob, choose_samples, write_samples
from edgepress.toolkit.bundles.signature import sign as sign_file
from edgepress.toolkit.bundles.signature import signature_path
from edgepress.toolkit.bundles.verify import Verified, dos_date, verify
from edgepress.toolkit.errors import BundleError, InputError, ModelFileError
from edgepress.toolkit.evaluation import contract_of, data_for

SAMPLES = 8
FILES = Path(__file__).parent / "files"
EPOCH_1980 = 315532800
"""1 January 1980 in seconds: the first day that a zip can name."""
PROOF_S = 600
"""Seconds that the self-test may take here."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that was made.

    Attributes:
        verified: What `verify` found of the file.
        boards: Boards that it installs on.
        selftest: What the self-test said on this machine, as its JSON.
        notes: What to know beside it.
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
        """What `bundle --json` prints."""
        m = self.verified.manifest
        return self.verified.to_dict() | {
            "format": m.format,
            "engine": m.engine,
            "boards": list(self.boards),
            "offline": m.offline,
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
    boards: Sequence[str] = (),
    offline: bool = False,
    data: str | None = None,
    samples: int = SAMPLES,
    engine: str | None = None,
    sign: str | Path | None = None,
    on_step: Callable[[str], None] | None = None,
) -> Bundle:
    """Make a bundle.

    Args:
        file: A `.tflite` or `.onnx` file with a contract and a self-test, as `edgepress convert` makes it.
        out: The bundle; None: beside the file, under its name.
        name: Of the bundle and the folder in it; None: the file's. A board updates what has the same name.
        format: "zip" to install, or "pyz", which a Python that has the engine runs as it is.
        boards: Names of `boards.BOARDS` to bring pinned packages for; empty: all that run the file.
        offline: Bring these packages' wheels, too.
        data: Where samples come from, as for training; None: what the file's contract names.
        samples: Number of test items to bring, 0 for none.
        engine: What gives the answers that samples are compared with; None: the first that opens the file.
        sign: A key of OpenSSH to sign the bundle with.
        on_step: Called with a sentence as each step begins.

    Raises:
        ModelFileError: The file has no contract or no self-test.
        InputError, DataError: An option, or the data, can't be used.
        BundleError: The self-test fails here, packages can't be had, or it can't be signed.

    Example:
        >>> from edgepress.toolkit import bundle
        >>> bundle("edgepress-demo/variants/model-int8.tflite", "app.zip").selftest["passed"]
        True
    """
    path, step = Path(file), on_step or (lambda text: None)
    kind, contract = file_format(path), contract_of(path)
    name = path.stem if name is None else name
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}", name):
        raise InputError(f"A bundle can't be named {name!r}; accepted: letters, digits and _ . + -.", "Use --name.")
    if format not in ("zip", "pyz"):
        raise InputError(f"The format is {format!r}; accepted: zip, pyz.")
    if format == "pyz" and boards:
        raise InputError(
            "A pyz brings no packages, so no board can be named for it.", "Leave --board out, or make a zip."
        )
    if offline and not boards:
        raise InputError("Wheels are brought in a zip, for boards that are named.", "Say --board pi64-py313.")
    target = path.with_suffix(f".{format}") if out is None else Path(out)
    dated = _dated()
    chosen = boards_for(kind, boards) if format == "zip" else []
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="edgepress-") as temporary:
        folder = Path(temporary) / name
        model = folder / f"model.{kind}"
        _lay_out(folder, path, model, contract, format, chosen)
        answered = engine
        if samples:
            step("Choosing samples")
            opened, notes = data_for(contract, data, where=path)
            job = SampleJob(path, engine, folder, choose_samples(opened, samples))
            answered = _in_child(job)
        else:
            notes = ["Without samples, the self-test proves neither decoding nor resizing."]
        if offline:
            (folder / "wheels").mkdir()
            for board in chosen:
                step(f"Downloading wheels for {board}")
                download_wheels(board, kind, folder / "wheels")
        step("Running the self-test from the bundle")
        proof = _prove(folder, answered) | {"file": str(path)}
        manifest = Manifest(
            name=name,
            format=format,
            edgepress=edgepress.__version__,
            model=model.name,
            scheme=contract.scheme,
            engine=answered or proof["engine"],
            dated=dated,
            boards=tuple(chosen),
            offline=offline,
            files=describe_files(folder),
        )
        (folder / NAME).write_bytes(manifest.to_bytes())
        names = [NAME, *(f.path for f in manifest.files)]
        top, names = (folder.parent, [f"{name}/{n}" for n in names]) if format == "zip" else (folder, names)
        step(f"Writing {target}")
        with whole_file(target) as unfinished:
            write_archive(unfinished, top, names, date=dos_date(dated))
            signature = sign_file(unfinished, Path(sign)) if sign is not None else None
    if signature is not None:
        write_bytes(signature_path(target), signature)
    elif signature_path(target).exists():
        signature_path(target).unlink()
        notes.append(f"Removed {signature_path(target)}, which was an older bundle's.")
    return Bundle(verify(target), tuple(chosen), proof, tuple(notes))


def _lay_out(folder: Path, file: Path, model: Path, contract: Contract, format: Format, boards: Sequence[str]) -> None:
    """The model, the runtime's sources, and what a user or an installer needs."""
    package = Path(edgepress.__file__)
    runtime = Path(edgepress.runtime.__file__).parent
    (folder / "edgepress" / "runtime").mkdir(parents=True)
    shutil.copyfile(file, model)
    shutil.copyfile(package, folder / "edgepress" / package.name)
    for source in runtime.glob("*.py"):
        shutil.copyfile(source, folder / "edgepress" / "runtime" / source.name)
    if format == "pyz":
        shutil.copyfile(Path(__file__).parent / "pyz_main.py", folder / "__main__.py")
        return
    about = {
        "NAME": folder.name,
        "MODEL": model.name,
        "SCHEME": contract.scheme,
        "SIZE": str(file.stat().st_size),
        "LABELS": str(len(contract.labels)),
        "INPUT": " x ".join(map(str, contract.input.shape)) + (" pixels" if contract.input.is_image else ""),
        "VERSION": edgepress.__version__,
        "BOARDS": "\n".join(
            f"    {board:<12} Python {BOARDS[board].python}, {BOARDS[board].machine}" for board in boards
        ),
    }
    for source in sorted(FILES.iterdir()):
        text = source.read_text(encoding="utf-8")
        for key, value in about.items():
            text = text.replace(f"@{key}@", value)
        (folder / source.name).write_text(text, encoding="utf-8", newline="\n")
    for board in boards:
        shutil.copyfile(pinned(board, model.suffix[1:]), folder / f"requirements-{board}.txt")


def _in_child(job: SampleJob) -> str:
    try:
        (engine,) = run_in_child(write_samples, job)
    except ChildDied as e:
        raise ModelFileError(f"{job.model} crashed the process that ran it ({e}).", "Convert the model again.") from e
    return str(engine)


def _prove(folder: Path, engine: str | None) -> dict[str, Any]:
    """The self-test's report, by the sources in the folder and not by ours."""
    chosen = ["--engine", engine] if engine is not None else []
    command = [sys.executable, "-B", "-m", "edgepress.runtime", "selftest", str(folder), "--json", *chosen]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"} | {"PYTHONPATH": str(folder)}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PROOF_S)
        report: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as e:
        raise BundleError(f"The self-test gave no result: {e}.", "Convert the model again.") from e
    if done.returncode:
        said = report.get("error", {}).get("message") or "answers differ from those in the file"
        raise BundleError(f"The self-test fails on this machine: {said}", f"Try: edgepress predict {folder.name} IMAGE")
    return report


def _dated() -> str:
    """The date of everything inside: SOURCE_DATE_EPOCH (reproducible-builds.org), or 1980."""
    text = os.environ.get("SOURCE_DATE_EPOCH", str(EPOCH_1980))
    try:
        iso = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(max(int(text), EPOCH_1980)))
        dos_date(iso)
    except (ValueError, OverflowError, OSError) as e:
        raise InputError(f"SOURCE_DATE_EPOCH is {text!r}; accepted: seconds, up to the year 2107.") from e
    return iso
