"""Attention over the KV cache: an operator for each type of cache, in two forms of inputs."""
