"""Limits that control groups put on this process: cores, memory, processes; version 1 and version 2.

A limit counts wherever it is set between the process's group and the root. Containers often show only their own group,
as the root, so missing folders are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

UNLIMITED = 1 << 60  # version 1 writes "no limit" as a number a little below 2^63


class Groups:
    """The groups of the process that ``proc`` calls self, below the mount ``root``."""

    def __init__(self, root: Path, proc: Path = Path("/proc")) -> None:
        self._root = root
        try:
            lines = (proc / "self" / "cgroup").read_text().splitlines()
        except OSError:
            lines = []
        # "4:memory:/a/b" is version 1, "0::/a/b" version 2
        self._paths = {tuple(line.split(":")[1].split(",")): line.split(":", 2)[2] for line in lines}

    def memory(self) -> int | None:
        """Bytes, or None without a limit."""
        return self._least("memory", "memory.max", "memory.limit_in_bytes")

    def processes(self) -> int | None:
        """Processes and threads together, or None without a limit."""
        return self._least("pids", "pids.max", "pids.max")

    def cores(self) -> float | None:
        """The number of cores that a quota allows, or None without a quota."""
        quotas = [_quota(text) for text in self._read("", "cpu.max")]
        for folder in self._folders("cpu"):
            quotas.append(_quota(f"{_text(folder / 'cpu.cfs_quota_us')} {_text(folder / 'cpu.cfs_period_us')}"))
        return min((quota for quota in quotas if quota), default=None)

    def _least(self, controller: str, new: str, old: str) -> int | None:
        texts = [*self._read("", new), *self._read(controller, old)]
        numbers = [int(text) for text in texts if text.isdigit() and int(text) < UNLIMITED]
        return min(numbers, default=None)

    def _read(self, controller: str, name: str) -> list[str]:
        return [_text(folder / name) for folder in self._folders(controller)]

    def _folders(self, controller: str) -> Iterator[Path]:
        """The folders from the process's group up to the root of that controller's tree; "" is version 2."""
        for controllers, path in self._paths.items():
            if controller in controllers:
                for mount in (self._root / ",".join(controllers), self._root / controller):
                    inner = Path(path.strip("/"))
                    yield from (mount / part for part in [inner, *inner.parents])


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _quota(text: str) -> float | None:
    """ "150000 100000" is 1.5 cores; "max 100000" and "-1 100000" are no quota."""
    parts = text.split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        return None
    return int(parts[0]) / int(parts[1])
