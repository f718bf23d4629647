"""Run a model file on a board: open it and classify with it. Requires only numpy and one inference engine."""

from edgepress.runtime.contract import Contract, DataRecord, InputSpec, Verification, read_contract
from edgepress.runtime.engines import ENGINES, available_engines
from edgepress.runtime.errors import EdgepressError, EngineError, InputError, MissingExtraError, ModelFileError
from edgepress.runtime.model import Model, Prediction, load

__all__ = ["ENGINES", "Contract", "DataRecord", "EdgepressError", "EngineError", "InputError", "InputSpec"]
__all__ += ["MissingExtraError", "Model", "ModelFileError", "Prediction", "Verification", "available_engines", "load"]
__all__ += ["read_contract"]
