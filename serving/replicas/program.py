"""Finds HAProxy. Needs only the standard library, since make doctor runs before anything is installed."""

from __future__ import annotations

import os
import shutil

PLACES = os.pathsep.join(("/usr/sbin", "/usr/local/sbin"))  # not on every PATH
INSTALL = "apt-get install haproxy (Debian, Ubuntu), or dnf install haproxy (Fedora, RHEL)"


def find() -> str | None:
    """The path of HAProxy; None if it is not installed."""
    return shutil.which("haproxy", path=os.environ.get("PATH", os.defpath) + os.pathsep + PLACES)
