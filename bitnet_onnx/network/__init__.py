"""A network without its weights: its config, its parts, and one record for each network."""
