"""Oracles for the ways to generate."""
