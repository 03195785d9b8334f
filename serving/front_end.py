"""Corrects TorchServe's front end where it blames itself for a client's mistake. Knows one of its Java classes.

TorchServe 0.12's HttpRequestHandler answers an IllegalArgumentException with 403 and every other unexpected one with
500: also the ErrorDataDecoderException of a malformed form and the ArrayIndexOutOfBoundsException of a request target
without a slash. Here two names in that class are exchanged, so that any RuntimeException raised while a request is read
is a 400. What a worker fails at is not raised there and stays a 5xx; so do Java's checked exceptions and errors.

Java finds the corrected class first, since TorchServe's class path begins with its working directory, our private run
folder. A TorchServe whose class looks otherwise is left as it is.
"""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from pathlib import Path

CLASS = "org/pytorch/serve/http/HttpRequestHandler.class"
EXCHANGED = {"java/lang/IllegalArgumentException": "java/lang/RuntimeException", "FORBIDDEN": "BAD_REQUEST"}


def correct(folder: Path) -> bool:
    """Writes the corrected class into ``folder``, Java's working directory; returns whether it could be corrected."""
    with zipfile.ZipFile(_jar()) as jar:
        code = jar.read(CLASS)
    for old, new in EXCHANGED.items():
        if code.count(_constant(old)) != 1:
            return False
        code = code.replace(_constant(old), _constant(new))
    target = folder / CLASS
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(code)
    return True


def _jar() -> Path:
    spec = find_spec("ts")  # found, not imported
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "frontend" / "model-server.jar"


def _constant(text: str) -> bytes:
    """A string as a class file's constant pool holds it: tag 1, two bytes of length, the characters."""
    return b"\x01" + len(text).to_bytes(2, "big") + text.encode()
