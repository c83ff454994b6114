"""Exact 1.58-bit language models on ONNX Runtime."""

__version__ = "0.1.0"
