"""The verb soak: a long load of good and bad requests, and what grows meanwhile."""
