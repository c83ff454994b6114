"""What several test files share; no test module imports another."""
