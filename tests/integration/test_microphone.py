"""A microphone whose program loses samples, ends, and comes back."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepress.runtime.errors import InputError
from edgepress.runtime.sound import microphone
from edgepress.runtime.sound.features import SoundFeatures
from edgepress.runtime.sound.listen import raw_samples, samples_from
from edgepress.runtime.sound.microphone import Microphone

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for arecord")


@pytest.fixture
def arecord(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets a text of a shell script stand for arecord; `$runs` counts its starts from 1."""

    def write(script: str) -> Path:
        program = tmp_path / "bin" / "arecord"
        program.parent.mkdir()
        count = f"runs=$(( $(cat {tmp_path}/runs 2>/dev/null || echo 0) + 1 )); echo $runs > {tmp_path}/runs"
        program.write_text(f'#!/bin/sh\n{count}\necho "$*" > {tmp_path}/arguments\n{script}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        monkeypatch.setattr(microphone, "LEAST_RETRY_S", 0.01)
        monkeypatch.setattr(microphone, "MOST_RETRY_S", 0.02)
        return tmp_path

    return write


def test_a_device_that_is_lost_is_tried_again(arecord: Any, tmp_path: Path) -> None:
    sound = np.arange(1000, dtype=np.int16)
    (tmp_path / "sound.raw").write_bytes(sound.tobytes())
    fails = 'case $runs in 2|3) echo "arecord: main: audio open error: No such device" >&2; exit 1;; esac'
    place = arecord(f'{fails}\necho "overrun!!! (at least 12 ms long)" >&2\ncat {tmp_path}/sound.raw\n')
    said: list[str] = []
    device = Microphone("hw:1", 8000, said.append)
    parts: list[Any] = []
    for part in device.samples(raw_samples):
        parts.append(part)
        if sum(each is None for each in parts) == 2:
            break
    assert (place / "arguments").read_text() == "-q -t raw -f S16_LE -c 1 -r 8000 -D hw:1\n"
    heard = np.concatenate([part for part in parts if part is not None])
    assert heard.tolist() == [*sound.tolist(), *sound.tolist()]
    assert int((place / "runs").read_text()) == 4
    assert (device.losses, device.overruns) == (2, 2)
    order = [word for text in said for word in ("were lost", "is lost", "is back") if word in text]
    assert [word for word in order if word != "were lost"] == ["is lost", "is back", "is lost"]


def test_a_device_that_never_works_is_one_error(arecord: Any) -> None:
    arecord('echo "arecord: main:831: audio open error: No such file or directory" >&2; exit 1')
    with pytest.raises(InputError, match=r"gives no sound: arecord: .* No such file") as error:
        next(Microphone("none\x1b[2J", 16000, print).samples(raw_samples))
    assert "\x1b" not in str(error.value)


def test_without_the_program_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="alsa-utils"):
        next(iter(samples_from("alsa:default", SoundFeatures())))


def test_a_program_that_does_not_end_is_killed(arecord: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphone, "END_S", 0.2)
    arecord('trap "" TERM\nhead -c 2000 /dev/zero\nwhile :; do sleep 0.1; done')
    stream = Microphone("default", 16000, print).samples(raw_samples)
    assert next(stream) is not None
    stream.close()  # type: ignore[attr-defined]
