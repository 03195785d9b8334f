"""Decides which server a client trusts over TLS."""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path

_PEM = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_NO_CHECK_TIME = 0x200000  # of OpenSSL (X509_V_FLAG_NO_CHECK_TIME); Python has no name for it


def pinned(certificate: str | os.PathLike[str]) -> ssl.SSLContext:
    """A context that trusts only a server with the first certificate in this PEM file. The certificate's name and dates
    are not checked. An authority's certificate also trusts the certificates that it has signed. Raises ValueError if
    the file has no readable certificate."""
    try:
        found = _PEM.search(Path(certificate).read_text())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=found[0] if found else "")
    except (OSError, ValueError):  # an SSLError is an OSError
        raise ValueError(f"{certificate} is no readable PEM certificate; name one.") from None
    # The certificate itself is the trust anchor, even if an authority has signed it.
    context.verify_flags = ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME)
    return context


def context_for(url: str, verify: bool | ssl.SSLContext) -> bool | ssl.SSLContext:
    """``verify`` for a client of ``url``. An http:// client loads no authorities, which saves about 20 ms. Over TLS it
    would trust no server."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if verify is True and url.startswith("http://") else verify
