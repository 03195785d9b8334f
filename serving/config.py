"""Reads config.properties and writes the effective file that TorchServe is started with.

Knows TorchServe's property names for addresses, access and memory. Every other property passes through unchanged.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from serving import request_log, tracing
from serving.errors import ServingError

ROOT = Path(__file__).resolve().parent.parent
ADDRESSES = {"inference_address": 8080, "management_address": 8081, "metrics_address": 8082}
# On fewer cores, Java's optimizing compiler (level 4) competes with the workers: every hundredth request took about 4
# ms longer. At level 1 it does not. The figures: docs/served-results.md, Levers.
ENOUGH_CORES, LEVEL = 4, "TieredStopAtLevel"
# This project's own properties. The front end gets them as Java system properties
# (serving/front_end/java/frontend/Settings.java).
FAIR_QUEUE, CONNECTIONS = "fair_queue", "max_connections"
OPEN_PING, TOKEN_FILE = "open_ping", "inference_token_file"
CERTIFICATE, PRIVATE_KEY = "certificate_file", "private_key_file"  # PEM
LOG = (request_log.FILE, request_log.MEGABYTES, request_log.CLIENTS)
OWN = (FAIR_QUEUE, CONNECTIONS, OPEN_PING, TOKEN_FILE, *LOG, tracing.ENDPOINT, tracing.RATIO)
SHORTEST_TOKEN = 32  # characters of a token that does not expire (MountedTokens.java)
LARGEST_REQUEST = "max_request_size", 6_553_500  # the property, and TorchServe's own default
METRICS = "metrics_config"
FEWEST_CONNECTIONS = 16  # with fewer, the share of one address would be too small for a browser
_TOKEN = re.compile(rf"[!-~]{{{SHORTEST_TOKEN},}}")
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
GRPC_PORT = "grpc_inference_port"
GRPC_PORTS = {GRPC_PORT: 7070, "grpc_management_port": 7071}


@dataclass(frozen=True)
class Config:
    """The server-wide settings."""

    path: Path
    properties: dict[str, str]

    @classmethod
    def load(cls, path: Path | None = None) -> Config:
        """Reads ``path``, else $CONFIG, else the checkout's config.properties. Raises ServingError."""
        path = path or Path(os.environ.get("CONFIG") or ROOT / "config.properties")
        try:
            lines = path.read_text().splitlines()
        except OSError as error:
            raise ServingError(f"{path} cannot be read ({error.strerror}); set CONFIG to a config file.") from None
        pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
        properties = {key.strip(): value.strip() for key, value in pairs}
        if "models" in properties:
            raise ServingError(
                f"{path}: TorchServe ignores models= for archives that hold their own settings; write them to "
                "models.toml, as in: [minilm] workers = 2 (docs/models-toml.md), and remove models=."
            )
        return cls(path, properties)

    @property
    def inference(self) -> str:
        """Base URL of the inference API, as a client on this machine reaches it."""
        return self._url("inference_address")

    @property
    def inference_address(self) -> str:
        """The inference API's address as configured, even if it is that of all interfaces."""
        return self.properties.get("inference_address") or f"http://127.0.0.1:{ADDRESSES['inference_address']}"

    @property
    def inference_port(self) -> int:
        """The port of the inference API. Raises ServingError."""
        return self._port("inference_address", ADDRESSES["inference_address"])

    @property
    def grpc_port(self) -> int:
        """The port of the inference API over gRPC. Raises ServingError."""
        return self._port(GRPC_PORT, GRPC_PORTS[GRPC_PORT])

    @property
    def asks_tokens(self) -> bool:
        """Whether requests need a token."""
        return self.properties.get("disable_token_authorization") != "true"

    @property
    def management(self) -> str:
        """Base URL of the management API."""
        return self._url("management_address")

    @property
    def metrics(self) -> str:
        """Base URL of the metrics API."""
        return self._url("metrics_address")

    def _url(self, key: str) -> str:
        address = self.properties.get(key) or f"http://127.0.0.1:{ADDRESSES[key]}"
        # A server that is bound to all interfaces is reached on loopback.
        return address.replace("//0.0.0.0", "//127.0.0.1").rstrip("/")

    @property
    def certificate(self) -> Path | None:
        """The file with the server's certificate, where an API is served with TLS; else None. Raises ServingError."""
        if not any(self._url(key).startswith("https://") for key in ADDRESSES):
            return None
        missing = [key for key in (CERTIFICATE, PRIVATE_KEY) if not self.properties.get(key)]
        if missing:
            raise ServingError(
                f"{self.path} has an address of https:// and no {' and no '.join(missing)}; name the PEM files there, "
                "or write http:// and end TLS in a proxy in front of it."
            )
        return self._beside(self.properties[CERTIFICATE])

    @property
    def private_key(self) -> Path | None:
        """The file with the certificate's private key; None if none is named."""
        given = self.properties.get(PRIVATE_KEY)
        return self._beside(given) if given else None

    @property
    def token_path(self) -> Path | None:
        """The path of ``token_file``; the file is not read."""
        given = self.properties.get(TOKEN_FILE)
        return self._beside(given) if given else None

    @property
    def token_file(self) -> Path | None:
        """The file with the operator's tokens that do not expire; None if none is named. Raises ServingError for a file
        without a token."""
        given = self.properties.get(TOKEN_FILE)
        return self._token_file(given) if given else None

    def _beside(self, given: str) -> Path:
        """A path from the config file. A relative path starts at the config file's folder."""
        return self.path.resolve().parent / given

    def ports(self) -> dict[int, str]:
        """Every port the server listens on, with the property that sets it. Raises ServingError."""
        return {self._port(key, default): key for key, default in {**ADDRESSES, **GRPC_PORTS}.items()}

    def _port(self, key: str, default: int) -> int:
        given = self.properties.get(key, "")
        try:
            return (urlsplit(self._url(key)).port if key in ADDRESSES else int(given or default)) or default
        except ValueError:
            raise ServingError(f"{key}={given} has no port number; write one, as in {key}={default}") from None

    def effective(self, store: Path, cores: int, metrics: str = "", options: Sequence[str] = ()) -> str:
        """The text of the properties file that TorchServe reads: these settings, the store as the only source, Java's
        compiler and memory for this machine, and further ``options`` of Java. ``metrics`` is the file with the names of
        TorchServe's own metrics: TorchServe's file if all are wanted, or the user's. Raises ServingError."""
        pattern = "file://" + re.escape(str(store)) + "/.*"
        # Java's property files use the backslash as an escape.
        given = [key for key in (CERTIFICATE, PRIVATE_KEY) if self.properties.get(key)]
        paths = {key: str(self._beside(self.properties[key])) for key in given}
        extra = {**paths, "model_store": str(store), "allowed_urls": pattern.replace("\\", "\\\\")}
        if metrics and METRICS not in self.properties and self.properties.get("disable_system_metrics") == "true":
            extra[METRICS] = metrics
        vmargs = self.properties.get("vmargs", "")
        added = [*self._memory(vmargs), *self._fairness(), *self._connections(), *self._access(), *options]
        if cores < ENOUGH_CORES and LEVEL not in vmargs:
            added.append(f"-XX:{LEVEL}=1")
        if added:
            extra["vmargs"] = " ".join([vmargs, *added]).strip()
        properties = {key: value for key, value in self.properties.items() if key not in OWN}
        return "".join(f"{key}={value}\n" for key, value in {**properties, **extra}.items())

    def _memory(self, vmargs: str) -> list[str]:
        """Java's options for memory. Waiting requests are in the heap and may take half of it. Arriving requests are in
        direct memory, which is as large as the heap: half of it for them, half for data on its way to workers. Queues
        may hold more requests only if these are small. Without -Xmx the front end takes half of the heap that Java
        chose."""
        given = re.findall(r"-Xmx(\d+)([kmgKMG]?)(?!\S)", vmargs)
        if not given:
            return []
        heap = int(given[-1][0]) * UNITS[given[-1][1].lower()]
        largest = self._number(*LARGEST_REQUEST)
        if heap < 4 * largest:
            raise ServingError(
                f"-Xmx{''.join(given[-1])} in vmargs is too little for {LARGEST_REQUEST[0]}={largest}: half of Java's "
                f"heap must hold two such requests; write -Xmx{-(-4 * largest >> 20)}m or more, or a smaller "
                f"{LARGEST_REQUEST[0]}."
            )
        direct = [] if "MaxDirectMemorySize" in vmargs else [f"-XX:MaxDirectMemorySize={heap}"]
        return [f"-Dfrontend.requestBytes={heap // 2}", *direct]

    def _number(self, key: str, default: int) -> int:
        try:
            return int(self.properties.get(key) or default)
        except ValueError:
            raise ServingError(f"{key}={self.properties[key]} is no number; write one, as in {key}={default}") from None

    def _fairness(self) -> list[str]:
        value = self._choice(FAIR_QUEUE, "true")
        return [f"-Dfrontend.fair={value}"] if FAIR_QUEUE in self.properties else []

    def _choice(self, key: str, default: str) -> str:
        value = self.properties.get(key) or default
        if value not in ("true", "false"):
            raise ServingError(f"{key}={value} is neither true nor false; write one of them")
        return value

    def _access(self) -> list[str]:
        """Java's options for requests that need no token, and for tokens that do not expire."""
        added = ["-Dfrontend.openPing=true"] if self._choice(OPEN_PING, "false") == "true" else []
        if path := self.token_file:
            added.append(f"-Dfrontend.tokenFile={quote(str(path))}")
        return added

    def _token_file(self, given: str) -> Path:
        """The file, which must hold a token in each line that is not empty. A relative path starts at the config file's
        folder."""
        path = self._beside(given)
        try:
            tokens = path.read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise ServingError(f"{TOKEN_FILE}={given} cannot be read ({why}); name a readable file") from None
        tokens = [token.strip() for token in tokens if token.strip()]
        if not tokens or not all(_TOKEN.fullmatch(token) for token in tokens):
            raise ServingError(
                f"{TOKEN_FILE}={given} needs one token per line, each of {SHORTEST_TOKEN} characters or more; make one "
                f"with: openssl rand -hex {SHORTEST_TOKEN} > {given}"
            )
        return path

    def _connections(self) -> list[str]:
        if CONNECTIONS not in self.properties:
            return []
        if (most := self._number(CONNECTIONS, 0)) < FEWEST_CONNECTIONS:
            raise ServingError(f"{CONNECTIONS}={most} is too few; write {FEWEST_CONNECTIONS} or more")
        return [f"-Dfrontend.connections={most}"]
