"""Ids to more ids: the loop, how ids are chosen, conversations."""
