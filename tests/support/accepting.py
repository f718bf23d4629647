"""What a calibrated file says of its answers, for tests."""

from __future__ import annotations

from edgepress.runtime.acceptance import Acceptance

ACCEPT = Acceptance(
    at_least=0.5,
    promise="error",
    limit=0.02,
    confidence=0.95,
    items=400,
    accepted=300,
    errors=1,
    upper=0.016,
    engine="litert",
)
