"""Options of `watch`, `camera`, `serve` and `listen`, and what these put around a model."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress.runtime.crop import EXAMPLE, Crop, read_crop
from edgepress.runtime.errors import InputError
from edgepress.runtime.keeping import QUOTA
from edgepress.runtime.mqtt_options import add_mqtt_options, broker_options, misused_mqtt_option
from edgepress.runtime.sound.listen_options import IGNORED, ListenOptions

if TYPE_CHECKING:
    from edgepress.runtime.model import Model
    from edgepress.runtime.mqtt import Broker


def read_seconds(text: str) -> float:
    """Seconds of a duration on the command line, such as `90`, `90s`, `30m` or `1h`."""
    if not (match := re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; accepted: 90, 90s, 30m, 1h")
    return float(match[1]) * {"h": 3600, "m": 60}.get(match[2], 1)


def add_stream_options(option: Callable[..., Any]) -> None:
    """Add the options to a parser, by its `add_argument`."""
    option("--keep-state", action="store_true", help="keep a recurrent model's state from image to image")
    _add_options_of_watching(option, "images", "scenes", "a picture of each scene")
    what = f"classify this part of each image: {EXAMPLE}".replace("%", "%%")
    option("--crop", type=_crop, metavar="X,Y,W,H", help=what)
    what = "the state is a label that was the answer to all images for so long; default: 0"
    option("--hold", type=read_seconds, metavar="TIME", help=what)
    option("--average", type=int, metavar="N", help="decide by the mean scores of the last N images; default: 1")
    add_broker_options(option, "publish changes of the state to this MQTT broker")


def _add_options_of_watching(option: Callable[..., Any], items: str, counted: str, kept: str) -> None:
    """Add --drift, --reference, --keep and --quota, in words for the items of a stream."""
    what = f"tell when {items} are no longer like those that the file was calibrated on"
    option("--drift", action="store_true", help=what)
    option("--reference", type=int, help=f"with --drift: like the first so many {counted} here, such as 300")
    what = f"keep {kept} here, to label later; nothing is sent anywhere"
    option("--keep", type=Path, metavar="FOLDER", help=what)
    option("--quota", type=int, help=f"with --keep: the number of files at most; default: {QUOTA}")


def add_listen_options(option: Callable[..., Any]) -> None:
    """Add the options of `listen` to a parser, by its `add_argument`."""
    usual = ListenOptions()
    what = "a microphone (alsa:default, alsa:hw:1), a WAV file, a file or pipe of raw samples (16 bits, mono), or -"
    option("source", help=what)
    _add_options_of_watching(option, "sounds", "windows", "two seconds around each doubtful event")

    def add(name: str, what: str, usually: str, **how: Any) -> None:
        option(name, help=f"{what}; default: as the model's contract says, else {usually}", **how)

    add("--threshold", "mean probability from which on a label is heard", str(usual.threshold), type=float, metavar="P")
    add("--step", "frames from one answer to the next", "a quarter of a window", type=int, metavar="FRAMES")
    add("--average", "number of answers in the mean", str(usual.average), type=int, metavar="N")
    what = "time from one event of a label to its next one at least"
    add("--pause", what, f"{usual.pause_s:g}s", type=read_seconds, metavar="TIME")
    what = "a label that is no event; repeatable"
    add("--ignore", what, ", ".join(IGNORED), action="append", metavar="LABEL")
    add_broker_options(option, "publish each event to this MQTT broker")


def add_broker_options(option: Callable[..., Any], what: str) -> None:
    """Add the options of `broker_for` to a parser; `what` is sent."""
    add_mqtt_options(option, what)
    what = "with --mqtt: do not describe the state to Home Assistant"
    option("--no-discovery", dest="discovery", action="store_false", help=what)


def misused_option(args: argparse.Namespace, *, serves: bool) -> str:
    """What is wrong with options that need another one; empty if nothing is."""
    if getattr(args, "reference", None) is not None and not args.drift:
        return "--reference is for --drift"
    if getattr(args, "quota", None) is not None and args.keep is None:
        return "--quota is for --keep"
    if serves and args.mqtt is None and (args.hold is not None or args.average is not None):
        return "--hold and --average of serve are for --mqtt"
    if not getattr(args, "discovery", True) and args.mqtt is None:
        return "--no-discovery is for --mqtt"
    return misused_mqtt_option(args)


@contextmanager
def streaming(
    model: Model, args: argparse.Namespace, tell: Callable[[str], None], *, serves: bool = False
) -> Iterator[None]:
    """Within: a model that looks at a part of images, makes events and keeps pictures, as the options say.

    Nothing is written or sent before all options are known to be right.

    Raises:
        InputError: An option can't be used with this model.
        MissingExtraError: paho-mqtt is not installed.
    """
    if args.crop is not None:
        if model.contract is None or not model.contract.input.is_image:
            problem = "has no contract" if model.contract is None else "takes tensors, not images"
            raise InputError(f"{model.path} {problem}, so there is nothing to crop.", "Leave out --crop.")
        model.crop = args.crop
    broker = broker_for(model, args, tell)
    if broker is not None or args.hold is not None or args.average is not None:
        from edgepress.runtime.events import EventMaker

        average = 1 if args.average is None else args.average
        send = None if broker is None else broker.publish
        model.events = EventMaker(model, hold_s=args.hold or 0.0, average=average, replaces=not serves, send=send)
    if args.keep is not None:
        model.keep_pictures(args.keep, QUOTA if args.quota is None else args.quota, tell)
    with connected(broker):
        yield


def broker_for(model: Model, args: argparse.Namespace, tell: Callable[[str], None]) -> Broker | None:
    """The broker that the options name, before anything is sent to it; None if they name none.

    Raises:
        InputError: An option can't be used.
        MissingExtraError: paho-mqtt is not installed.
    """
    if args.mqtt is None:
        return None
    from edgepress.runtime.mqtt import Broker, describe_to_home_assistant

    broker = Broker(broker_options(args), tell)
    if args.discovery:
        broker.retain(*describe_to_home_assistant(broker.prefix, model.path.name, drift=model.drift is not None))
    return broker


@contextmanager
def connected(broker: Broker | None) -> Iterator[Callable[[dict[str, Any]], bool] | None]:
    """Within: what sends an event to a broker; None without one."""
    if broker is None:
        yield None
        return
    broker.start()
    try:
        yield broker.publish
    finally:
        broker.close()


def _crop(text: str) -> Crop:
    try:
        return read_crop(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from e
