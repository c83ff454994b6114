"""Clients and servers for the tests of serve."""
