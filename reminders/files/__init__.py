"""Attached files: how they come in, what they are, whether they are safe, and how they go out."""
