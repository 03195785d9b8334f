"""Sends cases to one server: many at once over kept-alive connections, or byte by byte over a separate socket."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from serving.client import Client
from tests.trust.fuzz.case import Case, Reply

TIMEOUT_S = 90  # beyond the archives' own response timeout
HANG_UP_TIMEOUT_S = 2


class Sender:
    """``connections`` at once to the inference API at ``base``."""

    def __init__(self, base: str, client: Client, connections: int) -> None:
        self._base, self._client = base, client
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.mount("http://", HTTPAdapter(pool_maxsize=connections))
        self._pool = ThreadPoolExecutor(connections)

    def send_all(self, cases: list[Case]) -> list[Reply]:
        """Sends all at once; the replies are in the same order."""
        return list(self._pool.map(self.send, cases))

    def send(self, case: Case) -> Reply:
        """Sends one case and returns its reply."""
        return self._over_socket(case) if case.raw else self._over_session(case)

    def _over_session(self, case: Case) -> Reply:
        headers = {"Authorization": f"Bearer {self._client.token()}"}
        if case.content_type is not None:
            headers["Content-Type"] = case.content_type
        if case.json_length:
            headers["Inference-Header-Content-Length"] = case.json_length
        if case.encoding:
            headers["Content-Encoding"] = case.encoding
        try:
            reply = self._session.request(case.method, self._base + case.target, data=case.body, headers=headers,
            timeout=TIMEOUT_S)
        except requests.RequestException as error:
            return Reply(0, error=type(error).__name__)
        return Reply(reply.status_code, reply.content, "x-variant" in reply.headers)

    def _over_socket(self, case: Case) -> Reply:
        address = urlsplit(self._base)
        raw = case.raw.replace(b"{token}", self._client.token().encode())
        try:
            with socket.create_connection((address.hostname, address.port), timeout=TIMEOUT_S) as connection:
                _write(connection, raw)
                if case.hang_up:
                    connection.settimeout(HANG_UP_TIMEOUT_S)
                    connection.shutdown(socket.SHUT_WR)
                return _read(connection, case.raw.split(b" ", 1)[0].decode("latin-1"))
        except (OSError, HTTPException) as error:
            return Reply(0, error=type(error).__name__)

    def close(self) -> None:
        """Ends the threads and connections."""
        self._pool.shutdown()
        self._session.close()


def _write(connection: socket.socket, raw: bytes) -> None:
    # The server may refuse before it has read everything; its answer must still be read.
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(raw)


def _read(connection: socket.socket, method: str) -> Reply:
    response = HTTPResponse(connection, method=method)
    response.begin()
    return Reply(response.status, response.read(), response.getheader("x-variant") is not None)
