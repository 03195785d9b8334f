"""Decides the exit status by a run's summary: objectives, errors, regressions.

Knows verdicts only; it measures and compares nothing itself. A result that is unstable or of a saturated client is a
note and does not fail a run, since the machine may be at fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.report.goodput import WANTED
from loadtest.report.summary import mostly_failed


@dataclass(frozen=True)
class Finding:
    """A sentence about the run, and whether it fails it."""

    failed: bool
    text: str


def judge(summary: dict[str, Any]) -> list[Finding]:
    """All findings, the failures first."""
    rows, limit = summary["rows"], summary["profile"]["max_error_rate"]
    found = [
        *_errors(rows, limit),
        *_objectives(rows),
        *_goodputs(rows),
        *_peaks(summary["peaks"]),
        *_regressions(summary["comparisons"]),
        *_doubts(rows),
    ]
    return sorted(found, key=lambda finding: not finding.failed)


def point(row: dict[str, Any]) -> str:
    """A load point in words."""
    if row["mode"] == "closed":
        return f"{row['concurrency']} at a time"
    return f"{row['rate']:g}/s {row['arrivals']}" + (" soak" if row["purpose"] == "soak" else "")


def _errors(rows: Sequence[dict[str, Any]], limit: float) -> list[Finding]:
    return [
        Finding(
            True,
            f"FAIL  {row['archive']}, {point(row)}: {row['errors']} of {row['requests']} requests failed "
            f"({', '.join(f'{kind}: {count}' for kind, count in row['errors_by_kind'].items()) or 'no answer'}); "
            f"at most {limit:.2%} may",
        )
        for row in rows
        if row["error_rate"] > limit
    ]


def _objectives(rows: Sequence[dict[str, Any]]) -> list[Finding]:
    found = []
    for row in rows:
        if slo := row.get("slo"):
            verdict = "ok  " if slo["met"] else "FAIL"
            reached = f"p99 {row['p99_ms']:g} ms" if slo["met"] else slo["reason"]
            found.append(
                Finding(
                    not slo["met"],
                    f"{verdict}  {row['archive']}, {point(row)}: {reached}; the objective is {slo['p99_ms']:g} ms",
                )
            )
    return found


def _goodputs(rows: Sequence[dict[str, Any]]) -> list[Finding]:
    return [
        Finding(
            not good["met"],
            f"{'ok  ' if good['met'] else 'FAIL'}  {row['archive']}, {point(row)}: {good['in_time']} of "
            f"{good['requests']} requests answered within {good['within_ms']:g} ms ({good['share']:.2%}, goodput "
            f"{good['requests_per_s']:g}/s); the objective is {WANTED:.0%}",
        )
        for row in rows
        if (good := row.get("goodput"))
    ]


def _peaks(peaks: Sequence[dict[str, Any]]) -> list[Finding]:
    return [
        Finding(
            peak["requests_per_s"] == 0,
            f"{'ok  ' if peak['requests_per_s'] else 'FAIL'}  {peak['archive']}: "
            f"peak {peak['requests_per_s']:g} requests/s at p99 <= {peak['slo_p99_ms']:g} ms, "
            f"limited by the {peak['limited_by']}",
        )
        for peak in peaks
    ]


def _regressions(comparisons: Sequence[dict[str, Any]]) -> list[Finding]:
    return [
        Finding(
            each["verdict"] == "worse",
            f"{'FAIL' if each['verdict'] == 'worse' else 'ok  '}  {each['archive']}, "
            f"{point(each)}: {each['metric']} is {each['ratio']:.3f} of {each['baseline']} "
            f"[{each['low']:.3f}, {each['high']:.3f}] at {each['confidence']:.0%}: {each['verdict']}",
        )
        for each in comparisons
    ]


def _doubts(rows: Sequence[dict[str, Any]]) -> list[Finding]:
    found = []
    for row in rows:
        reasons = []
        if mostly_failed(row):
            reasons.append("most of its requests failed, so its latencies are those of the few that did not")
        elif row["purpose"] == "measure" and not row["stable"]:
            reasons.append(f"unstable, its {'rounds' if row['windows_agree'] else 'windows'} differ by more than 10 %")
        if row["saturated"]:
            reasons.append(
                f"client saturated (CPU {row['client_cpu']:.0%}, sent late {row['late_share']:.1%}), "
                "so these latencies are partly its own"
            )
        if reasons:
            found.append(Finding(False, f"note  {row['archive']}, {point(row)}: {'; '.join(reasons)}"))
    return found
