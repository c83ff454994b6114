"""What a network is, without its weights: its config, its parts, one record for each network."""
