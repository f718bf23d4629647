"""AMX, the matrix tiles of Intel's servers: int8 kernels with them are slower than others for small nets.

Linux grants tiles to a process that asks, as engines do when they open their first file, unless one of its signal
stacks is too small to hold them (kernel documentation, arch/x86/xstate.rst). Engines then take their other kernels.
"""

from __future__ import annotations

import ctypes
import os
import sys

from edgepress.runtime.errors import EngineError
from edgepress.runtime.system import FLAGS, cpu_info

VARIABLE = "EDGEPRESS_AMX"
ARCH_PRCTL = 158
"""The system call on x86-64."""
PERMITTED = 0x1022
"""Its ARCH_GET_XCOMP_PERM."""
TILES = 18
"""The bit of the tiles."""
STACK = ctypes.create_string_buffer(8192)
"""A signal stack that is too small: tiles alone have as many bytes. It belongs to the process for good."""


class _Stack(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def has_tiles() -> bool:
    """Whether the CPU has them and the user has not switched them off."""
    return os.environ.get(VARIABLE) != "0" and "amx_int8" in cpu_info(FLAGS).split()


def apply() -> None:
    """With `EDGEPRESS_AMX=0`, let no engine that opens its first file from now on use tiles.

    Raises:
        EngineError: The variable has another value than 0 or 1, or the process has tiles already.
    """
    setting = os.environ.get(VARIABLE) or "1"
    if setting not in ("0", "1"):
        raise EngineError(f"{VARIABLE} is {setting!r}; accepted: 0 or 1.", "0 means that engines do not use AMX.")
    if setting == "1" or sys.platform != "linux" or "amx_tile" not in cpu_info(FLAGS).split():
        return
    libc = ctypes.CDLL(None)
    granted = ctypes.c_uint64()
    libc.syscall(ARCH_PRCTL, PERMITTED, ctypes.byref(granted))
    if granted.value >> TILES & 1:
        problem = f"{VARIABLE}=0 comes too late: this process may use AMX already."
        raise EngineError(problem, "Open the file before another library, such as TensorFlow, begins to compute.")
    libc.sigaltstack(ctypes.byref(_Stack(ctypes.cast(STACK, ctypes.c_void_p), 0, len(STACK))), None)
