"""Starts, watches and stops TorchServe, and is its client. Knows addresses, tokens and readiness, never models."""
