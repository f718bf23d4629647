"""Frames of the exported front end against the runtime's, on this machine and emulated boards, with its instructions.

    python benchmarks/sound/c_front_end.py [--frames 20000] [--seed 0] [--cores m4,m55,armv7]

Samples are drawn sounds of many levels (`published_streams.py`). On this machine the C takes all of them; boards take a
few hundred frames and compare their digest. Instructions are those of a frame (`-O2`), counted by QEMU's plugin
(`benchmarks/microcontrollers/c99_count.c`) as the difference of two runs, of which one takes the sounds twice.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepress.converters.to_c.emission import lines
from edgepress.runtime.sound.features import SoundFeatures
from edgepress.runtime.sound.frames import frames_of
from edgepress.toolkit.shipping.exporting.sound import sound_sources

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "support"))
sys.path.append(str(Path(__file__).parents[1] / "microcontrollers"))
ON_BOARD = 300
"""Frames that a board computes."""
MAIN = """
#include "model_sound.h"
#include <stdio.h>
static const int16_t samples[] = {{
{samples}
}};
static model_sound sound;
/* FNV-1a of all frames. */
static uint32_t digest(void)
{{
    uint32_t hash = 2166136261u;
    uint16_t frame[MODEL_SOUND_CHANNELS];
    model_sound_reset(&sound);
    for (unsigned at = 0; at + MODEL_SOUND_STEP <= sizeof samples / sizeof *samples; at += MODEL_SOUND_STEP)
        if (model_sound_frame(&sound, samples + at, frame))
            for (int c = 0; c < MODEL_SOUND_CHANNELS; c++) {{
                hash = (hash ^ (frame[c] & 255)) * 16777619u;
                hash = (hash ^ (frame[c] >> 8)) * 16777619u;
            }}
    return hash;
}}
int model_selftest(void);
int model_selftest(void)
{{
    return digest() != {expected}u;
}}
"""


def digest_of(frames: npt.NDArray[np.uint16]) -> int:
    """FNV-1a of frames, the lower byte of each number first."""
    value = 2166136261
    for byte in frames.astype("<u2").tobytes():
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return value


def write_sources(folder: Path, features: SoundFeatures) -> None:
    """The front end in a folder, as `export` writes it for a model that takes its frames."""
    source = SimpleNamespace(dtype="int8", size=features.channels, scales=[1], scale=26 / 255, zero_point=-128)
    contract: Any = SimpleNamespace(sound=features, adapter=None)
    program: Any = SimpleNamespace(input=source)
    sources = sound_sources(program, contract, streams=False)
    assert sources is not None
    for name, text in sources.files.items():
        (folder / name).write_text(text)
    (folder / "model.h").write_text("#include <stdint.h>\n#define MODEL_ARENA_BYTES 0\n")


def on_this_machine(folder: Path, samples: npt.NDArray[np.int16], features: SoundFeatures) -> npt.NDArray[np.uint16]:
    """The frames that the C makes here."""
    from building_c import compiled

    library = ctypes.CDLL(str(compiled(folder / "model_sound.c", folder / "sound.so", "-O2")))
    memory = ctypes.create_string_buffer(1 << 16)
    library.model_sound_reset(memory)
    frame = np.zeros(features.channels, np.uint16)
    frames = []
    for start in range(0, len(samples) - features.step + 1, features.step):
        part = samples[start : start + features.step].copy()
        if library.model_sound_frame(
            memory, part.ctypes.data_as(ctypes.c_void_p), frame.ctypes.data_as(ctypes.c_void_p)
        ):
            frames.append(frame.copy())
    return np.array(frames)


def main() -> None:
    """Print how many frames differ."""
    from building_c import CORES, LINUX, STRICT, link_for, run_on
    from c99 import counting_plugin
    from published_streams import drawn_sounds

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cores", default="m4,m55,armv7")
    options = parser.parse_args()
    features = SoundFeatures()
    samples = drawn_sounds(features.samples_of(options.frames), options.seed)
    expected = frames_of(samples, features)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sources(folder, features)
        frames = on_this_machine(folder, samples, features)
        count = min(len(frames), len(expected))
        print(f"this machine: {(frames[:count] != expected[:count]).any(axis=1).sum()} of {count} frames differ")
        few = samples[: (features.window // features.step + ON_BOARD) * features.step]
        digest = digest_of(on_this_machine(folder, few, features))
        assert (on_this_machine(folder, few, features) == expected[: len(on_this_machine(folder, few, features))]).all()
        text = MAIN.format(samples=lines(map(str, few.tolist())), expected=digest)
        (folder / "main.c").write_text(text)
        plugin = counting_plugin(folder)
        sources = [f"-I{folder}", str(folder / "main.c"), str(folder / "model_sound.c")]
        for core in options.cores.split(","):
            if core in CORES:
                runs = []
                for repeat in (1, 2):
                    link_for(core, folder / f"{core}-{repeat}.elf", "-O2", f"-DREPEAT={repeat}", *sources)
                    runs.append(run_on(core, folder / f"{core}-{repeat}.elf", plugin=plugin))
                counts = [run.instructions or 0 for run in runs]
                made = (len(few) - features.window) // features.step + 1
                same = "equal" if runs[0].wrong == 0 else "DIFFERENT"
                print(f"{core}: {made} frames {same}, {(counts[1] - counts[0]) // made} instructions a frame")
                continue
            compiler, emulator = LINUX[core]
            entry = "int main(void) { return model_selftest(); }\n"
            (folder / "linux.c").write_text(entry.replace("int main", "int model_selftest(void);\nint main"))
            out = folder / f"{core}.out"
            subprocess.run(
                [*compiler, *STRICT, "-O2", "-DREPEAT=1", *sources, str(folder / "linux.c"), "-o", str(out)], check=True
            )
            wrong = subprocess.run([*emulator, str(out)]).returncode
            print(f"{core}: {'equal' if wrong == 0 else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
