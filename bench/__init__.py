"""Measures every variant in process, without a server: latency, throughput, load time and memory, with its parity.

Knows the archives and the runtimes that load them. loadtest measures served archives.
"""
