"""The board: open a model file and classify with it; numpy and one interpreter, nothing else."""

from edgepress.runtime.contract import Contract, DataRecord, InputSpec, read_contract
from edgepress.runtime.errors import EdgepressError, EngineError, InputError, MissingExtraError, ModelFileError

__all__ = [
    "Contract",
    "DataRecord",
    "EdgepressError",
    "EngineError",
    "InputError",
    "InputSpec",
    "MissingExtraError",
    "ModelFileError",
    "read_contract",
]
