"""The local server of the page: three files, the list of models, and predictions, to which it adds the token.

It listens on loopback. Three checks prevent others from using the token through it:

- A separate key, new at each start. Without the header ``X-UI-Key`` only the page's files are sent, so neither another
user of this machine nor a page of another site can predict. The key is in the fragment of the printed link, and
browsers do not send fragments.
- The header ``Host`` must name loopback and the port: a foreign name that resolves to 127.0.0.1 is refused.
- No answer allows another origin (CORS), and a request that names another ``Origin`` is refused.
"""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from serving.client import Client
from serving.errors import ServingError

HOST = "127.0.0.1"
PAGE = Path(__file__).with_name("page")
FILES = {
    "/": ("ui.html", "text/html; charset=utf-8"), "/ui.js": ("ui.js", "text/javascript; charset=utf-8"),
    "/ui.css": ("ui.css", "text/css; charset=utf-8"),
}  # fmt: skip
KEY = "X-UI-Key"
SILENCE_S = 30  # a connection that sends nothing is closed
JSON = "application/json"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Shown:
    """The content of the page: the server's address, its models as ``python -m serving.ui`` describes them, and the
    largest request in bytes."""

    address: str
    models: list[dict[str, Any]]
    most_bytes: int
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @property
    def names(self) -> set[str]:
        """The archives' names."""
        return {each["name"] for each in self.models}


class Refused(Exception):
    """A request that is not forwarded."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Local(ThreadingHTTPServer):
    """The server. Raises OSError if the port is taken; port 0 takes a free one."""

    daemon_threads = True

    def __init__(self, port: int, shown: Shown, client: Client) -> None:
        super().__init__((HOST, port), Handler)
        self.shown, self.client = shown, client

    @property
    def origins(self) -> set[str]:
        """The origins that a browser may know this server by."""
        return {f"http://{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def link(self) -> str:
        """The link to open."""
        return f"http://{HOST}:{self.server_port}/#{self.shown.key}"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Local
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "serving.ui", ""
    timeout = SILENCE_S

    def do_GET(self) -> None:
        """Sends the page's files and the list of models."""
        self._guarded(self._get)

    def do_POST(self) -> None:
        """A prediction."""
        self._guarded(self._predict)

    def _guarded(self, answer: Any) -> None:
        try:
            self._check_sender()
            answer()
        except Refused as refusal:
            self.close_connection = True  # its body was not read
            self._error(refusal.status, str(refusal))
        except ServingError as error:
            self._error(HTTPStatus.BAD_GATEWAY, str(error))

    def _check_sender(self) -> None:
        host, origin = self.headers.get_all("Host", []), self.headers.get("Origin")
        if len(host) != 1 or f"http://{host[0]}" not in self.server.origins:
            raise Refused(HTTPStatus.MISDIRECTED_REQUEST, f"This server is {HOST}:{self.server.server_port}.")
        if origin is not None and origin not in self.server.origins:
            raise Refused(HTTPStatus.FORBIDDEN, "Requests of other pages are refused.")

    def _check_key(self) -> None:
        given = self.headers.get(KEY, "")
        if not hmac.compare_digest(given.encode(), self.server.shown.key.encode()):
            raise Refused(HTTPStatus.UNAUTHORIZED, "The key is missing or wrong; open the link that make ui printed.")

    def _get(self) -> None:
        if found := FILES.get(self.path):
            self._send(HTTPStatus.OK, found[1], (PAGE / found[0]).read_bytes())
            return
        if self.path != "/models":
            raise Refused(HTTPStatus.NOT_FOUND, "There is no such page.")
        self._check_key()
        shown = self.server.shown
        self._json(HTTPStatus.OK, {"address": shown.address, "models": shown.models})

    def _predict(self) -> None:
        self._check_key()
        place, _, name = self.path.rpartition("/")
        if place != "/predictions" or name not in self.server.shown.names:
            raise Refused(HTTPStatus.NOT_FOUND, "There is no such model.")
        body = self.rfile.read(self._length())
        reply = self.server.client.predict(name, body, self.headers.get("Content-Type", ""))
        given = {name.lower(): value for name, value in reply.headers.items()}
        kept = {name: value for name, value in given.items() if name.startswith("x-") or name == "retry-after"}
        self._send(HTTPStatus(reply.status_code), given.get("content-type", JSON), reply.content, kept)

    def _length(self) -> int:
        given = self.headers.get_all("Content-Length", [])
        if len(given) != 1 or not given[0].isdecimal() or "Transfer-Encoding" in self.headers:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "The request needs one Content-Length.")
        if int(given[0]) > self.server.shown.most_bytes:
            most = self.server.shown.most_bytes >> 20
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The request has more than {most} MiB.")
        return int(given[0])

    def _error(self, status: HTTPStatus, message: str) -> None:
        self._json(status, {"code": int(status), "type": "ServingError", "message": message})

    def _json(self, status: HTTPStatus, value: Any) -> None:
        self._send(status, JSON, json.dumps(value).encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), **HEADERS, **(more or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Logs nothing: neither the users' data nor the time of a request."""
