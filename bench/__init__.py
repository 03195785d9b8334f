"""Measures every variant in process, without a server: latency, throughput, load time and memory, with its parity.

It loads archives with their runtimes. The package loadtest measures served archives.
"""
