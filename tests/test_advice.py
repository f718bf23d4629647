from __future__ import annotations

from typing import Any

from edgepress.toolkit.benchmarking.advice import choose, engine_notes
from edgepress.toolkit.results.records import DROP, NO_BASELINE, UNPROVEN, USABLE, Advice, Measurement

HOST = {"cpu": "Some CPU", "machine": "x86_64", "cores": 4}
PI = {"cpu": "Raspberry Pi 4", "machine": "aarch64", "cores": 4}


def row(file: str, kb: int, high: float | None, status: str = USABLE, **more: Any) -> Measurement:
    figures = {"engine": "litert", "scheme": file, "drop_pp": None if high is None else high - 0.5, "accuracy": 0.9}
    figures |= {"drop_high_pp": high, "drop_low_pp": None if high is None else high - 1.0} | more
    return Measurement(file=file, threads=1, size_bytes=kb * 1000, status=status, **figures)


def advise(*rows: Measurement, host: dict[str, Any] = HOST, limit: float = 1.0) -> Advice:
    return choose(rows, host=host, count=360, max_drop_pp=limit)


FLOAT = row("float", 100, 0.0, drop_pp=0.0, drop_low_pp=0.0)


def test_the_smallest_proven_file_is_shipped_not_the_smallest_nor_the_fastest() -> None:
    unproven = row("tiny", 10, 1.2, UNPROVEN)
    advice = advise(FLOAT, unproven, row("small", 25, 0.9, speedup_low=0.4), row("quick", 50, 0.2, speedup_low=9.0))
    assert advice.ship == "small"
    assert "tiny" in advice.why
    assert "test images" in advice.why


def test_the_reason_names_the_host_and_warns_of_x86() -> None:
    small = row("small", 25, 0.5, p50_us=20.0)
    assert "Some CPU" in advise(FLOAT, small).why
    assert "Raspberry Pi: time it there" in advise(FLOAT, small).why
    assert "says little" not in advise(FLOAT, small, host=PI).why


def test_among_equals_only_a_speed_beyond_doubt_decides() -> None:
    first = row("same", 25, 0.5, engine="litert", speedup_low=1.0, speedup_high=1.3)
    maybe = row("same", 25, 0.5, engine="tflite-runtime", speedup_low=1.2, speedup_high=1.5)
    surely = row("same", 25, 0.5, engine="tflite-runtime", speedup_low=1.4, speedup_high=1.5)
    assert advise(FLOAT, first, maybe).engine == "litert"
    assert "Not significantly" in advise(FLOAT, first, maybe).why
    assert advise(FLOAT, first, surely).engine == "tflite-runtime"


def test_if_only_the_float_file_is_proven_it_says_what_would_help() -> None:
    advice = advise(FLOAT, row("tiny", 10, 1.2, UNPROVEN))
    assert advice.ship == "float"
    assert "baseline itself" in advice.why
    # half width 0.5, observed 0.7: 0.3 left to the limit needs (0.5 / 0.3)^2 times as many images as 360
    assert "About 1000 test images" in advice.why
    assert "--max-drop 1.2" in advice.why


def test_nothing_is_recommended_where_nothing_is_proven() -> None:
    advice = advise(row("bad", 10, 9.0, DROP))
    assert advice.ship is None
    assert advice.engine is None
    assert "--max-drop" in advice.why
    assert "no float file" in advise(row("alone", 10, None, NO_BASELINE)).why
    assert "no file could be measured" in advise(row("broken", 10, None, "failed: x", accuracy=None)).why


def test_slow_int8_of_tflite_runtime_is_explained_on_x86_only() -> None:
    slow = row("int8", 25, 0.5, engine="tflite-runtime", scheme="tflite-int8", speedup=0.1)
    assert "x86" in engine_notes([slow], HOST)[0]
    assert engine_notes([slow], PI) == []
    assert engine_notes([FLOAT], HOST) == []
