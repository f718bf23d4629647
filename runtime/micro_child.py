"""What the process of `micro_session` runs: a file in TensorFlow Lite for Microcontrollers, items in, answers out.

    python -P micro_child.py FILE FOLDER_OF_TFLITE_MICRO ARENA_BYTES

It imports nothing of edgepress. Each reply is a line of JSON, {"error": "..."} if something failed; that for an item is
followed by the bytes of the output. A request is b"r", to begin anew, or b"i" and the bytes of an item. TFLM writes its
log to standard error, which is kept in a file, and read where something fails.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import tempfile
from typing import IO, Any

ARENA_BYTES = 16 << 20
"""Memory that TFLM may use at least, unless a number is given; it says how much of it was used."""
LOG_LINES = 3
"""Lines of the log that an error quotes."""


def main() -> None:
    """Open the file and answer until the requests end."""
    path, folder, arena = sys.argv[1:]
    sys.path.append(folder)
    with os.fdopen(os.dup(1), "wb") as replies, tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        serve(path, int(arena), replies, log)


def serve(path: str, arena: int, replies: IO[bytes], log: IO[bytes]) -> None:
    """Open the file, tell what it takes and returns, and answer requests."""
    try:
        interpreter, about = open_file(path, arena, log)
    except Exception as error:  # whatever the package raises is the answer
        reply(replies, {"error": reason_of(error, log)})
        return
    reply(replies, about)
    shape, dtype, size = (about["input"][name] for name in ("shape", "dtype", "bytes"))
    while request := sys.stdin.buffer.read(1):
        try:
            if request == b"r":
                interpreter.reset()
                reply(replies, {})
                continue
            answer = invoke(interpreter, sys.stdin.buffer.read(size), shape, dtype)
        except Exception as error:
            reply(replies, {"error": reason_of(error, log)})
        else:
            reply(replies, {"bytes": len(answer)}, answer)


def open_file(path: str, arena: int, log: IO[bytes]) -> tuple[Any, dict[str, Any]]:
    """The interpreter, which has answered an item of zeros, and its input, output and arena.

    Some operations refuse a file only when they run, and the size of the arena is known only then.
    """
    arena = arena or max(ARENA_BYTES, 10 * os.path.getsize(path))
    interpreter = importlib.import_module("tflite_micro").runtime.Interpreter.from_file(path, arena_size=arena)
    about: dict[str, Any] = {
        "input": describe(interpreter.get_input_details(0)),
        "output": describe(interpreter.get_output_details(0)),
    }
    source = about["input"]
    invoke(interpreter, bytes(source["bytes"]), source["shape"], source["dtype"])
    interpreter.print_allocations()
    total = re.search(r"Arena allocation total (\d+)", logged(log))
    interpreter.reset()
    return interpreter, about | {"arena_bytes": int(total[1]) if total else None}


def describe(details: dict[str, Any]) -> dict[str, Any]:
    """Shape, type, size, scale and zero point of an input or output."""
    import numpy as np

    shape = [int(n) for n in details["shape"]]
    dtype = np.dtype(details["dtype"])
    parameters = details["quantization_parameters"]
    scales = parameters["scales"]
    zero_points = parameters["zero_points"]
    quantization = [float(scales[0]), int(zero_points[0])] if len(scales) else [0.0, 0]
    size = int(np.prod(shape)) * dtype.itemsize
    return {"shape": shape, "dtype": dtype.name, "bytes": size, "quantization": quantization}


def invoke(interpreter: Any, item: bytes, shape: list[int], dtype: str) -> bytes:
    """The bytes of the output for an item."""
    import numpy as np

    interpreter.set_input(np.frombuffer(item, dtype).reshape(shape), 0)
    interpreter.invoke()
    answer: bytes = interpreter.get_output(0).tobytes()
    return answer


def reply(replies: IO[bytes], document: dict[str, Any], payload: bytes = b"") -> None:
    """Send a line of JSON, and bytes."""
    replies.write(json.dumps(document).encode() + b"\n" + payload)
    replies.flush()


def reason_of(error: Exception, log: IO[bytes]) -> str:
    """What TFLM wrote last, and what the exception says."""
    lines = [line.strip() for line in logged(log).splitlines() if line.strip()]
    return " ".join([*lines[-LOG_LINES:], f"({str(error).rstrip('. ') or type(error).__name__})"])


def logged(log: IO[bytes]) -> str:
    """What was written to standard output and standard error so far."""
    log.seek(0)
    return log.read().decode(errors="replace")


if __name__ == "__main__":
    main()
