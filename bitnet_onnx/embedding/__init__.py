"""Texts as vectors: an artifact whose task is embedding."""
