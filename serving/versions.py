"""The versions of an archive in the store.

``<store>/<name>.mar`` is the served version. ``<store>/versions/<version>/`` has the layout of a store, with the
archives of that version that are not served now: new ones and replaced ones. So each version is in one place, its files
keep their names, and a signature of its digest file stays valid when it moves. ``<store>/versions/served.json`` lists,
by archive, the versions that rollouts replaced, the oldest first.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from serving.errors import ServingError
from serving.identity import manifest_of

FIRST = "1.0"  # the version of a build that sets none; only this one may be built again with other content
FORM = re.compile(r"(?!all$)[A-Za-z0-9][A-Za-z0-9.-]{0,31}", re.ASCII)  # it becomes a part of URLs and of thread names
FOLDER, HISTORY = "versions", "served.json"


def checked_version(text: str) -> str:
    """``text``, if it can be a version. Raises ServingError."""
    if not FORM.fullmatch(text):
        raise ServingError(
            f"VERSION={text} is no version: write up to 32 letters, digits, '.' and '-', as in VERSION=2.0"
        )
    return text


def version_of(archive: Path) -> str:
    """The version that an archive states; FIRST if it states none. Raises ServingError for an unreadable file."""
    return str((manifest_of(archive).get("model") or {}).get("modelVersion") or FIRST)


def folder_of(store: Path, version: str) -> Path:
    """The folder of the archives of that version that are not served. It has the layout of a store."""
    return store / FOLDER / version


def held(store: Path, name: str) -> dict[str, Path]:
    """{version: archive} of all versions of an archive in the store, the served one first. Raises ServingError."""
    served = store / f"{name}.mar"
    found = {version_of(served): served} if served.exists() else {}
    others = sorted((store / FOLDER).glob(f"*/{name}.mar"))
    return found | {path.parent.name: path for path in others if path.parent.name not in found}


def previous(store: Path, name: str) -> str | None:
    """The version that the last rollout of an archive replaced; None if there was no rollout, or the version is gone.
    Raises ServingError."""
    versions = held(store, name)
    served = next(iter(versions), None)
    known = [version for version in _history(store).get(name, []) if version != served]
    return known[-1] if known and known[-1] in versions else None


def replaced(store: Path, name: str, version: str, back: bool = False) -> None:
    """Replaces the served version of an archive by ``version``. The served one moves to its own folder under versions/.

    At every moment the store holds a whole archive with its digest on file. ``back``: the served version is not added
    to the history, since ``version`` is the one before it. Raises ServingError and OSError.
    """
    served, coming = store / f"{name}.mar", folder_of(store, version) / f"{name}.mar"
    before = version_of(served)
    history = _history(store)
    past = [each for each in history.get(name, []) if each not in (version, before)]
    _write(store / FOLDER / HISTORY, json.dumps({**history, name: past if back else [*past, before]}, indent=1))
    kept = folder_of(store, before)
    kept.mkdir(parents=True, exist_ok=True)
    for file in _files(served):
        _put(file, kept / file.name)
    both = "".join(_listing(path).read_text() for path in (served, coming) if _listing(path).exists())
    _write(_listing(served), both.rstrip("\n"))  # serving/store.py accepts either digest
    for file in _files(coming):
        _put(file, served.with_name(file.name))
    for file in _files(served):
        if not (coming.parent / file.name).exists():  # a signature that the new version lacks
            file.unlink()
    for file in _files(coming):
        file.unlink()
    with suppress(OSError):  # other archives have that version too
        coming.parent.rmdir()


def forget(store: Path, name: str) -> None:
    """Removes an archive from the history."""
    history = _history(store)
    if history.pop(name, None) is not None:
        _write(store / FOLDER / HISTORY, json.dumps(history, indent=1))


def remove_empty(store: Path) -> None:
    """Removes the folder of versions if it holds none."""
    if not _history(store):
        (store / FOLDER / HISTORY).unlink(missing_ok=True)
    for folder in [*(store / FOLDER).glob("*/"), store / FOLDER]:
        with suppress(OSError):  # it is not empty, or there is none
            folder.rmdir()


def _history(store: Path) -> dict[str, list[str]]:
    path = store / FOLDER / HISTORY
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise ServingError(f"{path} is no JSON; remove it; make rollback then has no version to go back to.") from None
    return {name: [str(each) for each in versions] for name, versions in found.items()}


def _listing(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.sha256")


def _files(archive: Path) -> list[Path]:
    """The archive's files that exist, in the order of their replacement. The digest file is the last, since one with
    both digests was written before."""
    listing = _listing(archive)
    return [path for path in (listing.with_name(f"{listing.name}.minisig"), archive, listing) if path.exists()]


def _put(source: Path, target: Path) -> None:
    """A link or a copy of the file, in one step."""
    aside = target.with_name(f".{target.name}.part")
    aside.unlink(missing_ok=True)
    try:
        os.link(source, aside)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, aside)
    aside.replace(target)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text + "\n")
    partial.replace(path)
