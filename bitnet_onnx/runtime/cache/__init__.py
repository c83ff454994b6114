"""What a session keeps of the past: keys and values by position, and the ids they are of."""
