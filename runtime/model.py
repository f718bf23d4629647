"""Open a model file with `load` and classify with it.

>>> from edgepress.runtime import load
>>> model = load("lenet-int8.tflite")                   # doctest: +SKIP
>>> model.classify("seven.png", top=1)                  # doctest: +SKIP
[Prediction(label='7', score=0.99609375)]
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.runtime.acceptance import AnswerLimits
from edgepress.runtime.adapted import with_contract
from edgepress.runtime.answers import UNKNOWN, Answer, Follower, Prediction
from edgepress.runtime.contract import Contract, contract_in
from edgepress.runtime.decisions import decided_rows, threshold_of, with_probabilities
from edgepress.runtime.drift import Counted, DriftWatch, reference_in
from edgepress.runtime.engines import open_session
from edgepress.runtime.errors import InputError, ModelFileError
from edgepress.runtime.items import ItemReader
from edgepress.runtime.keeping import QUOTA, Keeper
from edgepress.runtime.limit import LIMIT, guarded
from edgepress.runtime.sessions import Session, check_outputs

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgepress.runtime.arrays import ImageLike
    from edgepress.runtime.crop import Crop


class Model:
    """An opened model file; make one with `load`.

    Attributes:
        path: The file.
        engine: Name of the engine that runs it.
        threads: Number of threads that the engine may use.
        contract: The contract in the file, or given to `load`; None for a file that edgepress did not make.
        labels: Class names; numbers if the file has no contract; empty if its outputs are not classes.
        output_shape: Shape of the output for one item.
        answer: `scores`, or `outputs` if there are no labels: what is timed and compared with other machines.
        threshold: Decision threshold of a label, as a probability; None if the best label is the answer.
        limits: How scores become calibrated probabilities, and which answers are accepted.
        shape: Shape of one item, (height, width, channels) for images; () of several inputs, whose item is a record.
        inputs: Names of the inputs of a model of several; empty of one.
        ready: Shape and dtype of a batch that `answer` passes to the engine unchanged.
        stateful: Whether the file has state, such as that of a fused LSTM.
        keeps_state: Whether that state is kept from item to item (`load`).
        reset: Begins anew while state is kept.
        drift: Looks at each answer of `judge` to notice that images change; None (`watch_drift`): nothing does.
        keeper: Keeps pictures of what `judge` sees; None (`keep_pictures`): none are kept.
        crop: The part of each image that `judge` looks at; None: all of it.
        events: Makes events of the answers of `judge`, and may replace these; None: nothing does.
    """

    drift: DriftWatch | None = None
    keeper: Keeper | None = None
    crop: Crop | None = None
    events: Follower | None = None

    def __init__(self, path: Path, engine: str, threads: int, session: Session) -> None:
        self.path = path
        self.engine = engine
        self.threads = threads
        contract = session.contract
        has_labels = contract.task != "none" if contract else len(session.output_shape) == 1
        if has_labels:
            check_outputs(path, session.classes)
        if contract:
            session = with_contract(path, session, contract)
            self.labels = contract.labels
        else:
            self.labels = tuple(map(str, range(session.classes))) if has_labels else ()
        self.contract = contract
        self.threshold = threshold_of(contract)
        self.limits = contract.limits if contract else AnswerLimits()
        self.shape = session.shape
        self.inputs = session.dtype.names or ()
        self._session = session
        self.stateful = session.stateful
        self.keeps_state = session.keep_state
        self.reset = session.reset
        # Wrapped here, so that calls need not check the task.
        failed = f"{path} does not run on {engine}"
        run = with_probabilities(session.run, contract.task if contract else None)
        self._raw = guarded(session.run, failed)
        self._run = guarded(run, failed) if has_labels else self._no_scores
        self.output_shape = session.output_shape if has_labels or not contract else contract.output_shape
        self.answer = self.scores if has_labels else self.outputs
        self._items = _reader_of(path, session)
        self._dtype = session.dtype
        self._ready = (session.batch or 1, *session.shape)
        self.ready = self._ready, self._dtype

    def scores(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Scores of items.

        Args:
            batch: Items, shape (N, *shape), or one item, shape `shape`; the channel of grey images may be left out. Of
                several inputs: an array for each, as a dictionary or a tuple in their order, or one structured array.
                uint8 arrays are raw pixels; floats are in the same units (0-255 for pixels, not 0-1) and are
                quantized by the file's parameters. Models of integers, such as tokens, take whole numbers.

        Returns:
            Probabilities, float32, shape (N, labels): logits go through softmax, a single sigmoid becomes two columns.
            They sum to 1, except for "multilabel". The outputs of a file without a contract are returned unchanged.

        Raises:
            InputError: The shape does not fit, a value is not finite, pixels look as if they were scaled to 0-1, or
                the model has no labels: `outputs` returns what it computes.
        """
        # The usual case in a loop on a board: nothing to convert, so this test is the only overhead.
        if type(batch) is np.ndarray and batch.dtype == self._dtype and batch.shape == self._ready:
            return self._run(batch)
        return self._items.answers(self._run, batch, len(self.labels))

    def outputs(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """What the file returns for items, without softmax: float32, shape (N, *output_shape).

        Items and errors are those of `scores`.
        """
        if type(batch) is np.ndarray and batch.dtype == self._dtype and batch.shape == self._ready:  # as in `scores`
            values = self._raw(batch)
        else:
            values = self._items.answers(self._raw, batch, self._session.classes)
        return values.reshape(len(values), *self.output_shape)

    def classify(self, image: ImageLike, top: int = 5, **others: ImageLike) -> list[Prediction]:
        """Classify an image.

        Args:
            image: Path of an image or of a `.npy` array, such a file's bytes, a PIL image, or an array of one item. An
                image of another size or colour is converted to what the model takes, as in training. Of a model of
                sound, the path or the bytes of a WAV file, whose answer is the mean of its windows'.
            top: Largest number of classes to return.
            others: The other inputs of a model of several, by their names, each as for `image`, or numbers:
                `classify("part.jpg", values=[20.5, 0.3])`. `image` is then the first input; or a dictionary of all, an
                `.npz` of them, or an item of a structured array.

        Returns:
            The classes with the highest scores, best first, regardless of the threshold (see `decide`). The scores are
            calibrated probabilities if `edgepress calibrate` was run on the file. For "multilabel", the labels that
            reach the threshold, best first, at most `top` and possibly none; `scores` has those of all labels.

        Raises:
            InputError: The image can't be read or does not fit.
        """
        return self.judge(image, top, **others).classes

    def judge(self, image: ImageLike, top: int = 5, **others: ImageLike) -> Answer:
        """Classify an image, and say whether the answer is accepted.

        Args:
            image: As for `classify`.
            top: Largest number of classes to return.
            others: As for `classify`.

        Returns:
            The classes as `classify` returns them, and whether the answer is accepted.
        """
        return self.judge_in(image, top, **others)[0]

    def judge_in(self, image: ImageLike, top: int = 5, **others: ImageLike) -> tuple[Answer, float]:
        """The same, and the milliseconds that it took without keeping the picture."""
        begin = time.perf_counter()
        if top < 1:
            raise InputError(f"top is {top}; at least 1 is needed.")
        self.require_labels()
        if self.crop is None:
            item, scores = self.item_and_scores(image, **others)
        else:
            item, image = self._items.prepare_part(image, self.crop)
            scores = self.scores(item[np.newaxis])
        certainty = None if self.drift is None else self.limits.certainty(scores)
        drift = None if self.drift is None or certainty is None else self.drift.look(item, float(certainty[0]))
        answer = self.answer_to(scores, top, drift, certainty)
        if self.events is not None:
            answer = self.events.look(answer, scores, top)
        ms = (time.perf_counter() - begin) * 1e3
        if self.keeper is not None:
            self.keeper.look(image, item, self.limits.probabilities(scores)[0])
        return answer, ms

    def answer_to(
        self,
        scores: npt.NDArray[np.float32],
        top: int,
        drift: dict[str, Any] | None,
        certainty: npt.NDArray[np.float32] | None = None,
    ) -> Answer:
        """The answer that scores of one item, shape (1, labels), mean, with the state of the test for drift.

        `certainty` is that of the scores, shape (1,), if it is known.
        """
        accepted = self.limits.accepted(scores, certainty)
        each = self.contract is not None and self.contract.task == "multilabel"
        rows = decided_rows(scores[0], self.contract) if each else np.argsort(-scores[0], kind="stable")
        classes = self._with_name(self.limits.probabilities(scores)[0], rows[:top])
        if accepted is None:
            return Answer(classes, None, drift)
        promised = self.limits.promises(self.engine) and not (drift or {}).get("alarm")
        return Answer(classes, bool(accepted[0]), drift, promised)

    def watch_drift(self, learn: int | None = None, on_alarm: Callable[[str], None] | None = None) -> None:
        """Let `judge` notice that images, or sounds, are no longer like those of a reference.

        Args:
            learn: Learn the reference from so many scenes, or windows of sound; None takes that of the contract.
            on_alarm: Called once if there is an alarm, with what it means.

        Raises:
            InputError: There is no reference for this engine, or `learn` is out of range.
        """
        self.require_labels()
        self.require_one_input("drift is not watched")
        contract = self.contract
        stored = contract.drift if contract is not None else None
        reference = reference_in(str(self.path), stored, engine=self.engine, learn=learn)
        counted: Counted = "scenes" if contract is not None and contract.input.is_image else "items"
        if contract is not None and contract.sound is not None:
            counted = "windows"
        self.drift = DriftWatch(reference, learn=learn or 0, engine=self.engine, counted=counted, on_alarm=on_alarm)

    def keep_pictures(
        self, folder: str | os.PathLike[str], quota: int = QUOTA, on_trouble: Callable[[str], None] | None = None
    ) -> None:
        """Let `judge` keep pictures to label later: no scene twice at a time, as many of each class (`keeping`).

        Args:
            folder: The folder to keep them in; what another process kept there goes on.
            quota: Number of pictures at most.
            on_trouble: Called once, with the reason, if pictures can't be written.

        Raises:
            InputError: The model does not take images, or the folder or the quota can't be used.
            MissingExtraError: Pillow is not installed.
        """
        self.require_labels()
        self.require_one_input("no pictures can be kept")
        if self.contract is None or not self.contract.input.is_image:
            problem = "has no contract" if self.contract is None else "takes tensors, not images"
            raise InputError(f"{self.path} {problem}, so no pictures can be kept.", "Leave out --keep.")
        about: dict[str, Any] = {"labels": self.labels, "model": self.path.name}
        self.keeper = Keeper(Path(folder), quota, **about, prepare=self.prepare, on_trouble=on_trouble)

    def decide(self, image: ImageLike, **others: ImageLike) -> list[Prediction]:
        """Classify an image, applying the threshold if there is one.

        Args:
            image: As for `classify`.
            others: As for `classify`.

        Returns:
            The best class; `unknown` if the answer is not accepted; for "sigmoid" the positive class if it reaches the
            threshold, else the negative; for "multilabel" every label that reaches it, best first, possibly none.
        """
        return self.decision(self.item_and_scores(image, **others)[1])

    def decision(self, batch: npt.NDArray[np.float32]) -> list[Prediction]:
        """What `decide` returns, from scores of one item, shape (1, labels)."""
        accepted = self.limits.accepted(batch)
        scores = self.limits.probabilities(batch)[0]
        if accepted is not None and not accepted[0]:
            return [Prediction(UNKNOWN, float(scores.max()))]
        return self._with_name(scores, decided_rows(batch[0], self.contract))

    def prepare(self, image: ImageLike, /, **others: ImageLike) -> npt.NDArray[Any]:
        """One item as the model takes it, an array of shape `shape`, from anything that `classify` accepts."""
        return self._items.prepare(image, **others)

    def require_labels(self) -> None:
        """Raise InputError if the model has no labels, so that nothing can be classified with it."""
        if not self.labels:
            shape = " x ".join(map(str, self.output_shape))
            why = "its task is none" if self.contract else f"it returns {shape} numbers"
            hint = "Model.outputs(batch) returns what it computes; bench and selftest need no labels."
            raise InputError(f"{self.path} has no labels ({why}), so it classifies nothing.", hint)

    def require_one_input(self, therefore: str) -> None:
        """Raise InputError, which says what follows, if the model has several inputs."""
        if self.inputs:
            raise InputError(f"{self.path} has the inputs {', '.join(self.inputs)}, so {therefore}.", "Use classify.")

    def item_and_scores(
        self, image: ImageLike, /, **others: ImageLike
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        """An item, shape `shape`, and its scores, shape (1, labels); of a recording one window and the mean of all.

        Args:
            image: As for `classify`.
            others: As for `classify`.
        """
        if self.contract is not None and (sound := self.contract.sound) is not None and not others:
            from edgepress.runtime.sound.windows import is_recording, items_of

            if is_recording(image):
                total = np.zeros((1, len(self.labels)))
                count = 0
                for batch in items_of(image, sound, self.shape):  # one at least
                    total += self.scores(batch).sum(axis=0, dtype=np.float64)
                    count += len(batch)
                return batch[0], (total / count).astype(np.float32)
        item = self.prepare(image, **others)
        return item, self.scores(item[np.newaxis])

    def _no_scores(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        self.require_labels()
        raise AssertionError("it has labels")

    def _with_name(self, scores: npt.NDArray[np.float32], rows: npt.NDArray[np.integer]) -> list[Prediction]:
        return [Prediction(self.labels[i], float(scores[i])) for i in rows]


def _reader_of(path: Path, session: Session) -> ItemReader:
    if session.dtype.names is None:
        return ItemReader(path, session)
    from edgepress.runtime.several import RecordReader

    return RecordReader(path, session)


def load(
    path: str | os.PathLike[str],
    engine: str | None = None,
    threads: int | None = None,
    contract: Contract | str | os.PathLike[str] | None = None,
    *,
    keep_state: bool = False,
) -> Model:
    """Open a model file.

    Args:
        path: A `.tflite` or `.onnx` file.
        engine: One of `ENGINES`; None takes the first installed one that opens the file.
        threads: Threads that the engine may use, at least 1; None means 1.
        contract: The contract to use, or the path of one in JSON, as `edgepress annotate` writes it; None uses the one
            in the file.
        keep_state: Keep the state of a recurrent file from item to item, for frames of one stream; by default, every
            item is answered as if it were the first. `Model.reset` begins anew.

    Raises:
        ModelFileError: The file or the contract is missing, damaged, of another kind, or not a classifier, or there is
            no state to keep.
        EngineError: The engine is unknown or does not open this kind of file.
        MissingExtraError: The engine is not installed.
        InputError: `threads` is out of range.
    """
    threads = 1 if threads is None else threads
    if not 1 <= threads <= 256:
        raise InputError(f"threads is {threads}; accepted: 1 to 256.")
    file = Path(path)
    if (text := str(file)) != text.encode(errors="replace").decode():
        raise ModelFileError(f"{file} can't be opened: engines need names in UTF-8.", "Rename it, or its folder.")
    LIMIT.began = time.monotonic()
    try:
        name, session = open_session(file, engine, threads)
    finally:
        LIMIT.began = None
    if keep_state and not session.stateful:
        hint = "Leave out --keep-state (keep_state)."
        raise ModelFileError(f"{file} has no state to keep: it answers every item alone.", hint)
    session.keep_state = keep_state
    if contract is not None:
        session.contract = contract if isinstance(contract, Contract) else contract_in(contract)
    return Model(file, name, threads, session)
