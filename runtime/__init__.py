"""What a board runs: open a model file, classify, time, self-test, serve.

Imports numpy, one interpreter and, for images, Pillow; nothing of `edgepress.converters` or `edgepress.toolkit`, and no
package that a board would not install. tests/integration/test_runtime.py checks that in a child process.
"""

from edgepress.runtime.answers import Prediction
from edgepress.runtime.contract import Contract, DataRecord, Verification, read_contract
from edgepress.runtime.engines import ENGINES, available_engines
from edgepress.runtime.errors import EdgepressError, EngineError, InputError, MissingExtraError, ModelFileError
from edgepress.runtime.input_spec import InputSpec
from edgepress.runtime.model import Model, load

__all__ = ["ENGINES", "Contract", "DataRecord", "EdgepressError", "EngineError", "InputError", "InputSpec"]
__all__ += ["MissingExtraError", "Model", "ModelFileError", "Prediction", "Verification", "available_engines", "load"]
__all__ += ["read_contract"]
