"""Convert text to ids and back; chat templates; streamed text."""
