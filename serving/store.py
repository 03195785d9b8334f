"""The store: archives as files with a digest on file beside each.

Knows names, bytes and digests; what is inside an archive is not its business. A digest file has the format of
``sha256sum -c``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from serving.errors import ServingError
from serving.signatures import require_signature

STORE = Path(os.environ.get("MODEL_STORE") or Path(__file__).parent.parent / "model_store").resolve()


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def digest_file(archive: Path) -> Path:
    """Where an archive's digest stands."""
    return archive.with_name(archive.name + ".sha256")


def publish(built: Path, archive: Path) -> str:
    """Moves a checked archive into the store and returns its digest.

    At every moment the store holds a whole archive whose digest is on file: the digest file names the old and the
    new one while the rename happens.
    """
    new = sha256(built)
    listing = digest_file(archive)
    old = listing.read_text().splitlines()[:1] if listing.exists() else []
    _replace(listing, "\n".join([*old, f"{new}  {archive.name}"]))
    built.replace(archive)
    _replace(listing, f"{new}  {archive.name}")
    return new


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text + "\n")
    partial.replace(path)


def intact_digest(archive: Path) -> str | None:
    """The archive's digest when its digest file names it, else None."""
    listing = digest_file(archive)
    if not (archive.is_file() and listing.is_file()):
        return None
    digest = sha256(archive)
    return digest if digest in {line.split()[0] for line in listing.read_text().splitlines() if line.strip()} else None


def archives(store: Path, models: Sequence[str] = (), variants: Sequence[str] = ()) -> dict[str, str]:
    """{name: sha256} of the archives to serve: all of the store, or those of the models and variants named.

    Raises ServingError when there are none, one does not have the digest that its build put on file, or STORE_KEY names
    a public key that has not signed that file.
    """
    names = sorted(path.stem for path in store.glob("*.mar"))
    chosen = [name for name in names if _wanted(name, models, variants)]
    if not chosen:
        what = f" for {' '.join([*models, *variants])}" if models or variants else ""
        raise ServingError(f"{store} holds no archive{what}; run: make archive")
    digests = {name: intact_digest(store / f"{name}.mar") for name in chosen}
    for name, digest in digests.items():
        if digest is None:
            raise ServingError(
                f"{store / name}.mar is not what was built (its SHA-256 differs from {name}.mar.sha256, or that is "
                "missing); run make archive to build it again, or remove it."
            )
    if key := os.environ.get("STORE_KEY"):
        for name in chosen:
            require_signature(digest_file(store / f"{name}.mar"), Path(key))
    return {name: digest for name, digest in digests.items() if digest}


def _wanted(name: str, models: Sequence[str], variants: Sequence[str]) -> bool:
    model, _, variant = name.partition("-")
    return (not models or model in models) and (not variants or not variant or variant in variants)
