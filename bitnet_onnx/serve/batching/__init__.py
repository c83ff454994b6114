"""Continuous batching: the requests of many clients share the steps of one session."""
