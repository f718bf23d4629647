"""The commands `run update` and `run status` of an installed bundle with updates.

    PREFIX/current/run update [--from URL|FOLDER] [--channel stable|beta] [--shadow 200] [--every 1h] [--json]
    PREFIX/current/run update --bundle FILE [--trust-keys SHA256]
    PREFIX/current/run status [--json]
    PREFIX/current/run update|status --mqtt HOST    the status as a retained message, too

Exit codes: 0 done, or nothing new; 1 nothing was installed, and the message says why; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import re
import select
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgepress.runtime.errors import EdgepressError, UpdateError
from edgepress.runtime.mqtt_options import add_mqtt_options, broker_options, misused_mqtt_option
from edgepress.runtime.text import json_text, one_line
from edgepress.runtime.updates.frames import MAX_FRAMES
from edgepress.runtime.updates.place import read_place
from edgepress.runtime.updates.releases import CHANNELS
from edgepress.runtime.updates.shown import status_lines, update_lines

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
"""Units of `--every`."""
LEAST_S = 60
"""Shortest time between two checks in seconds."""
MOST_S = 30 * SECONDS["d"]
"""Longest time between two checks in seconds."""
INTERRUPTED = 1
"""Exit code after Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if getattr(args, "bundle", None) and (args.source or args.every):
        parser.error("--bundle goes neither with --from nor with --every")
    if args.command == "update" and args.trust_keys and not args.bundle:
        parser.error("--trust-keys goes with --bundle only")
    if wrong := misused_mqtt_option(args):
        parser.error(wrong)
    while True:
        code = 1
        try:
            _run(args)
            code = 0
        except BrokenPipeError:
            _leave_closed_pipes()
        except (EdgepressError, ModuleNotFoundError, OSError) as error:
            e = error if isinstance(error, EdgepressError) else _in_words(error)
            if args.json:
                print(json_text({"error": e.to_dict()}), flush=True)  # noqa: T201
            else:
                print(one_line(f"Error: {e}"), file=sys.stderr, flush=True)  # noqa: T201
        except KeyboardInterrupt:
            return INTERRUPTED
        if args.mqtt is not None:
            published = _publish_status(args)
            code = max(code, int(not published)) if args.command == "status" else code
        if not args.every:
            return code
        args.trust_clock = args.forward = False  # these were for one time
        try:
            time.sleep(args.every)
        except KeyboardInterrupt:
            return INTERRUPTED
        current = args.folder.parent.parent / "current"
        if current.exists() and current.resolve() != args.folder.resolve():  # go on with the updater of that release
            os.execv("/bin/sh", ["sh", str(current / "run"), *_words(args)])


def _run(args: argparse.Namespace) -> None:
    """Run a command once."""
    if args.command == "status":
        from edgepress.runtime.updates.update import status

        _show(status(read_place(_in_use(args.folder))), status_lines, args.json)
        return
    place = read_place(args.folder)
    if args.command == "trust":
        from edgepress.runtime.updates.roots import accept_roots
        from edgepress.runtime.updates.state import read_state

        accept_roots(place, place.release_folder, read_state(place.updates), args.trust_keys)
        return
    from edgepress.runtime.updates.update import update

    def say(text: str) -> None:
        print(one_line(text), file=sys.stderr, flush=True)  # noqa: T201

    options = {
        "source": args.source,
        "bundle": args.bundle,
        "channel": args.channel,
        "shadow": args.shadow,
        "trust_clock": args.trust_clock,
        "forward": args.forward,
        "trust_keys": args.trust_keys,
    }
    _show(update(place, **options, say=say), update_lines, args.json)


def _in_use(folder: Path) -> Path:
    """The folder of the release in use, by that of the release that asks: a shell may still be in a former one's."""
    current = folder.parent.parent / "current"
    return current if current.exists() else folder


def _leave_closed_pipes() -> None:
    """Let output whose reader has exited go nowhere."""
    if sys.platform == "win32":
        return  # it has no updates
    for descriptor in (1, 2):
        pipe = select.poll()
        pipe.register(descriptor, 0)
        if pipe.poll(0):  # an error, which is always reported
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _publish_status(args: argparse.Namespace) -> bool:
    """Publish what `run status --json` prints now, of the release that is in use now; False if that fails."""
    from edgepress.runtime.mqtt import publish_once
    from edgepress.runtime.updates.update import status

    try:
        document = status(read_place(_in_use(args.folder)))
        publish_once(broker_options(args), "update", document)
    except (EdgepressError, OSError) as error:
        print(one_line(f"Error: the status was not published: {error}"), file=sys.stderr, flush=True)  # noqa: T201
        return False
    return True


def _in_words(error: ModuleNotFoundError | OSError) -> EdgepressError:
    """The error for what the system refuses, or for a package that is not installed; other missing modules are bugs."""
    if isinstance(error, OSError):
        from edgepress.runtime.updates.installer import system_error

        return system_error(error)
    if (error.name or "").partition(".")[0] not in ("tuf", "securesystemslib", "urllib3"):
        raise error
    return UpdateError(f"Updates need the package {error.name}, which is not installed.", "Install it: pip install tuf")


def _show(document: dict[str, Any], lines: Callable[[dict[str, Any]], list[str]], as_json: bool) -> None:
    """Print a document, as JSON or as lines."""
    for line in [json_text(document)] if as_json else map(one_line, lines(document)):
        print(line, flush=True)  # noqa: T201


def _words(args: argparse.Namespace) -> list[str]:
    """The command line of a run that goes on."""
    words = [args.command, "--every", f"{args.every}s"]
    words += ["--from", args.source] if args.source else []
    words += ["--shadow", str(args.shadow)] if args.shadow is not None else []
    for option in ("mqtt", "mqtt_topic", "mqtt_login"):
        value = getattr(args, option)
        words += [f"--{option.replace('_', '-')}", str(value)] if value is not None else []
    words += ["--mqtt-tls"] * args.mqtt_tls
    return words + ["--json"] * args.json


def _seconds(text: str) -> int:
    """Seconds of a time such as "1h"."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    if not match or not LEAST_S <= int(match[1]) * SECONDS[match[2]] <= MOST_S:
        problem = f"{one_line(text, 40)!r}; accepted: {LEAST_S}s to 30d, such as 30m, 1h or 1d"
        raise argparse.ArgumentTypeError(problem)
    return int(match[1]) * SECONDS[match[2]]


def _frames(text: str) -> int:
    """The number of frames of a shadow run."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > MAX_FRAMES:
        raise argparse.ArgumentTypeError(f"{one_line(text, 40)!r}; accepted: 0 to {MAX_FRAMES}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run", description="Update this application.")
    commands = parser.add_subparsers(dest="command", required=True)
    update = commands.add_parser("update", help="look for a newer release, and install it")
    update.add_argument("--from", dest="source", default="", metavar="URL|FOLDER", help="default: as the bundle says")
    what = "install this bundle, which you trust, instead of looking for one"
    update.add_argument("--bundle", type=Path, metavar="FILE", help=what)
    update.add_argument("--channel", default="", choices=CHANNELS, help="default: the last one, at first stable")
    update.add_argument("--every", type=_seconds, default=0, metavar="TIME", help="go on, and look again every 1h")
    what = "frames that both releases answer before the switch, 0: none; default: as the new release says"
    update.add_argument("--shadow", type=_frames, metavar="N", help=what)
    update.add_argument(
        "--trust-clock", action="store_true", help="the clock was ahead at the last check; it is right now"
    )
    update.add_argument("--forward", action="store_true", help="take what was left by install.sh rollback, too")
    status = commands.add_parser("status", help="show what runs, and what was refused or rolled back")
    trust = commands.add_parser("trust", help="for install.sh: whether this board trusts the keys of a release")
    for command in (update, trust):
        what = "trust the keys in the bundle, whose list has this hash, instead of those that this board has"
        command.add_argument("--trust-keys", default="", metavar="SHA256", help=what)
    for command in (status, trust):
        command.set_defaults(every=0)
    for command in (update, status, trust):
        command.add_argument("folder", type=Path, metavar="RELEASE", help=argparse.SUPPRESS)
        command.add_argument("--json", action="store_true", help="print JSON")
        add_mqtt_options(command.add_argument, "publish the status to this MQTT broker, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
