"""The record of the replicas that ``make serve`` started: its settings, and the place of each replica.

It lies beside the server's record (state.py). There the process is HAProxy's, so a group counts as running while its
balancer does.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from serving import request_log
from serving.config import ADDRESSES, CERTIFICATE, GRPC_PORTS, PRIVATE_KEY, TOKEN_FILE, Config
from serving.replicas.asked import Asked
from serving.replicas.runtime import name_of
from serving.replicas.tokens import Tokens
from serving.state import GROUP, RunDirectory


@dataclass(frozen=True)
class Replica:
    """One TorchServe: its number, counted from 1, its run folder and its config."""

    number: int
    run: RunDirectory
    config: Config

    @property
    def name(self) -> str:
        """Its name in HAProxy and in the verbs."""
        return name_of(self.number)


@dataclass(frozen=True)
class Group:
    """``asked`` are the settings of make serve. ``ports`` has the five ports of each replica. ``authority`` is the file
    with which a client trusts the certificate; only a certificate made for development has it."""

    run: RunDirectory
    config: Path
    asked: Asked
    ports: list[list[int]]
    authority: str = ""
    keeper: int = 0

    @classmethod
    def read(cls, run: RunDirectory) -> Group | None:
        """The group in this run folder. None if a single server or none runs, and for a damaged record."""
        try:
            found: dict[str, Any] = json.loads((run.path / GROUP).read_text())
            asked = found.pop("asked")
            files = {key: Path(asked[key]) if asked[key] else None for key in ("certificate", "key")}
            return cls(run, Path(found.pop("config")), Asked(**{**asked, **files}), **found)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self) -> None:
        """Writes the record, atomically."""
        record = {key: value for key, value in asdict(self).items() if key != "run"}
        partial = self.run.path / f"{GROUP}.part"
        partial.write_text(json.dumps(record, indent=2, default=str))
        partial.replace(self.run.path / GROUP)

    def given(self) -> Config:
        """The user's config. Raises ServingError."""
        return Config.load(self.config)

    def front(self) -> Config:
        """The config for a client of the balancer: the balancer's address and certificate."""
        given = self.given()
        changed = {**given.properties, "inference_address": self.asked.url}
        files = {CERTIFICATE: self.authority or str(self.asked.certificate or ""), PRIVATE_KEY: "unused"}
        return Config(given.path, {**changed, **(files if self.asked.tls else {})})

    def tokens(self) -> Tokens:
        """The tokens that all replicas accept."""
        return Tokens(self.run.path, self.given())

    def replicas(self) -> list[Replica]:
        """All replicas, running or not."""
        given = self.given()
        return [self._replica(number, ports, given) for number, ports in enumerate(self.ports, 1)]

    def _replica(self, number: int, ports: list[int], given: Config) -> Replica:
        path = folder(self.run) / f"{number}.properties"
        keys = [*ADDRESSES, *GRPC_PORTS]
        values = [f"http://127.0.0.1:{port}" for port in ports[: len(ADDRESSES)]] + [str(p) for p in ports[3:]]
        own = {"grpc_inference_address": "127.0.0.1", "grpc_management_address": "127.0.0.1", "fair_queue": "false"}
        access = {TOKEN_FILE: str(Tokens(self.run.path, given).valid)} if given.asks_tokens else {}
        replaced = (CERTIFICATE, PRIVATE_KEY, TOKEN_FILE)
        kept = {key: value for key, value in given.properties.items() if key not in replaced}
        if (log := kept.get(request_log.FILE)) and log != request_log.STANDARD_OUTPUT:
            kept[request_log.FILE] = str(_of_replica(given.path.resolve().parent / log, number))
        properties = {**kept, **dict(zip(keys, values, strict=True)), **own, **access}
        return Replica(number, RunDirectory(folder(self.run) / str(number)), Config(path, properties))

    def with_keeper(self, pid: int) -> Group:
        """The same group with another keeper process."""
        return replace(self, keeper=pid)


def _of_replica(file: Path, number: int) -> Path:
    """The file of one replica, since each replica writes and renames its own."""
    return file.with_stem(f"{file.stem}-{number}")


def folder(run: RunDirectory) -> Path:
    """The folder with the replicas' run folders and configs."""
    return run.path / "replicas"


def served_config(run: RunDirectory) -> Config:
    """The config for clients of the server in this folder: the balancer's address if replicas run. Raises
    ServingError."""
    group = Group.read(run)
    return group.front() if group else Config.load()
