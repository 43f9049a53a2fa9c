"""A day of 24 hours as blocks on a terminal: one histogram with its axes, and one-line ones.

Never prints: lines of text are the result, and what colours them is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

MINUTES = 1440
BLOCKS = " ▁▂▃▄▅▆▇█"
POINTER, POINTER_ASCII = "▲", "^"
ASCII = "  ...::##"
Paint = Callable[[str, bool], str]  # a piece of a row and whether it is marked -> the piece in its colour
_WIDTHS = (5, 6, 10, 12, 15, 20, 30, 60)  # minutes of a column, so that an hour is a whole number of columns


def column_minutes(room: int) -> int:
    """Return how many minutes a column must stand for, so that a day fits into `room` characters.

    >>> column_minutes(72), column_minutes(130)
    (20, 12)
    """
    return next((minutes for minutes in _WIDTHS if MINUTES // minutes <= room), _WIDTHS[-1])


def columns(values: Sequence[float], minutes: int) -> list[float]:
    """Return the largest value of each column."""
    return [max(values[begin : begin + minutes]) for begin in range(0, len(values), minutes)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A histogram: its lines, the blanks left of its columns, and how many minutes a column is."""

    lines: tuple[str, ...]
    margin: int
    minutes: int


def histogram(values: Sequence[float], marked: Collection[int], *, width: int, height: int, plain: bool, paint: Paint) -> Chart:
    """Return a histogram of 1440 values, `width` characters wide at most, with `height` rows and the axis below.

    marked: minutes whose columns are painted and pointed at. plain: in ASCII.
    """
    peak = max(values)
    labels = {0: amount(peak), height // 2: amount(peak / 2)} if height > 3 else {0: amount(peak)}
    margin = max(map(len, (*labels.values(), "0"))) + 2
    minutes = column_minutes(width - margin)
    bars = columns(values, minutes)
    hot = {minute // minutes for minute in marked}
    blocks = ASCII if plain else BLOCKS
    side, tick = ("|", "+") if plain else ("│", "┤")
    lines = []
    for row in range(height):
        floor = (height - 1 - row) * 8
        cells = [blocks[min(8, max(0, _eighths(bar, peak, height) - floor))] for bar in bars]
        label = labels.get(row, "")
        lines.append(f"{label:>{margin - 2}} {tick if label else side}{_painted(cells, hot, paint)}".rstrip())
    lines += _axis(margin, minutes, plain=plain)
    if hot:
        pointer = POINTER_ASCII if plain else POINTER
        lines.append(" " * margin + _painted([pointer if at in hot else " " for at in range(len(bars))], hot, paint).rstrip())
    return Chart(lines=tuple(lines), margin=margin, minutes=minutes)


def sparkline(values: Sequence[float], minutes: int, *, plain: bool) -> str:
    """Return 1440 values as one line of blocks, as high as its own largest value.

    >>> sparkline([0.0] * 1380 + [8.0] + [4.0] * 59, 60, plain=False)[-2:]
    ' █'
    """
    blocks, peak = ASCII if plain else BLOCKS, max(values)
    return "".join(blocks[_eighths(bar, peak, 1)] for bar in columns(values, minutes))


def amount(value: float) -> str:
    """Return a number of tasks: at most one digit after the point, two where it is below a tenth.

    >>> amount(17.0), amount(2.5), amount(19.97), amount(0.04), amount(12345.6)
    ('17', '2.5', '20', '0.04', '12346')
    """
    if value >= 100:
        return str(round(value))
    return f"{value:.1f}".removesuffix(".0") if value >= 0.1 else f"{value:.2f}".removesuffix(".00")


def _eighths(value: float, peak: float, height: int) -> int:
    return 0 if value <= 0 or peak <= 0 else max(1, round(value / peak * height * 8))


def _painted(cells: Sequence[str], hot: Collection[int], paint: Paint) -> str:
    """Return a row, painted in as few pieces as it can be."""
    text, piece, is_hot = "", "", False
    for place, cell in enumerate(cells):
        if (place in hot) != is_hot and piece:
            text, piece = text + paint(piece, is_hot), ""
        is_hot = place in hot
        piece += cell
    return text + paint(piece, is_hot)


def _axis(margin: int, minutes: int, *, plain: bool) -> list[str]:
    hour = 60 // minutes
    every = next(step for step in (1, 2, 3, 4, 6, 12) if step * hour >= 4)
    line, tick, corner = ("-", "+", "+") if plain else ("─", "┬", "└")
    ruler = "".join(tick if place % (every * hour) == 0 else line for place in range(24 * hour))
    hours = "".join(f"{at:02}".ljust(every * hour) for at in range(0, 24, every)).rstrip()
    return [f"{'0':>{margin - 2}} {corner}{ruler}", " " * margin + hours]
