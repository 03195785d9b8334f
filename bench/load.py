"""Builds the archives of the bench, and loads each as a worker does."""

from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path
from typing import Any

from export.catalog import Row
from export.options import Options
from export.own_store import STORES, bring_up_to_date

STORE = Path(os.environ.get("BENCH_STORE") or STORES / "bench").resolve()


def build(options: Options) -> dict[str, str]:
    """Brings the archives up to date in the bench's store. Returns {name: reason} of those that were not packed.

    Raises NotBuiltError.
    """
    return {name: why for name, why in bring_up_to_date(STORE, options).items() if why}


def load(row: Row, scratch: Path, device: str) -> dict[str, Any]:
    """Unpacks an archive of the bench's store under ``scratch`` and loads it. Returns its runtime, settings, parity and
    the cost of loading."""
    import psutil
    import yaml

    from handlers.description import read_record
    from handlers.runtimes import load_runtime
    from handlers.settings import Settings

    folder, archive = scratch / row.name, STORE / f"{row.name}.mar"
    with zipfile.ZipFile(archive) as source:
        source.extractall(folder)
    settings = Settings.read(yaml.safe_load((folder / "model-config.yaml").read_text())["archive"])
    before, started = psutil.Process().memory_info().rss, time.perf_counter()
    runtime = load_runtime(folder, settings, 0 if device == "gpu" else None)
    return {
        "runtime": runtime,
        "settings": settings,
        "load_s": round(time.perf_counter() - started, 3),
        "memory_mb": round((psutil.Process().memory_info().rss - before) / 1e6, 1),
        "archive_mb": round(archive.stat().st_size / 1e6, 1),
        "parity": read_record(folder).get("parity"),
        "handler": (read_record(folder).get("handler") or {}).get("file"),
    }
