"""The documents of `run update` and `run status` as lines for people."""

from __future__ import annotations

from typing import Any

from edgepress.runtime.updates.shadow import MIN_SCENES

ID = 12
"""Characters of a release's id that are shown."""


def status_lines(status: dict[str, Any]) -> list[str]:
    """What `run status` prints, one sentence a line."""
    lines = [
        f"{status['name']}: release {status['release']} ({status['id'][:ID]}) is in use on {status['board']}, "
        f"channel {status['channel']}."
    ]
    if status["previous"] is not None:
        lines.append(f"Before it: release {status['previous']}.")
    lines.append(f"Updates come from: {status['source'] or 'what run update --from names'}.")
    checked = (
        f"{status['checked']}; the highest release offered was {status['newest']}" if status["checked"] else "never"
    )
    lines.append(f"Last check: {checked}.")
    if status["shadow"]:
        lines += shadow_lines(status["shadow"])
    if status["note"] and status["note"] != (status["shadow"] or {}).get("note"):
        lines.append(status["note"])
    lines += [f"Refused: {release[:ID]}: {why}" for release, why in status["refused"].items()]
    lines += [line for left in status["rolled_back"] for line in left_lines(left)]
    if status["last"]:
        lines += last_lines(status["last"])
    if status["updating"]:
        lines.append("An update is running.")
    return lines


def update_lines(result: dict[str, Any]) -> list[str]:
    """What `run update` prints."""
    if result["result"] == "installed":
        return [f"Release {result['release']} is installed and in use."]
    lines = [f"Nothing new: release {result['release']} is in use, and {result['newest']} is the highest offered."]
    lines += [f"Release {release} is refused: {why}" for release, why in result["refused"].items()]
    return lines + (left_lines(result["left"]) if result.get("left") else [])


def left_lines(left: dict[str, Any]) -> list[str]:
    """Which release was left, when and why, and how it is taken again."""
    if not left["forward"]:
        return [f"Rolled back: release {left['release']} ({left['id'][:ID]}), {left['at']}: {left['why']}"]
    return [
        f"Rolled back: release {left['release']} ({left['id'][:ID]}), {left['at']}, {left['why']}. "
        f"Updates take only what is above it; to take it again: {left['forward']}"
    ]


def last_lines(last: dict[str, Any]) -> list[str]:
    """The result of the last run."""
    if last["result"] != "error":
        return [f"Last run, {last['at']}: {update_lines(last)[0]}"]
    return [f"Last run, {last['at']}: it failed. {last.get('message', '')} {last.get('hint', '')}".strip()]


def shadow_lines(shadow: dict[str, Any]) -> list[str]:
    """The figures of a shadow run."""
    sources = {"service": "frames of the service", "self-test": "items of the self-test"}
    about = f"Shadow run of release {shadow['release']}, {shadow['at']}"
    if shadow["source"] not in sources:
        return [f"{about}: nothing was compared. {shadow.get('note', '')}".rstrip()]
    lines = [f"{about}: {shadow['frames']} {sources[shadow['source']]}."]
    if shadow["agreement"] is not None:
        least = shadow["min_agreement"]
        limit = "no limit is known" if least is None else f"accepted: at least {least:.1%}"
        lines.append(f"  agreement: {shadow['agreement']:.1%} ({limit})")
        if least is not None and shadow["scenes"] < MIN_SCENES:
            lines.append(
                f"  The agreement was not judged: these are {shadow['scenes']} scenes, fewer than {MIN_SCENES}."
            )
    if shadow.get("note"):
        lines.append(f"  {shadow['note']}")
    old = shadow["old"]
    new = shadow["new"]
    lines.append(
        f"  latency: median {_ms(new)} instead of {_ms(old)}, {shadow['slowdown']:.2f} times "
        f"(accepted: up to {shadow['max_slowdown']:g}); p99 {_ms(new, 'p99_us')} instead of {_ms(old, 'p99_us')}"
    )
    lines.append(f"  memory: {new['memory_bytes'] / 1e6:.1f} MB instead of {old['memory_bytes'] / 1e6:.1f} MB")
    if shadow["temperature_c"] is not None:
        lines.append(f"  temperature: {shadow['temperature_c']:.0f} °C")
    if shadow["why"]:
        lines.append(f"  refused: {shadow['why']}")
    return lines


def _ms(side: dict[str, Any], name: str = "p50_us") -> str:
    return f"{side[name] / 1e3:.3g} ms"
