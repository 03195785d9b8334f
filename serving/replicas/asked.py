"""Reads REPLICAS, TLS, TLS_CERT, TLS_KEY and BIND, and refuses values that would open the server without protection."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from serving.config import CERTIFICATE, PRIVATE_KEY, Config
from serving.errors import ServingError

MOST = 32
ANY = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # where this machine reaches a server that is bound to all interfaces


@dataclass(frozen=True)
class Asked:
    """The number of replicas, their address, and whether they use TLS. ``certificate`` and ``key`` are the user's PEM
    files; None if they are made for development."""

    replicas: int
    host: str
    port: int
    tls: bool = False
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str], config: Config) -> Asked | None:
        """The values of these variables; None for a single server. Raises ServingError."""
        given = {name: environment.get(name, "").strip() for name in ("REPLICAS", "TLS", "TLS_CERT", "TLS_KEY", "BIND")}
        if given["TLS"] not in ("", "0", "1"):
            raise ServingError(f"TLS={given['TLS']} is neither 1 nor 0; write TLS=1, or name TLS_CERT= and TLS_KEY=")
        if not any({**given, "TLS": given["TLS"].strip("0")}.values()):
            return None
        certificate, key = _files(given, config)
        address = urlsplit(config.inference_address)
        asked = cls(
            _number(given["REPLICAS"]), _host(given["BIND"]) or address.hostname or "127.0.0.1", config.inference_port,
            bool(certificate) or given["TLS"] == "1", certificate, key,
        )  # fmt: skip
        asked._require_protection(config, given["BIND"])
        return asked

    @property
    def url(self) -> str:
        """The base URL, as a client on this machine reaches it."""
        bracketed = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls else ''}://{ANY.get(self.host, bracketed)}:{self.port}"

    def is_open(self) -> bool:
        """Whether other machines can reach the address."""
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"

    def _require_protection(self, config: Config, bind: str) -> None:
        if not self.is_open():
            return
        asked = f"BIND={bind}" if bind else f"inference_address={config.inference_address}"
        if not self.tls:
            raise ServingError(
                f"{asked} opens the server to other machines, so it needs TLS; add TLS_CERT=... and TLS_KEY=..., "
                "or TLS=1"
            )
        if not config.asks_tokens:
            raise ServingError(
                f"{asked} opens the server to other machines, so it needs tokens; write "
                f"disable_token_authorization=false in {config.path}"
            )


def _number(given: str) -> int:
    if not given:
        return 1
    if not (given.isascii() and given.isdecimal() and 1 <= int(given) <= MOST):
        raise ServingError(f"REPLICAS={given} is no number from 1 to {MOST}; write it as in: make serve REPLICAS=3")
    return int(given)


def _host(given: str) -> str:
    try:
        return str(ipaddress.ip_address(given)) if given else ""
    except ValueError:
        raise ServingError(f"BIND={given} is no IP address; write one of this machine's, or 0.0.0.0 for all") from None


def _files(given: Mapping[str, str], config: Config) -> tuple[Path | None, Path | None]:
    """The certificate and its key: those of the variables, else those of a config file whose address is https."""
    if bool(given["TLS_CERT"]) != bool(given["TLS_KEY"]):
        missing = "TLS_KEY" if given["TLS_CERT"] else "TLS_CERT"
        raise ServingError(f"TLS_CERT and TLS_KEY belong together; add {missing}=...")
    if given["TLS_CERT"]:
        return _readable("TLS_CERT", Path(given["TLS_CERT"])), _readable("TLS_KEY", Path(given["TLS_KEY"]))
    if config.inference_address.startswith("https://") and given["TLS"] != "1":
        files = config.certificate, config.private_key  # raises ServingError where one is missing
        assert files[0] and files[1]
        return _readable(CERTIFICATE, files[0]), _readable(PRIVATE_KEY, files[1])
    return None, None


def _readable(name: str, path: Path) -> Path:
    path = path.expanduser()
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ServingError(f"{name}={path} cannot be read; name a readable PEM file")
    return path.resolve()
