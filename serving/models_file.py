"""The file models.toml: finds it, reads it, and changes it for a verb.

Knows TOML and no key. A change keeps comments, order and all other keys. The new file is written beside the old one and
Knows TOML and no key. A change keeps comments, order and all other keys. The new file is written beside the old one and
renamed, so that a reader finds either the old file or the new one. TOML's libraries are imported late, since ``make
doctor`` runs before they are installed.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.config import ROOT
from serving.errors import ServingError


def models_file() -> Path:
    """$MODELS_FILE, else the checkout's models.toml; it need not exist."""
    return Path(os.environ.get("MODELS_FILE") or ROOT / "models.toml")


def read(path: Path) -> dict[str, Any]:
    """The content of the file; {} if there is none. Raises ServingError for a file that cannot be read or is not
    TOML."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ServingError(f"{path} cannot be read ({error.strerror}); make it readable, or remove it.") from None
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(content.decode())
    except ValueError as error:  # not UTF-8, or not TOML
        raise ServingError(f"{path} is no valid TOML: {error}; correct that line.") from None


@contextmanager
def edited(path: Path) -> Iterator[Any]:
    """The file as a tomlkit document, which the block may change. It is written when the block ends without an error.

    Raises the errors of ``read``, and ServingError for a file whose tables are too scattered for tomlkit.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    path = path.resolve()  # a symbolic link is kept
    read(path)
    document = tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()
    cut, end = _cut(document.body)
    try:
        yield document
        for table, before in cut:
            table.trivia.indent = before + table.trivia.indent
        text = tomlkit.dumps(document) + end
        if tomlkit.parse(text).unwrap() != document.unwrap():
            raise TOMLKitError("the changed file would not have the same values")
    except (TOMLKitError, IndexError):  # tomlkit's errors with dotted keys
        raise ServingError(
            f"{path} could not be changed: a model's keys stand in several places there; write each model as one table "
            "below a line such as [minilm], without dots in its keys."
        ) from None
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_text(text, encoding="utf-8")
    if path.exists():
        shutil.copymode(path, partial)
    partial.replace(path)


def child(parent: Any, key: str) -> Any:
    """The table ``key`` of a document or a table; added if absent. Raises ServingError if the key has a value."""
    import tomlkit
    from tomlkit.items import InlineTable

    if key not in parent:
        parent[key] = tomlkit.inline_table() if isinstance(parent, InlineTable) else tomlkit.table()
    if not hasattr(parent[key], "items"):
        raise ServingError(f"models.toml: {key} = {parent[key]!r}: a table is expected; remove that line.")
    return parent[key]


def _cut(body: list[Any], text: str = "") -> tuple[list[tuple[Any, str]], str]:
    """Takes out the comments and blank lines before each table's header, as [(table, text)], and those at the end.

    tomlkit keeps them in the table above, so keys that are added to that table would come after them. ``text`` is the
    text before ``body``.
    """
    from tomlkit.items import AoT, Comment, Null, Table, Whitespace

    found: list[tuple[Any, str]] = []
    run: list[int] = []
    for index, (key, item) in enumerate(body):
        if isinstance(item, (Comment, Whitespace)):
            run.append(index)
        elif isinstance(item, (AoT, Table)) and not key.is_dotted():
            text, run = text + _taken(body, run), []
            for table in item.body if isinstance(item, AoT) else [item]:
                if not table.is_super_table():  # a table without a header passes them to the first table below it
                    found.append((table, text))
                    text = ""
                below, text = _cut(table.value.body, text)
                found += below
        elif not isinstance(item, Null):
            run = []
    return found, text + _taken(body, run)


def _taken(body: list[Any], run: list[int]) -> str:
    """The text of these entries; empties the entries."""
    from tomlkit.items import Null

    text = "".join(body[index][1].as_string() for index in run)
    for index in run:
        body[index] = (None, Null())  # in place, since tomlkit counts entries
    return text
