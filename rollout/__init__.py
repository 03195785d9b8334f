"""Changes a running server without an interruption: another version of an archive, or another number of workers."""
