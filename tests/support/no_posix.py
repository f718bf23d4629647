"""Run edgepress as if the system were not POSIX: what only POSIX systems have is hidden from its modules.

    PYTHONPATH=tests/support pytest -p no_posix -m "not slow" -n auto        the whole suite
    python tests/support/no_posix.py -m edgepress.toolkit.cli.main doctor    a command

To modules named `edgepress.*`, names of `os`, `signal` and `socket` that Windows lacks do not exist, the modules in
`MODULES` can't be imported, and files below /proc and /sys are missing. Tests, the standard library and other packages
see the system as it is, as they would be other builds on another system. Child processes hide the same. What this can't
show: wrong answers of other systems' own functions, file names and locks there. Branches of `sys.platform` are checked
by `mypy --platform` alone.
"""

from __future__ import annotations

import builtins
import os
import runpy
import signal
import socket
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

# What typeshed and the Python documentation give to POSIX systems alone.
_NAMES = {
    "os": """WCOREDUMP WEXITSTATUS WIFEXITED WIFSIGNALED WIFSTOPPED WNOHANG WTERMSIG chown chroot ctermid eventfd
        fchdir fchmod fchown fork forkpty getegid geteuid getgid getgrouplist getgroups getloadavg getpgid getpgrp
        getpriority getresuid getsid getuid getxattr initgroups killpg lchown listxattr lockf memfd_create mkfifo mknod
        nice openpty pidfd_open pipe2 posix_fadvise posix_fallocate posix_spawn posix_spawnp pread preadv pwrite
        pwritev register_at_fork sched_getaffinity sched_get_priority_max sched_getparam sched_getscheduler
        sched_setaffinity sched_setparam sched_setscheduler sched_yield sendfile setegid seteuid setgid setgroups
        setns setpgid setpriority setsid setuid setxattr splice statvfs fstatvfs sysconf tcgetpgrp tcsetpgrp ttyname
        uname unshare wait wait3 wait4 waitid""",
    "signal": """SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSTOP SIGTSTP SIGTTIN
        SIGTTOU SIGURG SIGUSR1 SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU alarm getitimer pause pthread_kill pthread_sigmask
        setitimer siginterrupt sigpending sigtimedwait sigwait""",
    "socket": "AF_UNIX recv_fds send_fds",
}
HIDDEN = {module: frozenset(names.split()) for module, names in _NAMES.items()}
MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")
FOLDERS = ("/proc", "/sys")
OPENERS = ("pathlib", "io", "codecs", "glob", "tempfile")
"""Modules of the standard library that open a file for the module that asked for it."""

OF_POSIX = (
    "test_a_quiet_host_is_quiet",
    "test_every_candidate_is_timed_in_every_round_and_one_that_fails_fails_alone",
    "test_a_turn_that_hangs_is_given_up",
    "test_cpus_are_stable_and_the_parent_waits_elsewhere",
    "test_a_repository_that_somebody_else_made_of_a_folder_for_everybody_is_none",
    "test_a_file_opens_without_tiles_on_every_cpu",
    "test_the_demo_does_the_whole_way_in_a_minute_of_two_cores",
    "test_doctor_finds_what_works",
    "test_doctor_reports_an_engine_that_does_not_run",
    "test_the_next_removes_what_a_killed_process_left_and_no_folder_in_use",
    "test_a_fork_keeps_the_folder_of_its_killed_parent",
    "test_one_that_another_process_takes_for_left_is_made_again",
    "test_a_child_of_a_killed_process_removes_what_both_left",
)
"""Tests of what is hidden: pinning, forks and the time they save, owners, locks, /proc. The plugin skips them."""


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Skip the tests of what is hidden."""
    import pytest

    for item in items:
        if item.name.partition("[")[0] in OF_POSIX:
            item.add_marker(pytest.mark.skip(reason="tests what no_posix hides"))


def _is_ours(name: str) -> bool:
    return name == "edgepress" or name.startswith("edgepress.")


class _WithoutPosix(ModuleType):
    """A module that has some names for other modules than edgepress's alone."""

    def __getattribute__(self, name: str) -> Any:
        if name in HIDDEN.get(super().__getattribute__("__name__"), ()):
            asking = sys._getframe(1).f_globals.get("__name__", "")
            if _is_ours(asking):
                raise AttributeError(f"{name} is hidden by no_posix", name=name, obj=self)
        return super().__getattribute__(name)


def _without_files(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook that lets files below `FOLDERS` be missing for edgepress."""
    if event != "open" or not isinstance(arguments[0], str | os.PathLike):
        return
    path = os.fspath(arguments[0])
    if isinstance(path, str) and path.startswith(FOLDERS):
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in OPENERS:
            frame = frame.f_back
        if _is_ours(frame.f_globals.get("__name__", "")):
            raise FileNotFoundError(2, "hidden by no_posix", path)


def hide() -> None:
    """Hide them in this process and in its children."""
    if isinstance(os, _WithoutPosix):
        return
    for module in (os, signal, socket):
        module.__class__ = _WithoutPosix
    sys.addaudithook(_without_files)
    real = builtins.__import__

    def imported(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if level == 0 and name in MODULES and _is_ours((globals or {}).get("__name__", "")):
            raise ModuleNotFoundError(f"No module named {name!r} (hidden by no_posix)", name=name)
        return real(name, globals, locals, fromlist, level)

    builtins.__import__ = imported
    folder = Path(tempfile.gettempdir()) / f"edgepress-no-posix-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    code = f"import importlib.util as u\ns = u.spec_from_file_location('no_posix', {__file__!r})\n"
    code += "m = u.module_from_spec(s)\ns.loader.exec_module(m)\nm.hide()\n"
    (folder / "sitecustomize.py").write_text(code)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *(p for p in paths if p and p != str(folder))])


if __name__ == "__main__":
    hide()
    sys.argv = sys.argv[1:]
    if sys.argv[:1] == ["-m"]:
        sys.argv = sys.argv[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
elif any("pytest" in name for name in sys.modules):
    hide()
