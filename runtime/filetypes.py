"""Tell by its content what a file is that was given as a model, so that every command names it alike."""

from __future__ import annotations

import errno
import io
import os
import re
import shlex
import stat
import zipfile
from pathlib import Path
from typing import NamedTuple

from edgepress.runtime.errors import ModelFileError, parsing


class FileKind(NamedTuple):
    """What a file is.

    Attributes:
        name: In words, as in "model.tflite is ...".
        hint: What to do with it; "" if it is a model.
        format: "tflite", "onnx", "keras", "h5" or "saved_model"; "" for anything else.
    """

    name: str
    hint: str = ""
    format: str = ""


MODEL = "model.keras"
"""The file in a run's folder that `edgepress train` writes last."""
VARIANTS = "variants"
"""The folder in a run's folder that `edgepress convert` writes to; `calibrated` in it holds copies with a promise."""
_UNPACK = "Unpack it, and give the model in it."
_TORCH = "Export the model to ONNX, with torch.onnx.export."
_WEIGHTS = "It holds weights without the model: save the whole model."
_STARTS: dict[bytes, tuple[str, ...]] = {
    rb".{4}TFL3": ("a TFLite model", "", "tflite"),
    rb"\x89HDF\r\n\x1a\n": ("a Keras model (HDF5)", "", "h5"),
    rb"version https://git-lfs": ("a Git LFS pointer, not the file itself", "Fetch the file: git lfs pull"),
    rb"(?i)(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)": ("an HTML page", "Download the file "
     "itself, not the page that shows it."),
    rb"(\xef\xbb\xbf)?\s*<(\?xml|net |Error>)": ("an XML file", "If it is an OpenVINO model, give the model that it "
     "was made from."),
    rb"\x1f\x8b|BZh\d|\xfd7zXZ\0|7z\xbc\xaf\x27\x1c|\x28\xb5\x2f\xfd|Rar!": ("a compressed archive", _UNPACK),
    rb".{257}ustar": ("a tar archive", _UNPACK),
    rb"\x80[\x02-\x05]": ("a Python pickle, as PyTorch and scikit-learn save them, which can run code", _TORCH),
    rb".{8}\{\"": ("a safetensors file", _WEIGHTS),
    rb"\x93NUMPY": ("a NumPy array", "Give it as data."),
    rb"\x89PNG|\xff\xd8\xff|GIF8|BM.{4}\0{4}|RIFF.{4}WEBP": ("an image", "Give the model first, then images."),
    rb"\x0a[^\0]{1,2}\x0a[^\0]{1,2}[\w./-]+\x12.[A-Z_]\w+": ("a TensorFlow graph (GraphDef, frozen or not)", "Save the "
     "model as a SavedModel."),
    rb"(model_checkpoint_path|all_model_checkpoint_paths):": ("the index of a TensorFlow checkpoint", _WEIGHTS),
}  # fmt: skip
"""What a file is by its beginning, a regular expression; tried in this order."""
_ONNX = re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x28\x32\x3a\x42\x72]")
"""The fields ir_version and any other of ONNX's ModelProto; protobuf has no signature."""
_CHECKPOINT = re.compile(r"\.(index|data-\d+-of-\d+|ckpt|meta)$")
_MODELS = (".tflite", ".onnx", ".keras", ".h5", ".hdf5", "saved_model.pb")


def open_regular(path: str | os.PathLike[str], most: int | None = None) -> io.BufferedReader:
    """Open a file to read, but nothing that could block or never end, such as a pipe or a device.

    Args:
        path: The file.
        most: Its bytes at most; None: any number.

    Raises:
        OSError: It can't be opened, is not a regular file, or is larger.
    """
    status = os.stat(path)
    # A folder has the system's own message.
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, not a regular file", os.fspath(path))
    if most is not None and status.st_size > most:
        raise OSError(errno.EFBIG, f"it has {status.st_size} bytes; accepted: up to {most}", os.fspath(path))
    return open(path, "rb")


def kind_of(path: Path) -> FileKind:
    """What a file or folder is, from its first bytes and, of a zip, the names in it.

    Raises:
        ModelFileError: It is missing or can't be read.
    """
    with parsing(path):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            names = {p.name for p in path.iterdir()}
            if (path / "saved_model.pb").is_file():
                return FileKind("a SavedModel", format="saved_model")
            what = "a TensorFlow checkpoint's folder" if "checkpoint" in names else "a folder and no SavedModel"
            return FileKind(f"{what} (saved_model.pb is missing)", "Give a model file in it.")
        if not stat.S_ISREG(mode):  # reading a pipe would block
            return FileKind("neither a file nor a folder", "Give a model file.")
        with path.open("rb") as file:
            head = file.read(1024)
    if not head:
        return FileKind("an empty file", "Copy or make it again.")
    for start, words in _STARTS.items():
        if re.match(start, head, re.DOTALL):
            return FileKind(*words)
    if head[:4] == b"PK\x03\x04":
        return _kind_of_zip(path)
    if path.name == "saved_model.pb":
        return FileKind("a SavedModel's program alone", f"Give its folder, {path.parent}.")
    if _CHECKPOINT.search(path.name):
        return FileKind("a part of a TensorFlow checkpoint", _WEIGHTS)
    if not re.search(rb"[^\t-\r\x20-\x7e\x80-\xff]", head):
        return FileKind("a text file", "Give the model itself.")
    if _ONNX.match(head) or path.suffix == ".onnx":
        return FileKind("an ONNX model", format="onnx")
    return FileKind("of another kind, or damaged", "Copy or make it again.")


def format_of(path: Path, formats: tuple[str, ...], accepted: str, *, names: str = "*", options: str = "") -> str:
    """The format of a model, which must be one of `formats`.

    Args:
        path: The model.
        formats: Formats as in `FileKind`.
        accepted: What they are, for the error.
        names: Names without suffix of the files that the error may recommend, if the path is a folder.
        options: Options of the conversion that the error recommends otherwise.

    Raises:
        ModelFileError: It is missing, or something else; the message says what.
    """
    kind = kind_of(path)
    if kind.format not in formats:
        places = (path, path / VARIANTS)
        inside = [file for each in formats for place in places for file in place.glob(f"{names}.{each}")]
        hint = kind.hint
        if inside:  # of a folder, such as that of a run
            hint = f"Give a file in it, such as {min(inside)}."
        elif kind.format == "onnx":  # it may be quantized, which can't be converted
            hint = f"Convert its float model: edgepress convert MODEL {options}".rstrip()
        elif kind.format or (path / MODEL).is_file():
            hint = " ".join(["Convert it first: edgepress convert", shlex.quote(str(path)), *options.split()])
        raise ModelFileError(f"{path} is {kind.name}. Accepted: {accepted}.", hint)
    return kind.format


def _kind_of_zip(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # zipfile raises what it likes on damaged files
        names = []
    if {"config.json", "model.weights.h5"} & {*names} or (not names and path.suffix == ".keras"):
        return FileKind("a Keras model", format="keras")
    ends = {name.rpartition("/")[2] for name in names}
    if "MANIFEST.json" in ends:
        return FileKind("a bundle", f"Unpack it: python3 -m zipfile -e {shlex.quote(str(path))} FOLDER")
    if "data.pkl" in ends:
        return FileKind("a PyTorch file", _TORCH)
    if names and all(name.endswith(".npy") for name in names):
        return FileKind("an .npz of NumPy arrays", "Give it as data.")
    inside = [name for name in names if name.endswith(_MODELS)]
    return FileKind("a zip archive" + f" (in it: {', '.join(inside[:3])})" * bool(inside), _UNPACK)
