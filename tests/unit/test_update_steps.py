"""The order of an update, step by step: what is written down before each, and what a failure of each leads to."""

from __future__ import annotations

import dataclasses
import json
import types
from pathlib import Path
from typing import Any

import pytest

from edgepress.runtime.errors import UpdateError
from edgepress.runtime.updates import update as module
from edgepress.runtime.updates.frames import REQUEST
from edgepress.runtime.updates.installer import UnsureError, VerdictError
from edgepress.runtime.updates.place import Place
from edgepress.runtime.updates.releases import Release, ReleaseList
from edgepress.runtime.updates.state import State, read_state, write_state
from edgepress.runtime.updates.update import status, update
from edgepress.runtime.updates.watch import Failure

BOARD = "pi64-py313"
NOW = "2026-11-29T12:00:00Z"


def id_of(number: int) -> str:
    return f"{number}" * 64


def release(number: int, **more: Any) -> Release:
    return dataclasses.replace(Release(number, id_of(number), f"demo/demo-{number}.zip", (BOARD,)), **more)


class World:
    """A board that runs release 3, a published folder, and steps that note their order and may fail."""

    def __init__(self, prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = prefix / "releases" / "3"
        folder.mkdir(parents=True)
        (folder / "MANIFEST.json").write_text(json.dumps({"release": 3, "id": id_of(3)}))
        (prefix / "current").symlink_to(folder)
        self.place = Place(prefix, folder, "demo", "https://in.bundle", 3, id_of(3), BOARD)
        self.place.updates.mkdir()
        (self.place.updates / "board-id").write_text("a")
        self.releases: tuple[Release, ...] = (release(3), release(4))
        self.figures: dict[str, Any] = {}
        self.damage = ""
        self.failures: dict[str, BaseException] = {}
        self.failure: Failure | None = None
        self.trouble: UpdateError | None = None
        self.steps: list[str] = []
        self.states: dict[str, State] = {}
        self.said: list[str] = []
        self.sources: list[str] = []
        monkeypatch.setattr(module, "_now", lambda: NOW)
        monkeypatch.setattr(module, "UpdateSource", self._source)
        monkeypatch.setattr(module, "Trusted", self._trusted)
        monkeypatch.setattr(module, "confirm", lambda place, state, say: (state, self.trouble))
        monkeypatch.setattr(module, "unpack", lambda *_: self._step("unpack") or prefix / "unpacked")
        monkeypatch.setattr(module, "run_installer", lambda place, folder, action: self._step(action))
        monkeypatch.setattr(module, "staging_folder", lambda place, chosen: prefix / "releases" / str(chosen.release))
        monkeypatch.setattr(module, "remove_release", lambda folder: self.steps.append(f"remove {folder.name}"))
        monkeypatch.setattr(module, "shadow_run", self._shadow)
        monkeypatch.setattr(module, "damage_of", lambda folder: self.damage)
        monkeypatch.setattr(module, "watch", self._watch)
        monkeypatch.setattr(module, "go_back", self._go_back)
        monkeypatch.setattr(module, "read_bundle", lambda bundle, place: (int(bundle.stem), id_of(int(bundle.stem))))

    def update(self, **options: Any) -> dict[str, Any]:
        return update(self.place, say=self.said.append, **options)

    def refused(self, **options: Any) -> UpdateError:
        with pytest.raises(UpdateError) as caught:
            self.update(**options)
        return caught.value

    def state(self) -> State:
        return read_state(self.place.updates)

    def _step(self, name: str) -> None:
        self.steps.append(name)
        self.states[name] = self.state()
        if name in self.failures:
            raise self.failures[name]

    def _source(self, base: str) -> Any:
        self.sources.append(base)
        return types.SimpleNamespace(base=base)

    def _trusted(self, place: Place, source: Any, state: State) -> Any:
        self._step("check")
        download = place.updates / "download"
        return types.SimpleNamespace(
            state=state,
            releases=ReleaseList("demo", "2026-11-28T00:00:00Z", self.releases),
            fetch_bundle=lambda target, folder: self._fetch(target, folder) if folder == download else None,
        )

    def _fetch(self, target: str, folder: Path) -> Path:
        self._step(f"fetch {target}")
        folder.mkdir(exist_ok=True)
        path = folder / "hash.zip"
        path.touch()
        return path

    def _shadow(self, place: Place, folder: Path, count: int | None, *, say: Any) -> dict[str, Any]:
        self._step(f"shadow {folder.name} {count}")
        return self.figures

    def _watch(self, place: Place, watched: tuple[int, str], *, say: Any) -> Failure | None:
        self._step(f"watch {watched[0]}")
        return self.failure

    def _go_back(self, place: Place, state: State, left: tuple[int, str], failure: Failure) -> None:
        self._step(f"back from {left[0]}")
        raise VerdictError(failure.reason)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def left(world: World) -> list[str]:
    return sorted(path.name for path in (world.place.updates / "download").glob("*"))


STEPS = ["check", "fetch demo/demo-4.zip", "unpack", "stage", "shadow 4 None", "switch", "watch 4"]
"""All steps of an update to release 4."""


def test_a_newer_release_is_installed_step_by_step(world: World) -> None:
    (world.place.updates / REQUEST).touch()
    (world.place.updates / "unpacked").mkdir()
    result = world.update()
    assert world.steps == STEPS
    assert result == {"result": "installed", "release": 4, "id": id_of(4), "newest": 4, "refused": {}}
    assert world.sources == ["https://in.bundle"]
    assert not (world.place.updates / REQUEST).exists()
    assert not (world.place.updates / "unpacked").exists()
    assert left(world) == []
    state = world.state()
    assert (state.watched, state.attempts, state.switched) == ("", {}, {id_of(4): NOW})
    assert (state.checked, state.listed, state.newest) == (NOW, "2026-11-28T00:00:00Z", 4)
    assert state.last == result | {"at": NOW}
    assert world.said == [
        "Looking for updates of demo at https://in.bundle",
        "Downloading release 4",
        "Installing release 4 beside release 3, and running its self-test",
        "Switching to release 4",
    ]


def test_what_decides_is_written_before_each_step(world: World) -> None:
    world.update()
    assert world.states["fetch demo/demo-4.zip"].newest == 4, "what was checked, before anything is fetched"
    assert world.states["shadow 4 None"].watched == ""
    assert world.states["switch"].watched == id_of(4), "a run that is killed now is gone on with by the next one"
    assert world.states["switch"].attempts == {id_of(4): 1}


def test_without_a_newer_release_nothing_is_fetched_and_parts_are_removed(world: World) -> None:
    world.releases = (release(3), release(5), release(2))
    write_state(world.place.updates, State(refused={id_of(5): "it crashed", id_of(9): "gone"}, newest=1))
    (world.place.updates / "download").mkdir()
    for name in ("part.zip", "other"):
        (world.place.updates / "download" / name).touch()
    result = world.update(source="elsewhere")
    assert result == {
        "result": "nothing new", "release": 3, "id": id_of(3), "newest": 5, "refused": {5: "it crashed"}
    }  # fmt: skip
    assert world.steps == ["check"]
    assert world.sources == ["elsewhere"]
    assert left(world) == ["other"]


def test_the_time_of_the_last_check_and_the_newest_release_never_fall(world: World) -> None:
    world.releases = ()
    write_state(world.place.updates, State(checked="2030-01-01T00:00:00Z", newest=7))
    assert world.update()["newest"] == 7
    assert world.state().checked == "2030-01-01T00:00:00Z"
    world.update(trust_clock=True)
    assert world.states["check"].checked == "", "a wrong time is forgotten before the lists are checked"
    assert world.state().checked == NOW


def test_a_channel_is_kept_from_now_on_and_another_one_is_refused(world: World) -> None:
    world.releases = (release(4, channel="beta"),)
    assert world.update()["result"] == "nothing new"
    assert world.update(channel="beta")["result"] == "installed"
    assert world.states["check"].channel == "beta"
    assert world.update()["newest"] == 4
    assert world.state().channel == "beta"
    assert "accepted: stable, beta" in world.refused(channel="nightly").message


@pytest.mark.parametrize("step", ["unpack", "stage", "shadow 4 None", "switch"])
def test_a_verdict_is_written_down_and_the_release_removed(world: World, step: str) -> None:
    world.failures[step] = VerdictError("its self-test failed")
    assert isinstance(world.refused(), VerdictError)
    assert world.steps == [*STEPS[: STEPS.index(step) + 1], "remove 4"]
    state = world.state()
    assert state.refused == {id_of(4): "its self-test failed"}
    assert (state.watched, state.last["result"], state.last["at"]) == ("", "error", NOW)
    assert left(world) == []
    assert world.update()["result"] == "nothing new"


@pytest.mark.parametrize("step", ["unpack", "stage", "switch"])
def test_another_failure_keeps_the_download_for_the_next_time(world: World, step: str) -> None:
    world.failures[step] = UpdateError("the disk is full")
    error = world.refused()
    assert (error.message, left(world)) == ("the disk is full", ["hash.zip"])
    assert world.state().refused == {}
    assert world.state().last["message"] == "the disk is full"
    del world.failures[step]
    assert world.update()["result"] == "installed"


def test_a_self_test_without_a_result_is_tried_three_times(world: World) -> None:
    world.failures["stage"] = UnsureError("It was killed.")
    for count in (1, 2):
        assert type(world.refused()) is UnsureError
        assert world.state().attempts == {id_of(4): count}
    error = world.refused()
    assert (type(error), error.message) == (VerdictError, "It was killed. This happened 3 times.")
    assert list(world.state().refused) == [id_of(4)]


def test_figures_of_the_shadow_run_are_kept_and_may_refuse(world: World) -> None:
    world.figures = {"frames": 9, "why": ""}
    world.update(shadow=5)
    assert "shadow 4 5" in world.steps
    assert world.state().shadow == {"release": 4, "frames": 9, "why": "", "at": NOW}
    world.releases, world.figures = (release(5),), {"frames": 8, "why": "it is slow"}
    assert world.refused().message == "Release 5 is refused by the shadow run: it is slow."
    assert world.state().shadow["frames"] == 8
    assert list(world.state().refused) == [id_of(5)]


def test_a_release_whose_service_does_not_stay_up_is_left(world: World) -> None:
    world.failure = Failure("its service has failed")
    assert world.refused().message == "its service has failed"
    assert world.steps == [*STEPS, "back from 4", "remove 4"]
    assert world.states["back from 4"].watched == id_of(4)


def test_a_release_that_could_not_be_tested_may_be_fixed_by_an_update(world: World) -> None:
    world.trouble = UpdateError("the disk was full")
    assert world.update()["result"] == "installed"
    world.releases = ()
    assert world.refused() is world.trouble


def test_a_place_that_is_not_in_use_any_more_installs_nothing(world: World) -> None:
    other = world.place.prefix / "releases" / "other"
    other.mkdir()
    (other / "MANIFEST.json").write_text(json.dumps({"release": 2, "id": id_of(2)}))
    (world.place.prefix / "current").unlink()
    (world.place.prefix / "current").symlink_to(other)
    assert "Release 3, to which this update belongs, is not in use any more" in world.refused().message
    assert world.steps == []


def test_without_an_address_nothing_is_looked_for(world: World) -> None:
    world.place = dataclasses.replace(world.place, url="")
    assert "does not say where its updates are" in world.refused().message


@pytest.mark.parametrize(("number", "words"), [(2, "is older than release 3"), (4, "was refused before: it crashed")])
def test_a_bundle_that_is_given_must_be_newer_and_not_refused(
    world: World, tmp_path: Path, number: int, words: str
) -> None:
    write_state(world.place.updates, State(refused={id_of(4): "it crashed"}))
    assert words in world.refused(bundle=tmp_path / f"{number}.zip").message
    assert world.steps == []


def test_a_bundle_that_is_given_is_installed_without_a_check(world: World, tmp_path: Path) -> None:
    write_state(world.place.updates, State(newest=7))
    same = world.update(bundle=tmp_path / "3.zip")
    assert (same["result"], same["release"], same["newest"], world.steps) == ("nothing new", 3, 7, [])
    result = world.update(bundle=tmp_path / "8.zip", source="ignored", shadow=0)
    assert (result["result"], result["release"], result["newest"]) == ("installed", 8, 8)
    assert world.steps == ["unpack", "stage", "shadow 8 0", "switch", "watch 8"]
    assert world.sources == []


def test_an_error_of_the_system_is_one_of_the_update(world: World) -> None:
    world.failures["check"] = PermissionError(13, "Permission denied", "/x")
    assert world.refused().message == "/x: Permission denied."
    world.failures["check"] = MemoryError()
    assert "too little memory" in world.refused().message
    assert world.state().last["result"] == "error"


def test_status_shows_what_runs_and_what_is_remembered(world: World) -> None:
    shown = status(world.place)
    assert {name: shown[name] for name in ("release", "id", "previous", "checked", "shadow", "note", "source")} == {
        "release": 3, "id": id_of(3), "previous": None, "checked": None, "shadow": None, "note": None,
        "source": "https://in.bundle",
    }  # fmt: skip
    assert shown["updating"] is False
    former = world.place.prefix / "releases" / "2"
    former.mkdir()
    (former / "MANIFEST.json").write_text(json.dumps({"release": 2, "id": id_of(2)}))
    (world.place.release_folder / "former").symlink_to(former)
    world.update()
    shown = status(dataclasses.replace(world.place, url=""))
    assert (shown["previous"], shown["checked"], shown["newest"], shown["source"]) == (2, NOW, 4, None)
    assert shown["last"]["result"] == "installed"
