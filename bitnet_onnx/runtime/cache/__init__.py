"""The past that a session keeps: keys and values by position, with their ids."""
