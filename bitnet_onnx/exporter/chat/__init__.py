"""The chat template of a folder as rules for programs without Jinja, and their proof.

In the order data passes: ``rules`` (what ``chat.json`` holds), ``probes`` (conversations on which a
template is tried), ``learn`` (a guess at the rules), ``file`` (the proof, and the file).
"""
