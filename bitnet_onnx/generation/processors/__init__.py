"""Logits processors, one idea a file; ``order.py`` is the list in transformers' order."""
