"""Packs a stage, the folder with the files of an archive, into a .mar with torch-model-archiver. The bytes are
reproducible.

Knows files, zip entries and digests, not models. The archiver copies single files by base name and keeps the tree only
of a folder, so it gets the whole stage as one folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving.versions import FIRST

HANDLERS = Path(__file__).resolve().parent.parent / "handlers"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date of the zip format
RECORD = "record.json"
MANIFEST = "MAR-INF/MANIFEST.json"


def stage_handlers(stage: Path) -> None:
    """Copies the handlers package into the stage, without caches."""
    shutil.copytree(HANDLERS, stage / "handlers", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def pack(stage: Path, name: str, entry: str, target: Path, version: str = FIRST) -> None:
    """Writes ``target`` from the stage's files. ``entry`` is the path in the stage of the module that TorchServe calls.
    ``version`` is the version under which TorchServe registers the archive.

    The archiver arranges the files, and this function writes the zip, with sorted entries, without times and without
    compression: weights hardly compress, and an uncompressed archive loads faster.
    """
    from model_archiver.model_archiver_config import ModelArchiverConfig
    from model_archiver.model_packaging import generate_model_archive

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".layout-") as scratch, _working_in(stage, scratch):
        generate_model_archive(ModelArchiverConfig(
            model_name=name,
            version=version,
            handler=entry,
            extra_files=".",
            config_file="model-config.yaml",
            export_path=str(Path(scratch).resolve()),
            archive_format="no-archive",
        ))  # fmt: skip
        layout = Path(scratch) / name
        _settle_manifest(layout / MANIFEST)
        _zip(layout, target)


@contextlib.contextmanager
def _working_in(stage: Path, scratch: str) -> Iterator[None]:
    """Sets the working directory and the temporary folder for the archiver. It splits file names at commas and expands
    wildcards, so it gets names relative to the stage. It works in <tempdir>/<model name>, which two builds would share,
    so each build gets its own temporary folder."""
    before, tempdir = Path.cwd(), tempfile.tempdir
    tempfile.tempdir = str(Path(scratch, "tmp").resolve())
    Path(tempfile.tempdir).mkdir()
    os.chdir(stage)
    try:
        yield
    finally:
        os.chdir(before)
        tempfile.tempdir = tempdir


def _settle_manifest(path: Path) -> None:
    manifest = json.loads(path.read_text())
    manifest["createdOn"] = "01/01/1980 00:00:00"  # the only time inside the archive; TorchServe warns if it is absent
    path.write_text(json.dumps(manifest, indent=2))


def _zip(layout: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(p for p in layout.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(layout).as_posix(), date_time=EPOCH)
            entry.external_attr = 0o644 << 16
            with path.open("rb") as source, archive.open(entry, "w") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)


def add_record(archive: Path, record: dict[str, Any]) -> None:
    """Adds a record with the results of the checks to the archive. The handler's description shows the record."""
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_STORED) as target:
        entry = zipfile.ZipInfo(RECORD, date_time=EPOCH)
        entry.external_attr = 0o644 << 16
        target.writestr(entry, json.dumps(record, indent=2, sort_keys=True))


def read_record(archive: Path) -> dict[str, Any] | None:
    """The record of an archive. None if the file is absent, is no zip, or has no record."""
    try:
        with zipfile.ZipFile(archive) as source:
            found: dict[str, Any] = json.loads(source.read(RECORD))
            return found
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
