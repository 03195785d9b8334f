"""Turns a model and a variant into a checked archive. Runs once, off the hot path; knows nothing of the server."""
