"""Kill `install.sh` at every system call that changes something, and check what is left.

    python benchmarks/faults/install_kills.py [--only update,rollback] [--every 1]

A tracer (ptrace, Linux on x86-64 or arm64) counts the calls of the whole tree of processes that create, write, rename,
link, remove or flush files, and kills before the n-th one, for every n: once all processes, as a power failure does,
and once the process that makes the call alone, as `kill -9` does. After each kill

- the release that runs is complete: each file has the hash of its manifest, and its self-test has passed;
- `status` and `rollback` tell the truth, which this script knows from the history;
- the next installation succeeds, keeps the right two releases, and leaves nothing else.

What is left is the same after many kills; the same remains are checked once a scenario.

`install.sh`, `run` and the calls are real. The runtime in the bundle is a stub whose self-test compares the model with
its hash, Python starts without its packages (`-S`), and the scenario "environment" has a stub for `venv` and `pip`:
their files lie in a release that does not run yet. So a run takes a quarter of a second on an idle machine.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import platform
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = REPOSITORY / "toolkit" / "shipping" / "bundles" / "files"
RUNTIME = REPOSITORY / "runtime"
NUMBERS = {
    "x86_64": {
        "write": 1, "pwrite64": 18, "writev": 20, "fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77,
        "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87, "symlink": 88, "chmod": 90,
        "fchmod": 91, "sync": 162, "openat": 257, "mkdirat": 258, "unlinkat": 263, "renameat": 264, "linkat": 265,
        "symlinkat": 266, "fchmodat": 268, "open": 2, "sendfile": 40, "fallocate": 285, "syncfs": 306,
        "renameat2": 316, "copy_file_range": 326, "utimensat": 280, "fchown": 93, "fchownat": 260, "openat2": 437,
    },
    "aarch64": {
        "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37, "renameat": 38, "truncate": 45, "ftruncate": 46,
        "fallocate": 47, "fchmod": 52, "fchmodat": 53, "fchownat": 54, "fchown": 55, "openat": 56, "write": 64,
        "writev": 66, "pwrite64": 68, "sendfile": 71, "sync": 81, "fsync": 82, "fdatasync": 83, "utimensat": 88,
        "syncfs": 267, "renameat2": 276, "copy_file_range": 285, "openat2": 437,
    },
}  # fmt: skip
"""The calls that change something, by machine: name and number."""
BY_HANDLE = ("write", "pwrite64", "writev", "sendfile", "fallocate", "ftruncate", "copy_file_range")
"""Calls that change something only if their first argument is a file: pipes and terminals are none."""
SEIZED_OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x100000
"""PTRACE_O_TRACESYSGOOD, -FORK, -VFORK, -CLONE, -EXEC, -EXITKILL."""
TRACEME = 0
SYSCALL = 24
SETOPTIONS = 0x4200
GET_EVENT_MESSAGE = 0x4201
GET_SYSCALL_INFO = 0x420E
"""Requests of ptrace, from Linux's sys/ptrace.h."""
FORKS = (1, 2, 3)
"""Events of ptrace whose message is the number of a new process: fork, vfork, clone."""
ALL_CHILDREN = 0x40000000
"""An option of waitpid: also those that are traced."""
MEMORY = Path("/dev/shm")
"""A folder in memory: there, to flush files to the disk takes no time."""
NAME = "demo"
STUB = """\
import hashlib, json, os, sys
folder = sys.argv[2]
model = open(os.path.join(folder, "model.tflite"), "rb").read()
wanted = open(os.path.join(folder, "samples", "hash")).read()
passed = hashlib.sha256(model).hexdigest() == wanted
print(json.dumps({"passed": passed, "checks": [{"name": "model", "detail": "differs", "passed": passed}]}))
sys.exit(not passed)
"""
INTERPRETER = """\
#!/bin/sh
# Python without packages; a stub for environments: creates one that is itself, and installs nothing.
case "$*" in
  *"-m venv"*) for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python" ;;
  *"-m pip"*) echo package >"$(dirname "$0")/package" ;;
  *) exec @PYTHON@ -S "$@" ;;
esac
"""


class Call(ctypes.Structure):
    """`struct ptrace_syscall_info` at the entry of a call."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("ip", ctypes.c_uint64),
        ("sp", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def traced(command: Sequence[str], kill_at: int, *, alone: bool, log: Path) -> list[str]:
    """Run a command and kill it before its n-th changing call.

    Args:
        command: The command.
        kill_at: n, from 1; 0: not at all.
        alone: Whether only the process that makes the call is killed.
        log: Where its output goes.

    Returns:
        The names of the changing calls up to there, or of all.
    """
    names = {number: name for name, number in NUMBERS[platform.machine()].items()}
    first = os.fork()
    if not first:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for target, source in enumerate((null, output, output)):
            os.dup2(source, target)
        _libc.ptrace(TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.execvp(command[0], command)
    os.waitpid(first, 0)
    _libc.ptrace(SETOPTIONS, first, None, SEIZED_OPTIONS)
    _libc.ptrace(SYSCALL, first, None, 0)
    alive, ended, calls, call = {first}, set[int](), list[str](), Call()
    while alive:  # whoever calls may have children of its own, so that there is always one to wait for
        pid, status = os.waitpid(-1, ALL_CHILDREN)
        if not os.WIFSTOPPED(status):
            alive.discard(pid)
            ended.add(pid)
            continue
        alive.add(pid)
        if status >> 16 in FORKS:
            made = ctypes.c_ulong()
            _libc.ptrace(GET_EVENT_MESSAGE, pid, None, ctypes.addressof(made))
            alive |= {made.value} - ended
        number, passed_on = os.WSTOPSIG(status), 0
        if number == signal.SIGTRAP | 0x80:
            _libc.ptrace(GET_SYSCALL_INFO, pid, ctypes.sizeof(call), ctypes.addressof(call))
            name = names.get(call.number) if call.op == 1 else None
            if name and (not kill_at or len(calls) < kill_at) and _changes(pid, name, call, log):
                calls.append(name)
                if len(calls) == kill_at:
                    for each in [pid] if alone else [*alive]:
                        os.kill(each, signal.SIGKILL)
                    continue
        elif number not in (signal.SIGTRAP, signal.SIGSTOP):
            passed_on = number
        _libc.ptrace(SYSCALL, pid, None, passed_on)
    return calls


def _changes(pid: int, name: str, call: Call, log: Path) -> bool:
    """Whether a call changes a file: one that writes to a pipe or opens without creating does not."""
    if name in BY_HANDLE:
        number = call.arguments[2 if name == "copy_file_range" else 0]
        try:
            file = os.stat(f"/proc/{pid}/fd/{number}")
        except OSError:
            return False
        return stat.S_ISREG(file.st_mode) and not os.path.samestat(file, log.stat())
    if name not in ("open", "openat"):
        return True
    flags = call.arguments[1 if name == "open" else 2]
    if not flags & (os.O_CREAT | os.O_TRUNC):
        return False
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(call.arguments[0 if name == "open" else 1])
        return memory.read(9) != b"/dev/null"


def make_bundle(folder: Path, text: str, *, broken: bool = False) -> Path:
    """An unpacked bundle whose model is a text; its self-test fails if it is broken."""
    model = text.encode() * 3000
    wanted = hashlib.sha256(b"" if broken else model).hexdigest()
    files: dict[str, bytes] = {
        "model.tflite": model,
        "samples/hash": wanted.encode(),
        "samples/0.png": b"png",
        "edgepress/__init__.py": b"",
        "edgepress/runtime/__init__.py": b"",
        "edgepress/runtime/__main__.py": STUB.encode(),
        "edgepress/runtime/installed.py": (RUNTIME / "installed.py").read_bytes(),
    }
    for name in ("install.sh", "run", "service.unit", "README.md"):
        files[name] = (FILES / name).read_bytes().replace(b"@NAME@", NAME.encode()).replace(b"@MODEL@", b"model.tflite")
    for machine in ("pc64", "pi64"):
        files[f"requirements-{machine}-py{sys.version_info[0]}{sys.version_info[1]}.txt"] = b""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    listed = [{"path": name, "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()]
    fields = {"name": NAME, "files": listed}
    manifest = {"id": hashlib.sha256(f"{json.dumps(fields, indent=1)}\n".encode()).hexdigest(), **fields}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return folder


def complete(release: Path) -> bool:
    """Whether a release has all files of its manifest, and what the installation adds."""
    try:
        files = json.loads((release / "MANIFEST.json").read_bytes())["files"]
        good = all(hashlib.sha256((release / f["path"]).read_bytes()).hexdigest() == f["sha256"] for f in files)
        passed = json.loads((release / "selftest.json").read_bytes())["passed"]
        interpreter = Path((release / "interpreter").read_text().strip())
        return good and passed is True and os.access(release / "run", os.X_OK) and interpreter.exists()
    except (OSError, ValueError):
        return False


State = tuple[str | None, str | None]
"""The bundles of the current and the previous release, by their texts; None: there is none."""


@dataclass(frozen=True)
class Scenario:
    """What is killed.

    Attributes:
        installed: The bundles that were installed before, in order.
        action: Arguments of install.sh; the first is the bundle that it belongs to, "current" the installed one.
        before, after: The state before the action and after it.
        between: A further state that is true during the action.
        damaged: The bundle among the installed ones whose model is damaged before the action.
    """

    installed: str
    action: tuple[str, ...]
    before: State
    after: State
    between: State | None = None
    damaged: str = ""


SCENARIOS = {
    "first": Scenario("", ("a", "install"), (None, None), ("a", None)),
    "update": Scenario("ab", ("c", "update"), ("b", "a"), ("c", "b")),
    "environment": Scenario("ab", ("c", "update", "--environment"), ("b", "a"), ("c", "b")),
    "again": Scenario("ab", ("b", "install"), ("b", "a"), ("b", "a")),
    "back": Scenario("ab", ("a", "install"), ("b", "a"), ("a", "b")),
    "damaged": Scenario("ab", ("b", "install"), ("b", "a"), ("b", "a"), damaged="b"),
    "damaged previous": Scenario("ab", ("a", "install"), ("b", "a"), ("a", "b"), ("b", None), damaged="a"),
    "broken": Scenario("ab", ("x", "update"), ("b", "a"), ("b", "a")),
    "rollback": Scenario("ab", ("current", "rollback"), ("b", "a"), ("a", "b")),
    "rollback twice": Scenario("abB", ("current", "rollback"), ("a", "b"), ("b", "a")),
    "uninstall": Scenario("ab", ("current", "uninstall"), ("b", "a"), (None, None)),
}
"""Letters are bundles; a capital one stands for a rollback, "x" for a bundle that fails its self-test."""


class Bench:
    """Installs and kills in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.prefix, self.log = folder, folder / "prefix", folder / "log"
        self.bundles = {text: make_bundle(folder / text, text, broken=text == "x") for text in "abcdx"}
        self.ids = {json.loads((b / "MANIFEST.json").read_text())["id"][:12]: text for text, b in self.bundles.items()}
        self.stub = folder / "python"
        self.stub.write_text(INTERPRETER.replace("@PYTHON@", sys.executable))
        self.stub.chmod(0o755)

    def command(self, bundle: str, *action: str) -> list[str]:
        """The command line of an action."""
        script = (self.prefix / "current" if bundle == "current" else self.bundles[bundle]) / "install.sh"
        words = [word for word in action if word != "--environment"]
        how = [] if "--environment" in action else ["--system"]
        return ["sh", str(script), *words, "--prefix", str(self.prefix), "--python", str(self.stub), *how]

    def run(self, bundle: str, *action: str) -> subprocess.CompletedProcess[str]:
        """Do an action."""
        return subprocess.run(self.command(bundle, *action), capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def prepare(self, scenario: Scenario) -> Path:
        """Install what a scenario begins with; returns a copy of it."""
        shutil.rmtree(self.prefix, ignore_errors=True)
        for text in scenario.installed:
            done = self.run("current", "rollback") if text.isupper() else self.run(text, "install")
            assert done.returncode == 0, done.stderr
        for release in (self.prefix / "releases").glob("*"):
            if self.ids[release.name[:12]] == scenario.damaged:
                (release / "model.tflite").write_bytes(b"damaged")
        start = self.folder / "start"
        shutil.rmtree(start, ignore_errors=True)
        if self.prefix.exists():
            shutil.copytree(self.prefix, start, symlinks=True)
        return start

    def restore(self, copy: Path) -> None:
        """Make the prefix what a copy holds."""
        shutil.rmtree(self.prefix, ignore_errors=True)
        if copy.exists():
            shutil.copytree(copy, self.prefix, symlinks=True)

    def remains(self) -> str:
        """A hash of the names, links and contents in the prefix."""
        found = hashlib.sha256()
        for path in sorted(self.prefix.rglob("*")):
            kind = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
            found.update(f"{path.relative_to(self.prefix)} {kind!r} {path.lstat().st_mode}\n".encode())
        return found.hexdigest()

    def text_of(self, release: str) -> str:
        """The bundle of a release, by its name."""
        return self.ids[release.removeprefix("again-")[:12]]

    def running(self) -> tuple[str | None, Path]:
        """The bundle of the release that runs, and its folder."""
        link = self.prefix / "current"
        return (self.text_of(link.readlink().name) if link.is_symlink() else None), link.resolve()

    def wrong(self, scenario: Scenario) -> list[str]:
        """What is not as it must be after a kill."""
        found: list[str] = []
        current, release = self.running()
        states = [s for s in (scenario.before, scenario.between, scenario.after) if s is not None and s[0] == current]
        if not states:
            return [f"{current} runs"]
        damaged = current == scenario.damaged and not release.name.startswith("again-")
        if current and not damaged and not complete(release):
            found.append(f"{current} runs and is not complete")
        killed = self.folder / "killed"
        shutil.rmtree(killed, ignore_errors=True)
        if self.prefix.exists():
            shutil.copytree(self.prefix, killed, symlinks=True)
        found += self.wrong_rollback(scenario, current, states)
        self.restore(killed)
        return found + self.wrong_install(current, damaged)

    def wrong_rollback(self, scenario: Scenario, current: str | None, states: list[State]) -> list[str]:
        """What is not true in `status` and `rollback`."""
        whole = complete((self.prefix / "previous").resolve())
        status, done = self.run("a", "status"), self.run("a", "rollback")
        if current is None:
            told = status.returncode == done.returncode == 1 and "Traceback" not in done.stderr
            return [] if told else [f"nothing runs: {status.stdout} {done.stdout}{done.stderr}"]
        lines = dict(line.partition(": ")[::2] for line in status.stdout.splitlines())
        told_current, told_previous = (
            self.text_of(lines[name]) if lines.get(name) else None for name in ("current", "previous")
        )
        if (told_current, told_previous) not in states and not (current == scenario.damaged and told_current is None):
            return [f"status tells {told_current} and {told_previous}"]
        if told_previous is None or not whole:
            refused = done.returncode == 1 and ("no previous" in done.stderr or "fails its self-test" in done.stderr)
            return [] if refused and self.running()[0] == current else [f"rollback: {done.stdout}{done.stderr}"]
        after, release = self.running()
        words = done.stdout.replace(".", "").split()
        if done.returncode or len(words) < 4 or after != told_previous or not complete(release):
            return [f"rollback: {done.stdout}{done.stderr}"]
        said = (self.text_of(words[4]), self.text_of(words[6]) if len(words) > 6 else None)
        return [] if said == (after, current) else [f"rollback says {done.stdout}"]

    def wrong_install(self, current: str | None, damaged: bool) -> list[str]:
        """What the next installation, of a bundle that is not there yet, leaves wrong."""
        done = self.run("d", "install")
        after, release = self.running()
        if done.returncode or after != "d" or not complete(release):
            return [f"the next installation: {done.stdout}{done.stderr}"]
        former = (self.prefix / "previous").resolve()
        previous = self.text_of(former.name) if former.is_dir() else None
        if previous != current and not damaged:
            return [f"after the next installation {previous} is the previous release, not {current}"]
        names = sorted(path.name for path in self.prefix.iterdir())
        kept = [path.name for path in (self.prefix / "releases").iterdir()]
        extra = {*names} - {".edgepress", ".lock", "current", "previous", "releases"}
        return [f"left: {extra} {kept}"] if extra or len(kept) > 2 else []


class Kills:
    """Kills of a scenario at each of its changing calls, and what was wrong after them.

    Args:
        calls: The calls, in order.
        every: Kill at one of so many calls only, drawn anew each time.
        say: Called with each violation and a summary.

    Attributes:
        numbers: The numbers of the calls to kill at, from 1.
        violations: How many were found so far.
    """

    def __init__(self, calls: Sequence[str], every: int, say: Callable[[str], None]) -> None:
        self._calls = calls
        self._say = say
        self._verdicts: dict[str, list[str]] = {}
        self.numbers = sorted(random.sample(range(1, len(calls) + 1), -(-len(calls) // every)))
        self.violations = 0

    def judge(
        self, name: str, number: int, made: Sequence[str], *, remains: str, wrong: Callable[[], list[str]]
    ) -> None:
        """Check what a kill left, once for the same remains, and say what is wrong."""
        if remains not in self._verdicts:
            self._verdicts[remains] = wrong()
        for text in self._verdicts[remains]:
            self.violations += 1
            last = made[-1] if made else "none"
            self._say(f"  {name}, call {number} of {len(self._calls)} ({last}): {text.strip()}")

    def summary(self, name: str) -> tuple[int, int]:
        """Say how many kills there were, of which kinds; returns the numbers of kills and of violations."""
        kinds = ", ".join(f"{self._calls.count(kind)} {kind}" for kind in sorted({*self._calls}))
        verdicts = f"{len(self._verdicts)} different remains, {self.violations} violations"
        self._say(f"{name}: {len(self.numbers)} kills ({kinds}), {verdicts}")
        return len(self.numbers), self.violations


def kill_all(
    bench: Bench, name: str, *, alone: bool, every: int = 1, say: Callable[[str], None] = print
) -> tuple[int, int]:
    """Kill a scenario at each of its changing calls; returns the numbers of kills and of violations."""
    scenario = SCENARIOS[name]
    start = bench.prepare(scenario)
    command = bench.command(*scenario.action)
    calls = traced(command, 0, alone=False, log=bench.log)
    kills = Kills(calls, every, say)
    for number in kills.numbers:
        bench.restore(start)
        made = traced(command, number, alone=alone, log=bench.log)
        kills.judge(name, number, made, remains=bench.remains(), wrong=lambda: bench.wrong(scenario))
    return kills.summary(f"{name}, {'one process' if alone else 'all processes'}")


def parse_arguments(description: str | None, scenarios: Iterable[str]) -> argparse.Namespace:
    """The options of a script that kills scenarios; exits where it can't run."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(scenarios), help="scenarios, separated by commas")
    parser.add_argument("--every", type=int, default=1, help="kill at one of so many calls only, which are drawn")
    arguments = parser.parse_args()
    if platform.machine() not in NUMBERS or sys.platform != "linux":
        sys.exit("Needs Linux on x86-64 or arm64.")
    return arguments


def main() -> None:
    """Kill all scenarios that were asked for."""
    arguments = parse_arguments(__doc__, SCENARIOS)
    kills = violations = 0
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        bench = Bench(Path(folder))
        for name in arguments.only.split(","):
            for alone in (False, True):
                more, wrong = kill_all(bench, name, alone=alone, every=arguments.every)
                kills, violations = kills + more, violations + wrong
    print(f"{kills} kills, {violations} violations")
    sys.exit(violations > 0)


if __name__ == "__main__":
    main()
