"""Asks a database in OSV's format (https://osv.dev) which advisories a version has.

pip-audit asks about Python packages. It does not know Java libraries, so this module asks about them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

DATABASE = "https://api.osv.dev"


class AuditError(Exception):
    """Nothing could be checked. The message says what to do."""


@dataclass(frozen=True)
class Advisory:
    """One advisory: the package and version that it concerns, and all its identifiers."""

    package: str
    version: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.package} {self.version}: {', '.join(self.names)}"


def of_maven(database: str, component: dict[str, Any]) -> list[Advisory]:
    """Advisories of a component of front_end.json. Raises AuditError."""
    return [
        Advisory(name, component["version"], _names(each))
        for name in component["maven"]
        for each in _ask(database, name, component["version"])
    ]


def _ask(database: str, name: str, version: str) -> list[dict[str, Any]]:
    query: dict[str, Any] = {"package": {"ecosystem": "Maven", "name": name}, "version": version}
    try:
        reply = requests.post(f"{database}/v1/query", json=query, timeout=30)
        reply.raise_for_status()
        found: list[dict[str, Any]] = reply.json().get("vulns", [])
    except (requests.RequestException, ValueError) as error:
        raise AuditError(_unreachable(database, type(error).__name__)) from None
    return found


def _names(entry: dict[str, Any]) -> tuple[str, ...]:
    return tuple(sorted({entry["id"], *entry.get("aliases", [])}))


def of_python(database: str, constraints: Path) -> list[Advisory]:
    """Advisories of the pinned packages that this Python would install, by pip-audit. Raises AuditError."""
    done = subprocess.run(
        [
            sys.executable, "-m", "pip_audit", "--requirement", str(constraints), "--no-deps", "--disable-pip",
            "--vulnerability-service", "osv", "--osv-url", f"{database}/v1/query", "--format", "json",
            "--progress-spinner", "off",
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    if "No module named pip_audit" in done.stderr:
        raise AuditError("pip-audit is not installed; run: pip install -c constraints.txt pip-audit")
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["it printed nothing"]
        raise AuditError(_unreachable(database, last[0].split(":")[0].split(".")[-1])) from None
    return list(_found(packages))


def _found(packages: Iterable[dict[str, Any]]) -> Iterable[Advisory]:
    for each in packages:
        if "skip_reason" in each:
            raise AuditError(f"pip-audit left out {each['name']}: {each['skip_reason']}")
        yield from (Advisory(each["name"], each["version"], _names(found)) for found in each["vulns"])


def _unreachable(database: str, why: str) -> str:
    return (
        f"Nothing was checked: the advisory database at {database} does not answer ({why}). Run make audit where it "
        "can be reached, or name a mirror of it: OSV_URL=https://..."
    )
