"""`edgepress publish`: what is published is what was asked, and a kill or a second call never spoils a folder."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import scripts
from records import assert_frozen
from tuf.api.metadata import Metadata, Root, Timestamp

from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.updates.releases import (
    Release,
    date_of,
    offered,
    parse_list,
)
from edgepress.toolkit.bundles.updates import next_release
from edgepress.toolkit.errors import BundleError, InputError, PublishError
from edgepress.toolkit.publishing import expiry, keys, start
from edgepress.toolkit.publishing import publish as publishing
from edgepress.toolkit.publishing import repository as files
from edgepress.toolkit.publishing.expiry import check
from edgepress.toolkit.publishing.keys import PASSWORD
from edgepress.toolkit.publishing.publish import publish, renew, withdraw
from edgepress.toolkit.publishing.repository import read_repository, root_paths, target_path
from edgepress.toolkit.publishing.start import init, rotate

simulated = scripts.script("benchmarks/updates/simulated.py")


class CutError(Exception):
    """Stands for a kill."""


def cut_here(*_: Any, **__: Any) -> None:
    raise CutError


@pytest.fixture
def publisher(tmp_path: Path) -> Any:
    return simulated.Publisher(tmp_path / "publisher")


def listed(publisher: Any) -> dict[int, Release]:
    """The releases that boards see, by number."""
    repository = read_repository(publisher.site)
    target = repository.targets.signed.targets["demo/releases.json"]
    return {r.release: r for r in parse_list(target_path(publisher.site, target).read_bytes(), "demo").releases}


def test_a_published_bundle_is_listed_with_its_channel_and_its_share(publisher: Any) -> None:
    publisher.publish(1)
    done = publisher.publish(2, channel="beta", share="10%")
    seen = listed(publisher)
    assert (seen[1].channel, seen[1].share) == ("stable", 1.0)
    assert (seen[2].channel, seen[2].share) == ("beta", 0.1)
    assert done.changed[0][1] == seen[2]
    assert check(publisher.site).targets == 3  # two bundles and the list
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
    assert check(publisher.site).targets == 0


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
        with pytest.raises(PublishError, match=r"that were replaced since .*edgepress bundle --updates"):
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
    assert {*read_repository(publisher.site).targets.signed.targets} == {seen[1].target, "demo/releases.json"}
    with pytest.raises(PublishError, match="was withdrawn"):
        publisher.publish(2)
    with pytest.raises(InputError, match="no release 7"):
        withdraw("demo", 7, publisher.site, keys=publisher.keys)
    with pytest.raises(InputError, match="no application 'x'"):
        withdraw("x", 1, publisher.site, keys=publisher.keys)


def test_a_thresholds_keys_must_be_there(tmp_path: Path) -> None:
    publisher = simulated.Publisher(tmp_path, targets_keys=3, targets_threshold=2)
    first, second, third = sorted(publisher.keys.glob("targets-*.pem"))
    first.unlink()
    publisher.publish(1)
    second.unlink()
    with pytest.raises(PublishError, match=r"1 keys of the role targets .* needed: 2"):
        publisher.publish(2)
    assert third.exists()
    assert set(listed(publisher)) == {1}


def test_keys_are_private_encrypted_on_request_and_never_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="would be published"):
        init(tmp_path / "site", tmp_path / "site" / "keys")
    publisher = simulated.Publisher(tmp_path, password="secret")
    for key in publisher.keys.iterdir():
        assert key.stat().st_mode & 0o077 == 0
        assert b"ENCRYPTED" in key.read_bytes()
    with pytest.raises(InputError, match="is encrypted"):
        publisher.publish(1)
    with pytest.raises(InputError, match="password is wrong"):
        publisher.publish(1, ask=lambda name: "other")
    publisher.publish(1, ask=lambda name: "secret")
    monkeypatch.setenv(PASSWORD, "secret")
    publisher.publish(2)
    assert set(listed(publisher)) == {1, 2}
    private = [key.read_bytes() for key in publisher.keys.iterdir()]
    published = [path.read_bytes() for path in publisher.site.rglob("*") if path.is_file()]
    assert not [text for text in published if b"PRIVATE KEY" in text or text in private]


def test_a_key_that_is_not_the_one_of_its_name_is_refused(publisher: Any) -> None:
    online = next(publisher.keys.glob("online-*.pem"))
    shutil.copy(next(publisher.keys.glob("targets-*.pem")), online)
    with pytest.raises(InputError, match="not the one that its name says"):
        publisher.publish(1)


@pytest.mark.parametrize("role", ["root", "targets", "online"])
@pytest.mark.parametrize("lost", [False, True])
def test_a_rotation_replaces_the_keys_and_publishing_goes_on(publisher: Any, role: Any, lost: bool) -> None:
    publisher.publish(1)
    former = sorted(publisher.keys.glob(f"{role}-*.pem"))
    if lost and role != "root":
        for key in former:
            key.unlink()
    rotate(publisher.site, [publisher.keys], role=role, lost=lost and role != "root")
    for key in former:
        key.unlink(missing_ok=True)
    assert [m.signed.version for m in map(Metadata[Root].from_file, map(str, root_paths(publisher.site)))] == [1, 2]
    publisher.publish(2)
    renew(publisher.site, keys=publisher.keys, all_lists=True)
    assert set(listed(publisher)) == {1, 2}


@pytest.mark.parametrize("role", ["targets", "online"])
@pytest.mark.parametrize("cuts", [1, 3])
def test_a_rotation_without_the_former_keys_that_is_cut_can_be_done_again(
    publisher: Any, role: Any, cuts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish(1)
    for key in publisher.keys.glob(f"{role}-*.pem"):
        key.unlink()
    for _ in range(cuts):
        with monkeypatch.context() as patch:
            patch.setattr(start, "write_state", cut_here)
            with pytest.raises(CutError):
                rotate(publisher.site, [publisher.keys], role=role, lost=True)
        with pytest.raises(PublishError, match="rotation with --lost was interrupted, do it again"):
            publisher.publish(2)
    rotate(publisher.site, [publisher.keys], role=role, lost=True)
    assert check(publisher.site).passed
    publisher.publish(2)
    assert set(listed(publisher)) == {1, 2}


def test_a_rotation_without_the_former_keys_does_not_sign_what_no_root_trusts(publisher: Any, tmp_path: Path) -> None:
    other = simulated.Publisher(tmp_path / "other")
    for name in ("timestamp.json", "2.snapshot.json"):
        shutil.copy(other.site / "metadata" / name, publisher.site / "metadata" / name)
    with pytest.raises(PublishError, match="not a complete published folder"):
        rotate(publisher.site, [publisher.keys], role="online", lost=True)


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
    assert check(publisher.site).targets == 0
    assert not list(publisher.site.glob("targets/demo/*.zip"))


def test_a_date_ahead_of_the_clock_is_not_kept_alive(publisher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "utc_now", lambda: files.utc_now() + timedelta(days=3650))
        publisher.publish(1)
    with pytest.raises(PublishError, match=r"is dated .* and the clock of this machine says .*--redate"):
        publisher.publish(2)
    renew(publisher.site, keys=publisher.keys, redate=True)
    publisher.publish(2)
    repository = read_repository(publisher.site)
    target = repository.targets.signed.targets["demo/releases.json"]
    found = parse_list(target_path(publisher.site, target).read_bytes(), "demo")
    assert date_of(found.dated) <= files.utc_now()


def test_the_date_of_a_list_never_falls(publisher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boards refuse a list that is older than one they have seen, and clocks of two machines differ."""
    ahead = files.utc_now() + timedelta(minutes=4)
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "utc_now", lambda: ahead)
        publisher.publish(1)
    publisher.publish(2)
    target = read_repository(publisher.site).targets.signed.targets["demo/releases.json"]
    assert date_of(parse_list(target_path(publisher.site, target).read_bytes(), "demo").dated) == ahead


@pytest.mark.parametrize(("minutes", "accepted"), [(4.9, True), (5.2, False)])
def test_clocks_may_differ_by_five_minutes(
    publisher: Any, minutes: float, monkeypatch: pytest.MonkeyPatch, *, accepted: bool
) -> None:
    now = files.utc_now()
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "utc_now", lambda: now + timedelta(minutes=minutes))
        publisher.publish(1)
    monkeypatch.setattr(publishing, "utc_now", lambda: now)
    if accepted:
        publisher.publish(2)
    else:
        with pytest.raises(PublishError, match="is dated"):
            publisher.publish(2)


@pytest.mark.parametrize(("days", "passed"), [(7.5, True), (6.5, False)])
def test_a_list_that_ends_within_a_week_is_named(publisher: Any, days: float, *, passed: bool) -> None:
    end = min(each.expires for each in check(publisher.site).lists)
    found = check(publisher.site, now=end - timedelta(days=days))
    assert found.passed is passed
    assert {each.role for each in found.lists if each.soon} == (set() if passed else {"snapshot", "timestamp"})


def test_documents_of_what_was_published_and_checked_are_json(publisher: Any) -> None:
    done = publisher.publish(1, channel="beta", share="25%").to_dict()
    (row,) = done["releases"]
    assert (row["name"], row["release"], row["channel"], row["share"]) == ("demo", 1, "beta", 0.25)
    assert {*done["expires"]} == {"root", "targets", "snapshot", "timestamp"}
    found = check(publisher.site).to_dict()
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
    assert check(publisher.site).targets == 3  # a bundle, and two lists


def test_records_are_frozen() -> None:
    assert_frozen(expiry, by_position=frozenset({"Expiry", "CheckedFolder"}))
    assert_frozen(publishing, by_position=frozenset({"Published"}))


def test_two_calls_that_begin_a_folder_at_once_do_not_mix(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def begin(number: int) -> bool:
        try:
            init(tmp_path / "site", tmp_path / f"keys {number}")
        except PublishError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(begin, range(4))) == [False, False, False, True]
    assert check(tmp_path / "site").passed
    assert len(list(tmp_path.glob("keys *"))) == 1


def test_a_key_is_flushed_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[tuple[Path, bool]] = []
    monkeypatch.setattr(keys, "flush_folder", lambda folder: flushed.append((folder, any(folder.glob("*.pem")))))
    keys.make_key(tmp_path, "root")
    assert flushed == [(tmp_path, True)]


def test_the_lists_end_when_it_is_said(publisher: Any) -> None:
    now = datetime.now(UTC)
    ends = {each.role: (each.expires - now).total_seconds() / 86400 for each in check(publisher.site).lists}
    assert ends == pytest.approx({"root": 365, "targets": 180, "snapshot": 14, "timestamp": 14}, abs=0.01)
    for days, soon in ((13.9, set()), (14.1, {"snapshot", "timestamp"}), (181, {"snapshot", "timestamp", "targets"})):
        checked = check(publisher.site, days=days)
        assert {each.role for each in checked.lists if each.soon} == soon
        assert checked.passed == (not soon)


def test_renewing_needs_the_online_key_alone_and_moves_the_end(publisher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in [*publisher.keys.glob("root-*"), *publisher.keys.glob("targets-*")]:
        key.unlink()
    before = {each.role: each for each in check(publisher.site).lists}
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=5)
    monkeypatch.setattr("edgepress.toolkit.publishing.publish.utc_now", lambda: later)
    renew(publisher.site, keys=publisher.keys)
    after = {each.role: each for each in check(publisher.site).lists}
    assert after["timestamp"].expires == later + timedelta(days=14)
    assert after["timestamp"].version == before["timestamp"].version + 1
    assert after["targets"] == before["targets"]


def test_damage_is_noticed_before_anything_is_signed(publisher: Any) -> None:
    publisher.publish(1)
    bundle = next(publisher.site.glob("targets/demo/*.zip"))
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"x")
    with pytest.raises(PublishError, match="is damaged"):
        check(publisher.site)
    publish(publisher.bundle(1), publisher.site, keys=publisher.keys)  # replaces the damaged file
    check(publisher.site)
    snapshot = publisher.site / "metadata" / "4.snapshot.json"
    content = snapshot.read_bytes()
    snapshot.write_bytes(content.replace(b'"version":4', b'"version":3'))
    assert snapshot.read_bytes() != content
    with pytest.raises(PublishError, match="not a complete published folder"):
        publisher.publish(2)
    with pytest.raises(PublishError, match="not a published folder"):
        publish([], publisher.folder / "nowhere", keys=publisher.keys)


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

    roots = Metadata[Root].from_file(str(root_paths(publisher.site)[0]))
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
        with monkeypatch.context() as patch:
            patch.setattr(files, "write_durably", cut)
            try:
                act()
            except CutError:
                cuts += 1
            else:
                break
        check(publisher.site)
        stamp = Metadata[Timestamp].from_file(str(publisher.site / "metadata" / "timestamp.json"))
        if len(root_paths(publisher.site)) == 1:  # boards that know the former root trust it, too
            roots.signed.verify_delegate("timestamp", stamp.signed_bytes, stamp.signatures)
        assert set(listed(publisher)) == {1}
        publish(bundle, publisher.site, keys=publisher.keys)
        assert set(listed(publisher)) == {1, 2}
    assert cuts >= {"publish": 5, "withdraw": 4, "rotate root": 1, "renew": 2}.get(action, 4)


def test_a_folder_that_was_not_begun_to_the_end_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: Any) -> None:
        raise CutError

    with monkeypatch.context() as patch:
        patch.setattr(start, "write_root", cut)
        with pytest.raises(CutError):
            init(tmp_path / "site", tmp_path / "keys")
    with pytest.raises(PublishError):
        check(tmp_path / "site")
    init(tmp_path / "site", tmp_path / "keys")
    assert check(tmp_path / "site").passed
    with pytest.raises(PublishError, match="is a published folder already"):
        init(tmp_path / "site", tmp_path / "keys")


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
    with pytest.raises(BundleError, match=r"site is not a published folder: metadata/timestamp\.json is missing") as e:
        next_release(folder, "demo")
    assert "edgepress publish init" in e.value.hint
