"""Models of one operator, and its formulas in NumPy."""
