"""Passes over the exported graph and its weights, before these are read: one file each.

Each replaces operators by fewer or faster ones that give the same bits, and is here because a
measurement pays for it.
"""
