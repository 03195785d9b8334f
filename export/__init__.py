"""Turns a model and a variant into a checked archive. Runs before serving, and knows nothing of the server."""
