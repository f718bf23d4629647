"""`edgepress publish`: what is published is what was asked, and a kill or a second call never spoils a folder."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from records import assert_frozen
from releasing import CutError, listed, simulated
from tuf.api.metadata import Metadata, Root, Timestamp

from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.updates.releases import (
    offered,
)
from edgepress.toolkit.errors import InputError, PublishError
from edgepress.toolkit.shipping.bundles.updates import open_published
from edgepress.toolkit.shipping.published.folder import read_repository
from edgepress.toolkit.shipping.publishing import publish as publishing
from edgepress.toolkit.shipping.publishing import repository as files
from edgepress.toolkit.shipping.publishing import trust
from edgepress.toolkit.shipping.publishing.publish import publish, renew, withdraw
from edgepress.toolkit.shipping.publishing.start import rotate
from edgepress.toolkit.shipping.publishing.trust import check


@pytest.fixture
def publisher(tmp_path: Path) -> Any:
    return simulated.Publisher(tmp_path / "publisher")


def test_a_published_bundle_is_listed_with_its_channel_and_its_share(publisher: Any) -> None:
    publisher.publish(1)
    done = publisher.publish(2, channel="beta", share="10%")
    seen = listed(publisher)
    assert (seen[1].channel, seen[1].share) == ("stable", 1.0)
    assert (seen[2].channel, seen[2].share) == ("beta", 0.1)
    assert done.changed[0][1] == seen[2]
    assert check(publisher.site, keys=publisher.keys).targets == 3  # two bundles and the list
    publish(publisher.bundle(2), publisher.site, keys=publisher.keys, share="50%")  # the same bundle: more boards
    assert (listed(publisher)[2].channel, listed(publisher)[2].share) == ("stable", 0.5)


def test_numbers_of_releases_only_rise(publisher: Any) -> None:
    publisher.publish(5)
    for number in (4, 1):
        with pytest.raises(PublishError, match=f"Release {number} of demo is not above release 5.*--release 6"):
            publisher.publish(number)
    other = simulated.make_bundle(publisher.folder / "other.zip", 5, site=publisher.site, size=9000)
    with pytest.raises(PublishError, match="Release 5 of demo is not above release 5"):
        publish(other, publisher.site, keys=publisher.keys)
    assert set(listed(publisher)) == {5}


def test_bundles_that_boards_could_not_go_on_from_are_refused(publisher: Any, tmp_path: Path) -> None:
    plain = simulated.make_bundle(tmp_path / "plain.zip", None, site=None)
    with pytest.raises(PublishError, match="no release number"):
        publish(plain, publisher.site, keys=publisher.keys)
    numbered = simulated.make_bundle(tmp_path / "numbered.zip", 3, site=None)
    with pytest.raises(PublishError, match="can't update itself"):
        publish(numbered, publisher.site, keys=publisher.keys)
    other = simulated.Publisher(tmp_path / "other")
    with pytest.raises(PublishError, match="trusts the keys of another"):
        publish(other.bundle(3), publisher.site, keys=publisher.keys)
    damaged = publisher.bundle(3)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(EdgepressError, match="not an unchanged bundle"):
        publish(damaged, publisher.site, keys=publisher.keys)
    assert check(publisher.site, keys=publisher.keys).targets == 0


@pytest.mark.parametrize("role", ["root", "targets", "online", "none"])
def test_a_bundle_that_trusts_replaced_keys_is_refused_and_one_that_is_published_may_spread(
    publisher: Any, role: Any
) -> None:
    publisher.publish(1, channel="beta")
    former = publisher.bundle(2)
    rotate(publisher.site, [publisher.keys], role=role)
    publish(publisher.folder / "bundles" / "1.zip", publisher.site, keys=publisher.keys)
    assert listed(publisher)[1].channel == "stable"
    if role == "none":  # the same keys for another year
        publish(former, publisher.site, keys=publisher.keys)
    else:
        with pytest.raises(PublishError, match=r"that were replaced since .*edgepress bundle MODEL --updates"):
            publish(former, publisher.site, keys=publisher.keys)
    publisher.publish(3)
    assert max(listed(publisher)) == 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"share": "0%"}, "--share"),
        ({"share": "101%"}, "at most 100%"),
        ({"channel": "nightly"}, "stable, beta"),
        ({"board_type": "pico"}, "no packages for 'pico'"),
    ],
)
def test_an_option_that_is_not_accepted_changes_nothing(publisher: Any, options: Any, text: str) -> None:
    before = (publisher.site / "metadata" / "timestamp.json").read_bytes()
    with pytest.raises(InputError, match=text):
        publisher.publish(1, **options)
    assert (publisher.site / "metadata" / "timestamp.json").read_bytes() == before


def test_a_withdrawn_release_is_offered_to_no_board_and_can_not_come_back(publisher: Any) -> None:
    publisher.publish(1)
    publisher.publish(2)
    withdraw("demo", 2, publisher.site, keys=publisher.keys)
    seen = listed(publisher)
    board = seen[1].boards[0]
    assert [r.release for r in offered(seen.values(), board=board, channel="stable", board_id="x")] == [1]
    assert {*read_repository(publisher.site, publisher.keys).targets.signed.targets} == {
        seen[1].target,
        "demo/releases.json",
    }
    with pytest.raises(PublishError, match="was withdrawn"):
        publisher.publish(2)
    with pytest.raises(InputError, match="no release 7"):
        withdraw("demo", 7, publisher.site, keys=publisher.keys)
    with pytest.raises(InputError, match="no application 'x'"):
        withdraw("x", 1, publisher.site, keys=publisher.keys)


def test_what_is_published_is_what_was_verified(publisher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = publisher.bundle(1)
    real = publishing.verify

    def swapped(path: Path) -> Any:
        verified = real(path)
        other = simulated.make_bundle(publisher.folder / "other.zip", 1, site=publisher.site, size=9000)
        shutil.copy(other, bundle)
        return verified

    monkeypatch.setattr(publishing, "verify", swapped)
    with pytest.raises(PublishError, match="was changed while it was published"):
        publish(bundle, publisher.site, keys=publisher.keys)
    assert check(publisher.site, keys=publisher.keys).targets == 0
    assert not list(publisher.site.glob("targets/demo/*.zip"))


def test_documents_of_what_was_published_and_checked_are_json(publisher: Any) -> None:
    done = publisher.publish(1, channel="beta", share="25%").to_dict()
    (row,) = done["releases"]
    assert (row["name"], row["release"], row["channel"], row["share"]) == ("demo", 1, "beta", 0.25)
    assert {*done["expires"]} == {"root", "targets", "snapshot", "timestamp"}
    found = check(publisher.site, keys=publisher.keys).to_dict()
    assert (found["passed"], found["targets"]) == (True, 2)
    assert [row["role"] for row in found["lists"]] == ["root", "targets", "snapshot", "timestamp"]
    json.dumps([done, found], allow_nan=False)


def test_each_application_has_its_own_list_and_numbers(publisher: Any) -> None:
    publisher.publish(5)
    other = simulated.make_bundle(publisher.folder / "other.zip", 2, site=publisher.site, name="second")
    publish(other, publisher.site, keys=publisher.keys)
    withdraw("second", 2, publisher.site, keys=publisher.keys)
    assert set(listed(publisher)) == {5}
    assert not listed(publisher)[5].withdrawn
    assert check(publisher.site, keys=publisher.keys).targets == 3  # a bundle, and two lists


def test_records_are_frozen() -> None:
    assert_frozen(trust, by_position=frozenset({"CheckedFolder", "Expiry", "Trusted"}))
    assert_frozen(publishing, by_position=frozenset({"Published"}))


def test_damage_is_noticed_before_anything_is_signed(publisher: Any) -> None:
    publisher.publish(1)
    bundle = next(publisher.site.glob("targets/demo/*.zip"))
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"x")
    with pytest.raises(PublishError, match="is damaged"):
        check(publisher.site, keys=publisher.keys)
    publish(publisher.bundle(1), publisher.site, keys=publisher.keys)  # replaces the damaged file
    check(publisher.site, keys=publisher.keys)
    snapshot = publisher.site / "metadata" / "4.snapshot.json"
    content = snapshot.read_bytes()
    snapshot.write_bytes(content.replace(b'"version":4', b'"version":3'))
    assert snapshot.read_bytes() != content
    with pytest.raises(PublishError, match="not a complete published folder"):
        publisher.publish(2)
    with pytest.raises(PublishError, match="not a published folder"):
        publish([], publisher.folder / "nowhere", keys=publisher.keys)


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes")
@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_lists_that_never_end_are_not_read(role: str, publisher: Any) -> None:
    publisher.publish(1)
    path = max((publisher.site / "metadata").glob(f"*{role}.json"))
    path.unlink()
    path.touch()
    os.truncate(path, (8 << 20) + 1)  # zeros that take no room on the disk
    with pytest.raises(PublishError, match="more than 8388608 bytes"):
        read_repository(publisher.site, publisher.keys)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(PublishError, match="not a regular file"):
        read_repository(publisher.site, publisher.keys)
    with pytest.raises(PublishError, match="not a regular file"):
        open_published(publisher.site, publisher.keys)


@pytest.mark.parametrize("action", ["publish", "withdraw", "rotate targets", "rotate online", "rotate root", "renew"])
def test_a_call_that_is_cut_leaves_the_former_or_the_new_state(
    publisher: Any, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut before each file that is written; boards see the former or the new state, and the next call succeeds."""
    publisher.publish(1)
    bundle = publisher.bundle(2)
    start_of_all = publisher.copy("start")
    write = files.write_durably

    def act() -> None:
        if action == "publish":
            publish(bundle, publisher.site, keys=publisher.keys)
        elif action == "withdraw":
            withdraw("demo", 1, publisher.site, keys=publisher.keys)
        elif action == "renew":
            renew(publisher.site, keys=publisher.keys)
        else:
            rotate(publisher.site, [publisher.keys], role=action.split()[1])  # type: ignore[arg-type]

    roots = Metadata[Root].from_file(str(publisher.site / "metadata" / "1.root.json"))
    keys_at_start = publisher.keys.rename(publisher.folder / "keys at start")
    cuts = 0
    while True:
        written = 0

        def cut(path: Path, source: Any, at: int = cuts) -> None:
            nonlocal written
            if written == at:
                raise CutError
            written += 1
            write(path, source)

        shutil.rmtree(publisher.site)
        shutil.copytree(start_of_all, publisher.site)
        shutil.rmtree(publisher.keys, ignore_errors=True)
        shutil.copytree(keys_at_start, publisher.keys)
        with monkeypatch.context() as patch:
            patch.setattr(files, "write_durably", cut)
            try:
                act()
            except CutError:
                cuts += 1
            else:
                break
        check(publisher.site, keys=publisher.keys)
        stamp = Metadata[Timestamp].from_file(str(publisher.site / "metadata" / "timestamp.json"))
        if not (publisher.site / "metadata" / "2.root.json").exists():  # boards that know the former root trust it, too
            roots.signed.verify_delegate("timestamp", stamp.signed_bytes, stamp.signatures)
        assert set(listed(publisher)) == {1}
        publish(bundle, publisher.site, keys=publisher.keys)
        assert set(listed(publisher)) == {1, 2}
    assert cuts >= {"publish": 5, "withdraw": 4, "rotate root": 1, "renew": 2}.get(action, 4)


def test_a_second_call_waits_for_the_first(publisher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOCK_S", 0.05)
    with files.lock_folder(publisher.site), pytest.raises(PublishError, match="Another call"):
        publisher.publish(1)
    publisher.publish(1)


@pytest.mark.parametrize("made", [False, True])
def test_a_bundle_for_updates_names_the_command_that_begins_a_published_folder(tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "site"
    if made:
        folder.mkdir()
    with pytest.raises(PublishError, match=r"site is not a published folder\.") as e:
        open_published(folder, tmp_path)
    assert "edgepress publish init" in e.value.hint
