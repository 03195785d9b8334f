"""Measures served archives over HTTP and reports what was seen. Never imports torch, nor the handlers."""
