"""Load generation: what is sent, when, by which processes, and a row for each request."""
