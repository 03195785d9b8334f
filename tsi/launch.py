"""``python launch.py MODULE ARGUMENTS``: runs a verb's module as ``python -m`` does in a checkout.

Only this process has the folder of the code on its import path. Processes that it starts, such as workers, do not
inherit it. The modules' messages name commands of make; here they name those of ``tsi``.
"""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any, TextIO

HERE = Path(__file__).resolve().parent


class Words:
    """A stream that writes ``tsi serve`` where the text says ``make serve``."""

    def __init__(self, stream: TextIO, verbs: list[str]) -> None:
        self._stream = stream
        self._command = re.compile(rf"\bmake(?: -s)?(?= (?:{'|'.join(verbs)})\b)")

    def write(self, text: str) -> int:
        """Writes the text; returns its number of characters."""
        self._stream.write(self._command.sub("tsi", text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def main() -> None:
    """Does not return: the module ends the process with its own exit status."""
    sys.path[0] = str(HERE.parent)
    from tsi.places import CODE
    from tsi.table import TOOL

    sys.path[0] = str(CODE)
    module, *sys.argv[1:] = sys.argv[1:]
    sys.stdout, sys.stderr = (Words(each, list(TOOL)) for each in (sys.stdout, sys.stderr))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
