"""Line plots as SVG, without a library: a few series over logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 190, 40, 48
_COLOURS: Final = ("#1b6ca8", "#d1495b", "#2e8b57", "#edae49", "#6a4c93", "#66737d", "#00798c")

Points = Sequence[tuple[float, float]]


def line_plot(title: str, x_title: str, y_title: str, series: Mapping[str, Points]) -> str:
    """An SVG document; both axes logarithmic, points that are not positive left out. "" where nothing is left."""
    kept = {name: [(x, y) for x, y in points if x > 0 and y > 0] for name, points in series.items()}
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        return ""
    xs = [x for points in kept.values() for x, _ in points]
    ys = [y for points in kept.values() for _, y in points]
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))

    def across(x: float) -> float:
        return _LEFT + _share(x, x_ticks) * (WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        return HEIGHT - _BOTTOM - _share(y, y_ticks) * (HEIGHT - _TOP - _BOTTOM)

    middle_x, middle_y = (_LEFT + WIDTH - _RIGHT) / 2, (HEIGHT - _BOTTOM + _TOP) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>',
        f'<text x="{middle_x}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_title)}</text>',
        f'<text transform="translate(16 {middle_y}) rotate(-90)" text-anchor="middle">{escape(y_title)}</text>',
    ]
    for tick in x_ticks:
        x = across(tick)
        parts.append(f'<path d="M{x:.1f} {_TOP}V{HEIGHT - _BOTTOM}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{short(tick)}</text>')
    for tick in y_ticks:
        y = down(tick)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    for number, (name, points) in enumerate(kept.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [(across(x), down(y)) for x, y in sorted(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        line = _TOP + 14 + 20 * number
        parts.append(f'<path d="M{WIDTH - _RIGHT + 12} {line - 4}h18" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{WIDTH - _RIGHT + 36}" y="{line}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, from one at or below *low* to one at or above *high*; powers alone if many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    values = sorted(step * 10.0**power for power in range(first, last + 1) for step in steps)
    start = max(value for value in values if value <= low * (1 + 1e-9))
    end = min(value for value in values if value >= high * (1 - 1e-9))
    if start == end:
        end = next((value for value in values if value > start), start * 10)
    return [value for value in values if start <= value <= end]


def short(value: float) -> str:
    """As an axis says it: 0.05, 20, 10k, 1M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _share(value: float, axis: Sequence[float]) -> float:
    """Where on an axis *value* lies, 0 to 1."""
    return math.log(value / axis[0]) / math.log(axis[-1] / axis[0])
