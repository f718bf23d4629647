"""A sweep of jobs of known cost as a program, for tests that kill it: STORE LOG JOBS SECONDS."""

from __future__ import annotations

import sys
from pathlib import Path

from edgepress.toolkit.errors import EdgepressError
from edgepress.toolkit.search.sweeping.jobs import Job
from edgepress.toolkit.search.sweeping.loop import run
from edgepress.toolkit.search.sweeping.runners import LocalRunner
from edgepress.toolkit.search.sweeping.store import Store


class All:
    """Proposes all jobs at once."""

    trials = ()

    def __init__(self, log: str, count: int, seconds: float) -> None:
        arguments = [{"number": number, "seconds": seconds} for number in range(count)]
        self.jobs = [Job("sweep_jobs:spin", each, context={"log": log}) for each in arguments]

    def ask(self) -> list[Job]:
        asked, self.jobs = self.jobs, []
        return asked

    def tell(self, job: Job, outcome: object) -> None:
        pass


if __name__ == "__main__":
    folder, log, count, seconds = sys.argv[1:]
    store = Store(Path(folder))
    with LocalRunner(store, 2) as runner:
        outcomes = run(All(log, int(count), float(seconds)), runner, store)
    sys.exit(any(isinstance(outcome, EdgepressError) for outcome in outcomes.values()))
