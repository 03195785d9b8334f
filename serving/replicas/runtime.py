"""HAProxy's runtime API over its unix socket: the state of each replica, and which of them take requests."""

from __future__ import annotations

import csv
import re
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from serving.errors import ServingError

SOCKET = "haproxy.sock"
ALL = "replicas"  # the backend whose servers are checked; the archives' backends follow its state
UP, DRAIN, MAINT = "ready", "drain", "maint"
TIMEOUT_S = 10.0
QUIET = 3  # looks in a row without a request


def name_of(number: int) -> str:
    """The name of a replica, counted from 1."""
    return f"replica-{number}"


class Runtime:
    """Calls the HAProxy whose socket is in ``temp``. Methods raise ServingError if it does not answer."""

    def __init__(self, temp: str) -> None:
        self._path = Path(temp, SOCKET)

    def ask(self, command: str) -> str:
        """HAProxy's answer to a command."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(TIMEOUT_S)
                connection.connect(str(self._path))
                connection.sendall(f"{command}\n".encode())
                return b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode()
        except OSError as error:
            raise ServingError(f"HAProxy does not answer ({error.strerror or error}); see: make logs") from None

    def pid(self) -> int:
        """The pid of the process that answers; 0 without one."""
        try:
            found = re.search(r"^Pid: (\d+)$", self.ask("show info"), re.MULTILINE)
        except ServingError:
            return 0
        return int(found[1]) if found else 0

    def rows(self) -> list[dict[str, str]]:
        """HAProxy's table of statistics."""
        return list(csv.DictReader(self.ask("show stat").removeprefix("# ").splitlines()))

    def states(self) -> dict[str, str]:
        """{replica: "UP", "DOWN", "MAINT", "DRAIN", ...}."""
        return {row["svname"]: row["status"].split(" ")[0] for row in self.rows() if _is_replica(row, ALL)}

    def requests(self, replica: str) -> int:
        """The number of requests that a replica has or that wait for it."""
        rows = [row for row in self.rows() if row["svname"] == replica]
        return sum(int(row["scur"] or 0) + int(row["qcur"] or 0) for row in rows)

    def put(self, replica: str, state: str) -> None:
        """Makes a replica take requests (UP), only finish its present ones (DRAIN), or take none (MAINT)."""
        if said := self.ask(f"set server {ALL}/{replica} state {state}").strip():
            raise ServingError(f"HAProxy did not set {replica} to {state}: {said}")

    def replace_map(self, path: Path, entries: Mapping[str, str]) -> None:
        """Replaces all entries of the map that was loaded from the file ``path``."""
        said = self.ask(f"clear map {path}").strip()
        if entries and not said:
            lines = "".join(f"{key} {value}\n" for key, value in entries.items())
            said = self.ask(f"add map {path} <<\n{lines}").strip()
        if said:
            raise ServingError(f"HAProxy did not change {path}: {said}")

    def tracked(self, table: str) -> int:
        """The requests under way that a table counts."""
        return sum(int(count) for count in re.findall(r"\bconn_cur=(\d+)", self.ask(f"show table {table}")))

    def show_certificate(self, path: Path, text: str) -> None:
        """Shows new connections another certificate instead of the one in the file ``path``."""
        self.ask(f"set ssl cert {path} <<\n{text.strip()}\n")
        if "Success" not in (said := self.ask(f"commit ssl cert {path}")):
            self.ask(f"abort ssl cert {path}")
            raise ServingError(f"HAProxy refuses the new certificate: {' '.join(said.split())}")

    def await_quiet(self, replica: str, within_s: float) -> bool:
        """Returns True once a replica that takes no new requests has answered all its requests."""
        deadline, quiet = time.monotonic() + within_s, 0
        while quiet < QUIET:
            quiet = 0 if self.requests(replica) else quiet + 1
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def await_up(self, replica: str, within_s: float = 30) -> None:
        """Returns once a replica takes requests."""
        deadline = time.monotonic() + within_s
        while self.states().get(replica) != "UP":
            if time.monotonic() > deadline:
                raise ServingError(f"{replica} is ready, but HAProxy's check fails; see: make status")
            time.sleep(0.05)


def _is_replica(row: dict[str, str], backend: str) -> bool:
    return row["pxname"] == backend and row["svname"] not in ("FRONTEND", "BACKEND")
