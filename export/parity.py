"""Compares a variant's raw outputs with the eager fp32 reference and decides whether they are close enough.

Knows arrays and tolerances, not models or archives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from export.catalog import Tolerance

Outputs = Sequence[dict[str, np.ndarray]]  # of each case, by name


@dataclass(frozen=True)
class Parity:
    """The measures of parity.

    ``max_abs`` is the largest absolute difference, ``cosine`` the smallest cosine, ``top1`` the share of cases with the
    same best class. ``accuracy`` and ``reference_accuracy`` are held-out accuracies, 0..1. ``neighbours`` is the share
    of cases whose nearest neighbour among the cases is the same."""

    max_abs: float | None = None
    cosine: float | None = None
    top1: float | None = None
    accuracy: float | None = None
    reference_accuracy: float | None = None
    failures: tuple[str, ...] = ()
    neighbours: float | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    def summary(self) -> str:
        """A cell of a table: ``|Δ| 3.1e-06, cos 1.000000, accuracy 99.2%``."""
        parts = [] if self.max_abs is None else [f"|Δ| {self.max_abs:.1e}", f"cos {self.cosine:.6f}"]
        if self.top1 is not None:
            parts.append(f"top-1 {self.top1:.0%}")
        if self.neighbours is not None and self.neighbours < 1:
            parts.append(f"neighbours {self.neighbours:.0%}")
        if self.accuracy is not None:
            parts.append(f"accuracy {self.accuracy:.1%}")
        return ", ".join(parts) or "none to compare"

    def record(self) -> dict[str, Any]:
        """The parity as a JSON value."""
        return {**asdict(self), "failures": list(self.failures), "passed": self.passed}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Parity:
        """The inverse of ``record``."""
        values = {key: value for key, value in record.items() if key != "passed"}
        return cls(**{**values, "failures": tuple(record.get("failures", ()))})


def compare(outputs: Outputs, reference: Outputs, tolerance: Tolerance, classes: bool) -> Parity:
    """The parity of the raw outputs of each case with the reference. ``classes`` says that the outputs are class
    scores, so that the best class is compared.

    Outputs are float arrays by name. The last dimension of an array is a row, which has a cosine and a best class. For
    rows of one value, a single cosine is computed over all cases. Values that are not finite always fail. If the
    reference's largest magnitude is above 1, the allowed difference is multiplied by it, since rounding errors grow
    with the values.
    """
    if failures := _shapes(outputs, reference):
        return Parity(failures=failures)
    rows, joined = _rows(outputs, reference)
    pairs = rows + joined
    if not all(np.isfinite(ours).all() for ours, _ in pairs):
        return Parity(failures=("outputs are not finite",))
    difference = max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)
    largest = max(float(np.abs(theirs).max()) for _, theirs in pairs)
    cosine = min(_cosine(ours, theirs) for ours, theirs in pairs)
    alike = [ours.argmax() == theirs.argmax() for ours, theirs in rows] if classes else []
    top1 = float(np.mean(alike)) if alike else None
    found: list[str] = []
    allowed = tolerance.max_abs * max(1.0, largest)
    if difference > allowed:
        found.append(f"max |Δ| is {difference:.2e}, allowed {allowed:.1e}")
    if cosine < tolerance.cosine:
        found.append(f"cosine is {cosine:.6f}, at least {tolerance.cosine} wanted")
    if top1 is not None and top1 < tolerance.top1:
        found.append(f"top-1 agreement is {top1:.1%}, at least {tolerance.top1:.1%} wanted")
    # Three significant digits: with more, the bytes of the archive would differ between machines.
    return Parity(float(f"{difference:.2e}"), round(cosine, 6), top1, failures=tuple(found))


def _shapes(outputs: Outputs, reference: Outputs) -> tuple[str, ...]:
    """The failure if number, names or shapes of the outputs differ."""
    if len(outputs) != len(reference):
        return (f"{len(outputs)} cases were answered, the reference has {len(reference)}",)
    for index, (ours, theirs) in enumerate(zip(outputs, reference, strict=True)):
        found, wanted = ({name: values.shape for name, values in each.items()} for each in (ours, theirs))
        if found != wanted:
            return (f"the outputs of case {index} are {found}, the reference's {wanted}",)
    return ()


Pairs = list[tuple[np.ndarray, np.ndarray]]  # (ours, theirs), float64 [D]


def _rows(outputs: Outputs, reference: Outputs) -> tuple[Pairs, Pairs]:
    """(pairs of rows, pairs of joined rows). Rows of one value are joined over all cases, by the output's name."""
    rows: Pairs = []
    single: dict[str, Pairs] = {}
    for ours, theirs in zip(outputs, reference, strict=True):
        for name in theirs:
            a, b = ours[name].astype(np.float64), theirs[name].astype(np.float64)
            if b.shape[-1] == 1:
                single.setdefault(name, []).append((a.ravel(), b.ravel()))
            else:
                rows += zip(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]), strict=True)
    joined = [(np.concatenate([a for a, _ in each]), np.concatenate([b for _, b in each])) for each in single.values()]
    return rows, joined


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30))


def with_accuracy(parity: Parity, accuracy: float, reference: float, tolerance: Tolerance) -> Parity:
    """``parity`` with the held-out accuracy and its check."""
    failures = parity.failures
    if (reference - accuracy) * 100 > tolerance.accuracy_drop + 1e-9:
        failures += (f"accuracy is {accuracy:.2%}, eager fp32 has {reference:.2%}",)
    return replace(parity, accuracy=round(accuracy, 6), reference_accuracy=round(reference, 6), failures=failures)


def with_neighbours(parity: Parity, outputs: np.ndarray, reference: np.ndarray, tolerance: Tolerance) -> Parity:
    """``parity`` with the share of equal nearest neighbours, by cosine, and its check. The outputs are embeddings,
    float [N, D]. If ``parity`` has a smaller share, that one stays."""
    found = parity.neighbours
    share = min(float((_nearest(outputs) == _nearest(reference)).mean()), 1.0 if found is None else found)
    failures = parity.failures
    if share < tolerance.neighbours:
        failures += (f"{share:.0%} of nearest neighbours agree, at least {tolerance.neighbours:.0%} wanted",)
    return replace(parity, neighbours=round(share, 6), failures=failures)


def _nearest(embeddings: np.ndarray) -> np.ndarray:
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    found: np.ndarray = likeness.argmax(axis=1)
    return found
