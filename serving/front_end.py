"""Corrects TorchServe's front end where a setting cannot. Knows two of its Java classes.

*Blame.* TorchServe 0.12's HttpRequestHandler answers an IllegalArgumentException with 403 and every other unexpected
one with 500: also the ErrorDataDecoderException of a malformed form and the ArrayIndexOutOfBoundsException of a request
target without a slash. Two names exchanged, any RuntimeException raised while a request is read is a 400. What a worker
fails at is not raised there and stays a 5xx; so do Java's checked exceptions and errors.

*Batching.* Model waits ``maxBatchDelay`` for each further request of a batch, in whole milliseconds, and takes 0 as
unset: a lone request waits at least one for company that does not come. One name exchanged, it waits microseconds, and
1 means what the catalog means by it: take what is queued and go. Batches still fill while the worker is busy.

Java finds the corrected classes first, since TorchServe's class path begins with its working directory, our private run
folder. A class that looks otherwise is left as it is.
"""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from pathlib import Path

MODEL_CLASS = "org/pytorch/serve/wlm/Model.class"
# class -> the names exchanged in it, each of which it holds once
CORRECTIONS = {
    "org/pytorch/serve/http/HttpRequestHandler.class": {
        "java/lang/IllegalArgumentException": "java/lang/RuntimeException",
        "FORBIDDEN": "BAD_REQUEST",
    },
    # Its other waits are for ever, or for the delays of sequence batching, which no archive of ours asks for.
    MODEL_CLASS: {"MILLISECONDS": "MICROSECONDS"},
}


def correct(folder: Path) -> list[str]:
    """Writes the corrected classes into ``folder``, Java's working directory; returns the names of those written."""
    with zipfile.ZipFile(_jar()) as jar:
        corrected = {name: _exchange(jar.read(name), names) for name, names in CORRECTIONS.items()}
    written = {name: code for name, code in corrected.items() if code is not None}
    for name in corrected:  # another TorchServe may have run here before
        (folder / name).unlink(missing_ok=True)
    for name, code in written.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(code)
    return list(written)


def _exchange(code: bytes, names: dict[str, str]) -> bytes | None:
    """The class with its names exchanged; None where it does not hold each of them once."""
    for old, new in names.items():
        if code.count(_constant(old)) != 1:
            return None
        code = code.replace(_constant(old), _constant(new))
    return code


def _jar() -> Path:
    spec = find_spec("ts")  # found, not imported
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "frontend" / "model-server.jar"


def _constant(text: str) -> bytes:
    """A string as a class file's constant pool holds it: tag 1, two bytes of length, the characters."""
    return b"\x01" + len(text).to_bytes(2, "big") + text.encode()
