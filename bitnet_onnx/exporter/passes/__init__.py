"""Passes over the exported graph and the readers of its weights: one file each.

Each replaces operators by fewer or faster ones with the same bits, and is justified by a
measurement.
"""
