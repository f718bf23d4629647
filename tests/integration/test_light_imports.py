"""What loads without TensorFlow: the modules of child processes, a split of data, and the guess of a contract.

And what loads less of TensorFlow and Keras: commands and child processes.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from edgepress.toolkit import workers
from edgepress.toolkit.data import DataSet

MODULES = sorted(path.stem for path in Path(workers.__path__[0]).glob("[a-z]*.py"))
ALLOWED = (
    "numpy",
    "edgepress.runtime",
    "edgepress.toolkit.workers",
    "edgepress.converters.process.worker",
    "edgepress.converters.process.scratch",
    "edgepress.converters.process.system",
)


@pytest.mark.parametrize("name", MODULES)
def test_a_worker_loads_numpy_and_the_runtime_only(name: str) -> None:
    code = (
        "import sys\nbefore = set(sys.modules)\n"  # Debian's Python loads a sitecustomize by itself
        f"import edgepress.toolkit.workers.{name}\n"
        "print(*(m for m in set(sys.modules) - before if m.partition('.')[0] not in sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {"edgepress", "edgepress.toolkit", "edgepress.converters", "edgepress.converters.process"}
    others = {m for m in done.stdout.split() if not m.startswith(("_", *ALLOWED)) and m not in packages}
    assert others == set()


def test_pickled_split_opens_without_tensorflow(digits: DataSet) -> None:
    code = """if True:
        import pickle, sys
        split = pickle.load(sys.stdin.buffer)
        assert split.read([0, 1]).shape == (2, 28, 28, 1)
        assert not {"tensorflow", "keras", "sklearn", "typer"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-P", "-c", code], input=pickle.dumps(digits.test), check=True)


def test_guessing_a_contract_needs_no_heavy_package() -> None:
    code = (
        "import sys, edgepress.converters.contract.guess;"
        "print([m for m in ('tensorflow', 'keras', 'onnx', 'ai_edge_litert', 'flatbuffers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(
    "start",
    [
        "from edgepress.toolkit.cli.main import _run; _run(['--version'], as_json=False)",
        "import socket; from edgepress.converters.process.worker_child import serve; job, pipe = socket.socketpair();"
        "job.shutdown(socket.SHUT_WR); serve(pipe.detach(), 'none')",
    ],
    ids=["command", "worker"],
)
def test_a_process_loads_what_keras_seldom_needs_when_it_is_used(start: str) -> None:
    code = f"""if True:
        import gc, sys
        {start}
        import tensorflow, keras
        assert gc.isenabled() and gc.get_freeze_count() > 100_000
        assert tensorflow.__loader__ is tensorflow.__spec__.loader and tensorflow.__loader__.get_data
        assert not sys.modules.keys() & {{"sklearn", "scipy.stats", "matplotlib", "cv2"}}
        assert isinstance(keras.wrappers.SKLearnClassifier, type) and "sklearn" in sys.modules
        assert callable(keras.visualization.plot_image_gallery) and "matplotlib" in sys.modules
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
