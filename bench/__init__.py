"""Measures every variant in process, without a server: latency, throughput, load time, memory, beside its parity.

Knows the archives and the runtimes that load them; what is served is loadtest's business.
"""
