"""Helpers that several test files share; a test module does not import another."""
