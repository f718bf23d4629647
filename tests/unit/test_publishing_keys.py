"""The keys of a published folder: private, as many as were asked for, and replaced without a gap."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from releasing import CutError, cut_here, listed, simulated

from edgepress.toolkit.errors import InputError, PublishError
from edgepress.toolkit.shipping.publishing import keys, start
from edgepress.toolkit.shipping.publishing.keys import PASSWORD
from edgepress.toolkit.shipping.publishing.publish import renew
from edgepress.toolkit.shipping.publishing.start import init, rotate
from edgepress.toolkit.shipping.publishing.trust import check


@pytest.fixture
def publisher(tmp_path: Path) -> Any:
    return simulated.Publisher(tmp_path / "publisher")


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
    for key in publisher.keys.glob("*.pem"):
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
    private = [key.read_bytes() for key in publisher.keys.glob("*.pem")]
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
    assert sorted(path.name for path in publisher.site.glob("metadata/*.root.json")) == ["1.root.json", "2.root.json"]
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
    assert check(publisher.site, keys=publisher.keys).passed
    publisher.publish(2)
    assert set(listed(publisher)) == {1, 2}


def test_a_rotation_without_the_former_keys_does_not_sign_what_no_root_trusts(publisher: Any, tmp_path: Path) -> None:
    other = simulated.Publisher(tmp_path / "other")
    for name in ("timestamp.json", "2.snapshot.json"):
        shutil.copy(other.site / "metadata" / name, publisher.site / "metadata" / name)
    with pytest.raises(PublishError, match="not a complete published folder"):
        rotate(publisher.site, [publisher.keys], role="online", lost=True)


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
    (keys_of_first,) = tmp_path.glob("keys *")
    assert check(tmp_path / "site", keys=keys_of_first).passed


def test_a_key_is_flushed_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[tuple[Path, bool]] = []
    monkeypatch.setattr(keys, "flush_folder", lambda folder: flushed.append((folder, any(folder.glob("*.pem")))))
    keys.make_key(tmp_path, "root")
    assert flushed == [(tmp_path, True)]


def test_a_folder_that_was_not_begun_to_the_end_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: Any) -> None:
        raise CutError

    with monkeypatch.context() as patch:
        patch.setattr(start, "write_root", cut)
        with pytest.raises(CutError):
            init(tmp_path / "site", tmp_path / "keys")
    with pytest.raises(PublishError):
        check(tmp_path / "site", keys=tmp_path / "keys")
    init(tmp_path / "site", tmp_path / "keys")
    assert check(tmp_path / "site", keys=tmp_path / "keys").passed
    with pytest.raises(PublishError, match="is a published folder already"):
        init(tmp_path / "site", tmp_path / "keys")
