"""How quiet the host is during timing: load of other processes, steal time, and CPU frequency.

`Watch` samples before, between and after the rounds, about a millisecond each time, and reports why latencies are
unreliable. It cannot see what a virtual machine hides (neighbours in the same cache); the spread of the baseline's
rounds shows that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import numpy as np

from edgepress.toolkit.machine.host import frequency_mhz, load_average, own_seconds, turns
from edgepress.toolkit.results.records import Noise

BUSY = 0.10
"""Largest share of the CPUs' time that other processes may take."""
STEAL = 0.02
"""Largest share of the CPUs' time that the hypervisor may take."""
SLOWED = 0.90
"""Least ratio of the lowest frequency to the highest."""
SPREAD = 0.10
"""Largest ratio of the interquartile range of the baseline's round medians to their median."""
NAMED = 0.05
"""Share of one CPU from which on a process is named."""


class Watch:
    """Watches the host while the block runs; processes that the block starts must end before it does.

    Args:
        cpus: CPUs that the timed processes are pinned to.
    """

    def __init__(self, cpus: tuple[int, ...]) -> None:
        self._cpus = cpus
        self._loads: list[float] = []
        self._mhz: list[float] = []

    def __enter__(self) -> Watch:
        self._began = time.perf_counter()
        self._before = _cpu_seconds()
        self._own_before = own_seconds()
        self._others_before = _other_seconds()
        self.look()
        return self

    def __exit__(self, *_: object) -> None:
        self.look()
        self._after = _cpu_seconds()
        self._own_after = own_seconds()
        self._others_after = _other_seconds()
        self._seconds = time.perf_counter() - self._began

    def look(self) -> None:
        """Sample load average and frequency."""
        if (load := load_average()) is not None:
            self._loads.append(load)
        if (frequency := frequency_mhz()) is not None:
            self._mhz.append(frequency)

    def noise(self, medians_us: Sequence[float]) -> Noise:
        """The noise that was observed.

        Args:
            medians_us: The baseline's median latency of each round, in any unit; may be empty.
        """
        spent = {name: self._after[name] - self._before[name] for name in self._after}
        total = max(1e-9, spent["total"])
        busy = min(1.0, max(0.0, self._seconds_of_others(spent["busy"])) / total)
        steal = spent["steal"] / total
        spread = None
        if len(medians_us):
            low, middle, high = np.quantile(medians_us, (0.25, 0.5, 0.75))
            spread = float((high - low) / middle)
        frequency = (min(self._mhz), max(self._mhz)) if self._mhz else None
        reasons = []
        if busy > BUSY:
            reasons.append(f"Other processes took {100 * busy:.0f} % of the CPUs' time{self._name_busiest()}.")
        if steal > STEAL:
            reasons.append(f"The hypervisor took {100 * steal:.1f} % of the CPUs' time.")
        if frequency is not None and frequency[0] < SLOWED * frequency[1]:
            reasons.append(f"The CPUs' frequency changed between {frequency[0]:.0f} and {frequency[1]:.0f} MHz.")
        if spread is not None and spread > SPREAD:
            reasons.append(f"The middle half of the baseline's rounds spans {100 * spread:.0f} % of its latency.")
        return Noise(
            noisy=bool(reasons),
            reasons=tuple(reasons),
            load_1min=max(self._loads, default=None),
            busy_share=busy,
            steal_share=steal,
            frequency_mhz=frequency,
            spread=spread,
            cpus=self._cpus,
            turns=turns(),
        )

    def _seconds_of_others(self, busy: float) -> float:
        """CPU seconds of other processes, of all seconds in which the CPUs were busy.

        Where the seconds of this process and its children are unknown, only processes that ran all the time count.
        """
        if self._own_before is None or self._own_after is None:
            return sum(seconds for pid, seconds in self._seconds_by_process().items() if pid in self._others_before)
        return busy - (self._own_after - self._own_before)

    def _seconds_by_process(self) -> dict[int, float]:
        """CPU seconds of each other process while the block ran, by process id, without ids that were used again."""
        spent = {}
        for pid, (name, after) in self._others_after.items():
            name_before, before = self._others_before.get(pid, (name, 0.0))
            if name_before == name:
                spent[pid] = after - before
        return spent

    def _name_busiest(self) -> str:
        """The process that took the most CPU time, if one stands out."""
        spent = self._seconds_by_process()
        if not spent:
            return ""
        busiest = max(spent, key=lambda pid: spent[pid])
        name, _ = self._others_after[busiest]
        return f" ({name} most)" if name and spent[busiest] > NAMED * self._seconds else ""


def _cpu_seconds() -> dict[str, float]:
    """Seconds of all CPUs since the system started: total, busy, and taken by the hypervisor."""
    import psutil

    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    steal = getattr(times, "steal", 0.0)
    work = times.user + times.system + sum(getattr(times, name, 0.0) for name in ("nice", "irq", "softirq"))
    return {"total": idle + work + steal, "busy": work, "steal": steal}


def _other_seconds() -> dict[int, tuple[str, float]]:
    """Name and CPU seconds of every other process, by process id."""
    import psutil

    cpu_times = {}
    for process in psutil.process_iter(["name", "cpu_times"]):
        times = process.info["cpu_times"]
        if process.pid != os.getpid() and times is not None:
            cpu_times[process.pid] = (process.info["name"] or "", times.user + times.system)
    return cpu_times
