"""What a process of `worker.Worker` runs: it receives jobs and sends reports."""

from __future__ import annotations

import logging
import os
import pathlib
import pickle
import sys
import threading
import time
import traceback

from edgepress.converters.process.imports import ignore_found_settings, import_less
from edgepress.converters.process.scratch import remove_abandoned
from edgepress.converters.process.system import opened
from edgepress.runtime import amx
from edgepress.runtime.errors import EdgepressError

PARENT_S = 1.0
"""Seconds between two checks that the parent lives."""


def serve(number: int, folder: str) -> None:
    """Receive jobs and send reports over one pipe, until it closes.

    Args:
        number: The pipe.
        folder: The folder of this process's temporary files, which its parent has made.
    """
    ignore_found_settings()
    sys.modules.setdefault("pathlib._local", pathlib)  # Python 3.13 pickles paths so (cpython#133789)
    import_less()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # as TF_CPP_MIN_LOG_LEVEL does for its native code
    threading.Thread(target=_end_with, args=(os.getppid(), folder), daemon=True).start()
    with opened(number) as pipe:
        pipe.send(("pid", os.getpid()))
        while True:
            try:
                function, argument = pipe.recv()
            except (EOFError, OSError):
                return
            except Exception:  # an argument that can't be unpickled here
                pipe.send(("bug", traceback.format_exc()))
                continue
            try:
                amx.apply()  # before any library computes
                function(argument, lambda value: pipe.send(("report", value)))
                pipe.send(("done", None))
            except EdgepressError as e:
                _log_cause(e)
                pipe.send(("error", e))
            except (BrokenPipeError, pickle.PicklingError):
                raise
            except Exception:
                pipe.send(("bug", traceback.format_exc()))


def _end_with(parent: int, folder: str) -> None:
    """End this process soon after its parent, whatever it is doing, because a killed parent does not end it.

    What both left in the folder of temporary files goes before.
    Windows keeps the number of a parent that is gone; there the process ends at its next report.
    """
    while os.getppid() == parent:
        time.sleep(PARENT_S)
    remove_abandoned(os.path.dirname(folder))
    os._exit(1)


def _log_cause(error: EdgepressError) -> None:
    """Write to the log where the exception behind an error was raised: it does not travel with the error."""
    if (cause := error.__cause__) is not None and (frames := traceback.extract_tb(cause.__traceback__)):
        print(f"{type(cause).__name__} in {frames[-1].filename}:{frames[-1].lineno}", file=sys.stderr)  # noqa: T201
