"""A checkpoint becomes an artifact folder."""
