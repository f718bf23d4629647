"""Boards without a connection: names of hosts, the probe, and what its states mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.toolkit.errors import InputError
from edgepress.toolkit.shipping.boards import remote_probe
from edgepress.toolkit.shipping.boards.bench import board_bench
from edgepress.toolkit.shipping.boards.facts import SINCE_START, THROTTLED, describe_board, doubts, throttled_words
from edgepress.toolkit.shipping.boards.ssh import checked_host


@pytest.mark.parametrize("host", ["-oProxyCommand=id", "", "a b", "a;b", "a\nb", "user@-oX", "$(id)", "ssh://-x"])
def test_what_is_no_host_never_reaches_ssh(host: str) -> None:
    with pytest.raises(InputError, match="USER@NAME"):
        checked_host(host)
    with pytest.raises(InputError, match="USER@NAME"):
        board_bench([host], ["model.tflite"])


@pytest.mark.parametrize("host", ["pi", "pi@kitchen.local", "ssh://pi@kitchen:2222", "pi@[fe80::1%eth0]", "a-b_c"])
def test_hosts_that_ssh_takes(host: str) -> None:
    assert checked_host(host) == host


def test_boards_that_nobody_reaches_are_told_before_anything_is_bundled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho 'ssh: Could not resolve hostname' >&2\nexit 255\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    steps: list[str] = []
    tried = board_bench(["attic", "cellar"], [tmp_path / "model.tflite"], on_step=steps.append)
    assert steps == ["Connecting to attic, cellar"]
    assert tried.benchmark is None
    assert list(tried.failed) == ["attic", "cellar"]
    assert all("can't be reached" in error.message for error in tried.failed.values())


def state(throttled: int | None = None, cooling: tuple[str, ...] = ()) -> dict[str, Any]:
    frequency = {"temperature_c": 50.0, "frequency_mhz": 1500.0, "load_1min": 0.1}
    return {"throttled": throttled, "cooling": list(cooling)} | frequency


@given(st.integers(0, (1 << 20) - 1), st.integers(0, (1 << 20) - 1))
def test_every_throttling_bit_is_told(before: int, after: int) -> None:
    reasons, notes = doubts([state(before), state(after)])
    for bit, word in THROTTLED.items():
        now = (before | after) >> bit & 1
        new = after >> (bit + SINCE_START) & 1 and not before >> (bit + SINCE_START) & 1
        assert (word in reasons) == bool(now or new)
        old = before >> (bit + SINCE_START) & 1
        assert any(word in note for note in notes) >= bool(old and not now and not new) or word in reasons
    assert throttled_words(None) == []


def test_other_boards_tell_it_by_their_cooling_devices() -> None:
    reasons, _ = doubts([state(), state(cooling=("cpufreq-cpu0",))])
    assert reasons == ["slowed by cpufreq-cpu0"]


def test_the_probe_reads_a_raspberry_pi(tmp_path: Path) -> None:
    for name, content in {
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimddp asimdhp\nCPU implementer\t: 0x41\n"
        "CPU part\t: 0xd0b\n\nRevision\t: c04170\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n",
        "proc/meminfo": "MemTotal:        4147952 kB\nMemFree: 1 kB\n",
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n',
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "2400000\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1500000\n",
        "sys/class/thermal/thermal_zone0/temp": "61850\n",
        "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
        "sys/class/thermal/cooling_device0/cur_state": "2\n",
        "sys/class/thermal/cooling_device1/type": "cpufreq-cpu0\n",
        "sys/class/thermal/cooling_device1/cur_state": "0\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "d0008\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    root = str(tmp_path)
    now = remote_probe.state(root)
    assert (now["temperature_c"], now["frequency_mhz"], now["cooling"]) == (61.85, 1500.0, [])
    if now["throttled"] is not None:  # else this machine has a vcgencmd of its own
        assert now["throttled"] == 0xD0008
    board = describe_board("pi@kitchen", remote_probe.info(root), [now])
    assert (board["cpu"], board["core"]) == ("Raspberry Pi 5 Model B Rev 1.0", "Cortex-A76")
    assert board["memory_bytes"] == 4147952 * 1024
    assert (board["governor"], board["frequency_limit_mhz"]) == ("ondemand", 2400.0)
    assert "asimddp" in board["extensions"]
    assert board["reasons"] == ["soft temperature limit"]


def test_the_probe_survives_a_system_that_tells_nothing(tmp_path: Path) -> None:
    board = describe_board("x", remote_probe.info(str(tmp_path)), [remote_probe.state(str(tmp_path))])
    assert board["comparable"] is True
    assert board["cpu"]
