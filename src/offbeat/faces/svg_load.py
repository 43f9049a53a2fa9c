"""The load of a day as an SVG: stacked bars by queue, axes, a legend and the herds; readable on light and on dark.

Never writes a file and needs no library: text is the result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import ceil, floor, log10

from offbeat.core.herds import Herd, herd_minutes
from offbeat.core.load import MINUTES, Load, by_queue
from offbeat.faces.histogram import amount

BAR = 5  # minutes of a bar
MOST_QUEUES = 7  # with a colour of their own
_LEFT, _TOP, _WIDTH, _HEIGHT = 64, 88, 1152, 280
_LIGHT = ("#2f6fd0", "#e08a00", "#1a9a6c", "#b5489a", "#c8452f", "#3aa6c9", "#7a5bd0", "#8a8f98")
_DARK = ("#6ea8ff", "#ffb84d", "#4fd1a1", "#e58acb", "#ff8a73", "#7fd6f0", "#b39dff", "#a6abb5")
_ROW, _LEGEND_WIDTH = 22, 288
_Parts = Sequence[Mapping[str, float]]


def draw(load: Load, herds: Sequence[Herd], *, title: str, subtitle: str) -> str:
    """Return the whole drawing. Each bar is the busiest minute of its five; queues beyond the seventh share a colour."""
    names = _names(load)
    below = _TOP + _HEIGHT + 72
    height = below + (len(names) + 3) // 4 * _ROW + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 24} {height}" role="img" '
        'aria-labelledby="title desc" font-family="system-ui, sans-serif" font-size="14">',
        f'<title id="title">{_escaped(title)}</title>',
        f'<desc id="desc">{_escaped(". ".join([subtitle, *_told(herds)]))}</desc>',
        _style(),
        '<rect class="back" width="100%" height="100%"/>',
        f'<text class="ink" x="{_LEFT}" y="34" font-size="20" font-weight="600">{_escaped(title)}</text>',
        f'<text class="dim" x="{_LEFT}" y="58">{_escaped(subtitle)}</text>',
        *_grid(max(load.most)),
        *_bars(load, names),
        *_marks(herds),
        *_legend(load, names, below),
        *_marks_legend(herds),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _names(load: Load) -> list[str]:
    """Return the queues as they are stacked; the last may be what is left of them."""
    queues = [_name(queue) for queue in by_queue(load.rows)]
    return queues if len(queues) <= MOST_QUEUES + 1 else [*queues[:MOST_QUEUES], "other queues"]


def _name(queue: str | None) -> str:
    return "(commands)" if queue is None else queue


def _style() -> str:
    light = "".join(f".q{place}{{fill:{colour}}}" for place, colour in enumerate(_LIGHT))
    dark = "".join(f".q{place}{{fill:{colour}}}" for place, colour in enumerate(_DARK))
    return (
        f"<style>.back{{fill:#fff}}.ink{{fill:#1c2128}}.dim{{fill:#59636e}}.grid{{stroke:#d8dee4}}.mark{{fill:#c8452f}}{light}"
        "@media(prefers-color-scheme:dark){"
        f".back{{fill:#0d1117}}.ink{{fill:#e6edf3}}.dim{{fill:#9198a1}}.grid{{stroke:#2b3138}}.mark{{fill:#ff8a73}}{dark}}}</style>"
    )


def _grid(peak: float) -> Iterator[str]:
    """Yield the lines and the words of both axes."""
    step, top = _scale(peak)
    for part in range(round(top / step) + 1):
        y = round(_TOP + _HEIGHT - _HEIGHT * part * step / top)
        yield f'<line class="grid" x1="{_LEFT}" y1="{y}" x2="{_LEFT + _WIDTH}" y2="{y}"/>'
        yield f'<text class="dim" x="{_LEFT - 8}" y="{y + 5}" text-anchor="end">{amount(part * step)}</text>'
    for hour in range(0, 25, 2):
        x = _LEFT + _WIDTH * hour // 24
        yield f'<line class="grid" x1="{x}" y1="{_TOP + _HEIGHT}" x2="{x}" y2="{_TOP + _HEIGHT + 6}"/>'
        yield f'<text class="dim" x="{x}" y="{_TOP + _HEIGHT + 36}" text-anchor="middle">{hour:02}:00</text>'


def _scale(peak: float) -> tuple[float, float]:
    """Return the step between the lines, a round number, and the value of the highest one."""
    unit = 10.0 ** floor(log10(peak / 4))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor * 5 >= peak)
    return step, ceil(peak / step - 1e-9) * step


def _bars(load: Load, names: Sequence[str]) -> Iterator[str]:
    parts, (_, peak) = _by_minute(load, names), _scale(max(load.most))
    width = _WIDTH * BAR / MINUTES
    for begin in range(0, MINUTES, BAR):
        minute = max(range(begin, begin + BAR), key=lambda at: load.most[at])
        if load.most[minute] <= 0:
            continue
        whole = sum(parts[minute].values())
        words = ", ".join(f"{name} {amount(each)}" for name, each in parts[minute].items())
        tip = _escaped(f"{minute // 60:02}:{minute % 60:02}: {amount(load.most[minute])} ({words})")
        yield f"<g><title>{tip}</title>"
        y = float(_TOP + _HEIGHT)
        for place, name in enumerate(names):
            high = _HEIGHT * load.most[minute] / peak * parts[minute].get(name, 0.0) / whole
            if high > 0:
                y -= high
                x = _LEFT + begin / BAR * width
                box = f'x="{x:g}" y="{y:.2f}" width="{width - 0.6:g}" height="{high:.2f}"'
                yield f'<rect class="q{_colour(place, names)}" {box}/>'
        yield "</g>"


def _by_minute(load: Load, names: Sequence[str]) -> _Parts:
    """Return what each queue gets at most in each minute."""
    parts: list[defaultdict[str, float]] = [defaultdict(float) for _ in range(MINUTES)]
    for row in load.rows:
        name = _name(row.queue)
        parts[row.minute][name if name in names else names[-1]] += row.most
    return parts


def _colour(place: int, names: Sequence[str]) -> int:
    return len(_LIGHT) - 1 if names[place] == "other queues" else place


def _marks(herds: Sequence[Herd]) -> Iterator[str]:
    """Yield a small triangle below each bar that has a herd in it."""
    y = _TOP + _HEIGHT + 8
    for bar in sorted({minute // BAR for minute in herd_minutes(herds)}):
        x = _LEFT + (bar + 0.5) * _WIDTH * BAR / MINUTES
        yield f'<path class="mark" d="M{x:g} {y}l4 8h-8z"/>'


def _legend(load: Load, names: Sequence[str], top: int) -> Iterator[str]:
    queues = by_queue(load.rows)
    most: defaultdict[str, float] = defaultdict(float)
    for row in load.rows:
        most[_name(row.queue)] = max(most[_name(row.queue)], row.most)
    days = {_name(queue): due for queue, due in queues.items()}
    for place, name in enumerate(names):
        x, y = _LEFT + place % 4 * _LEGEND_WIDTH, top + place // 4 * _ROW
        if name in days:
            told = f"{name[:20]}: {amount(days[name])} a day, {amount(most[name])} at most"
        else:
            told = f"{name}: {amount(sum(due for queue, due in days.items() if queue not in names))} a day"
        yield f'<rect class="q{_colour(place, names)}" x="{x}" y="{y - 11}" width="12" height="12" rx="2"/>'
        yield f'<text class="ink" x="{x + 20}" y="{y}">{_escaped(told)}</text>'


def _marks_legend(herds: Sequence[Herd]) -> Iterator[str]:
    if herds:
        words = '<tspan class="mark">\u25b2</tspan> a herd: worth spreading'
        yield f'<text class="dim" x="{_LEFT + _WIDTH}" y="58" text-anchor="end">{words}</text>'


def _told(herds: Sequence[Herd]) -> Iterator[str]:
    for herd in herds:
        yield f"{len(herd.names)} entries come due at {herd.when}"


def _escaped(text: str) -> str:
    """Return the text as it may stand in XML; characters that XML cannot have are spelled out."""
    from xml.sax.saxutils import escape

    from offbeat.faces.words import printable

    return escape(printable(text), {'"': "&quot;"})
