"""Log-log line plots side by side as one SVG text, without a plotting package. Knows nothing of what is plotted."""

from __future__ import annotations

import math
from html import escape

COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8e5ea2", "#b58900", "#555555")
WIDTH, HEIGHT, LEFT, TOP, GAP = 420, 300, 70, 50, 60
LEGEND_LINE = 16


class Panel:
    """One pair of axes.

    Args:
        x_title: under its x axis.
    """

    def __init__(self, x_title: str):
        self.x_title = x_title
        self.lines: dict[str, dict[int, float]] = {}

    def line(self, name: str, points: dict[int, float]) -> None:
        """Add a line; all x and y are above zero."""
        self.lines[name] = points


class Plot:
    """Panels that share one y scale.

    Args:
        title, y_title: over the whole, and beside its y axis.
    """

    def __init__(self, title: str, y_title: str):
        self._title = title
        self._y_title = y_title
        self._panels: list[Panel] = []

    def panel(self, x_title: str) -> Panel:
        """A further panel, to the right."""
        self._panels.append(Panel(x_title))
        return self._panels[-1]

    def svg(self) -> str:
        values = [y for panel in self._panels for points in panel.lines.values() for y in points.values()]
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
        rows = max(len(panel.lines) for panel in self._panels)
        width = LEFT + len(self._panels) * (WIDTH + GAP)
        height = TOP + HEIGHT + 50 + rows * LEGEND_LINE
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
            f'font-size="12"><rect width="100%" height="100%" fill="white"/>',
            _text(LEFT, 25, self._title, size=15),
            f'<g transform="translate(18 {TOP + HEIGHT / 2}) rotate(-90)">{_text(0, 0, self._y_title, "middle")}</g>',
        ]
        for index, panel in enumerate(self._panels):
            parts += _panel(panel, LEFT + index * (WIDTH + GAP), low, high)
        return "\n".join([*parts, "</svg>\n"])


def _panel(panel: Panel, left: float, low: int, high: int) -> list[str]:
    ticks = sorted({x for points in panel.lines.values() for x in points})
    first, last = math.log10(ticks[0]), math.log10(ticks[-1])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - first) / max(last - first, 1e-9)
        return left + across * WIDTH, TOP + HEIGHT * (high - math.log10(y)) / (high - low)

    parts = [f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>']
    for power in range(low, high + 1):
        y = place(ticks[0], 10.0**power)[1]
        parts.append(f'<line x1="{left}" x2="{left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(_text(left - 6, y + 4, f"{10.0**power:g}", anchor="end"))
    for x in ticks:
        parts.append(_text(place(x, 10.0**low)[0], TOP + HEIGHT + 16, f"{x:,}", anchor="middle"))
    parts.append(_text(left + WIDTH / 2, TOP + HEIGHT + 34, panel.x_title, anchor="middle"))
    for i, (name, points) in enumerate(panel.lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in (place(x, y) for x, y in points.items()))
        y = TOP + HEIGHT + 52 + i * LEGEND_LINE
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(
            f'<line x1="{left}" x2="{left + 20}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="2"/>'
        )
        parts.append(_text(left + 26, y, name))
    return parts


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
