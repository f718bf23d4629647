"""When the lists of a published folder are dated, and when they end."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from releasing import simulated

from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.updates.releases import date_of
from edgepress.toolkit.errors import PublishError
from edgepress.toolkit.shipping.bundles.updates import open_published
from edgepress.toolkit.shipping.published.folder import read_repository
from edgepress.toolkit.shipping.publishing import publish as publishing
from edgepress.toolkit.shipping.publishing import repository as files
from edgepress.toolkit.shipping.publishing.publish import renew
from edgepress.toolkit.shipping.publishing.trust import check


@pytest.fixture
def publisher(tmp_path: Path) -> Any:
    return simulated.Publisher(tmp_path / "publisher")


def test_a_date_ahead_of_the_clock_is_not_kept_alive(publisher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "utc_now", lambda: files.utc_now() + timedelta(days=3650))
        publisher.publish(1)
    with pytest.raises(PublishError, match=r"is dated .* and the clock of this machine says .*--redate"):
        publisher.publish(2)
    renew(publisher.site, keys=publisher.keys, redate=True)
    publisher.publish(2)
    repository = read_repository(publisher.site, publisher.keys)
    assert date_of(repository.releases["demo"].dated) <= files.utc_now()


def test_the_date_of_a_list_never_falls(publisher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boards refuse a list that is older than one they have seen, and clocks of two machines differ."""
    ahead = files.utc_now() + timedelta(minutes=4)
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "utc_now", lambda: ahead)
        publisher.publish(1)
    publisher.publish(2)
    assert date_of(read_repository(publisher.site, publisher.keys).releases["demo"].dated) == ahead


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
    end = min(each.expires for each in check(publisher.site, keys=publisher.keys).lists)
    found = check(publisher.site, keys=publisher.keys, now=end - timedelta(days=days))
    assert found.passed is passed
    assert {each.role for each in found.lists if each.soon} == (set() if passed else {"snapshot", "timestamp"})


def test_the_lists_end_when_it_is_said(publisher: Any) -> None:
    now = datetime.now(UTC)
    ends = {
        each.role: (each.expires - now).total_seconds() / 86400
        for each in check(publisher.site, keys=publisher.keys).lists
    }
    assert ends == pytest.approx({"root": 365, "targets": 180, "snapshot": 14, "timestamp": 14}, abs=0.01)
    for days, soon in ((13.9, set()), (14.1, {"snapshot", "timestamp"}), (181, {"snapshot", "timestamp", "targets"})):
        checked = check(publisher.site, keys=publisher.keys, days=days)
        assert {each.role for each in checked.lists if each.soon} == soon
        assert checked.passed == (not soon)


def test_renewing_needs_the_online_key_alone_and_moves_the_end(publisher: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in [*publisher.keys.glob("root-*"), *publisher.keys.glob("targets-*")]:
        key.unlink()
    before = {each.role: each for each in check(publisher.site, keys=publisher.keys).lists}
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=5)
    monkeypatch.setattr("edgepress.toolkit.shipping.publishing.publish.utc_now", lambda: later)
    renew(publisher.site, keys=publisher.keys)
    after = {each.role: each for each in check(publisher.site, keys=publisher.keys).lists}
    assert after["timestamp"].expires == later + timedelta(days=14)
    assert after["timestamp"].version == before["timestamp"].version + 1
    assert after["targets"] == before["targets"]


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (1, []),
        (20, ["renew"]),
        (200, ["renew --all"]),
        (400, ["rotate --role none", "renew --all"]),
    ],
)
def test_the_command_that_renews_lists_that_end_soon_renews_them(days: int, words: list[str], publisher: Any) -> None:
    """Before, it was "renew" without --all for the list of bundles, which that does not sign, and named no folder."""
    where = ["--to", str(publisher.site), "--keys", "KEYS"]
    assert [shlex.split(each) for each in check(publisher.site, keys=publisher.keys, days=days).commands] == [
        ["edgepress", "publish", *each.split(), *where] for each in words
    ]
    later = files.utc_now() + timedelta(days=days)
    before = {
        each.role: each.version
        for each in check(publisher.site, keys=publisher.keys, now=later, days=0).lists
        if each.soon
    }
    if "renew --all" in words:
        renew(publisher.site, keys=publisher.keys, all_lists=True)
    elif words:
        renew(publisher.site, keys=publisher.keys)
    after = {each.role: each.version for each in check(publisher.site, keys=publisher.keys).lists}
    assert all(after[role] > version for role, version in before.items() if role != "root")


def test_a_folder_s_name_is_quoted_in_the_command_that_makes_it(tmp_path: Path) -> None:
    for call in (read_repository, open_published):
        with pytest.raises(EdgepressError) as caught:
            call(tmp_path / "my site", tmp_path)
        assert "is not a published folder" in str(caught.value)
        assert f"edgepress publish init --to '{tmp_path / 'my site'}' --keys KEYS" in caught.value.hint
    (tmp_path / "metadata").mkdir()
    with pytest.raises(EdgepressError, match=r"trusted\.json, which says .* was not found in"):
        read_repository(tmp_path, tmp_path)
