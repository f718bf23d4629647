"""The GitHub Action passes, fails and comments as it should, and inputs are text; run by a stand-in for a runner."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from action_runner import BOT, ROOT, Outcome, Runner
from records import float_row, result, row

FILE = "models/benchmark.json"
LIMIT = {"new": FILE, "fail_if": "size>5%\nlatency>2x\n"}


def benchmark(size_bytes: int) -> str:
    return json.dumps(result(float_row(), row(size_bytes=size_bytes, file="model.tflite")).to_dict())


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A pull request that makes the file half as large again, `good.json` aside."""
    head = {FILE: benchmark(1500), "models/good.json": benchmark(1001), "models/broken.json": "{"}
    return Runner(
        tmp_path, {FILE: benchmark(1000), "models/good.json": benchmark(1000), "models/broken.json": "{"}, head
    )


def test_a_change_within_the_limits_passes_and_is_commented_once(runner: Runner) -> None:
    first = runner.run(new="models/good.json", fail_if="size>5%")
    assert (first.code, first.outputs["outcome"], first.outputs["exit-code"]) == (0, "passed", "0"), first.log
    assert "| ✅ passed | size&gt;5% |" in first.summary
    assert Path(first.outputs["report"]).read_text(encoding="utf-8") == first.summary
    (comment,) = first.comments
    assert comment["body"].endswith(first.summary)
    assert "::error" not in first.log
    assert runner.pip.read_text() == f"-I -m pip install -q -c {ROOT}/constraints.txt {ROOT}[toolkit]\n"

    second = runner.run(**LIMIT)  # type: ignore[arg-type]
    assert [c["id"] for c in second.comments] == [comment["id"]]
    assert second.comments[0]["body"].endswith(second.summary.removeprefix(first.summary))
    other = runner.run(new="models/good.json", title="another")
    assert len(other.comments) == 2


def test_an_exceeded_limit_fails_with_the_commands_exit_code(runner: Runner) -> None:
    found = runner.run(**LIMIT)  # type: ignore[arg-type]
    assert (found.code, found.outputs["outcome"], found.outputs["exit-code"]) == (3, "failed", "3"), found.log
    assert re.search(r"^::error title=edgepress size>5%25 failed::.*size \+50", found.log, re.MULTILINE), found.log
    assert "| ❌ failed | size&gt;5% |" in found.summary
    assert "❌ edgepress compare: 1 failed, 3 passed." in found.comments[0]["body"]


def test_what_cannot_be_read_is_an_error_without_a_report(runner: Runner) -> None:
    found = runner.run(new="models/broken.json")
    assert (found.code, found.outputs["outcome"], found.outputs["report"]) == (1, "error", "")
    assert "Error: " in found.log
    assert found.summary == ""
    assert found.comments == []


def test_a_file_that_the_base_lacks_is_reported_but_an_old_one_that_was_named_must_exist(tmp_path: Path) -> None:
    runner = Runner(tmp_path, {"README": "x"}, {FILE: benchmark(1000)})
    found = runner.run(**LIMIT)  # type: ignore[arg-type]
    assert (found.code, found.outputs["outcome"]) == (0, "passed")
    assert "nothing was compared" in found.summary
    assert "::notice" in found.log
    assert runner.run(old="gone.json", **LIMIT).code == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("of", ["push", "merge_group"])
def test_other_events_compare_without_a_comment(runner: Runner, of: str) -> None:
    event = {"before": runner.base} if of == "push" else {"merge_group": {"base_sha": runner.base}}
    found = runner.run(event, **LIMIT)
    assert (found.code, found.outputs["outcome"], found.comments) == (3, "failed", [])


@pytest.mark.parametrize(
    "event",
    [{}, {"before": "0" * 40}, {"before": "--upload-pack=touch pwned"}, {"pull_request": {"number": "7; touch x"}}],
)
def test_an_event_without_a_base_commit_is_an_error(runner: Runner, event: dict[str, Any]) -> None:
    found = runner.run(event, **LIMIT)
    assert (found.code, found.outputs["outcome"]) == (1, "error")
    assert "no base commit" in found.log
    assert not list(runner.folder.rglob("pwned"))


def test_a_token_that_may_not_comment_is_a_warning(runner: Runner) -> None:
    runner.state.write_text("null")
    found = runner.run(new="models/good.json")
    assert found.code == 0
    assert "::warning title=edgepress::The comment could not be written" in found.log
    assert "comment" not in runner.run(new="models/good.json", comment="false").log


def test_comments_of_others_stay_as_they_are(runner: Runner) -> None:
    (mark,) = re.findall("^<!-- .* -->", runner.run(new="models/good.json").comments[0]["body"])
    others = [{"id": 1, "login": "somebody", "body": f"{mark} mine"}, {"id": 2, "login": BOT, "body": f"about {mark}"}]
    runner.state.write_text(json.dumps(others))
    found = runner.run(new="models/good.json")
    assert found.comments[:2] == others
    assert len(found.comments) == 3


PLANTED = """import pathlib
pathlib.Path({mark!r}).open("a").write(__file__ + "\\n")
"""
MODULES = (
    *("venv", "pip", "ensurepip", "runpy", "json", "re", "os", "pathlib", "sitecustomize", "usercustomize", "numpy"),
    *("event", "edgepress/__init__", "venv/__main__", "pip/__main__", "edgepress/toolkit/cli/main"),
)


@pytest.mark.parametrize("variables", [{}, {"PYTHONPATH": "."}, {"PYTHONPATH": "WORKSPACE", "PYTHONSTARTUP": "re.py"}])
def test_no_module_of_the_checkout_is_run(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pull request may hold files of any name."""
    mark = tmp_path / "ran.txt"
    planted = {f"{name}.py": PLANTED.format(mark=str(mark)) for name in MODULES if "/" not in name}
    packages = {f"{name}.py": PLANTED.format(mark=str(mark)) for name in MODULES if "/" in name}
    for number, files in enumerate((planted, packages)):
        folder = tmp_path / str(number)
        folder.mkdir()
        runner = Runner(folder, {FILE: benchmark(1000)}, {FILE: benchmark(1001), **files})
        for name, value in variables.items():
            monkeypatch.setenv(name, value.replace("WORKSPACE", str(runner.workspace)))
        found = runner.run(new=FILE)
        assert (found.code, found.outputs["outcome"], len(found.comments)) == (0, "passed", 1), found.log
        assert not mark.exists(), mark.read_text()


HOSTILE = "$(touch pwned)`touch pwned`\"; touch pwned; '; touch pwned; ${{ github.token }}\noutcome=passed\n::error::x"


def test_inputs_are_text(tmp_path: Path) -> None:
    name = f"{HOSTILE}.json"
    runner = Runner(tmp_path, {name: benchmark(1000)}, {name: benchmark(1500)})
    found = runner.run(new=name, title=HOSTILE, fail_if="size>5%")
    assert (found.code, found.outputs["outcome"], len(found.comments)) == (3, "failed", 1), found.log
    found = runner.run(new=name, fail_if=HOSTILE, options=HOSTILE, data=HOSTILE)
    assert (found.code, found.outputs["outcome"]) == (2, "error"), found.log
    assert not list(tmp_path.rglob("pwned"))


def test_a_long_report_is_cut_in_the_comment_only(runner: Runner) -> None:
    rows = [row(file=f"{'é' * 40}{i}.tflite", threads=i + 1) for i in range(700)]
    text = json.dumps(result(float_row(), *rows).to_dict())
    (runner.workspace / "models/good.json").write_text(text)
    found = runner.run(new="models/good.json", fail_if="accuracy<1%")
    (comment,) = found.comments
    assert len(found.summary.encode()) > 65_536 > len(comment["body"].encode())
    assert "the whole comparison is in the summary" in comment["body"]


def test_two_model_files_are_measured_side_by_side(tmp_path: Path, run: Any) -> None:
    old, new = (run.variants[name].read_bytes() for name in ("tflite-float32", "tflite-int8"))
    found: Outcome = Runner(tmp_path, {"m.tflite": old}, {"m.tflite": new}).run(
        new="m.tflite", data="digits", options="--engine=litert\n--rounds=6", fail_if="size>5%\ndrop>20"
    )
    assert (found.code, found.outputs["outcome"]) == (0, "passed"), found.log
    assert found.summary.count("✅ passed") == 2


def shell_of(node: Any) -> list[str]:
    """Every `run` of a workflow or action."""
    if isinstance(node, list):
        return [text for item in node for text in shell_of(item)]
    if not isinstance(node, dict):
        return []
    own = [node["run"]] if isinstance(node.get("run"), str) else []
    return own + [text for item in node.values() for text in shell_of(item)]


@pytest.mark.parametrize("path", [ROOT / "action.yml", *ROOT.glob(".github/workflows/*.yml")], ids=lambda p: p.name)
def test_no_expression_stands_in_a_shell(path: Path) -> None:
    found = shell_of(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert found
    assert [text for text in found if "${{" in text] == []


STARTS = re.compile(r"(?:^|[\s\"'=(|&;])((?:[\w./$\"{}:-]*/)?python3?(?:\.\d+)?\"?)\s+(-\S+)")
"""Python and its first option, in a shell."""
SHELLS = (
    *(ROOT / ".ci" / "action" / name for name in ("install.sh", "compare.sh", "comment.sh")),
    *(ROOT / name for name in ("Dockerfile", "Dockerfile.board", ".github/workflows/release.yml")),
)


@pytest.mark.parametrize("path", SHELLS, ids=lambda path: path.name)
def test_every_python_that_others_folders_may_be_around_ignores_them(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    found = [start for line in lines for start in STARTS.findall(line)]
    assert all(option in ("-I", "-P") for _, option in found), found
    assert not re.search(r"(?<!-m )(?<!/)\bpip3? install", "\n".join(lines))


WORKFLOWS = {
    path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in ROOT.glob(".github/workflows/*.yml")
}


def test_every_action_is_pinned_by_its_commit() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "action.yml", *ROOT.glob(".github/workflows/*.yml"))]
    uses = [line.split("uses:")[1].strip() for text in texts for line in text.splitlines() if "uses:" in line]
    assert len(uses) >= 6
    assert [one for one in uses if not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_only_the_job_that_publishes_has_a_token_and_it_runs_nothing_else(name: str) -> None:
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        granted = job.get("permissions", {})
        assert granted in ({"contents": "read"}, {"id-token": "write"})
        if "id-token" in granted:
            assert all("run" not in step for step in job["steps"])
            assert job["environment"]["name"] == "pypi"
