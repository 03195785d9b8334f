"""Where HAProxy is installed. Needs the standard library alone, since make doctor asks before anything is installed."""

from __future__ import annotations

import os
import shutil

PLACES = os.pathsep.join(("/usr/sbin", "/usr/local/sbin"))  # not on everybody's PATH
INSTALL = "apt-get install haproxy (Debian, Ubuntu), or dnf install haproxy (Fedora, RHEL)"


def find() -> str | None:
    """The path of HAProxy; None where it is not installed."""
    return shutil.which("haproxy", path=os.environ.get("PATH", os.defpath) + os.pathsep + PLACES)
