"""Checks of the configuration, its ports, and files that an earlier server left behind."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

from serving.config import ADDRESSES, GRPC_PORTS, Config
from serving.doctor.finding import OK, STOP, WARN, Finding, Place, size
from serving.owned import MARKER
from serving.ports import in_use, owner
from serving.replicas.program import INSTALL, find

if TYPE_CHECKING:  # at run time it needs psutil, which may not be installed yet
    from serving.state import State

LOOPBACK = ("127.", "localhost", "[::1]", "::1")


def configuration(place: Place) -> Finding:
    """Checks config.properties: it is readable, has five different ports on loopback, and tokens are on."""
    config = Config.load(place.config)
    named = len(config.ports())
    if named < len(ADDRESSES) + len(GRPC_PORTS):
        return Finding(STOP, f"{place.config} gives one port to two APIs", "give each of the five its own")
    properties = config.properties
    hosts = {key: properties.get(key, "").split("//")[-1] for key in properties if key.endswith("_address")}
    if outside := [key for key, host in hosts.items() if not host.startswith(LOOPBACK)]:
        return Finding(WARN, f"beyond loopback: {', '.join(outside)}; tokens cross the network unencrypted",
                       "bind to 127.0.0.1 behind a proxy with TLS")  # fmt: skip
    if properties.get("disable_token_authorization") == "true":
        return Finding(WARN, "tokens are off: anyone who reaches a port may use it",
                       "disable_token_authorization=false")  # fmt: skip
    if properties.get("enable_model_api") == "true":
        return Finding(WARN, "models, which are code, may be registered over HTTP", "enable_model_api=false")
    return Finding(OK, f"{place.config.name}: loopback only, tokens on")


def ports(place: Place) -> Finding:
    """Checks that the ports are free, or held by this run folder's own server."""
    configured = Config.load(place.config).ports()
    taken = {port: key for port, key in configured.items() if in_use(port)}
    state = _state(place)
    if state and state.running():
        taken = {port: key for port, key in taken.items() if port not in state.ports}
        if not taken:
            return Finding(OK, f"in use by this run folder's TorchServe (pid {state.pid})")
    if not taken:
        return Finding(OK, f"{', '.join(map(str, sorted(configured)))} are free")
    held = "; ".join(f"{port} ({key}) by {owner(port)}" for port, key in taken.items())
    return Finding(STOP, f"in use: {held}", "stop that process, or set CONFIG to a file with other ports")


def balancer(place: Place) -> Finding:
    """Checks that HAProxy is installed, which replicas and TLS need."""
    path = find()
    if path is None and place.replicas > 1:
        return Finding(STOP, f"HAProxy, which {place.replicas} replicas need, is not installed", INSTALL)
    return Finding(OK, path or "HAProxy is not installed; make serve needs it for REPLICAS=, TLS= and BIND= alone")


def left_behind(place: Place) -> Finding:
    """Finds a record of a server that has ended, its workers, incomplete files, snapshots and temporary folders."""
    record = place.run / "server.json"
    state = _state(place)
    if record.exists() and state is None:
        return Finding(WARN, f"{record} is damaged", "run: make stop (or make serve)")
    if state and not state.running():
        workers = len(state.processes())
        orphans = f" and left {workers} processes" if workers else ""
        return Finding(WARN, f"TorchServe (pid {state.pid}) has died{orphans}", "run: make stop (or make serve)")
    if list((place.run / "logs" / "config").glob("*.cfg")):
        return Finding(WARN, f"a snapshot in {place.run / 'logs' / 'config'}", "nothing to do: make serve ignores it")
    if stale := _stale_folders(place, state.temp if state else ""):
        total = sum(path.stat().st_size for folder in stale for path in folder.rglob("*") if path.is_file())
        return Finding(WARN, f"{len(stale)} folder(s) of ended servers in {place.temp}, {size(total)}",
                       f"rm -r {' '.join(map(str, stale[:2]))}{' ...' if len(stale) > 2 else ''}")  # fmt: skip
    return Finding(OK, f"TorchServe runs (pid {state.pid})" if state else "nothing of an earlier server")


def _state(place: Place) -> State | None:
    try:
        from serving.state import RunDirectory
    except ImportError:
        return None
    return RunDirectory(place.run).read()


def _stale_folders(place: Place, current: str) -> list[Path]:
    """Folders that ``make serve`` made below TMPDIR whose Java process is gone."""
    found = [path for path in place.temp.glob("torchserve-*") if (path / MARKER).exists() and str(path) != current]
    return [path for path in found if not _alive(path, place.proc)]


def _alive(folder: Path, proc: Path) -> bool:
    try:
        pid = (folder / ".model_server.pid").read_text().strip()
    except FileNotFoundError:
        return False
    except OSError:  # a process of another user
        return True
    return pid.isdigit() and (proc / pid).exists()


def keys(place: Place) -> Finding:
    """Checks that only the owner can read the key file and its folder."""
    path = place.run / "key_file.json"
    if not path.exists():
        return Finding(OK, "no key file yet: make serve makes one, mode 0600")
    for each, most in ((path, 0o600), (place.run, 0o700)):
        mode = stat.S_IMODE(each.stat().st_mode)
        if mode & ~most:
            return Finding(WARN, f"{each} has mode {mode:04o}: others may read tokens", f"chmod {most:o} {each}")
    return Finding(OK, f"{path.name} has mode 0600, its folder 0700")
