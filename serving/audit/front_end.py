"""The libraries inside TorchServe's one jar, as front_end.json lists them, and the table of SECURITY.md made from it.

Upstream packs them without their names. So the list is checked against the jar: the jar's bytes, the versions that it
states, and that each class belongs to a listed library.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

LIST = Path(__file__).with_name("front_end.json")
SECURITY = Path(__file__).resolve().parent.parent.parent / "SECURITY.md"
BEGIN, END = "<!-- front end: python -m serving.audit --document -->", "<!-- end of front end -->"
_VERSIONED = re.compile(r"^META-INF/versions/\d+/")  # classes for newer versions of Java, in the same layout


def listed() -> dict[str, Any]:
    """The list: release, sha256, components, advisories."""
    found: dict[str, Any] = json.loads(LIST.read_text())
    return found


def jar() -> Path:
    """The jar of the installed torchserve."""
    return Path(str(distribution("torchserve").locate_file("ts/frontend/model-server.jar")))


def stale(path: Path, facts: dict[str, Any]) -> list[str]:
    """The differences between the list and the jar at ``path``; empty when there are none."""
    found = []
    if hashlib.sha256(path.read_bytes()).hexdigest() != facts["sha256"]:
        found.append(f"{path.name} is not the one of {facts['release']}: its SHA-256 differs")
    with zipfile.ZipFile(path) as archive:
        other = [each for each in facts["components"] if _misstated(each, archive)]
        found += [f"{each['name']} is not {each['version']}" for each in other]
        found += [f"no component has {name}" for name in _unlisted(archive.namelist(), facts)]
    return found


def _misstated(component: dict[str, Any], archive: zipfile.ZipFile) -> bool:
    if "stated" not in component:
        return False
    entry, words = component["stated"]
    return entry not in archive.namelist() or words.encode() not in archive.read(entry)


def _unlisted(names: list[str], facts: dict[str, Any]) -> list[str]:
    packages = tuple(package for each in facts["components"] for package in each["packages"])
    classes = [_VERSIONED.sub("", name) for name in names if name.endswith(".class")]
    return [name for name in classes if name != "module-info.class" and not name.startswith(packages)]


def advisories(facts: dict[str, Any], component: str) -> list[dict[str, str]]:
    """The advisories on file for a component."""
    return [each for each in facts["advisories"] if each["component"] == component]


def document(facts: dict[str, Any]) -> str:
    """Two tables for SECURITY.md: libraries, and advisories with our mitigation."""
    libraries = [
        f"| {each['name']} | {each['version'] or 'not stated'} | {_evidence(each)} | "
        f"{len(advisories(facts, each['name'])) or 'none known to us'} |"
        for each in facts["components"]
    ]
    known = [
        f"| {each['id']} | {_short(each['component'])} | {each['fixed']} | {each['what']} | {each['mitigation']} |"
        for each in facts["advisories"]
    ]
    return "\n".join([
        "| library | version | known from | advisories |", "|---|---|---|---|", *libraries, "",
        "| advisory | in | fixed in | what | here |", "|---|---|---|---|---|", *known,
    ])  # fmt: skip


def _short(component: str) -> str:
    return component.split(",")[0]


def _evidence(component: dict[str, Any]) -> str:
    return "the jar" if "stated" in component else component.get("how", "the names of its classes")


def documented(text: str, facts: dict[str, Any]) -> str:
    """``text`` with its generated part updated."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{document(facts)}\n{END}{rest.partition(END)[2]}"
