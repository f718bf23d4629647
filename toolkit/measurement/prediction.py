"""Classify images with one model file, in a child process; an image that can't be read does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.contract.hints import Hints
from edgepress.converters.process.worker import ChildDied, Emit, run_in_child
from edgepress.converters.sources.keras import load_keras
from edgepress.runtime import Contract, Model, Prediction, load
from edgepress.runtime.answers import Answer
from edgepress.runtime.errors import parsing
from edgepress.runtime.image import IMAGE_SUFFIXES, Memory
from edgepress.runtime.sessions import Session
from edgepress.toolkit.data.decoding import MOST_BYTES
from edgepress.toolkit.data.for_model import describe
from edgepress.toolkit.errors import EdgepressError, InputError, ModelFileError
from edgepress.toolkit.results.run_files import model_in

SILENCE_S = 600.0
"""Time limit for opening the file, and again for each image, seconds."""
SUFFIXES = (*sorted(IMAGE_SUFFIXES), ".npy")


@dataclass(frozen=True)
class ImageResult:
    """The classes of one image, best first, or the reason why it could not be classified.

    `accepted` says whether the answer is, if the file was calibrated.
    """

    image: str
    classes: tuple[Prediction, ...] = ()
    accepted: bool | None = None
    error: EdgepressError | None = None


@dataclass(frozen=True)
class _Job:
    file: Path
    images: tuple[Path, ...]
    engine: str | None
    top: int
    contract: Contract | None


def predict(
    file: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    engine: str | None = None,
    top: int = 5,
    hints: Hints | None = None,
    on_note: Callable[[str], None] | None = None,
) -> list[ImageResult]:
    """Classify images.

    Args:
        file: A `.keras` file of `edgepress train`, its run's folder, or any `.tflite` or `.onnx` classifier.
        images: Images, `.npy` arrays of one item, or folders of them (without subfolders); one or several.
        engine: Engine that runs the file; None takes the first installed one that opens it. Not for `.keras`.
        top: Largest number of classes to return for each image, at least 1.
        hints: What you know of a file that edgepress did not make.
        on_note: Called with each value that was found or guessed for such a file.

    Returns:
        One result per image, in the order given; those of a folder sorted by name.

    Raises:
        EdgepressError: The file can't be opened, a folder holds no image, or `top` is below 1.

    Example:
        >>> from edgepress.toolkit import predict
        >>> for result in predict("edgepress-demo/variants/model-int8.tflite", "edgepress-demo/images", top=1):
        ...     print(result.image, result.classes[0].label)
    """
    if top < 1:
        raise InputError(f"top is {top}; at least 1 is needed.")
    paths_or_folders = [images] if isinstance(images, (str, Path)) else images
    paths = tuple(path for image in paths_or_folders for path in _images(Path(image)))
    if not paths:
        raise InputError("No image given.", "Pass images or folders of images.")
    model = model_in(file)
    about = describe(model, hints)
    if (by_keras := model.suffix == ".keras") and engine is not None:
        raise InputError(f"{model} is run by Keras; the engine {engine} cannot open it.", "Omit --engine (engine).")
    if on_note is not None:
        for note in about.notes:
            on_note(note)
    contract = about.contract if about.published or by_keras else None
    try:
        return list(run_in_child(_classify, _Job(model, paths, engine, top, contract), silence_s=SILENCE_S))
    except ChildDied as e:
        raise ModelFileError(f"{model} crashed the process that ran it ({e}).", "Convert the model again.") from e


class _KerasSession(Session):
    """A `.keras` file, run by Keras as if an engine had opened it."""

    dtype = np.dtype(np.float32)

    def __init__(self, path: Path, contract: Contract) -> None:
        self._model = load_keras(path)
        self.contract = contract
        self._describe(path, [list(self._model.input_shape)], [list(self._model.output_shape)])

    def run(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return np.asarray(self._model.predict_on_batch(batch), np.float32).reshape(len(batch), -1)


def as_dicts(results: Sequence[ImageResult]) -> list[dict[str, Any]]:
    """The results as `predict --json` prints them; "error" is present only if an image could not be classified."""
    return [
        {"image": r.image, **Answer([*r.classes], r.accepted).to_dict()} | ({"error": str(r.error)} if r.error else {})
        for r in results
    ]


def _images(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]  # if it is missing, only this image has an error
    images = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
    if not images:
        within = sorted(p.parent for p in path.glob("[!.]*/*") if p.suffix.lower() in SUFFIXES)
        hint = f" Subfolders are not searched: name them, such as {within[0]}." if within else ""
        raise InputError(f"{path} holds no image.", f"Accepted: {', '.join(SUFFIXES)}.{hint}")
    return images


def _classify(job: _Job, emit: Emit) -> None:
    Memory.most = MOST_BYTES
    if job.file.suffix == ".keras" and job.contract is not None:
        model = Model(job.file, "keras", 1, _KerasSession(job.file, job.contract))
    else:
        model = load(job.file, job.engine, contract=job.contract)
    model.require_labels()
    for image in job.images:
        try:
            with parsing(job.file, "Convert it again.", failed=f"can't classify {image}"):
                answer = model.judge(image, top=job.top)
            emit(ImageResult(str(image), tuple(answer.classes), answer.accepted))
        except InputError as e:
            emit(ImageResult(str(image), error=e))
