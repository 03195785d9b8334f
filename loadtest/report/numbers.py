"""Formats figures for tables, sentences and pages. Knows numbers, not their meaning."""

from __future__ import annotations

import math

DASH = "–"


def number(value: float | None) -> str:
    """For a column of a table: about three significant digits; a dash for an unknown value."""
    if value is None:
        return DASH
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def amount(value: float | None) -> str:
    """For a sentence: three significant digits, no trailing zeros, a separator of thousands; a dash for an unknown
    value."""
    if value is None:
        return DASH
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def at_least(value: float, digits: int = 4) -> str:
    """A lower bound, rounded down so that it stays true."""
    return f"{math.floor(round(value * 10**digits, 3)) / 10**digits:.{digits}f}"


def percent(share: float) -> str:
    """A share (0 to 1) in percent, rounded down to a tenth, so that only a share of 1 is 100 %."""
    return f"{math.floor(round(share * 1000, 3)) / 10:g} %"
