"""Generate ids: the loop, sampling, conversations."""
