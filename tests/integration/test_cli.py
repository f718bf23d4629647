from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from configuring import GROUP, edgepress

from edgepress.toolkit.cli import app as application
from edgepress.toolkit.cli import frame, screen
from edgepress.toolkit.cli.commands import COMMANDS
from edgepress.toolkit.cli.main import main
from edgepress.toolkit.cli.options import complete_data, list_of
from edgepress.toolkit.cli.reference import every_command
from edgepress.toolkit.errors import TOOLKIT_MODULES, InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _logs_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "100")


def apart(*code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a fresh process."""
    environment = os.environ | variables
    command = [sys.executable, "-c", "\n".join(code)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_help_imports_nothing_heavy() -> None:
    heavy = ["tensorflow", "keras", "PIL", "sklearn", "scipy", "onnx", "onnxruntime", "ai_edge_litert", "matplotlib"]
    assert "demo" in help_without("--help", [*heavy, "numpy", *(f"edgepress.toolkit.cli.{name}" for name in COMMANDS)])
    assert "--top" in help_without("predict --help", [*heavy, "edgepress.toolkit.cli.convert"])


def help_without(words: str, modules: Sequence[str]) -> str:
    """What a command prints in a fresh process; fails if it imports one of the modules."""
    result = apart(
        "import sys",
        "from edgepress.toolkit.cli.main import main",
        f"try: main({words.split()})",
        f"except SystemExit: print([m for m in {list(modules)} if m in sys.modules])",
    )
    assert result.stdout.rstrip().endswith("[]")
    return result.stdout


def test_the_list_of_commands_says_what_their_own_help_says() -> None:
    for name, row in COMMANDS.items():
        assert GROUP.commands[name].help.split("\n\n")[0] == row.help


def test_commands_are_listed_and_completed_by_their_rows() -> None:
    context = GROUP.make_context("edgepress", [], resilient_parsing=True)
    assert GROUP.get_command(context, "nothing") is None
    assert [(c.value, c.help) for c in GROUP.shell_complete(context, "com")] == [
        (name, GROUP.get_command(context, name).get_short_help_str()) for name in ("compress", "compare")
    ]


@pytest.mark.slow
def test_docs_show_the_help_of_every_command() -> None:
    pins = dict(re.findall(r"^(typer|rich)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    if {name: importlib.metadata.version(name) for name in pins} != pins:
        pytest.skip(f"the layout of the help is that of {pins}")
    printed = apart("import runpy", "runpy.run_module('edgepress.toolkit.cli.reference', run_name='__main__')").stdout
    assert (ROOT / "docs" / "commands.md").read_text() == printed, (
        "run: python -m edgepress.toolkit.cli.reference > docs/commands.md"
    )
    for shown in ("--no-verify", "--no-cache", "--no-limits", "--channels-last", "Models that edgepress did not train"):
        assert shown in printed
    assert all(example in printed for _, _, example in COMMANDS.values())


def test_every_command_and_option_has_help_and_json() -> None:
    import typer

    group: Any = typer.main.get_command(application.app)
    found = list(every_command(group))
    assert group.list_commands(None) == list(COMMANDS)
    for words in found:
        command = group
        for word in words:
            command = command.commands[word]
        assert command.help, words
        assert hasattr(command, "commands") or any("--json" in p.opts for p in command.params), words
        assert all(p.help for p in command.params), words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("train --arch mobilenet-v", {"mobilenet-v1", "mobilenet-v2", "mobilenet-v3-small"}),
        ("train --color ", {"grey", "rgb", "bgr"}),
        ("predict --engine lite", {"litert"}),
        ("convert --to tflite-int8,onnx-int", {"tflite-int8,onnx-int8", "tflite-int8,onnx-int4"}),
        ("report --format ", {"html", "md", "card"}),
    ],
)
def test_the_shell_completes_what_is_in_the_tables(words: str, offered: set[str]) -> None:
    variables = {"_EDGEPRESS_COMPLETE": "complete_bash", "COMP_WORDS": f"edgepress {words}"}
    variables["COMP_CWORD"] = str(len(words.split(" ")))
    printed = apart("from edgepress.toolkit.cli.main import main", "main([])", **variables).stdout
    assert set(printed.split()) == offered


def test_data_are_completed_by_name_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("digits-photos", "photos", ".hidden"):
        Path(name).mkdir()
    Path("photos", "a.npz").touch()
    assert complete_data("dig") == ["digits", f"digits-photos{os.sep}"]
    assert complete_data("pho") == [f"photos{os.sep}"]
    assert complete_data(f"photos{os.sep}") == [os.path.join("photos", "a.npz")]
    assert f".hidden{os.sep}" not in complete_data("")
    assert complete_data("nowhere/") == []


def test_a_list_is_completed_at_its_last_name() -> None:
    complete = list_of(("a-one", "a-two", "b"))
    assert complete("") == ["a-one", "a-two", "b"]
    assert complete("b,a-t") == ["b,a-two"]


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert edgepress("--version") == 0
    assert capfd.readouterr().out.startswith("edgepress 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nope",),
        ("evaluate",),
        ("evaluate", "x.tflite", "--threads", "0"),
        ("train", "--arch", "lenett"),
        ("train", "--color", "gray"),
        ("train", "--resize", "squash"),
        ("convert", "x.onnx", "--resize", "crop:2"),
        ("convert", "x.onnx", "--input", "whiten"),
        ("predict", "x.tflite", "x.png", "--engine", "litert2"),
    ],
)
def test_wrong_usage_is_exit_2_in_words_and_in_json(
    arguments: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert edgepress(*arguments) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "Value error" not in captured.err, "pydantic's words, which Typer passes on"
    assert edgepress(*arguments, "--json") == 2
    assert json.loads(capfd.readouterr().out)["error"]["kind"] == "usage"


def test_an_error_says_what_failed_and_what_to_do_on_stderr_or_as_json(
    run: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    assert edgepress("convert", str(run.model), "--to", "tflite-int9") == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "Unknown scheme 'tflite-int9'" in captured.err
    assert "Did you mean 'tflite-int8'?" in captured.err
    assert "Traceback" not in captured.err
    assert edgepress("convert", str(run.model), "--to", "tflite-int9", "--json") == 1
    error = json.loads(capfd.readouterr().out)["error"]
    assert (error["kind"], error["hint"]) == ("input", "Did you mean 'tflite-int8'?")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("evaluate", "nope.keras"), "nope.keras"),
        (("benchmark", "nope"), "nope"),
        (("predict", "nope.tflite", "x.png"), "nope.tflite"),
        (("train", "--data", "nope"), "nope"),
        (("train", "--data", "digits", "--size", "big"), "big"),
        (("train",), "digits, mnist, fashion_mnist"),
        (("train", "--data", ""), "(--data) is empty"),
        (("train", "--data", " "), "(--data) is empty"),
        (("sweep", "--data", ""), "(--data) is empty"),
    ],
)
def test_bad_input_is_one_error_and_leaves_nothing(
    arguments: tuple[str, ...],
    found: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert edgepress(*arguments) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("Error:") == 1
    assert found in captured.err
    assert list(Path().iterdir()) == []


@pytest.mark.slow
def test_evaluate_convert_benchmark_and_predict_print_their_results(
    run: Any, digits: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "variants"
    assert edgepress("convert", str(run.model), "--to", "tflite-float32,tflite-int8", "--out", str(out), "--json") == 0
    variants = json.loads(capfd.readouterr().out)["variants"]
    assert {"file", "scheme", "size_bytes", "status", "error"} <= set(variants[0])
    assert edgepress("evaluate", variants[1]["file"]) == 0
    assert "macro average" in capfd.readouterr().out
    assert edgepress("benchmark", str(out), "--rounds", "1", "--max-drop", "50", "--prefer", "size") == 0
    printed = capfd.readouterr().out
    assert f"Ship: {out / 'model-int8.tflite'}" in printed.replace("\n", "")
    assert (out / "benchmark.json").exists()
    assert edgepress("benchmark", variants[1]["file"], "--rounds", "1", "--max-drop", "1", "--out", str(tmp_path)) == 3
    assert "no tflite-float32 file" in capfd.readouterr().err

    (tmp_path / "bad.png").write_bytes(b"no image")
    from PIL import Image

    Image.fromarray(digits.test.read([0])[0, :, :, 0]).save(tmp_path / "good.png")
    images = [str(tmp_path / name) for name in ("good.png", "bad.png")]
    assert edgepress("predict", variants[0]["file"], *images, "--top", "1") == 4
    captured = capfd.readouterr()
    assert "good.png" in captured.out
    assert "bad.png" in captured.err
    assert edgepress("predict", variants[0]["file"], *images, "--json") == 4
    assert [set(r) for r in json.loads(capfd.readouterr().out)] == [{"image", "classes"}, {"image", "classes", "error"}]


@pytest.mark.slow
def test_train_leaves_a_model_and_prints_one_document(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    arguments = ("train", "--data", "digits", "--arch", "dense", "--epochs", "1", "--out", str(out), "--json")
    assert edgepress(*arguments) == 0
    document = json.loads(capfd.readouterr().out)
    assert Path(document["model"]).exists()
    assert 0 < document["accuracy"] <= 1
    assert edgepress(*arguments) == 1  # the folder holds a run
    assert json.loads(capfd.readouterr().out)["error"]["kind"] == "training"


@pytest.mark.parametrize(
    ("raised", "code", "kind"),
    [
        (KeyboardInterrupt(), 1, "interrupted"),
        (OSError(28, "No space left on device", "x.bin"), 1, "input"),
        (PermissionError(13, "Permission denied", "x.bin"), 1, "input"),
        (BrokenPipeError(), 1, None),
    ],
)
def test_interrupt_and_a_full_disk_are_errors_not_tracebacks(
    raised: BaseException,
    code: int,
    kind: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr("edgepress.toolkit.measurement.evaluation.evaluate", fail)
    assert edgepress("evaluate", "x.keras", "--json") == code
    out = capfd.readouterr().out
    assert (json.loads(out)["error"]["kind"] if out else None) == kind


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("edgepress.toolkit.measurement.evaluation.evaluate", lambda *_, **__: {}["bug"])
    with pytest.raises(KeyError):
        main(["evaluate", "x.keras", "--json"])
    assert json.loads(capfd.readouterr().out)["error"]["kind"] == "bug"


def test_without_the_toolkit_it_says_which_extra_to_install() -> None:
    hide = "import sys; sys.modules['typer'] = None; from edgepress.toolkit.cli.main import main"
    result = apart(hide, "main(['demo'])")
    assert result.returncode == 1
    assert "pip install 'edgepress[toolkit]'" in result.stderr
    assert "Traceback" not in result.stderr
    assert json.loads(apart(hide, "main(['demo', '--json'])").stdout)["error"]["kind"] == "missing_extra"


@pytest.mark.parametrize(("module", "package"), [("keras", "keras"), ("sklearn", "scikit-learn")])
def test_a_command_that_misses_a_package_says_which_extra_to_install(
    module: str, package: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def lacking(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError(f"No module named '{module}'", name=f"{module}.metrics")

    monkeypatch.setattr("edgepress.toolkit.measurement.evaluation.evaluate", lacking)
    assert edgepress("evaluate", "x.keras", "--json") == 1
    error = json.loads(capfd.readouterr().out)["error"]
    assert error["kind"] == "missing_extra"
    assert f"the package {package}," in error["message"]
    assert edgepress("evaluate", "x.keras") == 1
    assert "Traceback" not in capfd.readouterr().err


def test_the_toolkit_s_packages_are_all_known_by_the_module_they_bring() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    listed = {re.split(r"[>=<;\[]", r)[0] for name in ("toolkit", "tflite", "onnx", "image") for r in extras[name]}
    assert set(TOOLKIT_MODULES.values()) == listed - {"edgepress"}


def test_native_noise_and_warnings_go_into_the_log_and_words_to_the_screen(capfd: pytest.CaptureFixture[str]) -> None:
    # In a process of its own: here, the standard streams are pytest's.
    result = apart(
        "import os, sys, warnings, logging, subprocess",
        "from edgepress.toolkit.cli import frame",
        "with frame.off_screen() as log:",
        "    os.write(2, b'native 2\\n'); os.write(1, b'native 1\\n')",
        "    subprocess.run(['sh', '-c', 'echo child >&2'])",
        "    warnings.warn('a warning'); logging.getLogger('some').warning('a log line')",
        "    print('result'); print('progress', file=sys.stderr)",
        "print('after'); os.write(2, b'native after\\n')",
        "print(log.read_text(), file=open(os.environ['COPY'], 'w'))",
        COPY=str(Path(os.environ["XDG_STATE_HOME"]).with_suffix(".txt")),
    )
    assert result.stdout == "result\nafter\n"
    assert result.stderr == "progress\nnative after\n"
    logged = Path(os.environ["XDG_STATE_HOME"]).with_suffix(".txt").read_text()
    assert all(text in logged for text in ("native 2", "native 1", "child", "a warning", "a log line"))


def test_an_empty_log_is_removed_and_old_ones_are_pruned(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "edgepress" / "log"
    with frame.off_screen() as log:
        assert log.parent == folder
    assert not log.exists()
    for n in range(30):
        (folder / f"2000{n:02}.log").touch()
    with frame.off_screen():
        kept = list(folder.iterdir())
    assert len(kept) == frame.KEPT_LOGS
    assert log.parent / "200000.log" not in kept


def test_without_a_place_for_logs_commands_still_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with frame.off_screen() as log, warnings.catch_warnings():
        assert str(log) == os.devnull


def test_an_error_names_the_log_only_if_it_holds_something(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "x.log"
    log.touch()
    screen.error(InputError("No.", "Do."), as_json=False, log=log)
    assert "x.log" not in capfd.readouterr().err
    log.write_text("native words")
    screen.error(InputError("No.", "Do."), as_json=True, log=log)
    assert json.loads(capfd.readouterr().out)["error"]["log"] == str(log)


def test_progress_is_drawn_on_stderr_only_on_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with contextlib.ExitStack() as stack:
        update = stack.enter_context(screen.progress({"a": "Doing"}))
        update("a", 0.5)
        update("a", 1.0)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_narrow_screen_leaves_out_columns_rather_than_breaking_figures_and_titles(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from edgepress.converters.variant import Variant
    from edgepress.toolkit.cli.tables import repairs_table, variants_table

    figures = {"accuracy": 0.972, "agreement": 1.0, "snr_db": 26.3}
    repair = {"name": "adaround", "kept": True, "what": "the weights of 3 operations rounded"}
    tuning = {"repairs": [repair | {"before": figures, "after": figures | {"snr_db": 36.1}}]}
    variant = Variant("tflite-int4", Path("model-tuned-int4.tflite"), 45000, 1.25, compression=tuning)
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        screen.show(variants_table([variant]))
        screen.show(repairs_table([variant]))
        shown = capfd.readouterr().out
        for whole in ("model-tuned-int4.tflite", "SQNR dB", "100.0\u00a0→\u00a0100.0", "26.3\u00a0→\u00a036.1"):
            assert whole in shown
        assert ("1.2 s" in shown) == ("97.2\u00a0→\u00a097.2" in shown) == (width == 120)
