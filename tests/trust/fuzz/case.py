"""One request to send, and its reply. Knows HTTP's parts, not what makes a request good or bad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """A request. ``raw`` is sent unchanged, on its own connection, with ``{token}`` filled in; else the other fields
    make a well-formed HTTP request.

    ``golden`` names the right answer of a good request. A request that is ``refused`` must have none. ``encoding`` is
    the body's Content-Encoding. ``hang_up`` closes the sending side after ``raw``, like a client that dies: no answer
    is then as good as a refusal.
    """

    kind: str
    target: str = "/"
    body: bytes = b""
    content_type: str | None = None
    method: str = "POST"
    golden: str = ""
    refused: bool = False
    encoding: str = ""
    raw: bytes = b""
    hang_up: bool = False
    json_length: str = ""  # the header of the Open Inference Protocol's binary tensors

    @property
    def in_tensors(self) -> bool:
        """Whether it goes to a URL of the Open Inference Protocol, whose answers have their own form."""
        return self.target.startswith("/v2/")

    def __repr__(self) -> str:
        """A short form for a failure's message: long bodies are cut, with a note."""
        shown = [f"{key}={_cut(value)}" for key, value in vars(self).items() if value != getattr(Case, key, None)]
        return f"Case({', '.join(shown)})"


def _cut(value: Any, limit: int = 400) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(value)} in all)"


@dataclass(frozen=True)
class Reply:
    """The answer. ``status`` 0 means a connection that closed without an answer; ``error`` says how."""

    status: int
    body: bytes = b""
    by_handler: bool = False  # the answer has x-variant, which only this project's handlers set
    error: str = ""
