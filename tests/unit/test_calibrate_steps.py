"""What `calibrate` does around its fit, with workers, files and data that are given here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from edgepress.converters.process.worker import ChildDied
from edgepress.runtime.decisions import decide as real_decide
from edgepress.toolkit.data.reading import STRICT, Reading
from edgepress.toolkit.errors import EdgepressError, InputError
from edgepress.toolkit.machine import environments
from edgepress.toolkit.measurement.calibrating import calibrate as module
from edgepress.toolkit.measurement.calibrating.calibrate import Calibrated, answers_to, calibrate
from edgepress.toolkit.measurement.calibrating.fit import Fit
from edgepress.toolkit.measurement.calibrating.references import Wish

SKIPPING = Reading(skip_unreadable=True)
SCORES = np.float32([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])


@pytest.mark.parametrize(
    ("given", "wish"),
    [
        (("2%", None, 0.95), Wish("error", 0.02, 0.95)),
        ((None, 0.05, "90%"), Wish("rejected", 0.05, 0.9)),
        ((0.999, None, 0.001), Wish("error", 0.999, 0.001)),
    ],
)
def test_one_share_is_promised(given: Any, wish: Wish) -> None:
    assert module._wish(*given) == wish


@pytest.mark.parametrize(
    "given",
    [(None, None, 0.95), (0.1, 0.1, 0.95), (0, None, 0.95), (1, None, 0.95), (None, 0.0, 0.95), (None, 1.0, 0.95),
     (0.1, None, 0), (0.1, None, 1)],
)  # fmt: skip
def test_other_promises_are_refused(given: Any) -> None:
    with pytest.raises(InputError):
        module._wish(*given)


def test_copies_have_the_names_of_the_files_unless_they_lie_beside_them(tmp_path: Path) -> None:
    here, there, new = tmp_path / "here", tmp_path / "there", tmp_path / "new"
    for folder in (here, there):
        folder.mkdir()
    paths = [here / "a.tflite", there / "b.onnx"]
    assert module.targets_of(paths, new) == [new / "a.tflite", new / "b.onnx"]
    assert module.targets_of(paths, here) == [here / "a-calibrated.tflite", here / "b.onnx"]
    assert module.targets_of([tmp_path / "none" / "a.onnx"], here) == [here / "a.onnx"]
    with pytest.raises(InputError, match=r"a\.onnx"):
        module.targets_of([here / "a.onnx", there / "a.onnx"], new)
    assert len(module.targets_of([here / "a.onnx", there / "a.onnx"], here)) == 2
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is not a folder"):
        module.targets_of(paths, tmp_path / "file")


def contract(**options: Any) -> Any:
    made = SimpleNamespace(**{"task": "softmax", "adapter": None, "limits": None, "threshold": None} | options)
    made.replace = lambda **changed: contract(**{**made.__dict__, **changed})
    return made


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Files whose contracts have a task, on a machine with some engines."""

    def install(task: str = "softmax", engines: tuple[str, ...] = ("litert", "onnxruntime")) -> None:
        about = SimpleNamespace(
            contract=contract(task=task), numbered=True, contract_json="given", notes=("of the file",)
        )
        about.labelled = lambda opened: SimpleNamespace(**{**about.__dict__, "labelled": opened})
        monkeypatch.setattr(module, "describe", lambda path: about)
        monkeypatch.setattr(module, "file_format", lambda path: path.suffix)
        monkeypatch.setattr(environments, "usable_engines", lambda kind: dict.fromkeys(engines))
        monkeypatch.setattr(
            module, "data_for", lambda contract, source, **options: ((source, options), ("of the data",))
        )

    return install


@pytest.mark.parametrize(("engine", "expected"), [(None, "litert"), ("onnxruntime", "onnxruntime")])
def test_a_file_is_opened_on_the_first_engine_or_on_the_one_that_is_named(
    described: Any, engine: str | None, expected: str
) -> None:
    described()
    subject: Any = module._describe(Path("net.tflite"), "digits", None, engine=engine, reading=SKIPPING)
    assert (subject.candidate.engine, subject.candidate.file, subject.candidate.contract) == (
        expected,
        Path("net.tflite"),
        "given",
    )
    options = {"where": Path("net.tflite"), "numbered": True, "reading": SKIPPING}
    assert subject.opened == ("digits", options)
    assert subject.about.labelled == subject.opened
    assert subject.notes == ("of the file", "of the data")


def test_files_that_cannot_be_calibrated_are_refused(described: Any) -> None:
    described("regression")
    with pytest.raises(InputError, match="regression"):
        module._describe(Path("net.tflite"), None, None, engine=None, reading=STRICT)
    described()
    with pytest.raises(InputError, match="unknown"):
        module._describe(Path("net.tflite"), None, None, engine="other", reading=STRICT)
    described(engines=())
    with pytest.raises(InputError, match="No installed engine"):
        module._describe(Path("net.tflite"), None, None, engine=None, reading=STRICT)
    for task in ("softmax", "logits", "sigmoid"):
        described(task)
        module._describe(Path("net.tflite"), None, None, engine=None, reading=STRICT)
    with pytest.raises(InputError, match="No file"):
        calibrate(max_error=0.1)
    wrong: Any = [0.1]
    with pytest.raises(TypeError, match="max_error"):
        calibrate("net.tflite", max_error=wrong)


class Items:
    """Test items."""

    y = np.array([0, 1, 1])

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def read(self, rows: slice) -> np.ndarray:
        return np.arange(self.count)[rows]


def data_of(count: int) -> Any:
    test = Items(count)
    return SimpleNamespace(test=test, labels=("a", "b"), input="input", source="digits", table=None, sound=None)


def subject_of(others: Any = None, **options: Any) -> Any:
    about: Any = SimpleNamespace(contract=contract(**options))
    return module._Subject(about, module.Candidate(Path("net.tflite"), "litert"), data_of(3), others, ("a note",))


@pytest.mark.parametrize(("accepted", "right"), [(None, [True] * 3), (np.array([True, False, True]),) * 2])
def test_answers_of_a_calibrated_file_are_right_and_accepted(
    monkeypatch: pytest.MonkeyPatch, accepted: Any, right: Any
) -> None:
    subject = subject_of(limits=SimpleNamespace(accepted=lambda scores: accepted))
    monkeypatch.setattr(module, "_describe", lambda file, data, unknown, **options: subject)
    monkeypatch.setattr(module, "_scores", lambda candidate, data, on_items: SCORES)
    monkeypatch.setattr(module, "decide", lambda scores, contract: (scores.argmax(axis=1), None))
    found = answers_to(Path("net.tflite"), data_of(3), engine="litert")
    assert found[0].tolist() == [True, True, False]
    assert found[1].tolist() == list(right)
    assert found[1].dtype == bool


def fitted(accept: Any = None, unknown: Any = None) -> Any:
    limits: Any = SimpleNamespace(accept=accept, probability="probability", unknown=unknown)
    return SimpleNamespace(limits=limits, drift="drift")


@pytest.mark.parametrize("promised", [True, False])
@pytest.mark.parametrize("unknown", [None, "others"])
def test_a_file_is_fitted_to_its_scores_and_copied_if_something_is_promised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, promised: bool, unknown: str | None
) -> None:
    calls: dict[str, Any] = {"written": [], "shares": []}

    def scores(candidate: Any, data: Any, on_items: Any) -> np.ndarray:
        on_items(2)
        return SCORES[: len(data.test)]

    def fit(*args: Any, **options: Any) -> Any:
        calls["fit"] = args, options
        return fitted("accept" if promised else None, "references")

    monkeypatch.setattr(module, "_scores", scores)
    monkeypatch.setattr(module, "fit", fit)
    monkeypatch.setattr(module, "decide", lambda scores, contract: ("decided", None))
    monkeypatch.setattr(module, "write_annotated", lambda *given: calls["written"].append(given))
    wish = Wish("error", 0.1, 0.9)
    target = tmp_path / "net.tflite"
    subject = subject_of(None if unknown is None else data_of(2))
    found = module._calibrate(subject, target, wish, calls["shares"].append)
    (given, y, wished), options = calls["fit"]
    assert given.tolist() == SCORES.tolist()
    assert (y.tolist(), wished) == ([0, 1, 1], wish)
    unlike = options.pop("unknown")
    assert (None if unlike is None else len(unlike)) == (None if unknown is None else 2)
    assert options == {"engine": "litert", "data": "digits", "decided": "decided"}
    assert calls["shares"] == ([2 / 3] if unknown is None else [2 / 5, 5 / 5])
    assert (found.path, found.earlier) == (target if promised else None, None)
    assert (found.engine, found.data, found.notes, found.wish, found.ends) == (
        "litert",
        "digits",
        ("a note",),
        wish,
        True,
    )
    if promised:
        ((file, written, to),) = calls["written"]
        assert (file, to) == (Path("net.tflite"), target)
        assert (written.probability, written.accept, written.unknown, written.drift) == (
            "probability",
            "accept",
            "references",
            "drift",
        )
    else:
        assert not calls["written"]
        target.write_text("")
        assert module._calibrate(subject, target, wish, lambda share: None).earlier == target


@pytest.mark.parametrize(
    ("task", "adapter", "ends"),
    [
        ("softmax", None, True),
        ("logits", None, False),
        ("sigmoid", SimpleNamespace(sigmoid=True), False),
        ("sigmoid", SimpleNamespace(sigmoid=False), True),
    ],
)
def test_a_file_ends_in_a_softmax_unless_it_or_its_adapter_leaves_it_out(
    monkeypatch: pytest.MonkeyPatch, task: str, adapter: Any, ends: bool
) -> None:
    monkeypatch.setattr(module, "_scores", lambda candidate, data, on_items: SCORES)
    monkeypatch.setattr(module, "fit", lambda *args, **options: fitted())
    monkeypatch.setattr(module, "decide", lambda scores, contract: real_decide(scores, None))
    subject = subject_of(task=task, adapter=adapter)
    assert module._calibrate(subject, Path("none"), Wish("error", 0.1, 0.9), lambda share: None).ends is ends


@pytest.mark.parametrize("unknown", [True, False])
def test_the_document_has_no_references(unknown: bool) -> None:
    from edgepress.runtime.acceptance import AnswerLimits, Unknown, stored_directions

    references = stored_directions(np.float32([[0.6, -0.6]]))
    given = Unknown(references=references, labels=2, at_least=0.5, floor=0.01) if unknown else None
    fit = Fit(AnswerLimits(unknown=given), 12, 0.5, (0.1, 0.2), (0.3, 0.4))
    one = Calibrated(Path("a"), Path("b"), None, "litert", "digits", ("n",), fit, Wish("error", 0.1, 0.9))
    assert one.ends
    made = one.to_dict()
    assert made["limits"]["unknown"] == ({"labels": 2, "at_least": 0.5, "floor": 0.01} if unknown else None)
    assert (made["file"], made["calibrated"], made["earlier"]) == ("a", "b", None)
    assert (made["promise"], made["limit"], made["confidence"], made["notes"]) == ("error", 0.1, 0.9, ["n"])
    other = Calibrated(Path("a"), None, Path("c"), "litert", "digits", (), fit, Wish("error", 0.1, 0.9)).to_dict()
    assert (other["calibrated"], other["earlier"]) == (None, "c")


def test_files_are_calibrated_one_after_the_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shares: list[Any] = []
    seen: list[Any] = []

    def one(subject: Any, target: Path, wish: Wish, progress: Any) -> Any:
        progress(0.5)
        seen.append((subject, target, wish))
        return target

    monkeypatch.setattr(module, "_describe", lambda path, data, unknown, **options: (path.name, unknown))
    monkeypatch.setattr(module, "_calibrate", one)
    files = [tmp_path / "a.onnx", tmp_path / "other" / "b.onnx"]
    found: Any = calibrate(*files, max_error=0.1, unknown="others", on_progress=lambda *given: shares.append(given))
    folder = tmp_path / "calibrated"
    assert found == [folder / "a.onnx", folder / "b.onnx"]
    assert shares == [("scores", 0.25), ("scores", 0.75)]
    assert seen[1] == (("b.onnx", "others"), folder / "b.onnx", Wish("error", 0.1, 0.95))
    assert calibrate(files[0], max_error=0.1, out=tmp_path / "out") == [tmp_path / "out" / "a.onnx"]


class Workers:
    """A worker that answers the items that it gets, or dies."""

    died = False

    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, **options: Any) -> None:
        Workers.options = options

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *given: object) -> None:
        pass

    def call(self, what: Any, given: Any) -> Any:
        if self.died:
            raise ChildDied("died", -11)
        return [None] if what is module.open_candidate else [np.stack([given, -given], axis=1)]


def test_scores_are_those_of_all_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    stops: list[int] = []
    monkeypatch.setattr(module, "Worker", Workers)
    monkeypatch.setattr(module, "python_for", lambda engine: f"python of {engine}")
    monkeypatch.setattr(module, "shards", lambda data: [slice(0, 2), slice(2, 3)])
    found = module._scores(module.Candidate(Path("net.tflite"), "litert"), data_of(3), stops.append)
    assert found.tolist() == [[0, 0], [1, -1], [2, -2]]
    assert stops == [2, 3]
    assert Workers.options == {"python": "python of litert", "silence_s": 600}


def test_unknown_items_take_the_place_of_test_items(monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    @dataclasses.dataclass
    class Opened:
        labels: Any

    seen: list[Any] = []
    monkeypatch.setattr(module, "open_data", lambda source, **options: seen.append((source, options)) or Opened("own"))
    monkeypatch.setattr(module, "without_labels", lambda opened, most: seen.append(most) or opened)
    found: Any = module._open_unknown("folder", data_of(3), reading=SKIPPING)
    assert found.labels == ("a", "b")
    assert seen == [("folder", {"input": "input", "purpose": "calibration", "skip_unreadable": True}), 5000]


def test_a_file_that_ends_its_process_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Worker", type("Dying", (Workers,), {"died": True}))
    monkeypatch.setattr(module, "python_for", lambda engine: "python")
    with pytest.raises(EdgepressError, match=r"net\.tflite"):
        module._scores(module.Candidate(Path("net.tflite"), "litert"), data_of(3), print)
