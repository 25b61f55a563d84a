"""The few rows that stand for all: the screen that a run ends with, and a table for documents."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.text import Text

from regkern.bench.kernels import KERNELS
from regkern.bench.lines import LINES, Line
from regkern.bench.peers import COPY, NUMPY, REGKERN, RIVALS
from regkern.bench.report import FEW, elements, median, note, number, show, table
from regkern.bench.results import Cell, Estimate, Run
from regkern.bench.verdicts import Verdict

NAMES = 44  # columns that the kernel and the shape of a claim may take: they are not cut, nor is what was measured
MISSES = 15  # lines: what fits on a screen below the rows


def lines_of(run: Run) -> list[tuple[Line, Cell]]:
    """The rows that the run has; where it has few of them, the largest shape of each of a dozen kernels."""
    found = [(line, cell) for line in LINES if (cell := run.cell(line.kernel, line.shape)) is not None]
    if 2 * len(found) > len(LINES):
        return found
    largest: dict[str, Cell] = {}
    for cell in sorted(run.cells, key=lambda cell: cell.shape.elements):
        largest[cell.kernel] = cell
    chosen = [largest[kernel.name] for kernel in KERNELS if kernel.name in largest][:12]
    return [(Line(cell.kernel, cell.kernel, cell.shape), cell) for cell in chosen]


def of_one_thread(run: Run) -> bool:
    """Whether the run says anything of its rows with one thread."""
    return adds_to(run, run)


def adds_to(first: Run, run: Run) -> bool:
    """Whether the run has a row of the first one, with one thread."""
    cells = [run.cell(line.kernel, line.shape) for line, _ in lines_of(first)]
    return any(cell is not None and cell.time(REGKERN, 1) is not None for cell in cells)


def best_rival(cell: Cell) -> tuple[str, Estimate] | None:
    """Who comes nearest with one thread, and its time over regkern's."""
    ratios = {name: cell.ratio((name, 1), (REGKERN, 1)) for name in (NUMPY, *RIVALS)}
    found = [(name, ratio) for name, ratio in ratios.items() if ratio is not None]
    return min(found, key=lambda pair: pair[1].value, default=None)


def absent_rivals(run: Run, cell: Cell) -> list[str]:
    """Who might come nearer with one thread, but was left out."""
    return [name for name in cell.absent(run.left_out) if name in (NUMPY, *RIVALS)]


def summary(run: Run, verdicts: list[Verdict], console: Console) -> None:
    """One screen: where the kernels stand, and what misses."""
    columns = ("kernel", "elements", "best rival", "×", "of copy's speed", "GB/s")
    rows = table(f"In short ({run.dtype}, one thread)", *columns, left=("kernel", "best rival"))
    left_out = []
    for line, cell in lines_of(run):
        rival, rate = best_rival(cell), cell.rate(REGKERN, 1)
        share = cell.ratio((COPY, 1), (REGKERN, 1))
        if rate is None:
            continue
        name, times = (rival[0], median(rival[1])) if rival else ("·", "·")
        if absent := absent_rivals(run, cell):
            left_out.append(f"{' and '.join(absent)} in {cell.kernel} {cell.shape}")
            name += " *"
        rows.add_row(line.kernel, elements(cell.shape), name, times, _percent(share), number(rate))
    if rows.row_count:
        show(rows, console, ("GB/s", "elements"))
        note(
            "×: how many times as fast as the best rival regkern is. copy's speed: what np.copyto of as many bytes has "
            "reached in the same rounds; half of it is reading, and what reads more than it writes can pass 100 %. "
            f"~: fewer than {FEW} rounds.",
            console,
        )
    if left_out:
        note(f"*: of those measured. Left out for want of time: {'; '.join(left_out)}.", console)
    misses(run, verdicts, console)


def misses(run: Run, verdicts: list[Verdict], console: Console) -> None:
    """How many claims hold, and which do not on this machine."""
    if not verdicts:
        console.print(f"No claim is judged: there is none about these kernels in {run.dtype}.")
        return
    missed = [verdict for verdict in verdicts if verdict.holds is False]
    held = sum(verdict.holds is True for verdict in verdicts)
    unknown = len(verdicts) - held - len(missed)
    counts = f"{held} hold, {len(missed)} miss on this machine, {unknown} could not be judged"
    console.print(f"[bold]Claims[/]: {counts}{':' if missed else '.'}", highlight=False)
    for verdict in missed[:MISSES]:
        claim, measured = verdict.claim, verdict.measured
        bound = "≤" if claim.at_most else "≥"
        found = f"{median(measured)}, not {bound} {claim.target:g}" if measured else ""
        if verdict.copy is not None and verdict.copy_misses:
            found += f" (a copy: {number(verdict.copy.value)})"
        why = "not the same bits" if verdict.same_bits is False else found
        text = Text(f"  {claim.kernel} {elements(claim.shape)}: {claim.text}")
        text.truncate(max(console.width - len(why) - 2, NAMES), overflow="ellipsis")
        console.print(text.append(f": {why}"), style="red")
    if len(missed) > MISSES:
        console.print(f"  and {len(missed) - MISSES} more, in the table of claims above")


def _percent(share: Estimate | None) -> str:
    return f"{'~' if share.rounds < FEW else ''}{100 * share.value:.0f} %" if share else "·"


def _rows(runs: list[Run]) -> list[tuple[Line, list[tuple[Run, Cell]]]]:
    """The rows of the first run, each with the runs that have it."""
    return [
        (line, [(run, cell) for run in runs if (cell := run.cell(line.kernel, line.shape)) is not None])
        for line, _ in lines_of(runs[0])
    ]


def doubts(runs: list[Run]) -> list[str]:
    """What one should know of the best rivals in the table, a line each."""
    few, left_out = [], []
    for line, found in _rows(runs):
        where, rounds = f"{line.kernel} {line.shape}", Counter[str]()
        for name, ratio in (pair for _, cell in found if (pair := best_rival(cell)) is not None):
            rounds[name] += ratio.rounds
        few += [f"{name} in {where}" for name, count in rounds.items() if count < FEW]
        absent = dict.fromkeys(name for run, cell in found for name in absent_rivals(run, cell))
        left_out += [f"{' and '.join(absent)} in {where}"] if absent else []
    told = (f"fewer than {FEW} rounds of the best rival", few), ("rivals left out for want of time", left_out)
    return [f"{what}: {'; '.join(cells)}" for what, cells in told if cells]


def markdown(runs: list[Run]) -> str:
    """The table for documents; a cell is a range where the runs differ."""
    first = runs[0]
    found = ["| one thread | best rival | times as fast | of `np.copyto`'s speed |", "|---|---|---|---|"]
    for line, pairs in _rows(runs):
        cells = [cell for _, cell in pairs]
        rivals = [pair for cell in cells if (pair := best_rival(cell)) is not None]
        shares = [share for cell in cells if (share := cell.ratio((COPY, 1), (REGKERN, 1))) is not None]
        names = " or ".join(dict.fromkeys(name for name, _ in rivals)) or "–"
        times = _range([ratio.value for _, ratio in rivals])
        percents = _range([100 * share.value for share in shares], " %")
        found.append(f"| {line.label}, {_shape(line)} | {names} | {times} | {percents} |")
    machine, versions = first.facts["machine"], first.facts.get("versions", {})
    others = [f"{name} {first.terms[name].partition(':')[0]}" for name in RIVALS if name in first.terms]
    known = ", ".join([f"{name} {versions[name]}" for name in ("regkern", "numpy") if name in versions] + others)
    dates = " and ".join(dict.fromkeys(str(run.facts["date"])[:10] for run in runs))
    found += ["", f"{first.dtype}. {machine['cpu']}, {machine['cores']} cores; {known}; {dates}."]
    return "\n".join(found)


def _shape(line: Line) -> str:
    dims = line.shape.dims
    return f"{dims[0]:,}" if len(dims) == 1 else f"({', '.join(map(str, dims))})"


def _range(values: list[float], unit: str = "") -> str:
    """Two digits are what runs have in common."""
    if not values:
        return "–"
    low, high = (f"{value:.2g}" if value < 99.5 else f"{value:.0f}" for value in (min(values), max(values)))
    return (low if low == high else f"{low}–{high}") + unit
