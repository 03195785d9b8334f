"""The verb audit: asks for advisories on every pinned package and on every library of TorchServe's jar.

Exit status 0: no advisory, or only those that SECURITY.md answers. 1: other advisories. 2: nothing could be checked.
``--document`` writes the tables of SECURITY.md instead.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from serving.audit.front_end import SECURITY, documented, jar, listed, stale
from serving.audit.osv import DATABASE, Advisory, AuditError, of_maven, of_python

CONSTRAINTS = Path(__file__).resolve().parent.parent.parent / "constraints.txt"


def audit() -> int:
    """Prints the number of answered advisories, and each one that is not answered."""
    facts, database = listed(), os.environ.get("OSV_URL") or DATABASE
    if wrong := stale(jar(), facts):
        raise AuditError(f"serving/audit/front_end.json does not fit the installed torchserve: {'; '.join(wrong[:3])}")
    found = of_python(database, CONSTRAINTS)
    for component in facts["components"]:
        found += of_maven(database, component)
    answered = {each["id"] for each in facts["advisories"]}
    unanswered = [each for each in found if not answered & set(each.names)]
    _show(found, unanswered, sum(len(each["maven"]) for each in facts["components"]))
    return 1 if unanswered else 0


def _show(found: list[Advisory], unanswered: list[Advisory], libraries: int) -> None:
    print(f"Asked about the packages of constraints.txt and {libraries} libraries of TorchServe's jar.")
    print(f"Advisories with an answer in SECURITY.md: {len(found) - len(unanswered)}; without: {len(unanswered)}.")
    for each in sorted(map(str, unanswered)):
        print(f"  {each}")


def main() -> int:
    """Runs the verb."""
    if sys.argv[1:] == ["--document"]:
        SECURITY.write_text(documented(SECURITY.read_text(), listed()))
        return 0
    try:
        return audit()
    except AuditError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
