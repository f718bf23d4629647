"""edgepress.toml: every option of every command that reads it, which value wins, and what its errors say."""

from __future__ import annotations

import json
import os
import re
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from configuring import (
    GROUP,
    apart,  # noqa: F401 - a fixture
    context,
    edgepress,
    other_value,
    refused,
    write,
)
from hypothesis import given
from hypothesis import strategies as st

from edgepress.toolkit.cli import settings
from edgepress.toolkit.cli.commands import COMMANDS, NAME, READS
from edgepress.toolkit.cli.found_files import JUDGED
from edgepress.toolkit.cli.option_table import accepted_type, option_names, option_type, options_of, words_of
from edgepress.toolkit.cli.settings_file import LARGEST, SHARED, line_of, load
from edgepress.toolkit.cli.template import toml
from edgepress.toolkit.errors import UsageError

pytestmark = pytest.mark.usefixtures("apart")
WITHOUT_EXAMPLE = {"custom": ["a:B"], "scheduler": "x", "python": "x", "ssh_config": "x"}
"""Values of options that no file of `edgepress init` shows."""
OPTIONS = [(command, option) for command in READS for option in options_of(GROUP.commands[command])]


@pytest.mark.parametrize(("command", "option"), OPTIONS, ids=[f"{c} {o.opts[0]}" for c, o in OPTIONS])
def test_every_option_can_stand_in_the_file_and_means_what_it_means_on_the_command_line(
    command: str, option: Any
) -> None:
    value = WITHOUT_EXAMPLE[option.name] if option.name in WITHOUT_EXAMPLE else other_value(command, option)
    for key in {
        name for name, (found, sense) in option_names(GROUP.commands[command]).items() if found is option and sense
    }:
        for written in {key, key.replace("_", "-")}:
            write(f"[{command}]\n{written} = {toml(value)}\n")
            got = context(command, before=("--config", NAME))
            assert got.get_parameter_source(option.name).name == "DEFAULT_MAP"
            words = words_of(option, value if isinstance(value, bool) or option.multiple else _text(value))
            typed = context(command, *words, before=("--no-config",))
            assert got.params == typed.params
            assert settings.begin(got).startswith(f"From {NAME}: --")
    for word in option.secondary_opts:
        write(f"[{command}]\n{word.lstrip('-')} = true\n")
        assert context(command).params[option.name] is False


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def test_the_commands_that_read_it_exist_and_shared_options_are_theirs() -> None:
    assert set(READS) < set(COMMANDS)
    for name, users in SHARED.items():
        assert users
        for command in users:
            assert name in option_names(GROUP.commands[command]), (name, command)


def test_command_line_then_table_then_top_then_default(capfd: pytest.CaptureFixture[str]) -> None:
    write('data = "mnist"\nmax-drop = 3\n[compress]\nmax_drop = 2\n[train]\ndata = "cifar10"\n')
    assert context("compress", "--max-drop", "1").params["max_drop"] == 1
    assert context("compress").params["max_drop"] == 2
    assert context("benchmark").params["max_drop"] == 3
    assert context("convert").params["max_drop"] is None, "at the top, it is not for convert"
    assert context("evaluate").params["data"] == "mnist"
    assert context("train").params["data"] == "cifar10"
    assert context("train", "--data", "digits").params["data"] == "digits"
    assert context("compress", before=("--no-config",)).params["max_drop"] == 0.5
    write("[compress]\nmax-drop = 0.25\n", "other.toml")
    assert context("compress", before=("--config", "other.toml")).params["max_drop"] == 0.25
    assert context("benchmark", before=("--config", "other.toml")).params["max_drop"] is None


def test_the_environment_names_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[train]\nseed = 1\n")
    write("[train]\nseed = 2\n", "other.toml")
    monkeypatch.setenv("EDGEPRESS_CONFIG", "other.toml")
    assert context("train").params["seed"] == 2
    write("[train]\nseed = 3\n", "third.toml")
    assert context("train", before=("--config", "third.toml")).params["seed"] == 3
    assert context("train", before=("--no-config",)).params["seed"] == 0
    monkeypatch.setenv("EDGEPRESS_CONFIG", "")
    assert context("train").params["seed"] == 1


@pytest.mark.parametrize(
    ("text", "line", "says", "hint"),
    [
        ("# a\n\nmax-dorp = 1\n", 3, "'max-dorp' is neither a command that reads this file", "'max-drop'"),
        ("[trian]\nepochs = 1\n", 1, "'trian' is neither a command", "'train'"),
        ("[train]\nepochs = 1\nepohcs = 2\n", 3, "train has no option 'epohcs'", "'epochs'"),
        ("[report]\n\narch = 'lenet'\n", 3, "report has no option 'arch'", "an option of train, sweep"),
        ("[report]\nzzzz = 1\n", 2, "report has no option 'zzzz'", "edgepress report --help"),
        ("size = 96\n", 1, "size is not allowed at top level", "[train] or "),
        ("board = 'pi'\n", 1, "board is not allowed at top level", "[compress] or [bundle]"),
        ("train = 1\n", 1, "train is a table", "Write [train]"),
        ("[train]\njson = true\n", 2, "json stands on the command line only", "--json"),
        ("[train]\nbatch-size = 1\nbatch_size = 2\n", 3, "batch_size is set twice", "Keep one"),
        ("[convert]\nverify = true\nno-verify = true\n", 3, "no-verify is set twice", "Keep one"),
        ("[train]\nepochs = '3'\n", 2, "epochs of train: a text where a whole number is accepted", "train --help"),
        ("[train]\nepochs = 3.0\n", 2, "a number where a whole number is accepted", ""),
        ("[train]\nepochs = true\n", 2, "true or false where a whole number is accepted", ""),
        ("[train]\nwidth = '0.5'\n", 2, "a text where a number is accepted", ""),
        ("[train]\nresume = 1\n", 2, "a whole number where true or false is accepted", ""),
        ("[train]\narch = ['lenet']\n", 2, "a list where a text is accepted", ""),
        ("[train]\nout = 3\n", 2, "a whole number where a text is accepted", ""),
        ("[train]\nout = 2020-01-01\n", 2, "a date or time where a text is accepted", ""),
        ("[train]\ndata = ['a', 'b']\n", 2, "a list where a text is accepted", ""),
        ("[train.data]\nx = 1\n", 1, "a table where a text is accepted", ""),
        ("[convert]\nto = []\n", 2, "a list where a text or a list of texts is accepted", ""),
        ("[convert]\nto = [['a']]\n", 2, "a list where a text or a list of texts is accepted", ""),
        ("[train]\nepochs = 0\n", 2, "epochs of train is 0: ", "train --help"),
        ("[train]\narch = 'lenett'\n", 2, "arch of train is 'lenett': 'lenett' is not one of 'auto', 'dense'", ""),
        ("[train]\nresize = 'squash'\n", 2, "resize of train is 'squash'", ""),
        ("max-drop = 101\n", 1, "max-drop of compress is 101: ", ""),
        ("max-drop = nan\n", 1, "max-drop of compress is nan: ", ""),
        ("[convert]\nto = [\n  'all', # epochs\n]\nepochs = [\n 1\n]\n", 5, "convert has no option 'epochs'", ""),
        ('[convert]\nkeep-float = """\nmean-ing = 1\n"""\nmean-ing = 1\n', 5, "no option 'mean-ing'", ""),
    ],
)
def test_an_error_names_the_line_what_is_wrong_and_what_is_right(text: str, line: int, says: str, hint: str) -> None:
    error = refused(text)
    assert error.message.startswith(f"{NAME}, line {line}: ")
    assert says in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    "content",
    [b"data = \xff\n", b"data = \n", b"#" * (LARGEST + 1), b"a = " + b"[" * 5000, b"a = " + b"9" * 5000],
    ids=["bytes", "syntax", "large", "deep", "number"],
)
def test_a_file_that_can_not_be_read_is_one_error_of_usage(content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    Path(NAME).write_bytes(content)
    assert edgepress("train", "--json") == 2
    error = json.loads(capfd.readouterr().out)["error"]
    assert error["kind"] == "usage"
    assert error["message"].startswith(NAME)
    assert edgepress("train") == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("Error:") == 1


def test_a_file_that_is_missing_a_folder_or_a_pipe_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    Path("folder").mkdir()
    for name, why in (("nope.toml", "no such file"), ("folder", "it is a folder")):
        assert edgepress("--config", name, "train") == 2
        assert f"{name} can't be read: " in (said := capfd.readouterr().err)
        assert why in said
    if hasattr(os, "mkfifo"):
        os.mkfifo("pipe.toml")
        assert edgepress("--config", "pipe.toml", "train") == 2
        os.mkfifo(NAME)  # found by nobody
        assert context("train").params["seed"] == 0


def test_what_does_not_read_the_file_works_beside_a_broken_one(capfd: pytest.CaptureFixture[str]) -> None:
    write("nonsense")
    assert edgepress("train", "--help") == 0
    assert edgepress("--help") == 0
    assert edgepress("inspect", "nope.tflite") == 1
    assert "nope.tflite" in capfd.readouterr().err
    assert edgepress("--no-config", "evaluate", "nope.keras") == 1


def test_the_screen_says_what_is_from_the_file_and_json_does_not(capfd: pytest.CaptureFixture[str]) -> None:
    write('data = "digits"\n[evaluate]\nthreads = 2\ncache = false\n')
    assert edgepress("evaluate", "nope.keras", "--data", "mnist") == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[0] == f"From {NAME}: --threads 2 --no-cache"
    assert edgepress("evaluate", "nope.keras", "--json") == 1
    captured = capfd.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out)["error"]["kind"] == "model_file"


def test_a_file_can_not_write_to_the_terminal() -> None:
    write('data = "a\\u001b[2J\\nb"\n')
    assert settings.begin(context("train")) == f"From {NAME}: --data 'a\\x1b[2J\\nb'"
    assert "\x1b" not in refused('["\\u001b[2J"]\n').message
    assert "\x1b" not in refused('[train]\nresize = "\\u001b[2J"\n').message


@pytest.mark.parametrize("option", ["--config", "--no-config"])
def test_options_of_the_application_stand_before_the_command(option: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert edgepress("train", option, "--json") == 2
    said = json.loads(capfd.readouterr().out)["error"]["message"]
    assert said.endswith(f"It stands before the command: edgepress {option} ...")


def test_an_error_about_an_option_of_the_file_names_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    write('# sizes\nmax-size = "lots"\n')
    assert edgepress("prune", "nope.keras", "--json") == 1
    error = json.loads(capfd.readouterr().out)["error"]
    assert "--max-size is 'lots'" in error["message"]
    assert error["hint"] == f"--max-size is from {NAME}, line 2."
    assert edgepress("prune", "nope.keras", "--max-size", "few") == 1
    assert NAME not in capfd.readouterr().err
    write('[convert]\nto = ["tflite-int9"]\n')
    assert edgepress("convert", "nope.keras") == 1
    said = " ".join(capfd.readouterr().err.split())
    assert "Unknown scheme 'tflite-int9'" in said
    assert f"--to is from {NAME}, line 2." in said


def test_what_a_result_records_repeats_the_command_without_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write('data = "my photos/"\n[benchmark]\nrounds = 3\nlimits = false\n')
    monkeypatch.setattr("sys.argv", ["edgepress", "benchmark", "a.tflite", "--threads", "2"])
    settings.begin(context("benchmark", "--threads", "2"))
    assert settings.command_line() == (
        "edgepress benchmark a.tflite --threads 2 --rounds 3 --no-limits --data 'my photos/'"
    )
    settings.begin(context("benchmark", before=("--no-config",)))
    assert settings.command_line() == "edgepress benchmark a.tflite --threads 2"


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
SCALARS = st.one_of(TEXTS, st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False))


@given(st.one_of(SCALARS, st.lists(SCALARS, max_size=4)))
def test_values_survive_toml(value: Any) -> None:
    assert tomllib.loads(f"a = {toml(value)}")["a"] == value


KEYS = st.sampled_from(
    [
        *READS,
        *SHARED,
        *sorted({name for _, name in JUDGED}),
        "max-drop",
        "no-verify",
        "size",
        "to",
        "out",
        "sweep.data",
        "sweep.timing",
        "x",
    ]
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.floats(), st.sampled_from([10**400, "~a/b", "::", "\0"]))


@given(st.lists(st.tuples(KEYS, VALUES), max_size=4), st.sampled_from(READS))
def test_any_content_is_taken_or_is_an_error_of_usage(pairs: list[tuple[str, Any]], table: str) -> None:
    lines = [f"{key} = {toml(value)}" for key, value in pairs]
    path = write("\n".join([*lines[:2], f"[{table}]", *lines[2:]]), "any.toml")
    for found in (True, False):
        try:
            load(path, GROUP.commands, typer.Context, found=found)
        except UsageError as e:
            message = e.message
        else:
            continue
        assert message.startswith("any.toml")


@given(
    st.lists(
        st.sampled_from(["a = 1", "b = [", "]", "# b", "", "c = '''", "'''", "b = 2", "[t]", "d = 'b'"]), max_size=9
    )
)
def test_a_line_is_where_its_key_begins(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    for table, values in (((), document), (("t",), document.get("t", {}))):
        for key in values:
            number = line_of(text, *table, key)
            assert lines[number - 1].startswith(f"[{key}" if key == "t" else f"{key} =")


@pytest.mark.parametrize(
    "rest",
    ["#to\n" * 15_000, "y = '''\n" + "to=\n" * 15_000 + "'''\n", "".join(f"[t{n}]\nto = 1\n" for n in range(3000))],
    ids=["comments", "text", "tables"],
)
def test_no_file_of_the_accepted_size_takes_long(rest: str) -> None:
    began = time.process_time()
    line_of(f"[convert]\nto = 1\n{rest}", "convert", "to")
    assert time.process_time() - began < 5, "trying each line took minutes"


def test_what_a_file_holds_is_told_in_the_words_of_toml() -> None:
    kinds = {"epochs": "a whole number", "dropout": "a number", "freeze": "true or false", "out": "a text"}
    command = GROUP.commands["train"]
    for name, words in kinds.items():
        assert accepted_type(option_type(command, name)) == words


PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
def test_examples_of_the_guide_are_right(block: str) -> None:
    settings = load(write(block), GROUP.commands, typer.Context, found=True)
    assert any(settings.options.values())


def test_the_guide_lists_what_is_shared_and_who_reads_the_file() -> None:
    rows = {
        row[0]: set(re.findall(r"`([\w-]+)`", row[1])) for row in re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", PAGE, re.M)
    }
    listed = {name: commands for cell, commands in rows.items() for name in re.findall(r"`([\w-]+)`", cell)}
    assert set(listed) == {name.replace("_", "-") for name in SHARED}
    for name, users in SHARED.items():
        every = {c for c in READS if name in option_names(GROUP.commands[c])}
        assert (listed[name.replace("_", "-")] or every) == set(users)
    assert ", ".join(f"`{name}`" for name in READS[:-1]) + f" and `{READS[-1]}` read it" in " ".join(PAGE.split())


def test_options_of_items_in_the_file_do_not_stop_an_evaluation_of_recordings(
    capfd: pytest.CaptureFixture[str],
) -> None:
    write('[evaluate]\ndata = "mnist"\njobs = 2\nskip-unreadable = true\n')
    for words, says in (((), "none.tflite can't be read"), (("--data", "digits"), "--stream doesn't take --data:")):
        edgepress("evaluate", "none.tflite", "--stream", "a.wav", *words)
        assert says in " ".join(capfd.readouterr().err.split())
