"""`edgepress init`: what it sees, what it asks, and a file of which every line can be used."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from configuring import edgepress
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgepress.toolkit.cli import screen, surroundings
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.cli.commands import NAME, READS
from edgepress.toolkit.cli.found_files import may_stand
from edgepress.toolkit.cli.option_table import option_names, options_of
from edgepress.toolkit.cli.settings_file import SHARED, Settings, load
from edgepress.toolkit.cli.surroundings import look
from edgepress.toolkit.cli.template import EXAMPLES, HINTS, OTHERS, PLAN, template
from edgepress.toolkit.errors import InputError

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
PLAIN = template(COMMANDS, {}, {})
OPTION = re.compile(r"^#(?=[a-z_-]+ = )", re.MULTILINE)
"""What makes a comment of an option."""


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "150")


def read(path: str = NAME, *, found: bool = True) -> Settings:
    return load(Path(path), COMMANDS, typer.Context, found=found)


def values(settings: Settings) -> dict[str, dict[str, Any]]:
    return {
        c: {name: given.value for name, given in options.items()} for c, options in settings.options.items() if options
    }


def pictures(folder: str, classes: dict[str, int]) -> None:
    for label, count in classes.items():
        Path(folder, label).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.new("L", (4, 4)).save(Path(folder, label, f"{i}.png"))


def test_the_plain_file_sets_nothing_and_every_line_of_it_can_be_used_alone() -> None:
    path = Path("plain.toml")
    path.write_text(PLAIN)
    assert values(read(str(path))) == {}
    places = [match.start() for match in OPTION.finditer(PLAIN)]
    assert len(places) > 100
    for place in places:
        path.write_text(PLAIN[:place] + PLAIN[place + 1 :])
        found = read(str(path))
        assert len(values(found)) or any(found.plan.values()), PLAIN[place:].partition("\n")[0]


def test_all_lines_of_it_can_be_used_together() -> None:
    from edgepress.toolkit.search.sweeping.plan import TABLES, plan_of

    Path(NAME).write_text(OPTION.sub("", PLAIN))
    settings = read()
    for command in READS:
        for option in options_of(COMMANDS[command]):
            panel = getattr(option, "rich_help_panel", None)
            may = may_stand(command, option.name, EXAMPLES.get(option.name, option.default))
            listed = may and not option.hidden and (panel != HINTS or command == "convert")
            assert (option.name in settings.options[command]) == listed, (command, option.name)
    plan = plan_of({**settings.plan, "data": {"source": "digits"}})
    here = {*plan.dimensions, *plan.training, *option_names(COMMANDS["sweep"]), "seed"}
    assert here >= {key for name, keys in TABLES.items() if name != "data" for key in keys}, (
        "a plan can be written whole"
    )
    assert settings.plan.keys() == PLAN.keys()


def test_no_example_is_left_that_no_option_needs() -> None:
    needed = {o.name for c in READS for o in options_of(COMMANDS[c]) if o.default in (None, "")}
    assert set(EXAMPLES) <= needed
    assert all(name in option_names(COMMANDS[command]) for command, name in OTHERS)


def test_options_are_written_read_back_and_used(capfd: pytest.CaptureFixture[str]) -> None:
    pictures("photos", {"cat": 3, "dog": 2})
    limits = ["--max-drop", "0.5", "--max-size", "200kB", "--max-latency", "5ms", "--max-memory", "64MB"]
    boards = ["--board", "pi@kitchen,pi64-py313", "--engine", "litert"]
    assert edgepress("init", "--data", "photos", *boards, *limits) == 0
    captured = capfd.readouterr()
    assert "5 images in 2 class folders" in captured.out
    assert captured.out.endswith("Written to edgepress.toml\nNext: edgepress train\n")
    found = values(read())
    shared = {"data": "photos", "engine": "litert", "max_drop": 0.5}
    assert '#board = "pi@kitchen"' in Path(NAME).read_text(), "a file that is found sends work to no other machine"
    assert found["compress"] == shared | {
        "max_size": "200kB",
        "max_latency": "5ms",
        "max_memory": "64MB",
    }
    assert found["bundle"] == {"data": "photos", "engine": "litert", "board": "pi64-py313"}
    assert found["benchmark"] == shared
    assert found["train"] == {"data": "photos", "arch": "lenet"}
    assert 'data = "photos"               # 5 images in 2 class folders, ' in Path(NAME).read_text()


def test_without_a_terminal_it_takes_what_it_sees_and_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    pictures("photos", {"cat": 3, "dog": 2})
    assert edgepress("init") == 0
    assert "Set: data photos\n" in capfd.readouterr().out
    assert values(read())["train"] == {"data": "photos", "arch": "lenet"}
    assert edgepress("init", "--out", "none/a.toml") == 0
    captured = capfd.readouterr()
    assert "Nothing is set" in captured.out
    assert "train needs --data" in captured.out
    assert "Next: edgepress --config none/a.toml train --data digits" in captured.out
    assert edgepress("init", "--overwrite", "--json", "--max-drop", "1") == 0
    assert json.loads(capfd.readouterr().out) == {
        "file": NAME,
        "options": {"max_drop": 1.0, "data": "photos", "train": {"arch": "lenet"}},
        "found": {"data": ["photos"], "models": [], "runs": [], "results": []},
        "next": ["edgepress train"],
    }


def test_paths_are_written_relative_to_the_file() -> None:
    pictures("photos", {"cat": 1, "dog": 1})
    assert edgepress("init", "--data", "photos", "--out", "sub/edgepress.toml") == 0
    assert tomllib.loads(Path("sub/edgepress.toml").read_text())["data"] == os.path.join("..", "photos")
    assert values(read("sub/edgepress.toml", found=False))["train"]["data"] == os.path.join("sub", "..", "photos")
    pictures("mnist", {"cat": 9, "dog": 9})
    assert edgepress("init") == 0
    assert values(read())["train"]["data"] == "./mnist", "not the data set of this name"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("--data nope", 1, "--data is 'nope', which is not there or no data."),
        ("--max-size lots", 1, "--max-size is 'lots'; accepted: a number above 0 with a unit"),
        ("--max-latency 5kB", 1, "--max-latency is '5kB'"),
        ("--max-memory -3", 1, "--max-memory is '-3'"),
        ("--max-drop 101", 2, "max-drop"),
        ("--board a,b", 1, "--board names two hosts: a, b."),
        ("--board -oProxyCommand=x", 1, "is not a host"),
        ("--engine nope", 2, "nope"),
        ("--out .", 1, ". already exists"),
    ],
)
def test_a_wrong_option_is_one_error_and_writes_nothing(
    words: str, code: int, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert edgepress("init", *words.split()) == code
    captured = capfd.readouterr()
    assert captured.out == ""
    assert says in captured.err
    assert os.listdir() == []


def test_a_file_that_is_there_needs_overwrite(capfd: pytest.CaptureFixture[str]) -> None:
    Path(NAME).write_text("broken")
    assert edgepress("init") == 1
    assert "edgepress init --overwrite" in capfd.readouterr().err
    assert Path(NAME).read_text() == "broken"
    assert edgepress("init", "--overwrite") == 0
    assert Path(NAME).read_text() == PLAIN
    assert edgepress("init", "--out", "other one.toml") == 0
    assert edgepress("init", "--out", "other one.toml") == 1
    assert "edgepress init --out 'other one.toml' --overwrite" in capfd.readouterr().err, "not that of the other file"


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_write_that_is_stopped_leaves_the_old_file(stop: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(*_: object) -> None:
        raise stop

    Path(NAME).write_text("seed = 1\n")
    monkeypatch.setattr("edgepress.converters.files.replace", replace)
    assert edgepress("init", "--overwrite") == 1
    assert os.listdir() == [NAME]
    assert Path(NAME).read_text() == "seed = 1\n"


TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=20)


@settings(max_examples=10)
@given(TEXTS, st.floats(0, 100), TEXTS, st.lists(TEXTS, min_size=1, max_size=3))
def test_what_is_written_is_what_is_read(data: str, drop: float, size: str, schemes: list[str]) -> None:
    chosen = {("", "data"): f"/{data}", ("", "max_drop"): drop, ("", "max_size"): size, ("convert", "to"): schemes}
    Path("round.toml").write_text(template(COMMANDS, chosen, {}), encoding="utf-8", newline="")
    found = values(read("round.toml", found=False))
    assert found["convert"] == {"data": f"/{data}", "to": ",".join(schemes)}
    assert found["compress"] == {"data": f"/{data}", "max_drop": drop, "max_size": size}


def test_what_lies_in_a_folder_is_found() -> None:
    pictures("photos", {"cat": 3, "dog": 2, ".hidden": 4})
    pictures("split/train", {"a": 2, "b": 2})
    pictures("split/test", {"a": 1, "b": 1})
    pictures("one", {"alone": 5})
    pictures("runs/a/images", {"x": 9, "y": 9})
    pictures(".git", {"x": 9, "y": 9})
    pictures("env/images", {"x": 9, "y": 9})
    Path("env/pyvenv.cfg").touch()
    for name in (
        "runs/a/model.keras",
        "runs/a/metrics.json",
        "runs/a/variants/a.tflite",
        "model.h5",
        "w.weights.h5",
        "nets/m.ONNX",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"1234")
    Path("saved").mkdir()
    for name in ("saved/saved_model.pb", "data.csv", "idx.txt"):
        Path(name).touch()
    np.savez("t.npz", x=np.zeros((50, 4, 5), np.uint8), y=np.zeros(50))
    np.savez("parts.npz", x_train=np.zeros((2, 3)), x_test=np.zeros((1, 3)))
    np.savez("weights.npz", w=np.zeros(3))
    Path("broken.npz").write_bytes(b"PK\x03\x04")
    Path("idx").mkdir()
    Path("idx/t10k-images-idx3-ubyte").touch()
    Path("tars").mkdir()
    Path("tars/train-0.tar").touch()
    Path("tars/train-1.tar").touch()
    seen = look(Path())
    assert [(d.path, d.what) for d in seen.data] == [
        ("t.npz", "50 items of 4x5"),
        ("split", "6 images in 2 class folders"),
        ("photos", "5 images in 2 class folders"),
        ("parts.npz", "3 items of 3"),
        ("idx", "IDX files"),
        ("tars", "tar shards: 2 files"),
    ]
    assert sorted(m.path for m in seen.models) == ["model.h5", "nets/m.ONNX", "saved"]
    assert [r.path for r in seen.runs] == ["runs/a"]
    assert [r.path for r in seen.results] == ["runs/a/variants"]
    assert seen.tables == ["data.csv"]
    assert seen.complete
    assert seen.data[0].size_bytes == Path("t.npz").stat().st_size


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes in folders")
def test_a_pipe_is_no_data_and_is_not_waited_for() -> None:
    for name in ("x.npz", "a.jpg", "b.tar", "t10k-images-idx3-ubyte", "m.tflite"):
        os.mkfifo(name)
    command = [
        sys.executable,
        "-c",
        "from pathlib import Path; from edgepress.toolkit.cli import surroundings as s; s.look(Path())",
    ]
    subprocess.run(command, check=True, timeout=30)


def test_class_folders_can_be_the_folder_itself() -> None:
    pictures(".", {"cat": 1, "dog": 1})
    pictures("cat/more", {"deep": 1, "deeper": 1})
    assert [(d.path, d.items) for d in look(Path()).data] == [(".", 2), ("cat/more", 2)]
    assert edgepress("init") == 0
    assert values(read())["train"]["data"] == "."


def test_a_stray_picture_beside_class_folders_does_not_hide_them() -> None:
    pictures("photos", {"cat": 3, "dog": 2, ".": 1})
    assert [(d.path, d.items) for d in look(Path()).data] == [("photos", 5)]


@pytest.mark.parametrize(
    ("source", "step"),
    [
        ("digits", "edgepress train"),
        ("photos/", "edgepress benchmark r/variants"),
        ("./photos", "edgepress benchmark r/variants"),
        ("", "edgepress benchmark r/variants"),
    ],
)
def test_the_next_command_is_not_about_a_run_on_other_data(
    source: str, step: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Such a command would open the data that the file names, which do not fit that model."""
    pictures("photos", {"cat": 3, "dog": 2})
    Path("r/variants").mkdir(parents=True)
    Path("r/model.keras").touch()
    Path("r/metrics.json").write_text(json.dumps({"data": {"source": source}} if source else {}))
    Path("r/variants/a.tflite").touch()
    assert edgepress("init", "--json") == 0
    assert json.loads(capfd.readouterr().out)["next"][0] == step


def test_large_and_deep_folders_are_looked_at_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures("a/b/c/d/e/f/g", {"cat": 1, "dog": 1})
    assert (look(Path()).data, look(Path()).complete) == ([], False)
    assert look(Path("a/b")).complete
    monkeypatch.setattr(surroundings, "MOST", 3)
    assert not look(Path("a/b")).complete
    assert look(Path("missing")).data == []


@pytest.mark.parametrize(
    ("files", "options", "step"),
    [
        ("model.h5", "", "edgepress convert model.h5"),
        ("'my model.keras", "--max-size 1MB", "edgepress compress ''\"'\"'my model.keras'"),
        ("model.onnx", "--max-drop 1", "edgepress convert model.onnx"),
        ("model.tflite", "", "edgepress evaluate model.tflite"),
        ("r/model.keras r/metrics.json", "", "edgepress convert r/model.keras"),
        ("r/model.keras r/metrics.json r/variants/a.onnx", "", "edgepress benchmark r/variants"),
        ("r/model.keras r/metrics.json r/variants/a.onnx", "--max-latency 1ms", "edgepress compress r/model.keras"),
    ],
)
def test_the_next_command_follows_from_what_is_there(
    files: str, options: str, step: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in [files] if " model" in files else files.split():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    assert edgepress("init", "--json", *options.split()) == 0
    assert json.loads(capfd.readouterr().out)["next"][0] == step


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_in_a_terminal_it_asks_until_the_answer_is_right() -> None:
    pictures("photos", {"cat": 1, "dog": 1})
    said, code = _talk(["", "a,b", "pi@kitchen", "", "lots", "200kB", "5ms"], "--overwrite")
    assert code == 0, said
    assert "such as digits [photos]: " in said
    assert "names two hosts" in said
    assert "--max-size is 'lots'" in said
    assert values(read())["compress"] == {
        "data": "photos",
        "max_size": "200kB",
        "max_latency": "5ms",
    }


@pytest.mark.parametrize(("typed", "found"), [("digits\n", {"data": "digits"}), ("", {}), ("\n\n\n\n", {})])
def test_the_end_of_input_and_empty_answers_are_defaults(
    typed: str, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(screen, "can_ask", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert edgepress("init", "--max-size", "1MB") == 0
    captured = capfd.readouterr()
    assert "Data: " in captured.err
    assert "Data: " not in captured.out
    assert "Largest file" not in captured.err, "what was given is not asked"
    assert values(read())["compress"] == {"max_size": "1MB"} | found


def test_an_interrupted_question_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(screen, "can_ask", lambda: True)
    monkeypatch.setattr(screen, "ask", interrupted)
    assert edgepress("init") == 1
    assert "Interrupted." in capfd.readouterr().err
    assert os.listdir() == []


def _talk(answers: list[str], *arguments: str) -> tuple[str, int]:
    """Run the command in a terminal and answer its questions; a control character is sent without Enter."""
    import pty
    import select

    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "edgepress.toolkit.cli.main", "init", *arguments])
    said, until = b"", time.monotonic() + 60
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            said += os.read(terminal, 4096)
        except OSError:  # it has ended
            break
        if said.endswith(b"]: ") and answers:
            answer = answers.pop(0)
            os.write(terminal, answer.encode() + (b"" if answer in ("\x03", "\x04") else b"\n"))
    os.close(terminal)
    return said.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_name_that_is_no_unicode_is_an_error() -> None:
    from edgepress.toolkit.cli.init import _write

    with pytest.raises(InputError, match="can't stand in a file of UTF-8"):
        _write(Path(NAME), {("", "data"): "caf\udce9"}, look(Path()))
    assert os.listdir() == []


def test_data_elsewhere_need_a_file_that_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pictures(str(tmp_path / "elsewhere"), {"cat": 1, "dog": 1})
    assert edgepress("init", "--data", str(tmp_path / "elsewhere")) == 0
    said = capfd.readouterr().out
    assert "has to be named: with --config or EDGEPRESS_CONFIG" in said
    assert said.endswith(f"Next: edgepress --config {NAME} train\n")


def test_a_host_is_given_with_the_next_command(capfd: pytest.CaptureFixture[str]) -> None:
    Path("model.keras").touch()
    assert edgepress("init", "--board", "pi@kitchen", "--max-size", "1MB") == 0
    said = capfd.readouterr().out
    assert "The host pi@kitchen is commented out" in said
    assert said.endswith("Next: edgepress compress model.keras --board pi@kitchen\n")


def test_what_is_shared_stands_above_all_tables() -> None:
    above = PLAIN.partition("\n[train]\n")[0]
    assert [key.replace("-", "_") for key in re.findall(r"^#([a-z-]+) = ", above, re.MULTILINE)] == list(SHARED)
    assert max(map(len, PLAIN.splitlines())) <= 120
