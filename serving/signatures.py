"""Checks signatures of the store's digest files if STORE_KEY is set. They have minisign's format. Each lies beside its
digest file.

Knows keys and files, not archives. A digest file names its archive, so its signature is not valid for another one.
"""

from __future__ import annotations

from pathlib import Path

from serving.errors import ServingError


def require_signature(signed: Path, public_key: Path) -> None:
    """Raises ServingError unless ``<signed>.minisig`` is ``public_key``'s signature of the file."""
    try:
        import minisign
    except ImportError:
        raise ServingError(
            "STORE_KEY is set and py-minisign is not installed; run: pip install -c constraints.txt py-minisign"
        ) from None
    signature = signed.with_name(f"{signed.name}.minisig")
    try:
        minisign.PublicKey.from_file(public_key).verify(signed.read_bytes(), minisign.Signature.from_file(signature))
    except (OSError, minisign.Error, ValueError) as error:
        raise ServingError(
            f"{signed} is not signed by {public_key} ({_why(error)}); sign it with: minisign -Sm {signed}, "
            "or unset STORE_KEY."
        ) from None


def _why(error: Exception) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error) or type(error).__name__
