"""Finds in the workers' log why one of them could not load.

Knows Python tracebacks and the line format of log4j2.xml. TorchServe itself reports an ImportError inside a handler as
"No module named 'ts.torch_handler...'". Only the chained traceback has the cause.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from pathlib import Path

_LINE = re.compile(
    r"^(?P<time>\S+) \[\w+\s*\] W-(?P<id>\d+)-(?P<model>.+)_(?P<version>[^_]+)-std(?:out|err) MODEL_LOG - (?P<text>.*)$"
)
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:: .*)?$")
_CHAINS = re.compile("During handling of the above exception|The above exception was the direct cause")
_DEFAULT_HANDLER = re.compile(
    "ModuleNotFoundError: No module named '(?:image_classifier|image_segmenter|object_detector|text_classifier)'"
)


def failure(
    log: Path,
    model: str,
    since: datetime | None = None,
    version: str | None = None,
    workers: Collection[str] | None = None,
) -> str | None:
    """The first exception that ended a worker of ``model``: after the instant ``since``, of that version and of the
    workers with these ids, if given. None if none has ended."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return None
    matches = (match for match in map(_LINE.match, lines) if match and match["model"] == model)
    after = since.isoformat(timespec="milliseconds").replace(".", ",") if since else ""
    known = (match for match in matches if version in (None, match["version"]))
    known = (match for match in known if workers is None or match["id"] in workers)
    printed = [(match["id"], match["text"]) for match in known if match["time"] >= after]
    # Several workers write at the same time, and the log may be read while one writes.
    ended = next((worker for worker, text in printed if "Traceback" in text), None)
    return root_cause("\n".join(text for worker, text in printed if worker == ended)) if ended else None


def root_cause(text: str) -> str | None:
    """The exception that caused the others, in the chain of the first traceback in ``text``.

    Where an archive names one of TorchServe's own handlers, TorchServe first looks for it inside the archive. The
    failure of that search is not the cause.
    """
    _, found, traceback = text.partition("Traceback (most recent call last):")
    if not found:
        return None
    causes = [cause for part in _CHAINS.split(traceback) if (cause := _raised(part))]
    return next((cause for cause in causes if not _DEFAULT_HANDLER.fullmatch(cause)), causes[0] if causes else None)


def _raised(traceback: str) -> str | None:
    """The first exception in a traceback. Its text may have several lines."""
    raised = [line for line in traceback.splitlines()[1:] if not line.startswith((" ", "\t")) and line.strip()]
    return next((line for line in raised if _EXCEPTION.match(line)), raised[0] if raised else None)
