"""A stand-in for GitHub's runner: it runs the steps of `action.yml` on a repository made up for it, as that would.

The expressions that the file uses are evaluated, every `run` is a bash of its own, and outputs, summary and event are
files. `python3 -m venv` and `gh` are replaced: the first makes an environment whose Python is this one, and notes what
pip is asked for; the second keeps the comments of pull request 7 in a file.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
BOT = "github-actions[bot]"
PYTHON3 = """\
#!/bin/bash
words=("$@")
[ "$1" = -I ] && shift
if [ "$1 $2" != "-m venv" ]; then exec {python} "${{words[@]}}"; fi
{python} "${{words[@]}}" --without-pip
rm "$3"/bin/python*
cat >"$3/bin/python" <<'END'
#!/bin/bash
if [[ " $* " = *" -m pip "* ]]; then
  echo "$*" >>{log}
  set -- "${{1/-m/-B}}" -c "import json, re, venv" # as pip would import modules
fi
exec {python} "$@"
END
chmod +x "$3/bin/python"
"""
GH = """\
#!{python}
import json, os, re, sys
from pathlib import Path
state, words = Path({state!r}), sys.argv[1:]
assert os.environ["GH_TOKEN"] == "secret" and words.pop(0) == "api", words
comments = json.loads(state.read_text())
if comments is None:
    sys.exit("gh: Resource not accessible by integration (HTTP 403)")
path = next(w for w in words if w.startswith("repos/o/r/issues/"))
if "--jq" in words:
    login, mark = re.findall('"([^"]*)"', words[words.index("--jq") + 1])
    own = [c for c in comments if c["login"] == login and c["body"].startswith(mark)]
    print(*(c["id"] for c in own), sep="\\n", end="")
else:
    kind, _, file = words[words.index("-F") + 1].partition("=@")
    body = Path(file).read_text(encoding="utf-8")
    if "PATCH" in words:
        next(c for c in comments if path.endswith("/comments/%d" % c["id"]))["body"] = body
    else:
        assert kind == "body" and path == "repos/o/r/issues/7/comments"
        comments.append({{"id": 100 + len(comments), "login": {bot!r}, "body": body}})
    state.write_text(json.dumps(comments))
"""


@dataclass
class Outcome:
    """What one run of the action left: exit code of the first step that failed, or 0."""

    code: int
    outputs: dict[str, str]
    log: str
    summary: str
    comments: list[dict[str, Any]] = field(default_factory=list)


class Runner:
    """A repository with a base commit on `origin` and a shallow checkout of a pull request.

    Args:
        folder: An empty folder.
        base: Files of the base commit by path.
        head: Files of the pull request by path.
    """

    def __init__(self, folder: Path, base: dict[str, str | bytes], head: dict[str, str | bytes]) -> None:
        self.folder, self.workspace = folder, folder / "workspace"
        self.bin, self.state, self.pip = folder / "bin", folder / "comments.json", folder / "pip.log"
        origin = folder / "origin"
        origin.mkdir()
        git("init", "-q", "-b", "main", cwd=origin)
        self.base = commit(origin, base)
        git("checkout", "-q", "-b", "pull", cwd=origin)
        git("rm", "-rq", ".", cwd=origin)
        commit(origin, head)
        git("config", "uploadpack.allowAnySHA1InWant", "true", cwd=origin)
        git("clone", "-q", "--depth=1", "--branch=pull", origin.as_uri(), str(self.workspace), cwd=folder)
        self.bin.mkdir()
        self.state.write_text("[]")
        script(self.bin / "python3", PYTHON3.format(python=sys.executable, log=self.pip))
        script(self.bin / "gh", GH.format(python=sys.executable, state=str(self.state), bot=BOT))

    def run(self, event: dict[str, Any] | None = None, **inputs: str) -> Outcome:
        """Run the action once; inputs have `_` for `-`. The event is that of pull request 7 unless another is given."""
        action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
        values = {name: str(row.get("default", "")) for name, row in action["inputs"].items()}
        values |= {name.replace("_", "-"): value for name, value in inputs.items()}
        known = {f"inputs.{name}": value for name, value in values.items()} | {"github.token": "secret"}
        event = {"pull_request": {"number": 7, "base": {"sha": self.base}}} if event is None else event
        (self.folder / "event.json").write_text(json.dumps(event))
        summary, code, log = self.folder / "summary.md", 0, ""
        summary.write_text("")
        temporary = self.folder / "temporary"
        temporary.mkdir(exist_ok=True)
        for number, step in enumerate(action["runs"]["steps"]):
            condition = step.get("if")
            if "run" not in step or (code if condition is None else not truth(condition, known)):
                continue
            output = self.folder / f"output-{number}"
            output.write_text("")
            environment = {k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "GIT_"))}
            environment |= {
                **{name: filled(text, known) for name, text in step.get("env", {}).items()},
                "GITHUB_ACTIONS": "true",
                "GITHUB_ACTION_PATH": str(ROOT),
                "GITHUB_EVENT_PATH": str(self.folder / "event.json"),
                "GITHUB_OUTPUT": str(output),
                "GITHUB_REPOSITORY": "o/r",
                "GITHUB_STEP_SUMMARY": str(summary),
                "PATH": f"{self.bin}:{os.environ['PATH']}",
                "RUNNER_TEMP": str(temporary),
            }
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", filled(step["run"], known)]
            done = subprocess.run(
                command,
                cwd=self.workspace,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            code, log = code or done.returncode, log + done.stdout
            for line in output.read_text().splitlines():
                name, _, value = line.partition("=")
                known[f"steps.{step['id']}.outputs.{name}"] = value
        outputs = {name: filled(row["value"], known) for name, row in action["outputs"].items()}
        return Outcome(code, outputs, log, summary.read_text(), json.loads(self.state.read_text()) or [])


def filled(text: str, known: dict[str, str]) -> str:
    """A text with the value of each `${{ name }}`; one that nothing has set is empty."""
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: known.get(found[1], ""), text)


def truth(condition: str, known: dict[str, str]) -> bool:
    """Whether an `if` of the form `!cancelled() && NAME == 'text' && NAME != 'text'` holds."""
    first, *rest = condition.removeprefix("${{ ").removesuffix(" }}").split(" && ")
    assert first == "!cancelled()"
    found = [re.fullmatch(r"([\w.-]+) (==|!=) '(\w*)'", term) for term in rest]
    assert all(found), condition
    return all((known.get(f[1], "") == f[3]) == (f[2] == "==") for f in found if f)


def git(*words: str, cwd: Path) -> str:
    """Run git as somebody; its stdout."""
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *words], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, files: dict[str, str | bytes]) -> str:
    """Commit files; the commit's hash."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    git("add", "-A", cwd=folder)
    git("commit", "-q", "--allow-empty", "-m", "x", cwd=folder)
    return git("rev-parse", "HEAD", cwd=folder)


def script(path: Path, text: str) -> None:
    """Write a program."""
    path.write_text(text)
    path.chmod(0o755)
