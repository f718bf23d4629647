"""What workers send and what lies in a store is checked field by field: it is right, or it is absent, with a note."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweep_results import WHOLE, whole_job, write_files

from edgepress.converters.files import sha256_of_file
from edgepress.toolkit.errors import LostProcessError, StoreError, SweepError
from edgepress.toolkit.search.cluster.cluster import ClusterRunner
from edgepress.toolkit.search.cluster.setup import Where
from edgepress.toolkit.search.sweeping.jobs import Job
from edgepress.toolkit.search.sweeping.loop import run
from edgepress.toolkit.search.sweeping.store import ENTRY, Entry, Store, digest

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["../../etc/passwd", "/etc/passwd", "entry.json", "model.keras", "\ud800", "\x1b[2J", "a" * 5000]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def stored(store: Store, kind: str) -> Entry:
    """A sound result of a kind in a store."""
    job = whole_job(kind)
    result, made, files = WHOLE[kind]
    return store.put(job.key, job.to_dict(), result, made, files=write_files(store.folder / "made", files))


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all fields and items of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield (*here, name)
        yield from places(inner, (*here, name))


def changed(document: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy of a document with another value at a place."""
    found = copy.deepcopy(document)
    inner = found
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    found.pop("check", None)
    return found


def checked(document: dict[str, Any]) -> dict[str, Any]:
    """An entry with a check that fits."""
    return document | {"check": digest(document)}


@pytest.mark.parametrize("kind", sorted(WHOLE))
def test_a_sound_result_of_each_kind_is_kept_as_it_is(tmp_path: Path, kind: str) -> None:
    entry = stored(Store(tmp_path), kind)
    result, made, files = WHOLE[kind]
    assert (entry.result, entry.made, set(entry.files)) == (result, made, set(files))


@pytest.mark.parametrize("kind", sorted(WHOLE))
@given(data=st.data())
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_value_in_any_field_of_the_store_is_absent_or_equal(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "store-checks" / kind
    if not (folder / "results").exists():
        stored(Store(folder), kind)
    key = whole_job(kind).key
    path = folder / "results" / key[:2] / key / ENTRY
    original = path.read_bytes()
    document = json.loads(original)
    place = data.draw(st.sampled_from([*places(document)]))
    value = data.draw(ANYTHING)
    notes: list[str] = []
    try:
        path.write_text(json.dumps(checked(changed(document, place, value))))
        found = Store(folder, notes.append).get(key)
        assert (found is None) == bool(notes)
        if found is not None:
            require_usable(kind, found)
            expected = changed(document, place, value)
            assert (found.result, found.made, found.hashes) == tuple(expected[n] for n in ("result", "made", "files"))
    finally:
        path.write_bytes(original)


def require_usable(kind: str, entry: Entry) -> None:
    """What the readers of results do with them."""
    result = entry.result
    if kind in ("train", "part"):
        assert 0 <= max(row["val_accuracy"] for row in result["history"][:1]) <= 1
    if kind == "train":
        assert all(0 <= result[name] <= 1 for name in ("accuracy", "val_accuracy"))
        assert entry.files["model.keras"].is_file()
        float(entry.made["training_seconds"])
    if kind == "convert":
        assert entry.files[result["file"]].stat().st_size == result["size_bytes"] > 0
    if kind == "time":
        assert 0 < result["p50_us"] < float("inf")
        assert isinstance(result["noisy"], bool)
    json.dumps(dict(result), ensure_ascii=False).encode()


DAMAGE = {
    "truncated": lambda entry, folder: entry.write_bytes(entry.read_bytes()[: len(entry.read_bytes()) // 2]),
    "empty": lambda entry, folder: entry.write_bytes(b""),
    "garbage": lambda entry, folder: entry.write_bytes(os.urandom(3000)),
    "a list": lambda entry, folder: entry.write_text("[]"),
    "deep": lambda entry, folder: entry.write_text("[" * 200_000 + "]" * 200_000),
    "huge": lambda entry, folder: os.truncate(entry, 10**13),
    "huge number": lambda entry, folder: entry.write_text("9" * 100_000),
    "NaN": lambda entry, folder: entry.write_text(entry.read_text().replace("0.75", "NaN")),
    "a folder": lambda entry, folder: (entry.unlink(), entry.mkdir()),
    "a pipe": lambda entry, folder: (entry.unlink(), os.mkfifo(entry)),
    "a link": lambda entry, folder: (entry.rename(folder / "other"), entry.symlink_to("other")),
    "a link to itself": lambda entry, folder: (entry.unlink(), entry.symlink_to(entry)),
    "endless": lambda entry, folder: (entry.unlink(), entry.symlink_to("/dev/zero")),
    "no entry": lambda entry, folder: entry.unlink(),
    "no file": lambda entry, folder: (folder / "model.keras").unlink(),
    "file is a folder": lambda entry, folder: ((folder / "model.keras").unlink(), (folder / "model.keras").mkdir()),
    "file is a pipe": lambda entry, folder: ((folder / "model.keras").unlink(), os.mkfifo(folder / "model.keras")),
    "file is a link": lambda entry, folder: (
        (folder / "model.keras").rename(folder / "m"),
        (folder / "model.keras").symlink_to("m"),
    ),
    "file is huge": lambda entry, folder: os.truncate(folder / "model.keras", 10**13),
    "file is cut off": lambda entry, folder: os.truncate(folder / "model.keras", 1),
    "the result is a file": lambda entry, folder: (shutil.rmtree(folder), folder.write_text("x")),
    "the result is a link": lambda entry, folder: (folder.rename(folder.with_name("x")), folder.symlink_to("x")),
    "the result is a link to nothing": lambda entry, folder: (shutil.rmtree(folder), folder.symlink_to("nowhere")),
    "the result is empty": lambda entry, folder: (shutil.rmtree(folder), folder.mkdir()),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and links")
@pytest.mark.parametrize("what", sorted(DAMAGE))
def test_damage_in_the_store_counts_as_absent_with_a_note_and_is_replaced(tmp_path: Path, what: str) -> None:
    entry = stored(Store(tmp_path), "train")
    folder = tmp_path / "results" / entry.key[:2] / entry.key
    DAMAGE[what](folder / ENTRY, folder)
    notes: list[str] = []
    store = Store(tmp_path, notes.append)
    assert store.get(entry.key) is None
    assert store.get(entry.key) is None
    assert len(notes) == 1, "the user is told once"
    assert entry.key in notes[0]
    assert stored(store, "train").result == entry.result
    assert store.get(entry.key) is not None


@pytest.mark.parametrize("version", [0, 2, 99, True, "1", None, 1.5])
def test_another_version_of_the_schema_counts_as_absent(tmp_path: Path, version: Any) -> None:
    entry = stored(Store(tmp_path), "time")
    path = tmp_path / "results" / entry.key[:2] / entry.key / ENTRY
    path.write_text(json.dumps(checked(changed(json.loads(path.read_text()), ("schema_version",), version))))
    assert Store(tmp_path).get(entry.key) is None


def test_a_result_under_the_key_of_another_job_counts_as_absent(tmp_path: Path) -> None:
    """Its hash fits; the key in it was changed, too."""
    store = Store(tmp_path)
    entry, other = stored(store, "time"), Job("time", {"threads": 2, "rounds": 3, "on": "here"})
    place = tmp_path / "results" / other.key[:2]
    place.mkdir(exist_ok=True)
    shutil.copytree(tmp_path / "results" / entry.key[:2] / entry.key, place / other.key)
    path = place / other.key / ENTRY
    path.write_text(json.dumps(checked(changed(json.loads(path.read_text()), ("key",), other.key))))
    assert store.get(other.key) is None


def test_what_stands_in_the_way_of_a_job_or_of_the_store_is_no_error(tmp_path: Path) -> None:
    store, job = Store(tmp_path), whole_job("time")
    (tmp_path / "partial" / job.key).symlink_to("/")
    with store.working(job.key) as folder:
        assert folder.is_dir()
        assert not folder.is_symlink()
    (tmp_path / "partial" / job.key).write_text("x")
    with store.working(job.key) as folder:
        assert folder.is_dir()
    (tmp_path / "partial" / ".link").symlink_to("nowhere")
    Store(tmp_path)


class Worker:
    """Stands in for a cluster: what a worker sends is received as `ClusterRunner` receives it."""

    title = "made up"

    def __init__(self, store: Store, answers: Mapping[str, list[bytes]]) -> None:
        self.runner, self.answers, self.begun = ClusterRunner(store, Where(count=1)), answers, 0

    def free(self, job: Job) -> bool:
        return True

    def submit(self, job: Job) -> Any:
        from concurrent.futures import Future

        self.begun += 1
        answers = self.answers[job.key]
        future: Future[None] = Future()

        class Sent:
            status = "finished"

            def result(self, timeout: float) -> bytes:
                return answers.pop(0) if len(answers) > 1 else answers[0]

            def release(self) -> None:
                pass

        self.runner._receive(future, job, Sent())
        return future


class All:
    trials = ()

    def __init__(self, *jobs: Job) -> None:
        self.jobs = list(jobs)

    def ask(self) -> list[Job]:
        jobs, self.jobs = self.jobs, []
        return jobs

    def tell(self, job: Job, outcome: Any) -> None:
        pass


def sent(tmp_path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Path]]:
    """A sound result as a worker sends it: the header and the files by their hashes."""
    job = whole_job(kind)
    result, made, names = WHOLE[kind]
    files = write_files(tmp_path / "made", names)
    hashes = {name: sha256_of_file(path) for name, path in files.items()}
    header = {"key": job.key, "job": job.to_dict(), "result": result, "made": made, "files": hashes}
    return header, {hashes[name]: path for name, path in files.items()}


def parcel(header: dict[str, Any], files: Mapping[str, Path]) -> bytes:
    """A parcel as `pack` makes it; it may hold infinity, as that of a hostile worker."""
    contents = {sha256: path.read_bytes() for sha256, path in files.items()}
    sizes = [[sha256, len(content)] for sha256, content in contents.items()]
    text = json.dumps({"header": {"result": header}, "files": sizes}).encode()
    return b"".join((len(text).to_bytes(8, "big"), text, *contents.values()))


BAD: list[tuple[str, str, Any]] = [
    ("train", "result.accuracy", 7),
    ("train", "result.accuracy", True),
    ("train", "result.val_accuracy", None),
    ("train", "result.val_accuracy", "0.9"),
    ("train", "result.history", []),
    ("train", "result.history.0.val_accuracy", 1e300),
    ("train", "result.extra", 1),
    ("train", "result.parameters", -1),
    ("train", "result.best_epoch", 3),
    ("train", "made.training_seconds", -1),
    ("train", "made.created", "yesterday\x1b[2J"),
    ("train", "made.extra", 1),
    ("train", "extra", 1),
    ("train", "key", "0" * 64),
    ("train", "files", {}),
    ("train", "files", "../../../../tmp/x"),
    ("train", "files", "entry.json"),
    ("train", "files", "a" * 300),
    ("train", "files", "a\0b"),
    ("train", "result", []),
    ("part", "files", "model.keras"),
    ("convert", "result.file", "../model.tflite"),
    ("convert", "result.size_bytes", 0),
    ("convert", "result.size_bytes", 10**9),
    ("convert", "result.scheme", "onnx-int8"),
    ("convert", "result.engine", "other"),
    ("convert", "result.notes", ["\ud800"]),
    ("convert", "result.proof.items", "many"),
    ("time", "result.p50_us", 0),
    ("time", "result.p50_us", 1e999),
    ("time", "result.noisy", 1),
    ("time", "result.round_medians_us.0", -1),
]


@pytest.mark.parametrize(("kind", "where", "value"), BAD)
def test_a_bad_result_is_a_failed_attempt_of_its_worker(tmp_path: Path, kind: str, where: str, value: Any) -> None:
    header, files = sent(tmp_path, kind)
    place = tuple(int(name) if name.isdigit() else name for name in where.split("."))
    if where == "files" and isinstance(value, str):
        value = header["files"] | {value: next(iter(files))}
    bad = changed(header, place, value)
    job = whole_job(kind)
    store = Store(tmp_path / "store")
    worker = Worker(store, {job.key: [parcel(bad, files), parcel(header, files)]})
    error = worker.submit(job).exception()
    assert isinstance(error, LostProcessError), error
    assert not isinstance(error, StoreError)
    assert store.get(job.key) is None
    assert not [*(store.folder / "partial").iterdir()]
    outcome = run(All(job), worker, store)[job.key]
    assert isinstance(outcome, Entry), "the next attempt is accepted"
    assert outcome.result == WHOLE[kind][0]


def test_a_worker_that_sends_bad_results_only_fails_the_job_and_no_other(tmp_path: Path) -> None:
    header, files = sent(tmp_path, "time")
    bad = changed(header, ("result", "p50_us"), -1.0)
    job, good = whole_job("time"), whole_job("part")
    right, right_files = sent(tmp_path / "b", "part")
    answers = {job.key: [parcel(bad, files)], good.key: [parcel(right, right_files)]}
    outcomes = run(All(job, good), Worker(store := Store(tmp_path / "store"), answers), store)
    assert isinstance(outcomes[good.key], Entry)
    assert isinstance(outcomes[job.key], SweepError)
    assert "p50_us" in str(outcomes[job.key])


@given(data=st.data())
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_a_worker_sends_is_accepted_as_it_is_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    kind = data.draw(st.sampled_from(["train", "part", "convert", "time"]))
    folder = tmp_path_factory.mktemp("sent")
    header, files = sent(folder, kind)
    place = data.draw(st.sampled_from([*places(header)]))
    bad = changed(header, place, data.draw(ANYTHING))
    job, store = whole_job(kind), Store(folder / "store")
    try:
        ClusterRunner(store, Where(count=1))._keep(job, parcel(bad, files))
    except LostProcessError:
        assert store.get(job.key) is None
    else:
        entry = store.get(job.key)
        assert entry is not None
        assert (entry.result, entry.made) == (bad["result"], bad["made"])
        require_usable(kind, entry)
    finally:
        shutil.rmtree(folder)
