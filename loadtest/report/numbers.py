"""How figures are written: in tables, in sentences, on pages. Knows numbers, not what they measure."""

from __future__ import annotations

import math

DASH = "–"


def number(value: float | None) -> str:
    """For a table's column: three significant digits or so; a dash for what is not known."""
    if value is None:
        return DASH
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def amount(value: float | None) -> str:
    """For a sentence: three significant digits, no trailing zeros, thousands apart; a dash for what is not known."""
    if value is None:
        return DASH
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def at_least(value: float, digits: int = 4) -> str:
    """A lower bound: rounded down, so that what is written holds."""
    return f"{math.floor(round(value * 10**digits, 3)) / 10**digits:.{digits}f}"


def percent(share: float) -> str:
    """A share (0 to 1) in percent, rounded down to a tenth: 100 % is all of them."""
    return f"{math.floor(round(share * 1000, 3)) / 10:g} %"
