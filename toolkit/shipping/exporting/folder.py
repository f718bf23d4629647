"""An exported folder, written whole or not at all, from templates and rows of C."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgepress.converters.files import require_folder, whole_file
from edgepress.converters.to_c.emission import C_TYPES, lines, with_name
from edgepress.runtime import Contract
from edgepress.runtime.adapter import Adapter
from edgepress.runtime.text import json_text
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.escaping import markdown

REPORT = "report.json"
"""The report, which names the other files with their hashes."""
_SEAL = "report_sha256"
"""Field of the report that has the hash of its other fields, so that a changed report is known."""
_CODE = tuple(f"model{part}.{end}" for part in ("", "_frame", "_values", "_sound") for end in "hc")
BUILD_FILES = (
    *("CMakeLists.txt", "idf_component.yml", "library.json"),
    *(f"zephyr/{name}" for name in ("module.yml", "CMakeLists.txt", "Kconfig")),
)
"""The files by which build systems take a folder of C99."""
WRITTEN = (
    *_CODE,
    *(f"src/{name}" for name in _CODE),
    *BUILD_FILES,
    *("README.md", "model.cc", "selftest.c", "selftest.cc", "library.properties"),
    *("examples/selftest/selftest.ino", "examples/selftest/vectors.h", "model.tflite", "model.json"),
    *("model.wasm", "model.mjs", "model.d.mts", "package.json", "index.html", "selftest.json"),
    *("sw.js", "manifest.webmanifest", "icon.svg"),
)
"""The files of all kinds of folders but the report, of a model called `model`; no other file is ever removed."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
"""What names of a model may be: the beginning of names in C of at most 63 characters, and of files."""
TAKEN = frozenset(
    {
        *("assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits", "locale", "math"),
        *("setjmp", "signal", "stdarg", "stdbool", "stddef", "stdint", "stdio", "stdlib", "string", "tgmath", "time"),
        *("wchar", "wctype", "selftest", "vectors", "ep", "all", "clean", "help", "install", "package", "test"),
    }
)
"""Names that are none: those of C's headers, which a file of that name would hide, and of of CMake's targets."""
_MAX_REPORT = 1 << 24
"""Bytes of a report that is read."""


def require_plain_folder(folder: Path) -> None:
    """Raise `InputError` unless a folder can be written and is no link, which would lead the files elsewhere."""
    if folder.is_symlink():
        hint = f"Name the folder itself with --out: {folder.resolve()}"
        raise InputError(f"{folder} is a link, which export does not follow.", hint)
    require_folder(folder)


def write_folder(
    folder: Path, texts: Mapping[str, str | bytes], report: dict[str, Any], *, overwrite: bool
) -> tuple[dict[str, Any], list[str]]:
    """Write a folder, without files of an earlier export that the new one lacks: build tools would compile them.

    All files are written before the first one gets its name, and the report gets its name last. If the process is
    killed between these, the same export goes on: a file that has its new text is nobody else's.

    Args:
        folder: The folder.
        texts: Texts or bytes by their paths in the folder, all of `WRITTEN` with the name in the report.
        report: The report; the files and their hashes are added to it.
        overwrite: Whether files may be replaced that no export wrote, or that were changed since.

    Returns:
        The report as it was written, and a note on each older file that stays because it was changed since.

    Raises:
        InputError: The folder is a link or can't be written, or such a file is in it. Nothing was written.
    """
    require_plain_folder(folder)
    earlier = _earlier(folder)
    contents = {name: text if isinstance(text, bytes) else text.encode() for name, text in texts.items()}
    report = report | {"files": {name: _digest(content) for name, content in contents.items()}}
    report |= {_SEAL: _seal(report)}
    known = {name: {digest, earlier.get(name)} for name, digest in report["files"].items()}
    _check_places(folder, known, replaces_report=bool(earlier), overwrite=overwrite)
    with whole_file(folder / REPORT) as temporary:
        temporary.write_bytes(f"{json_text(report, indent=2)}\n".encode())
        with ExitStack() as files:
            for name, content in contents.items():
                files.enter_context(whole_file(folder / name)).write_bytes(content)
        notes = _remove_older(folder, {name: earlier[name] for name in earlier if name not in contents})
    return report, notes


def _check_places(
    folder: Path, known: Mapping[str, set[str | None]], *, replaces_report: bool, overwrite: bool
) -> None:
    """Raise `InputError` for what must not be replaced.

    Args:
        folder: The folder.
        known: By path, the hashes of contents that may be replaced.
        replaces_report: Whether the report in the folder is an export's.
        overwrite: Whether other files may be replaced, too.
    """
    foreign = []
    for name in (*known, REPORT):
        place = folder / name
        for parent in place.relative_to(folder).parents:
            if (folder / parent).is_symlink():
                raise InputError(f"{folder / parent} is a link, which export does not follow.", "Remove the link.")
        if not os.path.lexists(place):
            continue
        mode = place.lstat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
            hint = "Move it, or name another folder with --out."
            raise InputError(f"{place} is no file, so export can't replace it.", hint)
        own = replaces_report if name == REPORT else stat.S_ISREG(mode) and _digest(place.read_bytes()) in known[name]
        if not own:
            foreign.append(name)
    if foreign and not overwrite:
        raise InputError(
            f"{folder} holds files that export would replace, and that it did not write or that were changed since: "
            f"{', '.join(foreign)}.",
            "Name another folder with --out, or replace them with --overwrite.",
        )


def _remove_older(folder: Path, older: Mapping[str, str]) -> list[str]:
    """Remove files of an earlier export, and return a note on each one that stays because it was changed since."""
    notes = []
    for name, digest in older.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            continue
        if _digest(path.read_bytes()) == digest:
            path.unlink()
        else:
            notes.append(f"{path} is of an earlier export and was changed since, so it stays; do not build it.")
    return notes


def _earlier(folder: Path) -> dict[str, str]:
    """Hashes of the files that an earlier export wrote into a folder, by their paths.

    They are read from its report. Empty if that is none, was changed, or is somebody else's; no path is taken from it
    that is not in `WRITTEN` with the name of its model.
    """
    path = folder / REPORT
    try:
        if not stat.S_ISREG(path.lstat().st_mode) or path.stat().st_size > _MAX_REPORT:
            return {}
        report = json.loads(path.read_bytes())
        if report.pop(_SEAL) != _seal(report):
            return {}
        name = report.get("name", "model")
        if not NAME.fullmatch(name):
            return {}
        written = [with_name(path, name) for path in WRITTEN]
        return {path: str(report["files"][path]) for path in written if path in report["files"]}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _seal(report: dict[str, Any]) -> str:
    return _digest(json_text(report).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


FILES = Path(__file__).parent / "files"
TYPES = C_TYPES | {"float32": "float"}
"""Types of C by the names of NumPy's."""


class TensorPort(NamedTuple):
    """The input or output of a file.

    Attributes:
        shape: Its shape with the batch.
        dtype: NumPy's name of its type.
        quantization: Scale and zero point; None if it is not quantized.
    """

    shape: tuple[int, ...]
    dtype: str
    quantization: tuple[float, int] | None


def fill(path: str, model: str = "model", /, **values: str) -> str:
    """The text of a file in `files/`, of a model of this name, with a value for each `@NAME@`."""
    text = with_name((FILES / path).read_text(encoding="utf-8"), model)
    return re.sub(r"@([A-Z_]+)@", lambda key: values[key[1]], text)


def rows_of(items: npt.NDArray[Any]) -> str:
    """Items, shape (N, numbers), as rows of an array in C."""
    write = repr if items.dtype.kind == "f" else str
    return ",\n".join(f"{{{lines(map(write, row.tolist()))}}}" for row in items)


def table_of(rows: Iterable[tuple[str, str]]) -> str:
    """What takes how much, as a table in Markdown."""
    return "\n".join(["| what | takes |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)])


def input_text(source: TensorPort, contract: Contract | None) -> str:
    """What an item is, in Markdown."""
    shape = " x ".join(map(str, source.shape))
    text = f"One item of shape {shape}, {TYPES[source.dtype]}, the last axis fastest.{_real_values(source)}"
    if contract is None:
        return text
    if contract.input.is_image and contract.adapter in (None, Adapter(shape=contract.input.shape, sigmoid=True)):
        return f"{text} These are pixels 0 to 255, {contract.input.color}."
    if contract.adapter is not None:
        about = contract.adapter
        mean = list(about.mean)
        std = list(about.std)
        if not contract.input.is_image:
            return f"{text} They are (values - {mean}) / {std}, channel by channel."
        order = "blue first" if about.bgr else str(contract.input.color)
        return f"{text} They are ({order} - {mean}) / {std}, of pixels 0 to 255."
    return text


def output_text(result: TensorPort, contract: Contract | None, name: str = "model") -> str:
    """What an answer is, in Markdown."""
    text = f"{int(np.prod(result.shape))} numbers, {TYPES[result.dtype]}.{_real_values(result)}"
    if contract is None or not contract.labels:
        return text
    names = "\n".join(f"{number}. {markdown(label)}" for number, label in enumerate(contract.labels))
    ends = "sigmoid" if contract.adapter is not None and contract.adapter.sigmoid else ""
    ends = ends or ("softmax" if contract.task == "logits" else "")
    meaning = f"logits; a {ends} makes probabilities of them" if ends else contract.task
    return f"{text} Their meaning: {meaning}. Labels, also in `{name}_labels`:\n\n{names}"


def _real_values(port: TensorPort) -> str:
    if port.quantization is None:
        return ""
    scale, zero_point = port.quantization
    return f" A stored number q stands for {scale!r} * (q - {zero_point})."
