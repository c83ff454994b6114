"""One file for each network: what is special in its attention and its feed-forward."""
