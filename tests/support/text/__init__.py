"""Tables for the tests of text."""
