"""Builds the archives that are measured, and loads each as a worker does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from export.catalog import Row
from serving.store import STORE

ROOT = Path(__file__).resolve().parent.parent


def build(rows: list[Row], device: str) -> int:
    """Brings the archives of one model up to date; returns make archive's exit status."""
    chosen = {"MODELS": rows[0].model.name, "VARIANTS": " ".join(row.variant.name for row in rows), "DEVICE": device}
    return subprocess.run([sys.executable, "-m", "export"], cwd=ROOT, env={**os.environ, **chosen}).returncode


def load(row: Row, scratch: Path, device: str) -> dict[str, Any]:
    """The runtime and settings of an archive unpacked under ``scratch``, with what loading cost and its parity."""
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
    }
