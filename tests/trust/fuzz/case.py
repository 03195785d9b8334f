"""One request to send, and its reply. Knows HTTP's parts, not what makes a request good or bad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """A request. ``raw`` is sent as it is, on a connection of its own, with ``{token}`` filled in; else the other
    fields make a well-formed HTTP request.

    ``golden`` names the right answer of a good request. A request that is ``refused`` must have none. ``encoding`` is
    the body's Content-Encoding. ``hang_up`` closes the sending side after ``raw``, as a client that dies does: no
    answer is then as good as a refusal.
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
        """Whether it goes to one of the Open Inference Protocol's URLs, whose answers have a form of their own."""
        return self.target.startswith("/v2/")

    def __repr__(self) -> str:
        """Short enough to read in a failure: long bodies are cut, and say so."""
        shown = [f"{key}={_cut(value)}" for key, value in vars(self).items() if value != getattr(Case, key, None)]
        return f"Case({', '.join(shown)})"


def _cut(value: Any, limit: int = 400) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(value)} in all)"


@dataclass(frozen=True)
class Reply:
    """What came back: ``status`` 0 means a connection closed without an answer, and ``error`` says how."""

    status: int
    body: bytes = b""
    by_handler: bool = False  # the answer carries x-variant, which only our handlers set
    error: str = ""
