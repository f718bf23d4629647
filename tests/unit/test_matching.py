"""Which rows of two results, or which two files, are compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from comparing import failing
from records import float_row, result, row

from edgepress.toolkit.errors import InputError, ModelFileError
from edgepress.toolkit.measurement.comparison import compare as compare_module
from edgepress.toolkit.measurement.comparison import match
from edgepress.toolkit.results.records import Benchmark


def states(old: Benchmark, new: Benchmark) -> dict[str, str]:
    return {p.name: p.state for p in match.match_results(old, new)}


def test_rows_are_matched_by_scheme_engine_threads_batch_and_host() -> None:
    rows = [row(), row(engine="openvino"), row(threads=2), row(batch=8), row(host="pi"), row("onnx-int8")]
    one = result(*rows, boards=[{"name": "pi"}])
    found = states(one, one)
    assert len(found) == 6
    assert set(found.values()) == {"both"}
    assert "tflite-int8 on litert" in found
    assert "tflite-int8 on litert, 2 threads" in found
    assert "tflite-int8 on litert, batch 8" in found
    assert "tflite-int8 on litert, pi" in found
    assert set(states(one, result(row("other"))).values()) == {"vanished", "appeared"}


def test_the_host_s_own_name_is_none() -> None:
    assert states(result(row(host="box")), result(row())) == {"tflite-int8 on litert": "both"}


def test_a_state_says_on_which_side_a_row_works() -> None:
    good, bad = result(row()), result(failing())
    assert [list(states(*sides).values()) for sides in ((good, good), (good, bad), (bad, good), (bad, bad))] == [
        ["both"],
        ["fails now"],
        ["failed before"],
        ["fails in both"],
    ]
    (pair,) = match.match_results(bad, result(failing(reason="it hung")))
    assert pair.reason == "it hung", "NEW's reason comes first"
    assert pair.figures == ()
    (pair,) = match.match_results(good, good)
    assert (pair.reason, pair.old_file, pair.new_file) == ("", "tflite-int8.tflite", "tflite-int8.tflite")
    (pair, _) = match.match_results(result(row(), float_row()), result(row("other"), float_row()), "tflite-int8,other")
    assert (pair.old_file, pair.new_file, pair.scheme) == (None, "other.tflite", "other")


def test_new_s_order_comes_first_and_names_select() -> None:
    old, new = result(row("a"), row("b"), row("c")), result(row("c"), row("b"))
    assert [p.scheme for p in match.match_results(old, new)] == ["c", "b", "a"]
    assert [p.scheme for p in match.match_results(old, new, " b , a ")] == ["b", "a"]
    assert [p.scheme for p in match.match_results(old, new, engines="litert")] == ["c", "b", "a"]
    with pytest.raises(InputError, match="openvino"):
        list(match.match_results(old, new, engines="openvino"))
    both = result(row("a"), row("b", "openvino"))
    with pytest.raises(InputError):
        list(match.match_results(both, both, "a", "openvino"))


def test_several_files_of_a_place_are_matched_by_name_and_else_by_path() -> None:
    def sizes(old: Benchmark, new: Benchmark) -> dict[str, tuple[int | None, int | None]]:
        return {
            p.name: next((f.old, f.new) for f in p.figures if f.name == "size_bytes") if p.figures else (None, None)
            for p in match.match_results(old, new)
        }

    old = result(row(file="a/x.tflite", size_bytes=1), row(file="a/y.tflite", size_bytes=2))
    new = result(row(file="b/y.tflite", size_bytes=20), row(file="b/x.tflite", size_bytes=10))
    assert sizes(old, new) == {
        "tflite-int8 on litert, y.tflite": (2, 20),
        "tflite-int8 on litert, x.tflite": (1, 10),
    }
    twins = result(row(file="a/x.tflite", size_bytes=1), row(file="b/x.tflite", size_bytes=2))
    assert sizes(twins, twins) == {
        "tflite-int8 on litert, a/x.tflite": (1, 1),
        "tflite-int8 on litert, b/x.tflite": (2, 2),
    }
    one = result(row(file="b/x.tflite", size_bytes=10))
    found = list(match.match_results(old, one))
    assert [(p.state, p.name) for p in found] == [
        ("both", "tflite-int8 on litert, x.tflite"),
        ("vanished", "tflite-int8 on litert, y.tflite"),
    ]


def test_two_model_files_need_an_engine_that_runs_both() -> None:
    paths = Path("a.tflite"), Path("b.onnx")
    run = result(row(file="a.tflite"), row("onnx-int8", "onnxruntime", file="b.onnx"))
    with pytest.raises(InputError, match=r"litert.*onnxruntime"):
        match.match_models(run, *paths)
    shared = result(*run.results, row(engine="openvino", file="a.tflite"), row("x", "openvino", file="b.onnx"))
    (pair,) = match.match_models(shared, *paths)
    assert (pair.scheme, pair.engine, pair.old_file, pair.new_file, pair.host) == (
        "x",
        "openvino",
        "a.tflite",
        "b.onnx",
        "",
    )
    damaged = result(failing(reason="it is cut", file="b.onnx", engine=""), row(file="a.tflite"))
    with pytest.raises(ModelFileError, match=r"^it is cut"):
        match.match_models(damaged, *paths)
    crashed = result(failing(file="b.onnx"), row(file="a.tflite"))
    assert [p.state for p in match.match_models(crashed, *paths)] == ["fails now"]


def test_two_models_are_two_files_whether_they_exist_or_not(tmp_path: Path) -> None:
    old, new = tmp_path / "old.tflite", tmp_path / "new.onnx"
    assert compare_module._are_models(old, new), "a missing file is refused by whoever opens it"
    old.touch()
    assert compare_module._are_models(old, new)
    assert compare_module._are_models(new, old)
    new.touch()
    assert compare_module._are_models(old, new)
    assert not compare_module._are_models(tmp_path, tmp_path / "benchmark.json")


def test_a_file_is_not_compared_with_itself_or_with_a_result(tmp_path: Path) -> None:
    model, link = tmp_path / "a.tflite", tmp_path / "b.tflite"
    model.write_bytes(b"")
    link.symlink_to(model)
    for other in (model, link):
        with pytest.raises(InputError, match="same file"):
            compare_module.compare(model, other)
    for sides in ((model, tmp_path / "benchmark.json"), (tmp_path, model)):
        with pytest.raises(InputError, match="result"):
            compare_module.compare(*sides)
