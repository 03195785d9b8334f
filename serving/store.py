"""The store: archives, each with a digest file beside it, and the selection of the chosen ones.

Knows bytes, digests and identities. A digest file has the format of ``sha256sum -c``. An archive that this project did
not build needs no digest file. If it has one, its bytes must match.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from serving.chosen import Choices
from serving.errors import ServingError
from serving.identity import Identity, identity, require_manifest
from serving.signatures import require_signature

STORE = Path(os.environ.get("MODEL_STORE") or Path(__file__).parent.parent / "model_store").resolve()
NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)  # TorchServe uses the name in URLs and on its command line


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def digest_file(archive: Path) -> Path:
    """The path of an archive's digest file."""
    return archive.with_name(archive.name + ".sha256")


def publish(built: Path, archive: Path) -> str:
    """Moves a checked archive into the store and returns its digest.

    At every moment the store holds a whole archive whose digest is on file. During the rename, the digest file has the
    digests of the old and the new archive.
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
    """The archive's digest, or None if its digest file does not have it."""
    listing = digest_file(archive)
    if not (archive.is_file() and listing.is_file()):
        return None
    digest = sha256(archive)
    return digest if digest in {line.split()[0] for line in listing.read_text().splitlines() if line.strip()} else None


def archives(
    store: Path, models: Sequence[str] = (), variants: Sequence[str] = (), choices: Choices | None = None
) -> dict[str, str]:
    """{name: sha256} of the archives to serve: all of the store, or those of the named models and variants.

    Raises ServingError as ``chosen`` and ``checked`` do.
    """
    return checked(store, [each.name for each in chosen(store, models, variants, choices)])


def chosen(
    store: Path, models: Sequence[str] = (), variants: Sequence[str] = (), choices: Choices | None = None
) -> list[Identity]:
    """The archives of the named models and variants, in the order of their names, without those that ``choices`` leave
    out. Their bytes are not checked.

    An archive without variants is always chosen, whichever variants are named. Raises ServingError when the store is
    empty, lacks a name or a choice, or holds an archive that cannot be read.
    """
    held = [identity(path) for path in sorted(store.glob("*.mar"))]
    if not held:
        raise ServingError(f"{store} holds no archive; run: make archive")
    for what, names, known in (
        ("model", models, {each.model for each in held}),
        ("variant", variants, {each.variant for each in held} - {""}),
    ):
        if absent := [name for name in names if name not in known]:
            have = ", ".join(sorted(known)) or f"no {what}s"
            raise ServingError(
                f"{store} holds no archive of the {what} {absent[0]!r}, but of: {have}; "
                f"run: make archive {what.upper()}S={absent[0]}"
            )
    found = [
        each
        for each in held
        if (not models or each.model in models) and (not variants or each.variant in ("", *variants))
    ]
    for model in models:
        if model not in {each.model for each in found}:
            have = ", ".join(each.variant for each in held if each.model == model)
            raise ServingError(
                f"{store} holds {model} as {have}, not as {' or '.join(variants)}; "
                f"run: make archive MODELS={model} VARIANTS={variants[0]}"
            )
    return choices.served(store, found) if choices else found


def checked(store: Path, names: Sequence[str]) -> dict[str, str]:
    """{name: sha256} of these archives, each compared with its digest file.

    Raises ServingError in four cases: a digest differs; an archive of this project has no digest file; a foreign
    archive is no TorchServe archive; STORE_KEY names a public key that has not signed a digest file.
    """
    digests = {name: _checked_digest(store / f"{name}.mar") for name in names}
    if key := os.environ.get("STORE_KEY"):
        for name in names:
            listing = digest_file(store / f"{name}.mar")
            if not listing.exists():
                raise ServingError(
                    f"{name}.mar was not built by this project and is not signed by {key}; to sign it, run in {store}: "
                    f"sha256sum {name}.mar > {listing.name} && minisign -Sm {listing.name}"
                )
            require_signature(listing, Path(key))
    return digests


def _checked_digest(path: Path) -> str:
    if not NAME.fullmatch(path.stem):
        raise ServingError(f"{path}: an archive's name may hold letters, digits, '.', '_' and '-' only; rename it.")
    digest, ours = intact_digest(path), identity(path).ours
    if digest is None and (ours or digest_file(path).exists()):
        raise ServingError(
            f"{path} is not what was built (its SHA-256 differs from {path.name}.sha256, or that is missing); run make "
            "archive to build it again, or remove it."
        )
    if not ours:
        require_manifest(path)
    return digest or sha256(path)
