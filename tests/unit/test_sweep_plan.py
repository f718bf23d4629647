"""Plans of sweeps: their combinations, the jobs of each, and what is wrong in them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.toolkit.errors import EdgepressError, InputError, SweepError
from edgepress.toolkit.search.sweeping.jobs import Job
from edgepress.toolkit.search.sweeping.plan import DIMENSIONS, TABLES, plan_of, read_plan
from edgepress.toolkit.search.sweeping.space import Grid, Space
from edgepress.toolkit.search.sweeping.work import training_options

DATA = {"source": "digits"}
VALUES = (
    st.none() | st.booleans() | st.integers(-2, 99) | st.floats() | st.text(max_size=5) | st.lists(st.integers(-1, 40))
)


def space(**dimensions: Any) -> Space:
    return Space(plan_of({"data": DATA, "dimensions": dimensions}), "here")


def points(**dimensions: Any) -> list[dict[str, Any]]:
    names = ("arch", "width", "size", "augmentation", "seed", "to")
    return [{name: point[name] for name in names} for point in space(**dimensions).grid()]


def test_all_combinations_once() -> None:
    found = points(arch=["lenet", "mobilenet-v2"], size=[28, "32x40"], seeds=3, to=["tflite-int8", "onnx-int8"])
    assert len(found) == len({json.dumps(p) for p in found}) == 24
    assert found[0] == {
        "arch": "lenet",
        "width": None,
        "size": (28, 28),
        "augmentation": "affine",
        "seed": 0,
        "to": "tflite-int8",
    }
    assert [p["to"] for p in found[:2]] == ["tflite-int8", "onnx-int8"]
    assert {p["width"] for p in found} == {None, 0.35}
    assert {p["size"] for p in found} == {(28, 28), (32, 40)}


def test_a_width_is_for_architectures_that_have_one() -> None:
    found = space(arch=["lenet", "mobilenet-v1"], width=[0.25, 0.5])
    assert [(p["arch"], p["width"]) for p in found.grid()] == [
        ("lenet", None),
        ("mobilenet-v1", 0.25),
        ("mobilenet-v1", 0.5),
    ]
    assert [*found.notes] == ["lenet has no width, so it is trained without one."]


def test_what_does_not_fit_is_left_out_with_a_note() -> None:
    found = space(arch=["lenet", "ds-cnn"], size=[12, 28])
    assert [(p["arch"], p["size"]) for p in found.grid()] == [
        ("lenet", (28, 28)),
        ("ds-cnn", (12, 12)),
        ("ds-cnn", (28, 28)),
    ]
    assert len(found.notes) == 1
    assert "Left out: lenet, size 12x12" in next(iter(found.notes))


def test_a_plan_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="No combination"):
        [*space(arch=["lenet"], size=[3]).grid()]
    with pytest.raises(InputError, match="combinations"):
        [*space(seeds=100_001).grid()]
    with pytest.raises(InputError, match="combinations"):  # nor does a search list them
        _ = space(seeds=50_000, width=[0.25, 0.5, 1]).dimensions
    with pytest.raises(InputError, match="seeds"):
        plan_of({"data": DATA, "dimensions": {"seeds": 10**12}})


@pytest.mark.parametrize(
    ("tables", "message", "hint"),
    [
        ({"data": DATA, "dimension": {}}, "Unknown table", "dimensions"),
        ({"data": DATA, "dimensions": {"archs": ["lenet"]}}, "Unknown dimension 'archs'", "'arch'"),
        ({"data": DATA, "dimensions": {"arch": ["lenett"]}}, "Unknown architecture", "lenet"),
        ({"data": DATA, "dimensions": {"to": ["int8"]}}, "Unknown scheme", ""),
        ({"data": DATA, "dimensions": {"augmentation": "fotos"}}, "Unknown augmentation", "photo"),
        ({"data": DATA, "dimensions": {"width": ["wide"]}}, "width is 'wide'; accepted: a number", ""),
        ({"data": DATA, "dimensions": {"seed": [1.5]}}, "seed is 1.5; accepted: a whole number", ""),
        ({"data": DATA, "dimensions": {"size": [[1, 2, 3]]}}, "size is .*HEIGHTxWIDTH", ""),
        ({"data": DATA, "dimensions": {"size": []}}, "size has no value", ""),
        ({"data": DATA, "dimensions": []}, "dimensions must be a table", ""),
        ({"data": DATA, "training": {"epoch": 3}}, "Unknown key", "epochs"),
        ({"data": DATA, "training": {"epochs": 0}}, "epochs .* is 0; accepted: a whole number, 1 or more", ""),
        ({"data": DATA, "training": {"freeze": 1}}, "true or false", ""),
        ({"data": {"source": "digits", "color": "blue"}}, "color .* is 'blue'; accepted: grey or rgb", ""),
        ({"data": {"source": "digits", "resize": "squash"}}, "resize", ""),
        ({}, "names no data", "--data"),
    ],
)
def test_mistakes_in_plans_are_named(tables: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        plan_of(tables)
    assert hint in error.value.hint


@given(
    st.dictionaries(
        st.sampled_from([*TABLES, "x"]),
        VALUES | st.dictionaries(st.sampled_from([*DIMENSIONS, "seeds", "source", "epochs", "rounds"]), VALUES),
    )
)
def test_any_plan_is_read_or_refused(tables: dict[str, Any]) -> None:
    try:
        plan = plan_of(tables)
    except EdgepressError as e:
        assert e.message  # noqa: PT017
    else:
        assert plan.data["source"]
        assert all(values for values in plan.dimensions.values())


@given(st.binary(max_size=60))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    try:
        found = read_plan(path)
    except InputError:
        return
    assert found == tomllib.loads(content.decode())


def test_trials_share_trainings_and_keys_say_what_matters() -> None:
    plan = {"data": DATA, "dimensions": {"to": ["tflite-int8", "onnx-int8"]}, "training": {"epochs": 2}}
    one, two = Grid(Space(plan_of(plan), "a")).trials
    assert one.train.key == two.train.key
    assert one.convert.key != two.convert.key
    assert [one.convert.needs, one.time.needs] == [{"model": one.train.key}, {"file": one.convert.key}]
    assert [job.alone for job in one.jobs] == [False, False, True]
    other = Grid(Space(plan_of(plan), "b")).trials[0]
    assert other.convert.key == one.convert.key
    assert other.time.key != one.time.key  # times of another machine
    longer = Grid(Space(plan_of(plan | {"training": {"epochs": 3}}), "a")).trials[0]
    assert longer.train.key != one.train.key
    untimed = Grid(Space(plan_of(plan | {"timing": {"rounds": 0}}), "a")).trials[0]
    assert untimed.jobs == one.jobs[:2]
    assert one.train.arguments["data"] == Space(plan_of(plan)).data.sha256
    assert "source" not in one.train.arguments


def test_weights_count_by_their_content(tmp_path: Path) -> None:
    def training(path: Path) -> Job:
        return Grid(Space(plan_of({"data": DATA, "training": {"weights": str(path)}}), "a")).trials[0].train

    one, two = tmp_path / "one.weights.h5", tmp_path / "two.weights.h5"
    one.write_bytes(b"1")
    two.write_bytes(b"1")
    first = training(one)
    assert training(two).key == first.key
    assert training_options(first)["weights"] == str(one)
    one.write_bytes(b"2")
    assert training(one).key != first.key
    with pytest.raises(SweepError, match="not those that the sweep was planned for"):
        training_options(first)
    with pytest.raises(InputError, match=r"The weights .* can't be read"):
        training(tmp_path / "none.weights.h5")
