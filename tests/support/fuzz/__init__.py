"""Damaged files, opened, exported and generated from, in Python and by the command line."""
