"""The verb doctor: runs every check and prints a line for each; exit status 1 when one would stop ``make serve``."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable

from serving.doctor import gpu, java, machine, python, server, store
from serving.doctor.finding import STOP, WARN, Check, Finding, Place
from serving.errors import ServingError

CHECKS: dict[str, Check] = {
    "python": python.interpreter,
    "torch": python.torch_pair,
    "transformers": python.transformers,
    "packages": python.packages,
    "java": java.java,
    "config": server.configuration,
    "ports": server.ports,
    "balancer": server.balancer,
    "run folder": server.left_behind,
    "tokens": server.keys,
    "store": store.digests,
    "settings": store.settings,
    "writers": store.writers,
    "disk": machine.disk,
    "memory": machine.memory,
    "cores": machine.cores,
    "limits": machine.limits,
    "gpu": gpu.gpu,
}


def examine(place: Place, names: Iterable[str] = CHECKS) -> dict[str, Finding]:
    """The finding of each check. A ServingError that ``make serve`` would end with is a finding too."""
    return {name: _examine(CHECKS[name], place) for name in names}


def _examine(check: Check, place: Place) -> Finding:
    try:
        return check(place)
    except ServingError as error:
        return Finding(STOP, str(error))
    except ModuleNotFoundError as error:  # a module that reads archives or settings is not installed before setup
        return Finding(WARN, f"not checked: {error.name} is not installed", "run: make setup")


def lines(findings: dict[str, Finding], width: int) -> list[str]:
    """The report: level, name and finding; below it the fix where something is wrong."""
    indent = " " * 20
    shown = []
    for name, found in findings.items():
        shown += textwrap.wrap(f"{found.level:<6}{name:<14}{found.text}", width, subsequent_indent=indent)
        if found.cure and found.level in (WARN, STOP):
            shown += textwrap.wrap(f"fix: {found.cure}", width, initial_indent=indent, subsequent_indent=indent)
    return shown


def main() -> int:
    """Prints the report. ``--before-setup``: ``make serve`` will use another interpreter than this one."""
    findings = examine(Place.default(set_up="--before-setup" not in sys.argv[1:]))
    print("\n".join(lines(findings, max(60, min(120, shutil.get_terminal_size().columns)))))
    stops = [name for name, found in findings.items() if found.level == STOP]
    if stops:
        print(f"make serve cannot work until this is fixed: {', '.join(stops)}", file=sys.stderr)
    return 1 if stops else 0


if __name__ == "__main__":
    sys.exit(main())
