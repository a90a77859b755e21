"""Charts of lines as pictures, drawn with Pillow alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

Point = tuple[float, float]
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe & Ito (2008): distinct to colour-blind readers too."""
SCALE = 2
"""All is drawn so many times larger and shrunk, which smooths the lines."""
WIDTH, HEIGHT = 760, 440
LEFT, TOP, RIGHT, BOTTOM = 70, 40, 150, 50


def line_plot(
    lines: Mapping[str, Sequence[Point]],
    title: str,
    x_label: str,
    y_label: str,
    shaded: tuple[float, float] | None = None,
    log_x: bool = False,
) -> Image.Image:
    """Give a chart of ``lines``, by name, the first drawn thickest.

    Args:
        lines: points (x, y); a point that is not finite is left out.
        title, x_label, y_label: texts.
        shaded: a range of x to set apart, or None.
        log_x: draw x by its logarithm.

    Raises:
        ValueError: where no point is finite, or x is not above 0 for a logarithm.
    """
    kept = {name: sorted(p for p in points if _finite(p)) for name, points in lines.items()}
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        raise ValueError(f"the chart {title!r} has no finite point")
    if log_x and min(x for points in kept.values() for x, _ in points) <= 0:
        raise ValueError(f"the chart {title!r} has no logarithm of an x of 0 or less")
    chart = _Chart(kept, log_x)
    chart.frame(title, x_label, y_label, shaded)
    for number, (name, points) in reversed(list(enumerate(kept.items()))):
        chart.line(number, name, points)
    return chart.picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Give about ``count`` round numbers within ``low`` to ``high``, in steps of 1, 2 or 5."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _finite(point: Point) -> bool:
    return all(math.isfinite(value) for value in point)


class _Chart:
    """A picture and where its points lie."""

    def __init__(self, lines: Mapping[str, Sequence[Point]], log_x: bool) -> None:
        self.log_x = log_x
        self.xs = sorted({x for points in lines.values() for x, _ in points})
        ys = [y for points in lines.values() for _, y in points]
        self.x_range = _widened(self._place(self.xs[0]), self._place(self.xs[-1]), 0.02)
        self.y_range = _widened(min(ys), max(ys), 0.05)
        self.picture = Image.new("RGB", (SCALE * WIDTH, SCALE * HEIGHT), "white")
        self.pen = ImageDraw.Draw(self.picture)
        self.font = ImageFont.load_default(12 * SCALE)

    def _place(self, x: float) -> float:
        return math.log10(x) if self.log_x else x

    def x(self, value: float) -> float:
        """Give where ``value`` lies, in pixels from the left."""
        low, high = self.x_range
        share = (self._place(value) - low) / (high - low)
        return SCALE * (LEFT + share * (WIDTH - LEFT - RIGHT))

    def y(self, value: float) -> float:
        """Give where ``value`` lies, in pixels from the top."""
        low, high = self.y_range
        return SCALE * (TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM))

    def text(self, x: float, y: float, text: str, anchor: str, colour: str = "#333333") -> None:
        """Write at pixels of the final picture."""
        self.pen.text((SCALE * x, SCALE * y), text, colour, font=self.font, anchor=anchor)

    def frame(
        self, title: str, x_label: str, y_label: str, shaded: tuple[float, float] | None
    ) -> None:
        """Draw all but the lines."""
        left, right = SCALE * LEFT, SCALE * (WIDTH - RIGHT)
        top, bottom = SCALE * TOP, SCALE * (HEIGHT - BOTTOM)
        if shaded is not None:
            edges = [min(max(self.x(value), left), right) for value in shaded]
            self.pen.rectangle((edges[0], top, edges[1], bottom), "#eef3f7")
        for value in ticks(*self.y_range):
            self.pen.line((left, self.y(value), right, self.y(value)), "#dddddd", SCALE)
            self.text(LEFT - 6, self.y(value) / SCALE, f"{value:g}", "rm")
        for value in self.xs if self.log_x else ticks(*self.x_range):
            self.pen.line((self.x(value), bottom, self.x(value), bottom + 4 * SCALE), "#333333", 2)
            self.text(self.x(value) / SCALE, HEIGHT - BOTTOM + 8, f"{value:g}", "mt")
        self.pen.rectangle((left, top, right, bottom), outline="#333333", width=SCALE)
        self.text(LEFT, 14, title, "lm", "black")
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_label, "mm")
        self.text(LEFT, TOP - 8, y_label, "lm")

    def line(self, number: int, name: str, points: Sequence[Point]) -> None:
        """Draw a line, its points and its name."""
        colour, width = COLOURS[number % len(COLOURS)], SCALE * (3 if number == 0 else 2)
        places = [(self.x(x), self.y(y)) for x, y in points]
        self.pen.line(places, colour, width, joint="curve")
        for x, y in places:
            self.pen.ellipse((x - 2 * width, y - 2 * width, x + 2 * width, y + 2 * width), colour)
        row = TOP + 10 + 20 * number
        start = WIDTH - RIGHT + 12
        self.pen.line(
            (SCALE * start, SCALE * row, SCALE * (start + 18), SCALE * row), colour, width
        )
        self.text(start + 24, row, name, "lm")


def _widened(low: float, high: float, share: float) -> tuple[float, float]:
    """Give the range with room at both ends; a single value gets room of its own."""
    room = share * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room
