"""One file for each network: the special parts of its attention and its feed-forward."""
