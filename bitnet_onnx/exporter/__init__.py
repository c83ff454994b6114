"""The export of a checkpoint to an artifact folder."""
