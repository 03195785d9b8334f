"""Measures served archives over HTTP and reports the results. Never imports torch or the handlers."""
