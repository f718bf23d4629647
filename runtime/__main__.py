"""The command line for boards: `python -m edgepress.runtime COMMAND`. Guide: docs/runtime.md.

Every command yields documents, printed as JSON or as text. Exit codes: 0 done; 1 the command, an image or a self-test
failed; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import dataclasses
import errno
import os
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn

from edgepress.runtime.document_text import text_lines
from edgepress.runtime.engines import ENGINES
from edgepress.runtime.errors import EdgepressError, EngineError, InputError
from edgepress.runtime.limit import LIMIT
from edgepress.runtime.model import Model, load
from edgepress.runtime.streams import add_listen_options, add_stream_options, misused_option, read_seconds, streaming
from edgepress.runtime.text import json_text, one_line, traceback_of, without_login

Documents = Iterator[dict[str, Any]]
RATE_OVER = 30
"""Number of frames over which `watch` and `camera` average their rate."""


def classify(args: argparse.Namespace) -> Documents:
    """Classify images, .npy arrays, WAV files for models of sound, folders, or standard input (-); one line each."""
    from edgepress.runtime.frames import images_in

    model = _model(args)
    others: dict[str, Any] = {}
    if args.input:
        from edgepress.runtime.several import parsed_inputs

        others = parsed_inputs(args.input)
    for name in args.images:
        images: list[Any] = [sys.stdin.buffer.read() if name == "-" else Path(name)]
        sound = model.contract is not None and model.contract.sound is not None
        if name != "-" and images[0].is_dir() and not (images := images_in(images[0], sound=sound)):
            accepted = f"JPEG, PNG, BMP, GIF, WebP and .npy{', and WAV of sound' if sound else ''}"
            raise InputError(f"The folder {name} contains no images.", f"Accepted: {accepted}.")
        for image in images:
            yield _answer(model, image, name if name == "-" else str(image), args.top, others)


def watch(args: argparse.Namespace) -> Documents:
    """Classify each new image in a folder until Ctrl-C."""
    from edgepress.runtime.frames import new_images

    if args.keep is not None and args.keep.resolve() == args.folder.resolve():
        raise InputError(f"--keep names {args.folder}, which is watched.", "Give --keep another folder.")
    return _stream(args, new_images(args.folder))


def camera(args: argparse.Namespace) -> Documents:
    """Classify the newest frame of a camera, repeatedly, until Ctrl-C."""
    from edgepress.runtime.frames import camera_frames, newest

    return _stream(args, newest(camera_frames(args.device)), comes=True)


def listen(args: argparse.Namespace) -> Documents:
    """Listen to a microphone, a WAV file, a pipe or standard input (-) of raw samples; a line an event."""
    from edgepress.runtime.sound.listen import listen_with

    return listen_with(_model(args), args, _tell)


def bench(args: argparse.Namespace) -> Documents:
    """Measure latency by number of threads and save the best for --threads auto; --sustained 30m shows throttling."""
    from edgepress.runtime.bench import bench as work

    counts = () if args.threads == "auto" else tuple(map(int, args.threads.split(",")))
    each = (lambda minute: print(*text_lines(minute), file=sys.stderr, flush=True)) if args.sustained else None  # noqa: T201
    times = {"seconds": args.seconds, "sustained_s": args.sustained, "on_minute": each}
    yield work(args.model, args.engine, contract=args.contract, threads=counts, **times)


def selftest(args: argparse.Namespace) -> Documents:
    """Check that this machine gives the same answers as the workstation."""
    from edgepress.runtime.selftest import selftest as work

    report = work(args.model, args.engine, args.contract)
    yield dataclasses.asdict(report) | {"passed": report.passed}


def info(args: argparse.Namespace) -> Documents:
    """Show a model file's input, labels and contract."""
    model = load(args.model, args.engine, contract=args.contract)
    contract = None if model.contract is None else dataclasses.asdict(model.contract)
    document = {"file": str(model.path), "size_bytes": model.path.stat().st_size, "engine": model.engine}
    document |= {"shape": list(model.shape), "stateful": model.stateful}
    if model.inputs:
        document["inputs"] = list(model.inputs)
    if promise := model.limits.promise(model.engine):
        document["promise"] = promise
    yield document | {"labels": list(model.labels), "contract": contract}


def serve(args: argparse.Namespace) -> Documents:
    """Classify over HTTP until SIGTERM or Ctrl-C; a page to try it on is at /."""
    from edgepress.runtime.serve import serve as work
    from edgepress.runtime.web import reachable

    def on_ready(port: int) -> None:
        host = reachable(args.host)
        host = f"[{host}]" if ":" in host else host
        document = {"model": str(model.path), "engine": model.engine, "url": f"http://{host}:{port}/classify"}
        _print(document | {"page": f"http://{host}:{port}/"}, args)

    model = _model(args)
    names = args.allow_host
    with streaming(model, args, _tell, serves=True):
        work(model, args.port, host=args.host, timeout_s=args.timeout, names=names, on_ready=on_ready)
    yield from ()


def doctor(args: argparse.Namespace) -> Documents:
    """Describe this machine, test the installed engines, and show how to install missing ones."""
    from edgepress.runtime.board import doctor as work

    yield work()


def _stream(args: argparse.Namespace, frames: Iterator[Any], *, comes: bool = False) -> Documents:
    """Answer frames; if they come by themselves, the first one is there before anything is kept or sent."""
    model = _model(args)
    if comes:
        frames = chain(list(islice(frames, 1)), frames)
    times = deque[float](maxlen=RATE_OVER + 1)
    with streaming(model, args, _tell):
        for count, frame in enumerate(frames, 1):
            if count == 1 and args.run is camera and model.crop is not None:
                model.crop.box(*frame.shape[:2])  # all frames have its size: one error, not one a frame
            answer = _answer(model, frame, str(frame) if isinstance(frame, Path) else f"frame {count}", args.top)
            times.append(time.monotonic())
            yield answer | {"frames_per_s": round((len(times) - 1) / (times[-1] - times[0]), 2) if count > 1 else None}


def _answer(model: Model, image: Any, name: str, top: int, others: Mapping[str, Any] | None = None) -> dict[str, Any]:
    try:
        item = model.prepare(image, **others) if others else image
        return {"image": name, **model.judge(item, top).to_dict()}
    except InputError as e:  # of this image only
        return {"image": name, "error": e.to_dict()}


def _model(args: argparse.Namespace) -> Model:
    if args.threads == "auto":
        from edgepress.runtime.bench import best_threads

        args.threads = best_threads(args.model, args.engine, args.contract)
    keep = getattr(args, "keep_state", False)
    model = load(args.model, args.engine, int(args.threads), args.contract, keep_state=keep)
    model.require_labels()
    if args.run is not classify:
        model.require_one_input(f"{args.run.__name__} can't give them")
    accept = model.limits.accept
    if accept is not None and accept.engine != model.engine:
        _tell(f"Note: {model.limits.promise(model.engine)}")
    if getattr(args, "drift", False):
        model.watch_drift(args.reference, _tell)
    return model


def _tell(text: str) -> None:
    print(one_line(text), file=sys.stderr, flush=True)  # noqa: T201


def _print(document: dict[str, Any], args: argparse.Namespace) -> None:
    lines = [json_text(document)] if args.json else text_lines(document)
    print(*lines, sep="\n", flush=True)  # noqa: T201


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        message = without_login(message)
        if "--json" not in sys.argv:
            super().error(one_line(message))
        print(json_text({"error": {"kind": "usage", "message": message, "hint": f"See {self.prog} --help."}}))  # noqa: T201
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m edgepress.runtime", description="Run a model file on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for run in (classify, watch, camera, listen, bench, selftest, info, serve, doctor):
        command = commands.add_parser(run.__name__, help=run.__doc__, description=run.__doc__)
        command.set_defaults(run=run)
        option = command.add_argument
        option("--json", action="store_true", help="print JSON, one document per line")
        if run is doctor:
            continue
        option("model", help="a .tflite or .onnx file" + ", or a bundle's folder" * (run is selftest))
        option("--engine", choices=list(ENGINES), help="inference engine; default: the first that opens the file")
        option("--contract", metavar="JSON", help="description of a file that edgepress did not make; see annotate")
        numbers = "numbers to compare, such as 1,2,4" if run is bench else "number of threads"
        what = "the longest that opening the file, or one answer, may take; then the command ends; 0: no limit"
        option("--limit", type=read_seconds, default=60.0, help=what)
        if run not in (selftest, info):
            option("--threads", type=_threads, default="auto" if run is bench else "1", help=f"{numbers}, or auto")
        if run is bench:
            option("--seconds", type=read_seconds, default=10.0, help="duration of timing for each number of threads")
            option("--sustained", type=read_seconds, default=0.0, help="then run for, say, 30m, with a line per minute")
        elif run is serve:
            option("--port", type=int, required=True, help="port to listen on; 0 chooses a free one")
            option("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 accepts other machines")
            name = "another name of this server in browsers, such as that of a proxy; repeatable"
            option("--allow-host", metavar="NAME", action="append", default=[], help=name)
            option("--timeout", type=read_seconds, default=10.0, help="time limit for receiving a request")
        elif run in (classify, watch, camera):
            option("--top", type=int, default=5, help="number of classes to print")
        if run in (watch, camera, serve):
            add_stream_options(option)
        if run is classify:
            option("images", nargs="+", help="images, .npy arrays, folders of them, or - for standard input")
            text = "another input of a model of several: numbers, as values=1.5,2,3, or a file; repeatable"
            option("--input", metavar="NAME=VALUE", action="append", default=[], help=text)
        elif run is watch:
            option("folder", type=Path, help="folder to watch")
        elif run is listen:
            add_listen_options(option)
        elif run is camera:
            option("--device", type=int, default=0, help="number of the camera")
    return parser


def _threads(text: str) -> str:
    if text != "auto" and not all(n.isdecimal() and 1 <= int(n) <= 256 for n in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of threads; accepted: 1 to 256, or auto")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` default to those of the process."""
    sys.excepthook = lambda kind, error, at: print(traceback_of(error), end="", file=sys.stderr)  # noqa: T201
    if not sys.warnoptions:  # else the log of a server would get one of Pillow's for each size of a picture
        warnings.simplefilter("ignore")
    parser = _parser()
    failed = False
    args = parser.parse_args(arguments)
    if wrong := misused_option(args, serves=args.run is serve):
        parser.error(wrong)
    if args.run is not bench and "," in getattr(args, "threads", ""):
        parser.error(f"--threads is {args.threads}; only bench accepts several numbers")
    if args.run in (watch, camera, listen):  # `systemctl stop` is the same end as Ctrl-C: events are still sent
        with suppress(ValueError):  # in another thread than the first
            signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with _check_limit(args):
            for document in args.run(args):
                failed |= "error" in document or not document.get("passed", document.get("ok", True))
                _print(document, args)
        return int(failed)
    except EdgepressError as e:
        error = e
    except BrokenPipeError:  # the reader of the output has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        if args.run in (watch, camera, listen):  # Ctrl-C is the normal end
            return 0
        error = EdgepressError("Interrupted.")
    except (OSError, OverflowError) as e:  # asyncio raises it for a port out of range
        is_full = isinstance(e, OSError) and e.errno == errno.ENOSPC
        hint = "Free some disk space." if is_full else "Check the path, host and port."
        error = InputError(f"{args.run.__name__} failed: {str(e).rstrip('.')}.", hint)
    return _fail(error, args)


@contextmanager
def _check_limit(args: argparse.Namespace) -> Iterator[None]:
    """Within --limit, with its error."""
    if not (limit := getattr(args, "limit", 0)):
        yield
        return
    late = EngineError(f"{args.model} gave no answer in {limit:g} s.", "If it is only slow, give --limit more.")
    with LIMIT.watch(limit):
        LIMIT.before_end.append(lambda: _fail(late, args))
        yield


def _fail(error: EdgepressError, args: argparse.Namespace) -> int:
    """Print an error; the exit code."""
    if args.json:
        with suppress(OSError):  # a full disk behind the output: the words have to do
            _print({"error": error.to_dict()}, args)
            return 1
    print(one_line(f"Error: {error}"), file=sys.stderr, flush=True)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
