"""The pages of the documentation, and the commands and code in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PAGES = [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").glob("*.md"))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^(?:[A-Z_]+=\S+ +)*(?:make|curl|docker|git|pip|python|taskset|A=)\b", re.MULTILINE)
# A make command ends where the shell, the code span or the comment says so.
MAKE = re.compile(r"(?<![\w/.-])make((?: [^\s#`;&|)]+(?:\"[^\"]*\"|'[^']*')?[^\s#`;&|)]*)+)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page. ``language`` is "sh" also for commands in a block without a language."""

    page: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text.splitlines()[0][:60]}"


@dataclass(frozen=True)
class Make:
    """A make command: its verbs, and the variables on its command line."""

    page: str
    line: str
    verbs: tuple[str, ...]
    variables: dict[str, str]

    def __str__(self) -> str:
        return f"{self.page}: {self.line}"


def blocks(language: str) -> list[Block]:
    """The blocks of all pages in this language."""
    return [block for page in PAGES for block in _blocks(page) if block.language == language]


def _blocks(page: Path) -> Iterator[Block]:
    for language, text in FENCED.findall(page.read_text()):
        yield Block(page.name, language or ("sh" if SHELL.search(text) else "text"), text)


def spans() -> list[tuple[str, str]]:
    """(page, code) of each code span in the text of all pages."""
    return [
        (page.name, " ".join(code.split()))
        for page in PAGES
        for code in re.findall(r"`([^`]+)`", FENCED.sub("", page.read_text()))
    ]


def make_commands() -> list[Make]:
    """Every make command of the pages, in blocks and in text, each once."""
    lines = [(block.page, line) for block in blocks("sh") for line in block.text.splitlines()]
    found = {}
    for page, line in [*lines, *spans()]:
        for words in MAKE.findall(re.sub(r"(?:^|\s)#.*", "", line)):
            command = _make(page, words.strip())
            found.setdefault(command.line, command)
    return list(found.values())


def _make(page: str, words: str) -> Make:
    parts = [word for word in shlex.split(words) if word != "..." and not word.startswith("-")]
    given = dict(word.split("=", 1) for word in parts if "=" in word)
    return Make(page, f"make {words}", tuple(word for word in parts if "=" not in word), given)
