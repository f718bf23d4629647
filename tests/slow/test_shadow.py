"""The shadow run of `run update`: both releases answer the same frames, and limits decide about the switch."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scripts
from PIL import Image
from releasing import accept_changes

from edgepress.runtime.crop import read_crop
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.system import boot_s, read_text
from edgepress.runtime.updates import frames, shadow, shadow_process
from edgepress.runtime.updates.frames import FrameKeeper, read_frames
from edgepress.runtime.updates.place import read_place
from edgepress.runtime.updates.shadow import is_below
from edgepress.runtime.updates.shown import shadow_lines, status_lines, update_lines

sys.path.insert(0, str(scripts.ROOT / "benchmarks" / "updates"))
simulated = importlib.import_module("simulated")
How = simulated.How
LIMITS = {"frames": 60, "max_slowdown": 3.0, "min_agreement": 0.95, "measured": {}}
"""Limits of the releases here."""


@pytest.fixture
def service(board: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A service that answers a frame every few milliseconds, after it was started."""
    folder = tmp_path / "run" / "edgepress-demo"
    folder.mkdir(parents=True)
    monkeypatch.setattr(frames, "RUN", folder.parent)
    monkeypatch.setattr(frames, "LOOK_S", 0.02)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    ended = threading.Event()

    def answer() -> None:
        keeper = FrameKeeper(board.prefix / "current" / "model.tflite")
        count = 0
        while not ended.wait(0.002):
            number = count % 60  # each run of 60 frames holds all of them, in turn from both halves
            keeper.keep(bytes([number // 2 + 30 * (number % 2)]) * 50)
            count += 1

    thread = threading.Thread(target=answer, daemon=True)
    yield thread.start
    ended.set()
    if thread.is_alive():
        thread.join()


def publish(publisher: Any, release: int, how: Any, **limits: Any) -> None:
    publisher.publish(release, made={"how": how, "shadow": LIMITS | limits})


def test_a_release_that_answers_alike_is_switched_to(publisher: Any, board: Any, service: Callable[[], None]) -> None:
    service()
    publish(publisher, 2, How())
    assert board.attempt(publisher.site) == "installed 2"
    found = board.status()["shadow"]
    assert (found["release"], found["source"], found["frames"], found["agreement"]) == (2, "service", 60, 1.0)
    assert found["why"] == ""
    assert 0.3 < found["slowdown"] < 3
    assert found["new"]["p99_us"] >= found["new"]["p50_us"] > 200
    assert found["new"]["memory_bytes"] > 1_000_000
    assert not (board.prefix / "updates" / "frames.json").exists()


REFUSED = {
    "slower": (How(us=2000), "times as long as the release in use; accepted: 3"),
    "differs": (How(differs=30), "accepted: at least 95.0%"),
    "crashes": (How(crashes=1), "The new release ended with exit code 9"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_release_that_is_worse_is_refused_and_not_tried_again(
    name: str, publisher: Any, board: Any, service: Callable[[], None]
) -> None:
    service()
    how, words = REFUSED[name]
    publish(publisher, 2, how)
    assert words in board.attempt(publisher.site)
    assert board.running() == 1
    (why,) = board.status()["refused"].values()
    assert words in why
    assert len(list((board.prefix / "releases").iterdir())) == 1
    assert board.attempt(publisher.site) == "nothing new"


def test_without_a_service_items_of_the_self_test_are_timed_and_agreement_is_not_judged(
    publisher: Any, board: Any
) -> None:
    publish(publisher, 2, How(us=2000))
    assert "times as long" in board.attempt(publisher.site)
    publish(publisher, 3, How(differs=100))
    assert board.attempt(publisher.site) == "installed 3"
    found = board.status()["shadow"]
    assert (found["source"], found["frames"], found["agreement"], found["min_agreement"]) == (
        "self-test",
        60,
        None,
        None,
    )


def test_a_service_without_requests_does_not_keep_an_update_waiting(
    publisher: Any, board: Any, service: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "WAIT_S", 0.2)
    publish(publisher, 2, How())
    assert board.attempt(publisher.site) == "installed 2"
    assert board.status()["shadow"]["source"] == "self-test"


def test_the_option_counts_more_than_the_release(publisher: Any, board: Any) -> None:
    publish(publisher, 2, How(us=3000))
    assert board.update(publisher.site, "--shadow", "0")["result"] == "installed"
    assert board.status()["shadow"] is None
    publisher.publish(3)
    assert board.update(publisher.site, "--shadow", "7")["result"] == "installed"
    assert board.status()["shadow"]["frames"] == 7


def test_agreement_is_judged_where_it_was_measured(publisher: Any, board: Any, service: Callable[[], None]) -> None:
    service()
    sha256 = shadow.model_in(read_place(board.prefix / "current").release_folder)[1]
    publish(publisher, 2, How(differs=30), min_agreement=None, measured={"0" * 64: 0.9})
    assert board.attempt(publisher.site) == "installed 2"
    publish(publisher, 3, How(), min_agreement=None, measured={sha256: 0.9})
    assert board.attempt(publisher.site) == "installed 3"
    sha256 = shadow.model_in(read_place(board.prefix / "current").release_folder)[1]
    publish(publisher, 4, How(differs=30), min_agreement=None, measured={sha256: 0.9})
    assert "accepted: at least 90.0%" in board.attempt(publisher.site)


def test_a_release_in_use_that_does_not_answer_keeps_no_newer_one_away(publisher: Any, board: Any) -> None:
    how = board.prefix / "current" / "samples" / "how.json"
    how.unlink()
    accept_changes(board.prefix / "current")
    publish(publisher, 2, How())
    assert board.attempt(publisher.site) == "installed 2"
    assert board.status()["shadow"]["source"] == "none"


def test_a_release_that_hangs_is_refused(publisher: Any, board: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_process, "ANSWER_S", 2.0)
    publish(publisher, 2, How(us=60_000_000))
    began = time.monotonic()
    assert "gave no answer in 2 s" in board.attempt(publisher.site)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("limits", [{"frames": -1}, {"frames": "x"}, {"min_agreement": 2}, None, 3])
def test_limits_that_edgepress_does_not_write_are_a_verdict(publisher: Any, board: Any, limits: Any) -> None:
    settings = json.dumps({"schema_version": 1, "name": "demo", "url": "", "shadow": limits}).encode()
    (board.prefix / "current" / "updates" / "settings.json").write_bytes(settings)
    with pytest.raises(shadow.VerdictError, match="is damaged"):
        shadow.read_limits(board.prefix / "current")


def wanted(count: object, **changed: object) -> str:
    """A request for frames."""
    return json.dumps({"frames": count, "boot": "this", "until_s": 1e12, **changed})


def test_a_request_that_was_left_behind_is_removed_by_the_next_update(publisher: Any, board: Any) -> None:
    request = board.prefix / "updates" / "frames.json"
    request.write_text(wanted(2))
    assert board.attempt(publisher.site) == "nothing new"
    assert not request.exists()


def test_the_service_keeps_frames_only_while_they_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "releases" / "a" / "model.tflite"
    model.parent.mkdir(parents=True)
    request = tmp_path / "updates" / "frames.json"
    request.parent.mkdir()
    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(kept))
    keeper = FrameKeeper(model)
    keeper.keep(b"a")
    assert list(kept.iterdir()) == []
    (tmp_path / "boot").write_text("this\n")
    monkeypatch.setattr(frames, "BOOT_ID", tmp_path / "boot")
    request.write_text(wanted(2))
    for body in (b"b", b"c", b"d"):
        keeper.keep(body)
    asked = request.stat().st_mtime_ns
    assert read_frames(kept, asked, 9) == [b"b", b"c"]
    assert read_frames(kept, asked + 1, 9) == []
    request.unlink()
    keeper.keep(b"e")
    assert list(kept.iterdir()) == []
    monkeypatch.setattr(frames, "MAX_FRAMES_BYTES", 10)
    request.write_text(wanted(5))
    keeper.keep(b"x" * 11)
    keeper.keep(b"x" * 6)
    keeper.keep(b"x" * 6)
    assert [len(frame) for frame in read_frames(kept, request.stat().st_mtime_ns, 9)] == [6]
    for text in (
        "",
        "[]",
        '{"frames": 2}',
        wanted("many"),
        wanted(-3),
        wanted(2, boot="former"),
        wanted(2, until_s=1.0),
    ):
        request.write_text(text)
        keeper.keep(b"y")
        assert list(kept.iterdir()) == []
    request.write_text(wanted(2))
    keeper.keep(b"y")
    assert len(list(kept.iterdir())) == 1
    monkeypatch.setattr(frames, "boot_s", lambda: 2e12)  # the update was killed, and its request lies there still
    keeper.keep(b"y")
    assert list(kept.iterdir()) == []
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    FrameKeeper(Path("/model.tflite")).keep(b"z")


def test_a_service_keeps_what_it_looks_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `--crop`, which releases do not know in a shadow run: the part, and only while frames are wanted."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    (tmp_path / "updates").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    body = written.getvalue()
    crop, spec, cut = read_crop("50%,0,50%,50%"), InputSpec.image(8, 8, "rgb"), []
    keeper = FrameKeeper(
        tmp_path / "releases" / "one" / "model.tflite", lambda body: cut.append(body) or crop.png_of(body, spec)
    )
    keeper.keep(body)
    assert not cut
    asked = tmp_path / "updates" / frames.REQUEST
    wanted = {"frames": 1, "boot": read_text(frames.BOOT_ID).strip(), "until_s": boot_s() + 60}
    asked.write_text(json.dumps(wanted))
    keeper.keep(body)
    keeper.keep(body)
    assert len(cut) == 1
    (kept,) = read_frames(tmp_path / "run", asked.stat().st_mtime_ns, 2)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(kept))), pixels[:20, 30:])


def test_what_a_service_may_have_laid_there_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "1-0.frame").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "1-1.frame")
    (tmp_path / "1-2.frame").mkdir()
    (tmp_path / "1-3.frame").write_bytes(b"frame")
    assert read_frames(tmp_path, 1, 9) == [b"frame"]


def test_fields_of_a_newer_edgepress_are_no_verdict(publisher: Any, board: Any) -> None:
    publish(publisher, 2, How(), future=1)
    assert board.attempt(publisher.site) == "installed 2"


@pytest.mark.parametrize("name", ["SIGKILL", "SIGABRT", "SIGTERM", "MemoryError"])
def test_a_release_that_something_else_ended_is_tried_three_times(name: str, publisher: Any, board: Any) -> None:
    publish(publisher, 2, How(ends=name))
    for _ in range(2):
        assert "The new release ended with exit code" in board.attempt(publisher.site)
        assert board.status()["refused"] == {}
    assert "This happened 3 times" in board.attempt(publisher.site)
    assert len(board.status()["refused"]) == 1


@pytest.mark.parametrize("name", ["SIGKILL", "MemoryError", "ValueError"])
def test_a_release_in_use_that_is_ended_is_not_counted_against_the_new_one(
    name: str, publisher: Any, board: Any
) -> None:
    how = board.prefix / "current" / "samples" / "how.json"
    how.write_text(json.dumps({"us": 1, "differs": 0, "crashes": 0, "ends": name}))
    accept_changes(board.prefix / "current")
    publish(publisher, 2, How())
    assert board.attempt(publisher.site) == "installed 2"
    assert board.status()["shadow"]["source"] == "none"


@pytest.mark.parametrize("part", ["SELFTEST", "MODEL"])
def test_a_runtime_with_other_functions_is_not_compared(
    part: str, publisher: Any, board: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = getattr(simulated, part).replace("def seeded_item", "def item_of").replace("def judge", "def look")
    monkeypatch.setattr(simulated, part, renamed)
    publish(publisher, 2, How())
    assert board.attempt(publisher.site) == "installed 2"
    found = board.status()["shadow"]
    assert (found["source"], found["why"]) == ("none", "")
    assert "can't be compared" in found["note"]
    assert "nothing was compared. The new release" in shadow_lines(found)[0]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root")
def test_frames_are_not_decoded_as_root(board: Any) -> None:
    with shadow.Child(read_place(board.prefix / "current").release_folder, "It", shadow.OldError) as child:
        assert child.ask(0, b"?user")["label"] == "65534 []"


def asking(answers: Iterator[dict[str, Any]]) -> Any:
    """What stands for a child process that gives these answers."""
    return types.SimpleNamespace(ask=lambda *_: next(answers))


def test_frames_of_one_scene_count_once() -> None:
    def figures(*pairs: tuple[str, str]) -> dict[str, Any]:
        answered = [
            [{"label": label, "us": 1.0, "memory_bytes": 1} for label in side] for side in zip(*pairs, strict=True)
        ]
        sides: Any = [asking(iter(side[:3] + side)) for side in answered]
        found = shadow.compare(sides[0], sides[1], [b""] * len(pairs), len(pairs))
        return {**found, "slowdown": 1.0, "min_agreement": 0.95}

    limits = shadow.RunLimits(min_agreement=0.95)
    still = figures(*[("a", "b")] * 200)
    assert (still["same"], still["scenes"], still["same_scenes"]) == (0, 1, 0)
    assert shadow.reason(still, limits) == ""
    assert any(
        "fewer than 30" in line
        for line in shadow_lines({"release": 2, "at": "", "max_slowdown": 1, **still, "why": ""})
    )
    assert shadow.reason(figures(*[("a", "a"), ("b", "b")] * 50, *[("a", "b")] * 100), limits) == ""
    assert shadow.reason(figures(*[("a", "a")] * 7, *[("a", "b"), ("a", "a")] * 15, *[("a", "a")] * 500), limits) == ""
    assert "accepted: at least 95.0%" in shadow.reason(figures(*[("a", "b"), ("a", "a")] * 20), limits)


def test_a_shadow_run_ends_in_time(publisher: Any, board: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "RUN_S", 0.0)
    publish(publisher, 2, How())
    assert board.attempt(publisher.site) == "installed 2"
    assert board.status()["shadow"]["frames"] == 1


def test_a_service_that_can_not_keep_frames_is_named(publisher: Any, board: Any, tmp_path: Path) -> None:
    (board.prefix / ".units").write_text(f"{tmp_path}\n")
    unit = tmp_path / "edgepress-demo.service"
    place = read_place(board.prefix / "current")
    assert frames.keeps_no_frames(place) == ""
    unit.write_text("[Service]\nExecStart=/elsewhere/current/run serve --port 1\n")
    assert len([line for line in status_lines(board.status()) if "sudo sh install.sh --service" in line]) == 1
    publish(publisher, 2, How())
    said: list[str] = []
    assert board.attempt(publisher.site, say=said.append) == "installed 2"
    note = board.status()["shadow"]["note"]
    assert len([line for line in status_lines(board.status()) if note in line]) == 1
    assert "sudo sh install.sh --service" in note
    assert note in said
    assert f"  {note}" in shadow_lines(board.status()["shadow"])
    unit.write_text("[Service]\nRuntimeDirectory=edgepress-demo\n")
    assert frames.keeps_no_frames(place) == ""
    assert board.status()["note"] is None


def test_a_share_is_below_a_limit_only_if_chance_does_not_explain_it() -> None:
    assert not is_below(193, 200, 0.98)
    assert is_below(188, 200, 0.98)
    assert not is_below(200, 200, 1.0)
    assert is_below(199, 200, 1.0)
    assert not is_below(0, 1, 0.9)
    assert not is_below(5, 10, 0.0)
    refused = [same for same in range(1001) if is_below(same, 1000, 0.95)]
    chance = sum(shadow._binomial(same, 1000, 0.95) for same in refused)
    assert 0.005 < chance < 0.01


def test_the_status_is_readable(publisher: Any, board: Any, service: Callable[[], None]) -> None:
    def lines() -> list[str]:
        done = subprocess.run(board.command("status"), capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    first = lines()
    assert re.fullmatch(r"demo: release 1 \(\w{12}\) is in use on \S+, channel stable\.", first[0])
    assert first[1:] == ["Updates come from: what run update --from names.", "Last check: never."]
    service()
    publish(publisher, 2, How(), min_agreement=None)
    assert board.attempt(publisher.site) == "installed 2"
    publish(publisher, 3, How(differs=30))
    assert "refused by the shadow run" in board.attempt(publisher.site)
    found = "\n".join(lines())
    for pattern in (
        r"Before it: release 1\.",
        r"Last check: 20.*; the highest release offered was 3\.",
        r"Shadow run of release 3, 20\S+: 60 frames of the service\.",
        r"  agreement: \d\d\.\d% \(accepted: at least 95\.0%\)",
        r"  latency: median \S+ ms instead of \S+ ms, \S+ times \(accepted: up to 3\); p99 \S+ ms instead of",
        r"  memory: \S+ MB instead of \S+ MB",
        r"Refused: \w{12}: Release 3 is refused by the shadow run: it agrees",
        r"Last run, 20\S+: it failed\. Release 3 is refused",
    ):
        assert re.search(pattern, found), f"{pattern} is not in:\n{found}"
    assert "{" not in found


def test_what_an_update_says_is_readable() -> None:
    result = {"result": "nothing new", "release": 2, "newest": 3, "refused": {3: "it is slow"}}
    assert update_lines(result) == [
        "Nothing new: release 2 is in use, and 3 is the highest offered.",
        "Release 3 is refused: it is slow",
    ]
    assert update_lines({"result": "installed", "release": 3}) == ["Release 3 is installed and in use."]
