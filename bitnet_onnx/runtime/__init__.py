"""Run an artifact in ONNX Runtime: token ids in, logits out."""
