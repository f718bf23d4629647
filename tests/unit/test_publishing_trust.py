"""The publisher's record of trust: where it is, what it holds back, and how it is made anew."""

from __future__ import annotations

import dataclasses
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from releasing import CutError, listed, simulated

from edgepress.toolkit.errors import EdgepressError, InputError, PublishError
from edgepress.toolkit.shipping.bundles.updates import open_published
from edgepress.toolkit.shipping.published import files as records
from edgepress.toolkit.shipping.published.files import RECORD, folders_of, read_record
from edgepress.toolkit.shipping.published.folder import read_repository
from edgepress.toolkit.shipping.publishing import publish as publishing
from edgepress.toolkit.shipping.publishing import repository as files
from edgepress.toolkit.shipping.publishing import start
from edgepress.toolkit.shipping.publishing.publish import publish, renew, withdraw
from edgepress.toolkit.shipping.publishing.repository import Signers, write_state
from edgepress.toolkit.shipping.publishing.start import init, role_signers, rotate
from edgepress.toolkit.shipping.publishing.trust import Trusted, check, trust


@pytest.fixture
def publisher(tmp_path: Path) -> Any:
    made = simulated.Publisher(tmp_path / "publisher")
    made.publish(1)
    return made


def agree(_: Trusted) -> bool:
    return True


def test_without_a_record_nothing_is_read_and_the_message_says_how_to_make_it(publisher: Any) -> None:
    (publisher.keys / RECORD).unlink()
    for call in (
        lambda: check(publisher.site, keys=publisher.keys),
        lambda: open_published(publisher.site, publisher.keys),
        lambda: renew(publisher.site, keys=publisher.keys),
        lambda: rotate(publisher.site, publisher.keys, role="root"),
    ):
        with pytest.raises(PublishError, match=r"trusted\.json, which says .*edgepress publish trust BUNDLE_OR_ROOT"):
            call()
    with pytest.raises(InputError, match="--keys KEYS"):
        open_published(publisher.site, None)
    with pytest.raises(InputError, match="--updates FOLDER"):
        open_published(None, publisher.keys)


def test_each_folder_of_keys_gets_a_copy_and_all_copies_are_obeyed(publisher: Any, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    for key in publisher.keys.glob("root-*.pem"):
        shutil.move(key, stick)
    with pytest.raises(PublishError, match=RECORD):
        rotate(publisher.site, stick, role="none")
    rotate(publisher.site, [publisher.keys, stick], role="none")
    rotate(publisher.site, stick, role="none")  # alone from now on
    backup = publisher.copy("backup")
    withdraw("demo", 1, publisher.site, keys=publisher.keys)
    shutil.rmtree(publisher.site)
    shutil.copytree(backup, publisher.site)
    read_repository(publisher.site, stick)  # it has seen nothing newer
    with pytest.raises(PublishError, match=r"timestamp\.json, version \d+, is older than version \d+"):
        renew(publisher.site, keys=[stick, publisher.keys])


def test_a_machine_with_the_online_key_alone_renews_and_others_go_on(publisher: Any, tmp_path: Path) -> None:
    cron = tmp_path / "cron"
    cron.mkdir()
    for path in [publisher.keys / RECORD, *publisher.keys.glob("online-*.pem")]:
        shutil.copy(path, cron)
    for number in (2, 3):
        renew(publisher.site, keys=cron)
        publisher.publish(number)
    renew(publisher.site, keys=cron)
    assert check(publisher.site, keys=cron).passed
    assert set(listed(publisher)) == {1, 2, 3}


def test_a_folder_of_keys_is_of_one_published_folder(publisher: Any, tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="of another published folder"):
        init(tmp_path / "other site", publisher.keys)
    other = simulated.Publisher(tmp_path / "other")
    with pytest.raises(PublishError, match="of different published folders"):
        renew(publisher.site, keys=[publisher.keys, other.keys])
    with pytest.raises(PublishError, match=r"1\.root\.json is not the one that trusted\.json beside the keys trusts"):
        renew(publisher.site, keys=other.keys)


@pytest.mark.parametrize("source", ["bundle", "root of a board", "newer root", "record of former keys"])
def test_a_lost_record_is_made_anew_from_what_the_user_has(publisher: Any, source: str) -> None:
    bundle = publisher.bundle(2)
    former = (publisher.keys / RECORD).read_bytes()
    rotate(publisher.site, publisher.keys, role="targets")
    path = {
        "bundle": bundle,
        "root of a board": publisher.site / "metadata" / "1.root.json",
        "newer root": publisher.site / "metadata" / "2.root.json",
        "record of former keys": None,
    }[source]
    (publisher.keys / RECORD).unlink()
    if path is None:
        (publisher.keys / RECORD).write_bytes(former)
    shown: list[dict[str, Any]] = []

    def refuse(trusted: Trusted) -> bool:
        shown.append(trusted.to_dict())
        return False

    with pytest.raises(InputError, match="was not changed"):
        trust(publisher.site, publisher.keys, source=path, accept=refuse)
    assert (publisher.keys / RECORD).exists() == (path is None)
    version = 2 if source == "newer root" else 1
    assert (shown[0]["anchor"]["version"], shown[0]["root_version"]) == (version, 2)
    assert {f"{role}-{key[:16]}.pem" for role, row in shown[0]["keys"].items() for key in row["ids"]} <= {
        key.name for key in publisher.keys.glob("*.pem")
    }
    trust(publisher.site, publisher.keys, source=path, accept=agree)
    publisher.publish(3)
    assert set(listed(publisher)) == {1, 3}


def test_a_record_is_not_made_from_a_root_that_the_folder_does_not_go_on_from(publisher: Any, tmp_path: Path) -> None:
    other = simulated.Publisher(tmp_path / "other")
    before = (publisher.keys / RECORD).read_bytes()
    for source in (other.bundle(1), other.site / "metadata" / "1.root.json"):
        with pytest.raises(PublishError, match=r"1\.root\.json is not the one"):
            trust(publisher.site, publisher.keys, source=source, accept=agree)
    for source in (publisher.site / "metadata" / "timestamp.json", publisher.site / "publish.json"):
        with pytest.raises(PublishError, match="is no list of trusted keys"):
            trust(publisher.site, publisher.keys, source=source, accept=agree)
    assert (publisher.keys / RECORD).read_bytes() == before


def test_lists_of_bundles_that_were_signed_elsewhere_are_signed_again_only_after_a_question(
    publisher: Any, tmp_path: Path
) -> None:
    """Two machines publish with the same keys; a thief of these keys looks the same."""
    second = tmp_path / "second"
    shutil.copytree(publisher.keys, second)
    publish(publisher.bundle(2), publisher.site, keys=second)
    for call in (
        lambda: publisher.publish(3),
        lambda: rotate(publisher.site, publisher.keys, role="targets"),
        lambda: rotate(publisher.site, publisher.keys, role="targets", lost=True),
        lambda: renew(publisher.site, keys=publisher.keys, all_lists=True),
    ):
        with pytest.raises(PublishError, match=r"not from here\. Its releases: demo 1, demo 2\."):
            call()
    renew(publisher.site, keys=publisher.keys)  # the online key signs any list of the keys of targets
    trust(publisher.site, publisher.keys, accept=agree)
    publisher.publish(3)
    assert set(listed(publisher)) == {1, 2, 3}


def test_expired_lists_are_renewed_by_the_publisher_and_older_ones_are_not(
    publisher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = files.utc_now() - timedelta(days=2000)
    with monkeypatch.context() as patch:
        for module in (publishing, start, files):
            patch.setattr(module, "utc_now", lambda: old)
        rotate(publisher.site, publisher.keys, role="none")
        renew(publisher.site, keys=publisher.keys, all_lists=True)
    assert not check(publisher.site, keys=publisher.keys).passed
    expired = publisher.copy("expired")
    rotate(publisher.site, publisher.keys, role="none")
    renew(publisher.site, keys=publisher.keys, all_lists=True)
    assert check(publisher.site, keys=publisher.keys).passed
    shutil.rmtree(publisher.site)
    shutil.copytree(expired, publisher.site)
    with pytest.raises(PublishError, match=r"3\.root\.json"):
        renew(publisher.site, keys=publisher.keys)


@pytest.mark.parametrize("role", ["targets", "online"])
def test_a_rotation_without_the_former_keys_signs_only_the_lists_that_it_has_seen(publisher: Any, role: Any) -> None:
    """The keys are not lost but stolen: lists by them are not signed again, also where such a rotation was cut."""
    thief = publisher.folder / "thief"
    shutil.copytree(publisher.keys, thief)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "write_state", lambda *_, **__: (_ for _ in ()).throw(CutError))
        with pytest.raises(CutError):
            rotate(publisher.site, publisher.keys, role=role, lost=True)
    sound = publisher.copy("sound")
    repository = read_repository(publisher.site, publisher.keys, lost=start.TUF_ROLES[role])
    own = dataclasses.replace(repository, keys=(thief,))
    root = dataclasses.replace(own, root=read_root_before(publisher))
    signers = Signers(*(role_signers(root, each, None) for each in ("targets", "online")))
    listed_files = repository.targets.signed.targets if role == "targets" else None
    write_state(own, signers, files=listed_files, now=files.utc_now())
    with pytest.raises(PublishError, match="not a complete published folder"):
        rotate(publisher.site, publisher.keys, role=role, lost=True)
    shutil.rmtree(publisher.site)
    shutil.copytree(sound, publisher.site)
    rotate(publisher.site, publisher.keys, role=role, lost=True)
    publisher.publish(2)


def read_root_before(publisher: Any) -> Any:
    """The root before the newest one."""
    from tuf.api.metadata import Metadata

    return Metadata.from_file(str(publisher.site / "metadata" / "1.root.json"))


@pytest.mark.parametrize("action", ["publish", "rotate targets", "rotate root", "renew", "init"])
def test_a_call_that_is_cut_at_a_record_can_be_done_again(
    publisher: Any, action: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = publisher.bundle(2)

    def act() -> None:
        if action == "publish":
            publish(bundle, publisher.site, keys=publisher.keys)
        elif action == "renew":
            renew(publisher.site, keys=publisher.keys)
        elif action == "init":
            init(tmp_path / "site", tmp_path / "keys")
        else:
            rotate(publisher.site, publisher.keys, role=action.split()[1])  # type: ignore[arg-type]

    write = records.write_bytes
    cuts = 0
    while True:
        written = 0

        def cut(path: Path, data: bytes, at: int = cuts) -> None:
            nonlocal written
            if written == at:
                raise CutError
            written += 1
            write(path, data)

        with monkeypatch.context() as patch:
            patch.setattr(records, "write_bytes", cut)
            try:
                act()
            except CutError:
                cuts += 1
            except EdgepressError:
                assert action == "init"  # it was begun by the call before
                break
            else:
                break
    assert cuts >= 1
    if action == "init":
        renew(tmp_path / "site", keys=tmp_path / "keys", all_lists=True)
        assert check(tmp_path / "site", keys=tmp_path / "keys").passed
        return
    publish(publisher.bundle(3), publisher.site, keys=publisher.keys)
    assert {1, 3} <= set(listed(publisher))
    assert check(publisher.site, keys=publisher.keys).passed


def test_a_record_that_is_damaged_or_read_only_is_one_message(publisher: Any, tmp_path: Path) -> None:
    path = publisher.keys / RECORD
    sound = path.read_bytes()
    for content in (b"", b"[]", b"{}", sound[: len(sound) // 2], sound.replace(b'"1":', b'"7":')):
        path.write_bytes(content)
        with pytest.raises(PublishError):
            renew(publisher.site, keys=publisher.keys)
    path.write_bytes(sound)
    assert read_record(publisher.site, folders_of([publisher.keys, tmp_path])).lists
    renew(publisher.site, keys=[publisher.keys, tmp_path / "not there"])
    assert not (tmp_path / "not there").exists()


def test_the_newest_list_of_bundles_stays_noted_whatever_else_is_cut() -> None:
    seen = {"targets": records.ListVersion(9, "new")}
    here = records.TrustRecord("", b"{}", {1: "a"}, seen, ("new",))
    stick = records.TrustRecord("", b"{}", {1: "a"}, {}, tuple(f"old {n}" for n in range(records.MAX_WRITTEN)))
    for order in ([here, stick], [stick, here]):
        written = records.merge(order).written
        assert (written[-1], len(written)) == ("new", records.MAX_WRITTEN)
