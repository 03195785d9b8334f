"""The search space: the variants of one model whose archives are built and passed their checks, times the settings that
this machine has room for.

Knows the catalog, the archives' own records and the machine's size. It knows nothing of speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import psutil

from export.catalog import EXACT, Row
from serving.auto_workers import automatic

WORKER_MIB = 300  # memory of a worker without the model: Python and an engine
MODEL_COPIES = 2  # memory of a worker while it loads, relative to the archive's bytes
SHARE_OF_MEMORY = 0.8
BATCHES = (1, 4, 8, 16, 32)
SETTINGS = ("workers", "threads", "batch_size", "queue")


@dataclass(frozen=True)
class Configuration:
    """An archive with the settings that it is served with; ``threads`` are those of one worker."""

    archive: str
    variant: str
    workers: int
    threads: int
    batch_size: int
    queue: int

    @property
    def settings(self) -> dict[str, int]:
        """The settings as keys of models.toml."""
        return {name: getattr(self, name) for name in SETTINGS}

    @property
    def key(self) -> str:
        """The configuration's unique name in records."""
        return f"{self.archive}.w{self.workers}.t{self.threads}.b{self.batch_size}.q{self.queue}"

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        batches = f"batches of up to {self.batch_size}" if self.batch_size > 1 else "no batches"
        return f"{self.variant}, {workers} of {threads}, {batches}"


@dataclass(frozen=True)
class Candidate:
    """An archive in the store. ``reason`` says why it may not win (MIN_ACCURACY, MIN_COSINE), or is ""."""

    row: Row
    sha256: str
    parity: dict[str, Any] = field(default_factory=dict)
    random_weights: bool = False
    mib: float = 0.0
    reason: str = ""
    handler: str = ""  # the file of the user's own handler that is packed in it

    @property
    def exact(self) -> bool:
        """Whether the variant computes in fp32, to within rounding."""
        return self.row.variant.tolerance == EXACT

    @property
    def rightness(self) -> dict[str, Any]:
        """The values of decision.json on whether its answers are right."""
        return {"parity": self.parity, "accuracy": self.parity.get("accuracy"), "exact": self.exact,
                "random_weights": self.random_weights, "handler": self.handler or None}  # fmt: skip


@dataclass(frozen=True)
class Space:
    """The configurations of ``model`` on ``cores`` cores: the combinations of ``axes`` that fit, and the default.

    ``candidates`` are the archives by variant. ``left_out`` has a reason for each variant that is not searched.
    """

    model: str
    task: str
    device: str
    cores: int
    candidates: Mapping[str, Candidate]
    searched: tuple[str, ...]
    axes: Mapping[str, tuple[int, ...]]
    default: Configuration
    left_out: tuple[dict[str, str], ...] = ()
    memory_mib: float = float("inf")

    def configuration(self, variant: str, **settings: int) -> Configuration:
        """The one of ``variant`` with these settings."""
        return Configuration(self.candidates[variant].row.name, variant, **settings)

    def allows(self, each: Configuration) -> bool:
        """Whether a configuration may be measured: the default always, others if cores and memory suffice."""
        if each == self.default:
            return True
        fits = each.workers * each.threads <= 2 * self.cores and self._mib(each) <= SHARE_OF_MEMORY * self.memory_mib
        asked = all(getattr(each, name) in self.axes[name] for name in SETTINGS)
        return fits and asked and each.variant in self.searched

    def _mib(self, each: Configuration) -> float:
        return each.workers * (WORKER_MIB + MODEL_COPIES * self.candidates[each.variant].mib)

    def all(self) -> Iterator[Configuration]:
        """Every configuration, the default first."""
        yield self.default
        for variant in self.searched:
            for values in product(*(self.axes[name] for name in SETTINGS)):
                each = self.configuration(variant, **dict(zip(SETTINGS, values, strict=True)))
                if each != self.default and self.allows(each):
                    yield each

    def stated(self) -> dict[str, Any]:
        """The section ``space`` of decision.json."""
        return {"variant": list(self.searched), **{name: list(self.axes[name]) for name in SETTINGS}}

    def levels(self, name: str) -> tuple[Any, ...]:
        """All values of "variant" or of a setting: those of the axes and the default's."""
        if name == "variant":
            return tuple(dict.fromkeys([*self.searched, self.default.variant]))
        return tuple(sorted({*self.axes[name], getattr(self.default, name)}))


def axes(
    cores: int, queue: int, workers: Sequence[int] = (), threads: Sequence[int] = (), batches: Sequence[int] = ()
) -> dict[str, tuple[int, ...]]:
    """The values of each setting: those given, else what ``cores`` cores offer.

    A closed loop of at most 64 users never fills TorchServe's queue of 100, and a shorter queue only refuses sooner, so
    the queue has one value.
    """
    return {
        "workers": tuple(workers) or _powers(cores),
        "threads": tuple(threads) or _powers(cores),
        "batch_size": tuple(batches) or BATCHES,
        "queue": (queue,),
    }


def _powers(cores: int) -> tuple[int, ...]:
    """1, 2, 4, ... below ``cores``, and ``cores``."""
    return (*(2**n for n in range(cores.bit_length()) if 2**n < cores), cores)


def default(row: Row, config: Mapping[str, Any], cores: int, queue: int) -> Configuration:
    """The configuration that make archive serve serves by default, by the settings in the archive. Its 0 threads mean
    one for each core."""
    workers = automatic({row.name: config}, cores).get(row.name, config["minWorkers"])
    threads = config["archive"]["threads"] or cores
    return Configuration(row.name, row.variant.name, workers, threads, config["batchSize"], queue)


def memory_mib() -> float:
    """The free memory of this machine."""
    return psutil.virtual_memory().available / 2**20


def mib(path: Path) -> float:
    """A file's size."""
    return path.stat().st_size / 2**20
