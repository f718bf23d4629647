"""Groups from the command line: trained once with a rule, and split alike by every command that follows."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edgepress.converters.contract.write import write_keras_contract
from edgepress.runtime import Contract
from edgepress.runtime.data_record import DataRecord
from edgepress.toolkit.cli.app import app
from edgepress.toolkit.data import group_names, open_data
from edgepress.toolkit.data.for_model import contract_of, data_for
from edgepress.toolkit.errors import InputError, ModelFileError, NoGroupsError

RULE = r"^(?P<who>[a-z]+)-"
PEOPLE = ("anna", "bela", "cleo", "dora", "emil", "fred", "gina")
HOSTILE = {
    r"(a+)+$": "takes more than",
    r"^(\w+\s?)*$": "takes more than",
    r"(.*)*x\1\1": "takes more than",
    "(": "is no regular expression",
    "a" * 501: "501 characters",
    "(?:" * 200 + "a" + ")" * 200: "801 characters",
    r"(?P<a>a)(?P<a>b)": "is no regular expression",
    "a{99999999999}": "is no regular expression",
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of seven people in two classes; words without a number are not seen as groups."""
    root = tmp_path_factory.mktemp("groups") / "photos"
    rng = np.random.default_rng(0)
    for c, label in enumerate(("no", "yes")):
        (root / label).mkdir(parents=True)
        for name in PEOPLE:
            for k in range(4):
                pixels = np.clip(rng.normal(60 + 120 * c, 30, (28, 28)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / label / f"{name}-{k}.png")
    return root


@pytest.fixture(scope="module")
def trained(photos: Path) -> Any:
    """The folder of a training by the rule, and its document."""
    out = photos.parent / "run"
    words = ["train", "--data", str(photos), "--group", RULE, "--epochs", "2", "--out", str(out), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return out, json.loads(result.stdout)


def people(split: Any) -> set[str]:
    return {Path(split.name(row)).name.split("-")[0] for row in range(len(split))}


def test_the_training_keeps_people_together_and_says_figures_by_group(trained: Any, photos: Path) -> None:
    _, document = trained
    assert document["data"]["group"] == RULE
    data = open_data(photos, group=RULE)
    assert [len(people(s)) for s in (data.train, data.val, data.test)] == [4, 1, 2]
    groups = document["groups"]
    assert (groups["rule"], groups["count"]) == (RULE, 2)
    assert groups["by_item"]["estimate"] == pytest.approx(document["accuracy"])
    assert open_data(photos).group == "", "names of people are not seen as groups"


def test_every_command_has_the_same_split_without_being_told(trained: Any, photos: Path) -> None:
    out, document = trained
    contract = contract_of(out / "model.keras")
    for purpose in ("evaluation", "calibration"):
        data, notes = data_for(contract, None, where=out / "model.keras", purpose=purpose)  # type: ignore[arg-type]
        assert (data.sha256, notes) == (document["data"]["sha256"], [])
        assert not people(data.test) & (people(data.train) | people(data.val))
    result = CliRunner().invoke(app, ["evaluate", str(out)])
    assert result.exit_code == 0, result.output
    assert "by group" in result.stdout
    assert "none of 2 test groups is in another split." in " ".join(result.stdout.split())
    result = CliRunner().invoke(app, ["convert", str(out / "model.keras"), "--to", "tflite-int8", "--json"])
    assert result.exit_code == 0, result.output
    converted = contract_of(out / "variants" / "model-int8.tflite")
    assert converted.data is not None
    assert converted.data.group == RULE
    result = CliRunner().invoke(app, ["evaluate", str(out / "variants" / "model-int8.tflite"), "--json"])
    assert json.loads(result.stdout)["groups"]["count"] == 2


def test_other_data_than_those_of_the_training_are_said_to_be_other(trained: Any, photos: Path) -> None:
    out, _ = trained
    contract = contract_of(out / "model.keras")
    assert contract.data is not None
    old = contract.replace(data=DataRecord(source=str(photos), sha256=contract.data.sha256, counts={}))
    _, notes = data_for(old, None, where=out / "model.keras")
    assert any("was trained on another version" in note for note in notes)


@pytest.mark.parametrize("pattern", HOSTILE)
def test_patterns_that_take_for_ever_or_are_none_are_one_error(
    pattern: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_names, "SECONDS", 2.0)
    begun = time.monotonic()
    with pytest.raises(InputError, match="--group") as error:
        group_names.groups_by_pattern(pattern, ["a" * 60 + "!", *["b" * 50] * 5])
    assert HOSTILE[pattern] in str(error.value)
    assert time.monotonic() - begun < 30


def test_a_pattern_that_finds_nothing_is_an_error(photos: Path) -> None:
    with pytest.raises(NoGroupsError, match="finds no group"):
        open_data(photos, group="object")


def test_the_match_is_the_group_without_parentheses_and_is_searched_below_the_class(photos: Path) -> None:
    paths = ["cat/anna-1.png", "b/bela-2.png", "x.png"]
    assert group_names.groups_by_pattern("[a-z]+(?=-)", paths) == ["anna", "bela", ""]
    assert group_names.groups_by_pattern("(anna)?-", paths) == ["anna", "", ""]
    with pytest.raises(NoGroupsError):
        open_data(photos, group="^(no|yes)/")


def test_a_contract_with_a_rule_that_is_no_text_is_damaged(trained: Any, tmp_path: Path) -> None:
    out, _ = trained
    text = contract_of(out / "model.keras").to_json().replace(json.dumps(RULE), "5")
    with pytest.raises(ModelFileError, match="group is not a text"):
        Contract.from_json(text)


def test_a_hostile_rule_of_a_contract_ends(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = trained
    path = tmp_path / "model.keras"
    path.write_bytes((out / "model.keras").read_bytes())
    contract = contract_of(path)
    assert contract.data is not None
    record = DataRecord(source=contract.data.source, sha256="", counts={}, group=r"^(a+)+$")
    monkeypatch.setattr(group_names, "SECONDS", 2.0)
    folder = tmp_path / "data"
    for label in ("no", "yes"):
        (folder / label).mkdir(parents=True)
        Image.new("L", (28, 28)).save(folder / label / f"{'a' * 60}+{label}.png")
    write_keras_contract(path, contract.replace(data=record))
    result = CliRunner().invoke(app, ["evaluate", str(path), "--data", str(folder)])
    assert result.exit_code == 1
    assert "takes more than" in result.output
