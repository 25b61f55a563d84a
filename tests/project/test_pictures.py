"""The benchmark's picture: what stands beside what."""

from __future__ import annotations

from matplotlib.backends.backend_agg import FigureCanvasAgg

from regkern.bench import plot
from regkern.bench.data import Shape
from regkern.bench.peers import COPY, NUMPY, REFERENCE, REGKERN
from regkern.bench.results import Cell, Run, Samples


def run_of(rates: dict[str, dict[str, float]]) -> Run:
    """A run with these GB/s of one thread, by kernel and contender; two threads are twice as fast."""
    cells = []
    for kernel, by_name in rates.items():
        cell = Cell(kernel, Shape((1_000_000,)), "float32", 8)
        for name, rate in by_name.items():
            for threads in (1, 2) if name == REGKERN else (1,):
                cell.samples[name, threads] = Samples("", 1, {0: 8e6 / (rate * threads)})
        cells.append(cell)
    return Run({"machine": {"cpu": "a processor", "cores": 2}}, "float32", cells)


def test_numbers_are_regkerns_and_stand_alone() -> None:
    """In one column behind each panel, where no mark of anybody is: beside a bar or a rival they would seem to be its."""
    run = run_of(
        {
            "prox_l1 in place": {REGKERN: 7, COPY: 11, NUMPY: 12, REFERENCE: 0.2},
            "prox_ridge": {REGKERN: 60, COPY: 11, NUMPY: 6},
            "l1_norm": {REGKERN: 0.74, COPY: 90, NUMPY: 1.1},
        }
    )
    figure = plot.figure_of(run)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes, numbers in zip(figure.axes, (["7.0", "60", "0.7"], ["14", "120", "1.5"]), strict=True):
        texts = [text for text in axes.texts if text.get_text()]
        assert [text.get_text() for text in texts] == numbers
        inside = axes.get_window_extent(renderer)
        boxes = [text.get_window_extent(renderer) for text in texts]
        assert len({round(box.x1) for box in boxes}) == 1
        assert all(box.x0 > inside.x1 for box in boxes)
        for other in figure.axes:
            assert not any(box.overlaps(other.get_window_extent(renderer)) for box in boxes)
        for box, (x, y) in zip(boxes, [(1, 0.0), (1, 1.0), (1, 2.0)], strict=True):
            assert box.y0 < axes.transData.transform((x, y))[1] < box.y1
        assert all(box.x1 <= figure.bbox.x1 for box in boxes)
