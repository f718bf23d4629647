"""mosquitto, if it is installed, and the options of a client."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import scripts

from edgepress.runtime.mqtt_options import BrokerOptions

sys.path.append(str(scripts.ROOT / "benchmarks" / "faults"))
import mosquitto

__all__ = ["mosquitto", "needs_mosquitto", "options"]

needs_mosquitto = pytest.mark.skipif(mosquitto.PROGRAM is None, reason="mosquitto is not installed")


def options(port: int, **more: Any) -> BrokerOptions:
    return BrokerOptions(address=f"127.0.0.1:{port}", prefix=mosquitto.PREFIX, **more)
