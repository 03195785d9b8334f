"""Changes a running server without a pause: another version of an archive, or another number of workers."""
