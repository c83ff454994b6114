"""What ``traced.py`` and ``trace.py`` use: parts of the network as operators, repeated layers."""
