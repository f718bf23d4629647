"""Activations of ONNX files of 8 bits are unsigned, weights signed (U8S8).

ONNX Runtime's fast x86 kernels multiply unsigned by signed bytes. Of signed activations, its optimizer makes unsigned
ones (QDQS8ToU8Transformer, onnxruntime/core/optimizer/qdq_transformer/qdq_s8_to_u8.cc), but only between two
operations with one reader; the others stay signed, and convolutions that have inputs of both kinds stay float. The
direct convolution, without a copy of its input, exists for unsigned ones alone on x86 (MlasConvSym,
onnxruntime/core/mlas/lib/convsym.cpp, since release 1.11).

On x86 without VNNI, these products saturate, as those of signed activations do; the runtime prevents it
(`edgepress.runtime.sessions.onnx_session`).
"""

from __future__ import annotations

from typing import Any


def rewrite(model: Any) -> int:
    """Number of operations with weights, which multiply 8 bits."""
    return sum(node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") for node in model.graph.node)
