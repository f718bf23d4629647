"""Answer frames with one release, as a script that the interpreter of that release runs; it needs NumPy and an engine.

    PYTHONPATH=RELEASE PYTHON shadow_child.py MODEL

Each line of its input is a JSON object: {"bytes": N}, and N bytes of a frame follow, or {"seed": N} for an item of the
self-test. To each it answers {"us": 812.4, "label": "cat", "memory_bytes": 41000000}; "label" is null where the frame
is not accepted. The first line of its output says that the model is open. It belongs to the release in use, so it
takes nothing from the other release than `load`, `seeded_item` and errors; if these are others, it ends with `OTHER`.

Frames are bytes of strangers, which Pillow decodes: if it was started by root, it gives up root's rights before the
first one.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NO_MEMORY = 77
"""Exit code if memory has run out."""
OTHER = 78
"""Exit code if the runtime of the release has not what is needed here, which says nothing of the release."""
NOBODY = 65534
"""The user and group "nobody"."""
LATER = ("difflib", "edgepress.runtime.image", "edgepress.runtime.upright", "PIL.Image")
"""Modules that decoding a frame imports, which "nobody" may not be able to read then."""


def main(file: str) -> None:
    """Answer until the input ends."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # what engines print
        with contextlib.suppress(OSError):  # if memory runs out, this process ends and not the service
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
        with _end_on_error((AttributeError, TypeError, ImportError)):
            from edgepress.runtime import load
            from edgepress.runtime.errors import InputError
            from edgepress.runtime.selftest import seeded_item

            model: Any = load(file)
            spec = model.contract.input
            answer = model.answer
            judge = model.judge
            # A runtime from before multi-label files has no `task`, and one from before "not known" accepts every frame.
            has_several = getattr(model.contract, "task", None) == "multilabel"
            top = len(model.labels) if has_several else 1
            item = seeded_item(spec, 0)[None]
            _import_later()
            print(json.dumps({"engine": model.engine}), file=out, flush=True)
        with _end_on_error():
            answer(item)  # what the engine opens with its first answer
        _become_nobody()
        while line := sys.stdin.buffer.readline():
            asked = json.loads(line)
            if "seed" in asked:
                with _end_on_error((AttributeError, TypeError)):
                    item = seeded_item(spec, asked["seed"])[None]
                us, _ = _time_call(answer, item)
                label = None
            else:
                frame = sys.stdin.buffer.read(asked["bytes"])
                us, answered = _time_call(judge, frame, top, accepted=(InputError,))
                with _end_on_error((AttributeError, TypeError)):
                    label = None if answered is None else " and ".join(sorted(label.label for label in answered.classes))
            print(json.dumps({"us": us, "label": label, "memory_bytes": _memory_bytes()}), file=out, flush=True)


@contextlib.contextmanager
def _end_on_error(others: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """End this process in a way that says what an error means."""
    try:
        yield
    except MemoryError:
        print("memory has run out", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(NO_MEMORY)
    except others as e:
        print(f"it can't be compared: {e}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(OTHER)


def _time_call(work: Callable[..., Any], *given: Any, accepted: tuple[type[Exception], ...] = ()) -> tuple[float, Any]:
    """The time of an answer in microseconds, and the answer; None instead of it after an accepted error."""
    result = None
    began = time.perf_counter()
    with _end_on_error((PermissionError,)), contextlib.suppress(*accepted):  # "nobody" can't read everything
        result = work(*given)
    return (time.perf_counter() - began) * 1e6, result


def _import_later() -> None:
    """Import what decoding a frame needs, while it can be read."""
    for name in LATER:
        with contextlib.suppress(ImportError):
            module = importlib.import_module(name)
            if name == "PIL.Image":
                module.init()  # all its plugins


def _become_nobody() -> None:
    """Give up root's rights, and leave no image of the memory behind."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def _memory_bytes() -> int:
    """The largest memory of this process so far."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(sys.argv[1])
