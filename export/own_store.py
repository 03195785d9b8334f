"""Separate stores for tools that build archives only to measure or to test them.

make serve serves all archives of the user's store, so these archives must not be in it. The stores are kept, so that a
second run finds its archives.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from export import archive as archives
from export.catalog import Row
from export.fingerprint import fingerprint
from export.options import Options
from serving.store import STORE, digest_file

ROOT = Path(__file__).resolve().parent.parent
STORES = ROOT / ".cache" / "stores"


class NotBuiltError(Exception):
    """The build could not start or was interrupted, and has printed the reason. ``status`` is its exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"make archive ended with status {status}")
        self.status = status


def bring_up_to_date(store: Path, options: Options) -> dict[str, str]:
    """Brings the archives of ``options`` up to date in ``store``. Returns {name: the reason why it was not packed, ""
    if it was}.

    Copies archives that are up to date in the user's store, and builds the others as make archive does. The model of
    MODEL= becomes a row of models.toml if one of its archives is built. Raises NotBuiltError.
    """
    for row in options.rows:
        _take_over(row, options, store)
    with tempfile.TemporaryDirectory(prefix="build-") as scratch:
        results = Path(scratch, "results.json")
        chosen = {
            **_named(options),
            "VERSION": "",
            "VARIANTS": " ".join(dict.fromkeys(row.variant.name for row in options.rows if row.model.task != "null")),
            "DEVICE": options.device,
            "MODEL_STORE": str(store),
            "RESULTS_JSON": str(results),
        }
        status = subprocess.run([sys.executable, "-m", "export"], cwd=ROOT, env={**os.environ, **chosen}).returncode
        if not results.exists():
            raise NotBuiltError(status)
        return {result["archive"]: result["error"] for result in json.loads(results.read_text())}


def _named(options: Options) -> dict[str, str]:
    """The make variables that name the models of ``options``."""
    if options.adopted:
        name, row = options.adopted
        return {"MODEL": row["source"], "NAME": name, "MODELS": ""}
    return {"MODEL": "", "MODELS": " ".join(dict.fromkeys(row.model.name for row in options.rows))}


def _take_over(row: Row, options: Options, store: Path) -> None:
    """Links or copies the archive and its digest from the user's store, if it is up to date there and not here."""
    own, users = store / f"{row.name}.mar", STORE / f"{row.name}.mar"
    found = archives.read_record(users)
    if users == own or not found or not digest_file(users).exists():
        return
    wanted = fingerprint(row, options.device, options.choice(row))
    if found.get("fingerprint") == wanted and (archives.read_record(own) or {}).get("fingerprint") != wanted:
        store.mkdir(parents=True, exist_ok=True)
        _put(users, own)
        _put(digest_file(users), digest_file(own))


def _put(source: Path, target: Path) -> None:
    aside = target.with_name(f".{target.name}.part")
    aside.unlink(missing_ok=True)
    try:
        os.link(source, aside)
    except OSError:  # another disk, or another user's file
        shutil.copy(source, aside)
    aside.replace(target)
