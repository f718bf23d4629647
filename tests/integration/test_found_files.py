"""An edgepress.toml that was found: each option that it may set, and attacks by those who wrote it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from configuring import (
    GROUP,
    apart,  # noqa: F401 - a fixture
    began,
    context,
    edgepress,
    refused,
    write,
)
from PIL import Image

from edgepress.toolkit.cli import found_files, settings
from edgepress.toolkit.cli.commands import NAME, READS
from edgepress.toolkit.cli.found_files import JUDGED, TABLE
from edgepress.toolkit.cli.option_table import option_type, options_of
from edgepress.toolkit.cli.settings_file import TEXT_PATHS
from edgepress.toolkit.cli.template import toml
from edgepress.toolkit.data import open_data
from edgepress.toolkit.errors import DataError, UsageError
from edgepress.toolkit.search.sweeping.plan import TABLES

pytestmark = pytest.mark.usefixtures("apart")
EVERY = [(command, option.name) for command in READS for option in options_of(GROUP.commands[command])]
PLANNED = [(f"sweep.{table}", key) for table, keys in TABLES.items() for key in keys]


@pytest.mark.parametrize("option", [*EVERY, *PLANNED], ids=".".join)
def test_every_option_is_judged_with_a_reason(option: tuple[str, str]) -> None:
    assert option in JUDGED, "say in found_files.TABLE what a file that was found may do with it, and why"
    assert len(JUDGED[option].why) >= 4


def test_the_table_has_no_other_options_and_none_twice() -> None:
    rows = [(c, name) for row in TABLE for c in row.commands.split() for name in row.options.split()]
    assert len(rows) == len({*rows})
    assert {*rows} == {*EVERY, *PLANNED, ("sweep.dimensions", "seeds")}


def test_the_guide_lists_what_needs_a_file_that_was_named() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", page, re.M)[1:]
    rows = [(*(re.findall(r"`\[?([\w.-]+)\]?`", cell.partition(" (")[0]) for cell in row[:2]), row[2]) for row in cells]
    named = [row for row in TABLE if row.kind == "named"]
    assert rows == [([*map(key_of, row.options.split())], row.commands.split(), row.why) for row in named]


def key_of(option: str) -> str:
    """What stands in a file for an option: `from`, which no argument of Python can be called, is `base`."""
    return {"base": "from"}.get(option, option).replace("_", "-")


def test_what_nobody_has_judged_is_refused() -> None:
    assert "nobody has judged" in found_files.refusal("train", "frobnicate", "x", Path())


@pytest.mark.parametrize(("command", "name"), EVERY, ids=[".".join(each) for each in EVERY])
def test_what_is_free_names_no_file(command: str, name: str) -> None:
    if JUDGED[command, name].kind == "free":
        assert option_type(GROUP.commands[command], name) is not Path
        assert name not in TEXT_PATHS


NAMED = sorted((c, name) for (c, name), row in JUDGED.items() if row.kind == "named" and c in READS)
OTHER_VALUES: dict[str, Any] = {
    "custom": ["a:B"],
    **dict.fromkeys(("trust", "insecure", "overwrite"), True),
    **dict.fromkeys(("jobs", "processes"), 10_000),
    "shadow": 5,
    "max_slowdown": 3.0,
    "weights": "start.h5",
    "baseline": "./old.tflite",
    "engine": "native",
}


@pytest.mark.parametrize(("command", "name"), NAMED, ids=[".".join(each) for each in NAMED])
def test_what_needs_a_file_that_was_named(command: str, name: str) -> None:
    key, value = key_of(name), OTHER_VALUES.get(name, "x")
    error = refused(f"[{command}]\n{key} = {toml(value)}\n")
    assert f"line 2: {key} is accepted only from a file that you name, because " in error.message
    assert f"edgepress --config {NAME} {command} ..." in error.hint
    assert context(command, before=("--config", NAME)).params[name] not in (None, False)
    if value is True:
        write(f"[{command}]\n{key} = false\n")
        assert context(command).params[name] is False


def test_engines_that_are_packages_may_be_set() -> None:
    for command, value in (("evaluate", "litert"), ("benchmark", "litert,onnxruntime"), ("benchmark", ["all"])):
        assert found_files.refusal(command, "engine", value, Path()) == ""
    for value in ("native", "litert,native", ["litert", " native"], "other"):
        assert "a library that lies beside" in found_files.refusal("benchmark", "engine", value, Path())


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[sweep.training]\nweights = "start.keras"', "weights"),
        ('[sweep.data]\nsource = "../photos"', "source"),
        ('[train]\nweights = "imagenet/../start.h5"', "weights"),
        ('[benchmark]\nbaseline = "tflite-int8/../../a.tflite"', "baseline"),
        ('[benchmark]\nbaseline = "..\\\\a.tflite"', "baseline"),
        ('data = "digits/../.."', "data"),
        ('data = "/etc"', "data"),
        ('data = "~"', "data"),
        ('data = "~root/photos"', "data"),
        ('data = "photos/../../.."', "data"),
        ('data = "/proc/self/environ"', "data"),
        ('data = "/dev/zero"', "data"),
        ('data = "a.tar::/etc/b.tar"', "data"),
        ('data = "a.tar::../b.tar"', "data"),
        ('data = "{a,../../b}/x.tar"', "data"),
        ('data = "{.,..}/{.,..}/{0..3}.tar"', "data"),
        ('data = "link/photos"', "data"),
        ('data = "link.npz"', "data"),
        ('data = "a\\u0000b"', "data"),
        ('[convert]\nlabels = "/etc/passwd"', "labels"),
        ('[evaluate]\nlabels = "link.npz"', "labels"),
        ('[report]\nout = "/home/me/.bashrc"', "out"),
        ('[report]\nout = "~/.bashrc"', "out"),
        ('[bundle]\nout = "../other.zip"', "out"),
        ('[benchmark]\nout = "link"', "out"),
        ('[convert]\nout = "link/../out"', "out"),
        ('[train]\nout = "new/../../elsewhere"', "out"),
        ('[report]\nout = ".git/hooks/post-commit"', "out"),
        ('[report]\nout = "a/.envrc"', "out"),
        ('[sweep]\nstore = "../store"', "store"),
    ],
)
def test_paths_stay_below_the_folder_of_the_file(text: str, key: str, tmp_path: Path) -> None:
    if "link" in text:
        os.symlink(tmp_path, "link")
        os.symlink("/etc/passwd", "link.npz")
    error = refused(f"{text}\n")
    assert f": {key} " in error.message
    assert "--config" in error.hint
    write(f"{text}\n")
    if "\\u0000" not in text:
        context("sweep" if "[sweep" in text else "train", before=("--config", NAME))


def test_inside_the_folder_it_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("""
        data = "photos/{train,test}-{0..3}.tar::more.tar"
        [train]
        out = "runs/../runs/a"
        weights = "imagenet"
        [convert]
        labels = "inside/labels.txt"
        [benchmark]
        baseline = "tflite-int8"
        [sweep]
        store = "a/b/c"
        [sweep.data]
        source = "digits"
    """)
    os.symlink("here2", "inside")
    assert context("train").params["out"] == Path("runs/../runs/a")
    Path(".git").mkdir()
    Path("deep").mkdir()
    monkeypatch.chdir("deep")
    assert context("train").params["out"] == Path("../runs/../runs/a")


def photos(folder: str) -> None:
    for label in ("cat", "dog"):
        Path(folder, label).mkdir(parents=True, exist_ok=True)
        for i in range(3):
            Image.fromarray(np.full((8, 8), 40 * i + (label == "dog"), np.uint8)).save(Path(folder, label, f"{i}.png"))


def _link_to_a_file(tmp_path: Path) -> None:
    os.symlink(tmp_path / "private.png", "photos/cat/x.png")


def _link_to_a_folder(tmp_path: Path) -> None:
    os.symlink(tmp_path, "photos/mouse")


def _link_to_a_folder_with_a_link(tmp_path: Path) -> None:
    Path("other").mkdir()
    os.symlink(tmp_path / "private.png", "other/x.png")
    os.symlink(Path("other").absolute(), "photos/mouse")


def _link_to_nothing_outside(tmp_path: Path) -> None:
    os.symlink(tmp_path / "later.png", "photos/cat/x.png")


def _pipe(_: Path) -> None:
    os.mkfifo("photos/cat/x.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has other links and pipes")
@pytest.mark.parametrize(
    "hide", [_link_to_a_file, _link_to_a_folder, _link_to_a_folder_with_a_link, _link_to_nothing_outside, _pipe]
)
@pytest.mark.parametrize("text", ['data = "photos"', '[sweep.data]\nsource = "photos"', 'data = "."'])
def test_links_in_data_lead_nowhere_else(hide: Callable[[Path], None], text: str, tmp_path: Path) -> None:
    photos("photos")
    Image.new("L", (8, 8)).save(tmp_path / "private.png")
    write(f"{text}\n")
    command = "sweep" if "sweep" in text else "train"
    assert began(command) == ""
    hide(tmp_path)
    assert "a file that was found reads files below its folder only" in began(command)
    assert began(command, "--data", "photos") == "", "what the user typed is free"
    assert began(command, "--data", "digits") == ""


def test_a_pipe_is_neither_labels_nor_data(tmp_path: Path) -> None:
    os.mkfifo("pipe")
    for text, command in (("[convert]\nlabels = 'pipe'\n", "convert"), ("data = 'pipe'\n", "train")):
        write(text)
        assert f"leads to {Path('pipe').absolute()}" in began(command)


def test_keys_of_many_parts_are_refused_at_once() -> None:
    """tomllib would take a minute, before any command."""
    assert "is not valid TOML: a key has more than 64 parts" in refused(f"{'a.' * 32_000}a = 1\n").message


@pytest.mark.skipif(sys.platform == "win32", reason="it has no owners as numbers")
def test_a_file_of_somebody_else_where_everybody_may_write_is_ignored_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    everybodys = tmp_path / "tmp"
    (everybodys / ".git").mkdir(parents=True)
    write("[evaluate]\nthreads = 4\n", everybodys / NAME)
    (everybodys / "mine").mkdir()
    for here in (everybodys, everybodys / "mine"):
        monkeypatch.chdir(here)
        everybodys.chmod(0o1777)
        assert settings.find() == (everybodys / NAME, []), "it is the user's own"
        with monkeypatch.context() as other:
            other.setattr(os, "getuid", lambda: 12345)
            assert settings.find() == (None, [everybodys / NAME])
            assert edgepress("evaluate", "nope.keras") == 1
            said = " ".join(capfd.readouterr().err.split())
            assert "is ignored: it is somebody else's, in a folder where everybody may write." in said
            assert "--threads" not in said
            assert edgepress("evaluate", "nope.keras", "--json") == 1
            assert capfd.readouterr().err == ""
            everybodys.chmod(0o755)
            assert settings.find() == (everybodys / NAME, []), "a folder that its owner shares, as in containers"
    monkeypatch.chdir(everybodys)
    everybodys.chmod(0o1777)
    (everybodys / NAME).unlink()
    write("[train]\nseed = 1\n", tmp_path / "own.toml")
    os.symlink(tmp_path / "own.toml", NAME)
    with monkeypatch.context() as other:
        other.setattr(os, "getuid", lambda: 12345)
        assert settings.find() == (None, [everybodys / NAME]), "a link of somebody else"


@pytest.mark.slow
def test_a_teacher_that_writes_a_file(capfd: pytest.CaptureFixture[str]) -> None:
    """The attack that was found, in a process of its own as users run it."""
    from test_saved_model_operations import bodies, save

    folder = save(Path("folder"), bodies(str(Path("marker").absolute()))["WriteFile"])
    np.savez("data.npz", x=np.random.default_rng(0).normal(size=(60, 4)).astype("f4"), y=np.arange(60) % 3)
    write("[train]\nteacher = 'folder'\ndata = 'data.npz'\narch = 'dense'\nepochs = 1\n")
    command = [sys.executable, "-m", "edgepress.toolkit.cli.main"]
    done = subprocess.run([*command, "train"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "teacher is accepted only from a file that you name, because it opens a model" in done.stderr
    done = subprocess.run([*command, "--config", NAME, "train"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "is not loaded: WriteFile" in " ".join(done.stderr.split())
    assert not Path("marker").exists()
    assert edgepress("inspect", str(folder)) == 1
    assert edgepress("--no-config", "convert", str(folder), "--data", "data.npz", "--color", "none") == 1
    assert not Path("marker").exists()
    assert "give --trust" in " ".join(capfd.readouterr().err.split())


def test_a_tilde_means_the_same_to_the_check_and_to_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`./~/x` is a folder below this one, although `~/x` is the user's."""
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    photos(f"{home}/secret")
    with pytest.raises(DataError, match=r"There is no|does not exist|is not"):
        open_data("./~/secret")
    assert "leads out of the folder" in refused("data = '~/secret'\n").message


def test_labels_beside_a_shard_lead_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("password")
    Path("d").mkdir()
    Path("d/x.tar").touch()
    for text in ("d/x.tar", "d/{x,y}.tar", "d/x.tar::d/x.tar"):
        write(f"data = '{text}'\n")
        assert began("train") == ""
        os.symlink(tmp_path / "secret.txt", "d/classes.txt")
        assert "a file that was found reads files below its folder only" in began("train")
        Path("d/classes.txt").unlink()


@pytest.mark.parametrize("pattern", ["x{a..z}{a..z}{a..z}{a..z}{a..z}.tar", "x{-1..1000000000}.tar", "d/{${HOME}"])
def test_patterns_of_too_many_shards_take_no_time(pattern: str) -> None:
    write(f"data = '{pattern}'\n")
    assert began("train") == "", "it names no data, as the command itself says"
    with pytest.raises(DataError):
        open_data(pattern)


def test_what_a_command_writes_because_of_an_option_is_checked(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    Path("v").mkdir()
    photos("new")
    write("[benchmark]\nmore = 'new'\n")
    assert began("benchmark") == ""
    os.symlink(tmp_path / "outside", "v/to-label")
    assert "more leads out of the folder" in context_error("benchmark", "v")
    write("[bundle]\nformat = 'pyz'\n")
    Path("m.pyz").write_text("mine")
    assert "format leads to m.pyz, which" in context_error("bundle", "m.tflite")
    write("[sweep.dimensions]\nseeds = 2\n")
    write("{}", "sweep/sweep.json")
    assert "which edgepress did not write" in began("sweep")
    assert began("sweep", "--out", "elsewhere") == ""
    write("[train]\nresume = true\n")
    write("{}", "runs/digits-lenet/metrics.json")
    assert "resume leads to" in began("train", "--arch", "lenet", "--data", "digits")


def context_error(command: str, file: str) -> str:
    """The error of a command with its file."""
    name, found, rest = GROUP.resolve_command(group := GROUP.make_context("edgepress", [command]), [command, file])
    with pytest.raises(UsageError) as caught:
        settings.begin(found.make_context(name, rest, parent=group))
    return caught.value.message
