"""Exact 1.58-bit language models on ONNX Runtime.

    import bitnet_onnx

    bitnet_onnx.export("checkpoint", "artifact")
    model = bitnet_onnx.load("artifact")
    print(model.generate("The capital of France is", max_new_tokens=8).text)

Each name is imported from its module on first use. So ``import bitnet_onnx`` is quick, and a device
that only generates needs neither torch nor onnx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .artifact import Artifact
    from .embedding.model import EmbeddingModel
    from .errors import (
        ArtifactError,
        BitNetError,
        CheckpointError,
        ConfigError,
        GenerationError,
        LibraryError,
        SessionError,
        TokenizerError,
    )
    from .exporter.export import export
    from .generation.chat import Chat
    from .generation.config import GenerationConfig
    from .generation.model import Model, load
    from .generation.rows import GenerationResult
    from .generation.text import TextResult, TextStream
    from .generation.watermark import WatermarkDetector
    from .generation.watermarking import WatermarkingConfig
    from .runtime.session import Session
    from .text.tokenizer import Tokenizer
    from .text.tool_calls import ParsedAnswer, ToolCall, parse_tool_calls
    from .verification.compare import Comparison, verify
    from .weights.checkpoint.base import Checkpoint
    from .weights.open import open_checkpoint

__all__ = [
    "Artifact",
    "ArtifactError",
    "BitNetError",
    "Chat",
    "Checkpoint",
    "CheckpointError",
    "Comparison",
    "ConfigError",
    "EmbeddingModel",
    "GenerationConfig",
    "GenerationError",
    "GenerationResult",
    "LibraryError",
    "Model",
    "ParsedAnswer",
    "Session",
    "SessionError",
    "TextResult",
    "TextStream",
    "Tokenizer",
    "TokenizerError",
    "ToolCall",
    "WatermarkDetector",
    "WatermarkingConfig",
    "__version__",
    "export",
    "load",
    "open_checkpoint",
    "parse_tool_calls",
    "verify",
]

__version__ = "0.2.0"

_HOMES = {
    "Artifact": "artifact",
    "ArtifactError": "errors",
    "BitNetError": "errors",
    "Chat": "generation.chat",
    "Checkpoint": "weights.checkpoint.base",
    "CheckpointError": "errors",
    "Comparison": "verification.compare",
    "ConfigError": "errors",
    "EmbeddingModel": "embedding.model",
    "GenerationConfig": "generation.config",
    "GenerationError": "errors",
    "GenerationResult": "generation.rows",
    "LibraryError": "errors",
    "Model": "generation.model",
    "ParsedAnswer": "text.tool_calls",
    "Session": "runtime.session",
    "SessionError": "errors",
    "TextResult": "generation.text",
    "TextStream": "generation.text",
    "Tokenizer": "text.tokenizer",
    "TokenizerError": "errors",
    "ToolCall": "text.tool_calls",
    "WatermarkDetector": "generation.watermark",
    "WatermarkingConfig": "generation.watermarking",
    "export": "exporter.export",
    "load": "generation.model",
    "open_checkpoint": "weights.open",
    "parse_tool_calls": "text.tool_calls",
    "verify": "verification.compare",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bitnet_onnx' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
