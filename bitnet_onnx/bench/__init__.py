"""Measure how fast an artifact runs on this machine."""
