"""A password in an address appears in no error, in words or in JSON, however the address is written."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.runtime.__main__ import main
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.mqtt_options import read_address
from edgepress.runtime.text import holds_login, without_login
from edgepress.toolkit.errors import InputError
from edgepress.toolkit.shipping.publishing.start import init

CANARY = "Tr0ub4dor"
FORMS = (
    f"mqtt://user:{CANARY}@host",
    f"user:{CANARY}@host:1883",
    f"user:{CANARY}",
    f":{CANARY}@host",
    f"{CANARY}@host",
    f"mqtts://:{CANARY}@host:8883/topic",
    f"mqtt:user:{CANARY}@host",
    f"mqtt://user:{CANARY}/x@host",
    f"mqtt://user:{CANARY}#@host",
    f"mqtt://user:{CANARY}@@host",
    f"user {CANARY} host",
    f"host:{CANARY}",
    f"host/{CANARY}",
    f"host?password={CANARY}",
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tls", [False, True])
def test_no_form_of_a_brokers_address_is_shown(form: str, tls: bool) -> None:
    with pytest.raises(InputError) as caught:
        read_address(form, tls=tls)
    assert CANARY not in f"{caught.value} {caught.value!r} {caught.value.to_dict()}"
    assert "HOST:PORT" in caught.value.hint


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_wrong_usage_does_not_repeat_it(as_json: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["camera", "m.tflite", f"mqtt://u:{CANARY}@h"], ["classify", "m", "x", "--engine", f"u:{CANARY}@h"]):
        with pytest.raises(SystemExit):
            main([*words, *as_json])
        shown = capsys.readouterr()
        assert CANARY not in shown.out + shown.err
        assert "@h" in shown.out + shown.err


@pytest.mark.parametrize(
    "url", [f"https://user:{CANARY}@host/x", f"https://{CANARY}@host", f"http://u:{CANARY}/y@host"]
)
def test_no_address_with_a_login_is_published(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        init(to=tmp_path / "published", keys=tmp_path / "keys", url=url)
    assert "login" in caught.value.message
    assert CANARY not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


WORD = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="'\"@ "), min_size=1, max_size=30)


@given(user=WORD, password=WORD, scheme=st.sampled_from(["https://", "http://", "tcp://", "ssh://"]))
def test_every_error_leaves_logins_out(user: str, password: str, scheme: str) -> None:
    secret = f"<{password}>"
    error = EdgepressError(f"{scheme}{user}:{secret}@host/path can't be read.", f"Try '{scheme}:{secret}@host'.")
    assert secret not in f"{error} {error!r} {json.dumps(error.to_dict())}"
    assert error.message.endswith("@host/path can't be read.")


@pytest.mark.parametrize(
    "text", ["https://host/a@b", "https://host:443", "http://[fd00::5]:80/x", "https://host?x=a@b", "https://host"]
)
def test_addresses_without_a_login_are_taken(text: str) -> None:
    assert not holds_login(text)


@pytest.mark.parametrize("text", ["me@board", "mail a@b.example", "at 12:30", "C:\\x", "12 % of 3:4", "a: b@c"])
def test_other_texts_stay(text: str) -> None:
    assert without_login(text) == text


def test_a_long_hostile_message_takes_no_time() -> None:
    begin = time.process_time()
    for part in ("://", "a:", "@", "a:b", ":/"):
        without_login(part * 200_000)
    assert time.process_time() - begin < 5
