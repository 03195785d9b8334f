"""Measurement: the servers under test, trials until windows agree, and the record of a run."""
