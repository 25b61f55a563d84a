"""The picture: bandwidth reached, kernel by kernel, against a copy of the same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation, blended_transform_factory

from regkern.bench.kernels import KERNELS
from regkern.bench.peers import COMPILE, COPY, NUMPY, REFERENCE, REGKERN
from regkern.bench.results import Cell, Run, put


@dataclass(frozen=True)
class Style:
    """Colour and shape: either alone tells the contenders apart. Colours after Okabe and Ito."""

    colour: str
    marker: str
    aside: float = 0.0  # rows off the line, so that equals do not hide each other


STYLES = {
    "torch": Style("#D55E00", "s", -0.22),
    COMPILE: Style("#F0A15E", "p", -0.3),
    "numba": Style("#009E73", "^", -0.11),
    "JAX": Style("#CC79A7", "D", 0.11),
    "OpenCV": Style("#E69F00", "P", -0.11),
    NUMPY: Style("#56B4E9", "v", 0.22),
    REFERENCE: Style("#999999", "x"),
}
BLUE, INK, PALE = "#0072B2", "#222222", "#8A8A8A"
NUMBERS = 0.36  # inches behind a panel, for regkern's GB/s: beside a mark they would seem to be that mark's
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


def rows_of(run: Run) -> list[Cell]:
    """For each kernel its largest vector, and every shape of batch norm, in the order of the tables."""
    found = []
    for kernel in KERNELS:
        cells = [cell for cell in run.cells if cell.kernel == kernel.name]
        if cells and kernel.shapes is None:
            cells = [max(cells, key=lambda cell: cell.shape.elements)]
        found += cells
    return found


def _label(cell: Cell) -> str:
    shape = str(cell.shape).replace(", axis -1", " (last)")
    return f"{cell.kernel}  {shape}" if len(cell.shape.dims) > 1 else cell.kernel


def heights_of(rows: Sequence[Cell]) -> list[float]:
    """Where each row stands, from the top; families keep apart."""
    found, families = [0.0], [_family(cell) for cell in rows]
    for above, below in pairwise(families):
        found.append(found[-1] + (1.0 if above == below else 1.7))
    return found


def _family(cell: Cell) -> str:
    return next(kernel.family for kernel in KERNELS if kernel.name == cell.kernel)


def draw(run: Run, path: Path) -> None:
    """Write the picture; raises OSError where the file cannot be written."""
    picture = io.BytesIO()
    figure_of(run).savefig(picture, format=path.suffix[1:].lower())
    put(path, picture.getvalue())


def figure_of(run: Run) -> Figure:
    """One panel for one thread and one for all of them."""
    rows = rows_of(run)
    heights = heights_of(rows)
    counts = sorted({threads for cell in rows for threads in cell.thread_counts(REGKERN)})
    shown = [counts[0], counts[-1]] if len(counts) > 1 else counts
    size = (3.9 + (4.3 + NUMBERS) * len(shown), 2.6 + 0.27 * heights[-1])
    figure = Figure(figsize=size, dpi=160, facecolor="white")
    panels = figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
    for axes, threads in zip(panels, shown, strict=True):
        _panel(figure, axes, rows, heights, threads)
    _scale(panels[0], rows, heights)
    left, right, top, bottom = 3.55 / size[0], 1 - (NUMBERS + 0.2) / size[0], 1 - 1.45 / size[1], 0.62 / size[1]
    figure.subplots_adjust(left=left, right=right, top=top, bottom=bottom, wspace=(NUMBERS + 0.1) / 4.2)
    _words(figure, run, rows, size)
    return figure


def _panel(figure: Figure, axes: Axes, rows: Sequence[Cell], heights: Sequence[float], threads: int) -> None:
    row = blended_transform_factory(axes.transAxes, axes.transData)
    behind = row + ScaledTranslation(NUMBERS, 0, figure.dpi_scale_trans)
    for cell, y in zip(rows, heights, strict=True):
        rates = {}
        for name in STYLES:
            key = cell.key_of(name, threads)
            rates[name] = cell.rate(*key) if key else None
        axes.axhline(y, color="#EFEFEF", linewidth=0.8, zorder=0)
        ours, copy = cell.rate(REGKERN, threads), cell.rate(COPY, 1)
        if copy:
            axes.plot([copy, copy], [y - 0.5, y + 0.5], color=INK, linewidth=2.2, solid_capstyle="butt", zorder=2)
        best = max((rate for rate in rates.values() if rate), default=None)
        if ours and best:  # the distance to the best of the others is what one comes to see
            axes.plot([best, ours], [y, y], color=BLUE, alpha=0.25, linewidth=4, solid_capstyle="butt", zorder=1)
        for name, rate in rates.items():
            if rate:
                style = STYLES[name]
                axes.plot(
                    rate,
                    y + style.aside,
                    style.marker,
                    color=style.colour,
                    markersize=5.2,
                    markeredgewidth=1.3,
                    zorder=3,
                )
        if ours:
            axes.plot(ours, y, "o", color=BLUE, markersize=8.5, markeredgecolor="white", zorder=4)
            text = f"{ours:.0f}" if ours >= 9.95 else f"{ours:.1f}"
            axes.text(1, y, text, color=BLUE, fontsize=9, fontweight="bold", ha="right", va="center", transform=behind)
    title = "one thread" if threads == 1 else f"{threads} threads"
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK, pad=8)
    axes.set_xlabel("GB/s, logarithmic; further right is faster", fontsize=9, color=PALE)


def _scale(axes: Axes, rows: Sequence[Cell], heights: Sequence[float]) -> None:
    """The axes, shared by the panels."""
    rates = [rate for cell in rows for name, threads in cell.samples if (rate := cell.rate(name, threads))]
    axes.set_xscale("log")
    axes.set_xlim(min(rates) / 1.25, max(rates) * 1.15)
    axes.set_ylim(heights[-1] + 0.8, -0.8)
    axes.set_yticks(list(heights), [_label(cell) for cell in rows])
    for panel in axes.figure.axes:
        panel.xaxis.set_major_locator(FixedLocator(TICKS))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        panel.grid(axis="x", color="#E2E2E2", linewidth=0.8)
        panel.set_axisbelow(True)
        panel.tick_params(length=0, labelsize=9, colors=INK)
        panel.spines[:].set_visible(False)


def _words(figure: Figure, run: Run, rows: Sequence[Cell], size: tuple[float, float]) -> None:
    """Title, what was measured where, and the key."""

    def y(inches: float) -> float:
        return 1 - inches / size[1]

    left = 0.2 / size[0]
    figure.text(
        left, y(0.38), "How near each kernel comes to the memory's speed", fontsize=15, fontweight="bold", color=INK
    )
    vectors = max((cell.shape.elements for cell in rows if len(cell.shape.dims) == 1), default=0)
    elements = f"vectors of {vectors:,} elements; " if vectors else ""
    machine = run.facts["machine"]
    facts = f"{run.dtype}, {elements}GB/s of the bytes a kernel must move; {machine['cpu']}, {machine['cores']} cores"
    figure.text(left, y(0.62), facts, fontsize=9, color=PALE)
    names = [name for name in STYLES if any(name == found for cell in rows for found, _ in cell.samples)]
    key: list[tuple[str, str, str, float]] = [
        ("regkern; its GB/s at the end of the row", "o", BLUE, 8.5),
        ("np.copyto of as many bytes, one thread", "|", INK, 12),
    ]
    key += [(name, STYLES[name].marker, STYLES[name].colour, 6) for name in names]
    x = left
    for text, marker, colour, markersize in key:
        handle = Line2D([x + 0.07 / size[0]], [y(0.92)], marker=marker, color=colour, markersize=markersize)
        handle.set(markeredgewidth=2.4 if marker == "|" else 1.3, linestyle="none", transform=figure.transFigure)
        figure.add_artist(handle)
        figure.text(x + 0.22 / size[0], y(0.92), text, fontsize=10, color=colour, va="center_baseline")
        x += (0.52 + 0.073 * len(text)) / size[0]
