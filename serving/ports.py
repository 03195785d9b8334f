"""Finds the process that holds a port. Knows loopback sockets, and nothing of the servers behind them.

psutil, which finds the owner, may not be installed yet when ``make doctor`` runs.
"""

from __future__ import annotations

import socket


def has_loopback() -> bool:
    """Whether this machine has the address 127.0.0.1. A machine with IPv6 only may lack it."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 0))
        except OSError:
            return False
    return True


def in_use(port: int) -> bool:
    """Whether a new server could not listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def owner(port: int) -> str:
    """The process that listens on the port, if this user may see it."""
    try:
        import psutil
    except ImportError:
        return "an unknown process (psutil is not installed)"
    try:
        listening = [c for c in psutil.net_connections("inet") if c.laddr and c.laddr.port == port and c.pid]
        process = psutil.Process(listening[0].pid)
        return f"pid {process.pid} ({' '.join(process.cmdline())[:80] or process.name()})"
    except (IndexError, psutil.Error):
        return "another user's process"
