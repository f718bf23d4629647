"""Texts of the programs on simulated boards: their Python, and what stands for the runtime in their bundles."""

LEAN = """\
#!/bin/sh
export PYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}{packages}"
exec {python} -S{options} "$@"
"""
"""Python that looks for no packages (`-S`), which takes most of its start; an update starts it dozens of times."""
STUB = """\
import hashlib, json, os, sys
folder = sys.argv[2]
model = open(os.path.join(folder, "model.tflite"), "rb").read()
wanted = open(os.path.join(folder, "samples", "hash")).read()
passed = hashlib.sha256(model).hexdigest() == wanted
print(json.dumps({"passed": passed, "checks": [{"name": "model", "detail": "differs", "passed": passed}]}))
sys.exit(not passed)
"""
"""The runtime of the bundles: a self-test."""
MODEL = """\
import builtins, json, os, signal, time


class Model:
    engine = "stub"

    class contract:
        input = None

    def __init__(self, path):
        with open(os.path.join(os.path.dirname(path), "samples", "how.json")) as file:
            self.how = json.load(file)

    def answer(self, item):
        if self.how["ends"].startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, self.how["ends"]))
        if self.how["ends"]:
            raise getattr(builtins, self.how["ends"])("stub")
        end = time.perf_counter() + self.how["us"] / 1e6
        while time.perf_counter() < end:
            pass

    def judge(self, frame, top):
        self.answer(frame)
        if frame[0] % 100 < self.how["crashes"]:
            os._exit(9)
        if frame[1:5] == b"user":
            return type("Answer", (), {"classes": [type("Class", (), {"label": f"{os.getuid()} {os.getgroups()}"})]})
        label = type("Class", (), {"label": str(frame[0] % 100 < self.how["differs"])})
        return type("Answer", (), {"classes": [label]})


def load(path):
    return Model(path)
"""
"""The runtime's `load` of the bundles: frames whose first byte is below a number are answered in another way."""
SELFTEST = """\
import numpy


def seeded_item(spec, seed):
    return numpy.zeros(4)
"""
"""The module `selftest` of the bundles' runtime."""
