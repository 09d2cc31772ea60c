"""Explanations that others published, read into the database, and ours written in their formats."""
