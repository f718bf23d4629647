"""What the updater costs a board: that the script notices time and memory that Python's start does not take."""

from __future__ import annotations

from pathlib import Path

import pytest
import scripts

cost = scripts.script("benchmarks/memory/board_cost.py")


@pytest.mark.slow
def test_memory_and_time_are_those_of_each_program(tmp_path: Path) -> None:
    (tmp_path / "large.py").write_text("kept = b'x' * 40_000_000\nsum(range(10**7))\n")
    programs = {cost.START: [cost.PEAK], "large": [f"import large\n{cost.PEAK}"], "again": [cost.PEAK]}
    runs = cost.measure(cost.HERE, programs, [tmp_path], 3)
    assert [len(each) for each in runs.values()] == [3, 3, 3]
    more = [large[1] - start[1] for large, start in zip(runs["large"], runs[cost.START], strict=True)]
    assert all(38_000_000 < each < 44_000_000 for each in more)
    assert cost.compare(runs["large"], runs[cost.START], 0).median > 2
    assert cost.compare(runs["again"], runs[cost.START], 1).median == pytest.approx(1, abs=0.2)


def test_a_program_that_fails_is_an_error_and_no_figure() -> None:
    with pytest.raises(RuntimeError, match=r"here: .*no such thing"):
        cost.measure(cost.HERE, {"broken": ["raise SystemExit('no such thing')"]}, [], 2)


def test_a_ratio_is_the_median_of_the_rounds_with_quartiles() -> None:
    ours, theirs = [(2.0, 30), (6.0, 20), (4.0, 40), (9.0, 90), (50.0, 10)], [(1.0, 10)] * 5
    assert cost.compare(ours, theirs, 0) == cost.Ratio(6.0, 4.0, 9.0)
    assert str(cost.compare(ours, theirs, 1)) == "3.0 (2.0-4.0)"


def test_the_size_counts_the_modules_the_keys_the_units_and_the_packages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release, packages = tmp_path / "release", tmp_path / "packages"
    sizes = {"edgepress/runtime/updates/a.py": 5000, "updates/root.json": 2000, "update.unit": 1000, "timer.unit": 1000}
    for name, size in sizes.items() | {("edgepress/runtime/text.py", 70_000)}:
        (release / name).parent.mkdir(parents=True, exist_ok=True)
        (release / name).write_bytes(b"\n" * size)
    packages.mkdir()
    (packages / "tuf.py").write_bytes(b"x = 1\n" * 50_000)
    cost.print_size(release, packages)
    said = capsys.readouterr().out
    assert "9 kB of its own, 0.3 MB of packages" in said
    compiled = cost.size_of(packages)
    assert compiled > 300_000
    assert f"{compiled / 1e6:.1f} MB as pip compiles them" in said
