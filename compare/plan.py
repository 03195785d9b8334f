"""The measured servers and their settings: pure functions of the request and of the number of cores.

Knows settings and subjects. servers.py starts servers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compare.peers_table import BY_NAME, Peer

BATCH, WAIT_MS = 8, 2.0
SAME_FILE = "torchscript"
CHOSEN = {"cpu": ("onnx", "openvino", "int8"), "gpu": ("graph", "fp16")}  # variants of ours with another file
OURS, TUNED, BEST = "ours", "ours-tuned", "ours-chosen"


@dataclass(frozen=True)
class Setting:
    """Workers, threads of each, the largest batch and its wait for further requests in ms. ``workers`` 0: the server's
    own defaults. ``variant`` is the variant that our server serves."""

    workers: int = 0
    threads: int = 0
    batch: int = 1
    wait_ms: float = 0.0
    variant: str = SAME_FILE

    @property
    def label(self) -> str:
        """The setting's text in tables: "2 × 1, batch 8"."""
        shape = f"{self.workers} × {self.threads}" if self.workers else "defaults"
        batch = "" if not self.workers else f", batch {self.batch}" if self.batch > 1 else ", no batches"
        return ("" if self.variant == SAME_FILE else f"{self.variant}, ") + shape + batch


@dataclass(frozen=True)
class Subject:
    """A measured server. ``peer`` is None for ours. ``example``: a peer with its own defaults."""

    name: str
    title: str
    settings: tuple[Setting, ...]
    peer: Peer | None = None
    example: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is this project's server."""
        return self.peer is None

    @property
    def same_file(self) -> bool:
        """Whether it serves the common TorchScript file."""
        return all(each.variant == SAME_FILE for each in self.settings)


def shapes(cores: int) -> list[tuple[int, int]]:
    """(workers, threads of each) that use all cores: one worker, one per core, and on four cores one per pair of
    cores."""
    found = [(cores, 1), (1, cores)]
    if cores >= 4:
        found.insert(1, (cores // 2, 2))
    return list(dict.fromkeys(found))


def settings(cores: int, variant: str = SAME_FILE) -> tuple[Setting, ...]:
    """Every shape with batches and without."""
    return tuple(
        Setting(workers, threads, batch, WAIT_MS if batch > 1 else 0.0, variant)
        for workers, threads in shapes(cores)
        for batch in (1, BATCH)
    )


def subjects(peers: Sequence[str], cores: int, device: str, variants: Sequence[str]) -> list[Subject]:
    """Our servers first, then the peers. ``variants`` are those of ``CHOSEN`` that were built."""
    found = [
        Subject(OURS, "ours, as served by default", (Setting(),)),
        Subject(TUNED, "ours, its settings tried", settings(cores)),
    ]
    chosen = tuple(Setting(variant=each) for each in CHOSEN[device] if each in variants)
    found += [Subject(BEST, "ours, best variant", chosen)] if chosen else []
    return [*found, *(subject for name in peers for subject in _of(BY_NAME[name], cores))]


def _of(peer: Peer, cores: int) -> Iterator[Subject]:
    if peer.example is not None:
        yield Subject(f"{peer.name}-example", f"{peer.title}, its example and defaults", (Setting(),), peer, True)
    yield Subject(peer.name, peer.title, settings(cores), peer)


def tried(setting: Setting, clients: Sequence[int]) -> list[int]:
    """The loads at which a setting is tried. The largest load comes first, since it warms up code that is compiled for
    the shape of a batch. One client never fills a batch, so settings with batches are not tried with one client."""
    return sorted((count for count in clients if setting.batch == 1 or count > 1), reverse=True)
