"""Documents of the runtime's command line as text for a terminal."""

from __future__ import annotations

from typing import Any

from edgepress.runtime.answers import NO_LABEL, UNKNOWN
from edgepress.runtime.text import one_line

WORD = 200
"""Characters of a label or a name at most; the middle of a longer one is left out, but not in JSON."""


def text_lines(value: Any, name: str = "", indent: str = "") -> list[str]:
    """Format a document: an image's classes or a flat object on one line, other values indented below their name."""
    name = one_line(name, WORD)
    if isinstance(value, dict) and "image" in value:
        return [_answer_line(value)]
    if isinstance(value, dict) and "time_s" in value:
        return [f"{value['time_s']:.2f} s: {one_line(value['label'], WORD)} {value['probability']:.3f}"]
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
        return [f"{indent}{name}", *(line for v in value for line in text_lines(v, "-", f"{indent}  "))]
    if not isinstance(value, dict):
        return [f"{indent}{name.removesuffix('_bytes')} {_word(value, name)}"]
    inner = {k: v for k, v in value.items() if v not in (None, "", [], ())}  # leave out unknown values
    if indent and not any(isinstance(v, (dict, list, tuple)) for v in inner.values()):
        return [f"{indent}{name} " + "  ".join(text_lines(v, k)[0] for k, v in inner.items())]
    lines = [line for k, v in inner.items() for line in text_lines(v, k, indent + "  " * bool(name))]
    return [f"{indent}{name}"] * bool(name) + lines


def _answer_line(answer: dict[str, Any]) -> str:
    """An image's classes with their scores, or its error."""
    classes = [(one_line(c["label"], WORD), c["score"]) for c in answer.get("classes", ())]
    words = [f"{label} {'not a number' if score is None else f'{score:.3f}'}" for label, score in classes]
    if (error := answer.get("error")) is not None:
        words = [one_line(f"{error['message']} {error['hint']}".strip())]
    alarm = "drift: " if answer.get("drift", {}).get("alarm") else ""
    rejected = f"{UNKNOWN}: " if answer.get("accepted") is False else ""
    rate = f"  {answer['frames_per_s']:.1f}/s" if answer.get("frames_per_s") else ""
    changed = f"  now {one_line(answer['event']['label'], WORD)}" if "event" in answer else ""
    return f"{one_line(answer['image'])}: {alarm}{rejected}{', '.join(words) or NO_LABEL}{rate}{changed}"


def _word(value: Any, name: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes"):
        power = (len(str(value)) - 1) // 3
        return f"{value / 1000**power:.4g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
    if isinstance(value, (list, tuple)):
        return ", ".join(one_line(v, WORD) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else one_line(value)
