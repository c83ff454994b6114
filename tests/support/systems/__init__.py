"""Other systems, simulated."""
