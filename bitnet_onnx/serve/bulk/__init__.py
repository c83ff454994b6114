"""Answers to a file of requests, on one machine or on several."""
