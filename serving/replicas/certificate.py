"""The certificate that the balancer shows: the user's, or one made for development. Knows PEM files and openssl."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from ipaddress import ip_address
from pathlib import Path

import psutil

from serving.errors import ServingError

DAYS = 30
NAMES = ("localhost", "127.0.0.1", "::1")


def self_made(folder: Path, host: str) -> tuple[Path, Path]:
    """A new certificate for this machine and its key, as PEM files of mode 0600 in ``folder``. It is valid for 30 days.
    Raises ServingError if openssl is missing."""
    program = shutil.which("openssl")
    if program is None:
        raise ServingError(
            "TLS=1 makes a certificate with openssl, which is not installed; run: apt-get install openssl, or name a "
            "certificate: TLS_CERT=... TLS_KEY=..."
        )
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    done = subprocess.run(
        [
            program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", str(DAYS), "-subj", "/CN=development only", "-addext", f"subjectAltName={_names(host)}",
            "-addext", "extendedKeyUsage=serverAuth", "-out", str(certificate), "-keyout", str(key),
        ],
        capture_output=True, text=True, umask=0o077, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ServingError(f"openssl made no certificate: {(done.stderr.strip() or '?').splitlines()[-1]}")
    return certificate, key


def joined(certificate: Path, key: Path) -> str:
    """The text of both, as HAProxy reads it from one file. Raises ServingError if they do not belong together."""
    try:
        # An empty password: without one, OpenSSL would ask for it on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        return f"{certificate.read_text().rstrip()}\n{key.read_text()}"
    except ssl.SSLError as error:
        why = (error.reason or "no PEM").replace("_", " ").lower()
        raise ServingError(
            f"{certificate} and {key} are no certificate and its unencrypted private key ({why}); name two PEM files "
            "that belong together: TLS_CERT=... TLS_KEY=..."
        ) from None
    except (OSError, ValueError) as error:
        raise ServingError(f"{certificate} or {key} cannot be read ({error}); name PEM files") from None


def write(text: str, target: Path) -> None:
    """Writes the text with mode 0600."""
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _names(host: str) -> str:
    """The names that clients may use: loopback, this machine's name and, if the server is bound to all, its
    addresses."""
    names = dict.fromkeys((*NAMES, socket.gethostname(), *([host] if not _is_any(host) else _addresses())))
    return ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in names)


def _addresses() -> list[str]:
    found = [each.address for many in psutil.net_if_addrs().values() for each in many]
    return [address for address in found if _is_address(address)]


def _is_any(host: str) -> bool:
    return _is_address(host) and ip_address(host).is_unspecified


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return "%" not in name  # fe80::1%eth0 is valid only on this machine
