"""Ways to generate, one file each."""
