"""The verb soak: a long load of good and bad requests, and the growth of the server's memory, files and logs."""
