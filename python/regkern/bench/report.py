"""Tables for people to read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from regkern.bench.data import Shape
from regkern.bench.kernels import FLOAT32, KERNELS, Kernel
from regkern.bench.peers import COMPILE, CONTENDERS, COPY, REFERENCE, REGKERN, Peer
from regkern.bench.results import Cell, Estimate, Key, Run
from regkern.bench.verdicts import Verdict

WIDTH = 120  # columns that the widest table takes
SHORT = {REFERENCE: "ref", COMPILE: "compile"}
LEAST = 10  # columns of words, where a screen is narrow
FEW = 3  # medians of fewer rounds carry a ~
NAMED = 5  # cells that a contender was left out of


class _Screen(Console):
    def on_broken_pipe(self) -> None:
        """The command ends as of itself."""
        raise BrokenPipeError


def console() -> Console:
    """As wide as the terminal, or as COLUMNS says; in a pipe wide enough for all."""
    found = _Screen()
    told = found.file.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return found if found.width >= (1 if told else WIDTH) else _Screen(width=WIDTH)


def number(value: float) -> str:
    """Three significant digits, and never an exponent."""
    if value >= 99.95:
        return f"{value:,.0f}"
    digits = 1 if value >= 9.995 else 2 if value >= 0.0995 else 3
    return f"{value:.{digits}f}"


def median(found: Estimate) -> str:
    """A median as a number, with its mark where few rounds tell it."""
    return ("~" if found.rounds < FEW else "") + number(found.value)


def percent(spread: float) -> str:
    return f"{100 * spread:.0f}" if spread < 10 else ">999"


def table(title: str, *columns: str, left: Sequence[str] = ("kernel",)) -> Table:
    """An empty table in the manner of this report; figures stand to the right."""
    found = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for name in columns:
        found.add_column(name, justify="left" if name in left else "right", no_wrap=name in left or name == "elements")
    return found


def show(rows: Table, console: Console, spare: Sequence[str] = ()) -> None:
    """Print a table. On a narrow screen words wrap, which figures must not, and columns that can be spared are left out, the
    first named first."""
    dropped = list[str]()
    if console.width < WIDTH:
        for column in rows.columns:
            column.no_wrap = column.justify == "right"
            column.overflow = "ellipsis" if column.no_wrap else "fold"
            column.max_width = None if column.no_wrap else LEAST  # for now, to see whether it fits
            column.header = str(column.header).replace(" ", "\n")
        unbounded = console.options.update_width(10 * WIDTH)
        for name in spare:
            if console.measure(rows, options=unbounded).maximum > console.width and name in map(_title, rows.columns):
                rows = _without(rows, name)
                dropped.append(name)
        for column in rows.columns:
            column.max_width = None
    console.print(rows)
    if dropped:
        note(f"This screen is too narrow for {', '.join(dropped)}.", console)


def _title(column: Column) -> str:
    return str(column.header).replace("\n", " ")


def _without(rows: Table, name: str) -> Table:
    """A copy of a table that lacks the columns of this title."""
    found, kept = copy(rows), [column for column in rows.columns if _title(column) != name]
    found.columns, found.rows = [], []
    for column in kept:
        found.add_column(
            column.header,
            justify=column.justify,
            no_wrap=column.no_wrap,
            overflow=column.overflow,
            max_width=column.max_width,
        )
    for row, cells in zip(rows.rows, zip(*(column.cells for column in kept), strict=True), strict=True):
        found.add_row(*cells, style=row.style, end_section=row.end_section)
    return found


def note(text: str, console: Console) -> None:
    """What one must know to read the table above."""
    console.print(text + "\n", style="dim", highlight=False)


def _factor(ratio: Estimate | None) -> Text:
    """How many times as fast regkern is: green where it wins by more than the noise, red where it loses so."""
    if ratio is None:
        return Text("·", style="dim")
    noise = max(ratio.spread, 0.03)
    style = "green" if ratio.value > 1 + noise else "red" if ratio.value < 1 - noise else ""
    return Text(median(ratio), style=style)


def _ordered(run: Run) -> list[Cell]:
    order = {kernel.name: i for i, kernel in enumerate(KERNELS)}
    return sorted(run.cells, key=lambda cell: order[cell.kernel])  # stable: sizes stay as measured


def header(run: Run, console: Console) -> None:
    facts, machine, config = run.facts, run.facts["machine"], run.facts["config"]
    caches = ", ".join(f"{name} {size}" for name, size in machine["caches"].items())
    console.print(
        f"[bold]regkern {facts['versions']['regkern']}[/] on {escape(machine['cpu'])}, {machine['cores']} cores, {caches}; "
        f"instruction set {config.get('isa', '?')}; {run.dtype}"
    )


def main_table(run: Run, console: Console) -> None:
    """One row a kernel, shape and number of threads."""
    names = [name for name in CONTENDERS[1:] if name in run.terms]
    title = f"Every kernel ({run.dtype}): how fast, and how many times as fast as the others"
    rows = table(
        title, "kernel", "elements", "thr", "ns/el", "±%", "GB/s", *(f"×{SHORT.get(name, name)}" for name in names)
    )
    last = ""
    for cell in _ordered(run):
        if last and cell.kernel != last:
            rows.add_section()
        for i, threads in enumerate(cell.thread_counts(REGKERN)):
            name = cell.kernel if cell.kernel != last else ""
            shape = elements(cell.shape) if i == 0 else ""
            rows.add_row(name, shape, *_figures(cell, (REGKERN, threads), names))
            last = cell.kernel
        for key in _beside(cell):
            rows.add_row(f"  {key[0]}", "", *_figures(cell, key, names), style="dim")
    show(rows, console, ("±%", "×ref", "GB/s", "×compile", "×OpenCV", "×JAX", "×numba", "×copy", "ns/el", "×NumPy"))
    note(
        "thr: threads. GB/s: of the bytes that the kernel must move. ±: half the interquartile range. ×copy: np.copyto that "
        "moves as many bytes; the others do the same work. Above 1 regkern is faster. "
        f"~: fewer than {FEW} rounds. ·: not measured.",
        console,
    )


def _figures(cell: Cell, key: Key, names: Sequence[str]) -> list[str | Text]:
    """Number of threads, time, spread, bandwidth, and the others' times over it."""
    time, threads = cell.time(*key), key[1]
    if time is None:
        return [str(threads)]
    wide = 2 if key[0] == FLOAT32 else 1  # so many times the bytes: the copy is none of as many
    rivals = [cell.key_of(name, threads) if wide == 1 or name != COPY else None for name in names]
    factors = [_factor(cell.ratio(rival, key) if rival else None) for rival in rivals]
    return [
        str(threads),
        number(time.value / cell.shape.elements),
        percent(time.spread),
        number(wide * cell.bytes_per_element * cell.shape.elements / time.value),
        *factors,
    ]


def _beside(cell: Cell) -> list[Key]:
    """The same by regkern in another form."""
    extras = next((kernel.extras for kernel in KERNELS if kernel.name == cell.kernel), ())
    return [(name, 1) for name, peer, _ in extras if peer == REGKERN and (name, 1) in cell.samples]


def elements(shape: Shape) -> str:
    return str(shape).replace(", axis -1", " last")


def scaling_table(run: Run, console: Console) -> None:
    """What more threads gain, in cache and out of it."""
    counts = sorted({t for cell in run.cells for t in cell.thread_counts(REGKERN) if t > 1})
    cells = [cell for cell in _ordered(run) if cell.shape.elements >= 100_000]
    if not counts or not cells:
        return
    columns = [title for count in counts for title in (f"{count} threads", "±%")]
    rows = table("Threads: how many times as fast as one thread", "kernel", "elements", *columns, "same bits")
    last = ""
    for cell in cells:
        ratios = [cell.ratio((REGKERN, 1), (REGKERN, count)) for count in counts]
        if not any(ratios):
            continue
        if last and cell.kernel != last:
            rows.add_section()
        figures: list[str | Text] = []
        for ratio in ratios:
            figures += [_factor(ratio), percent(ratio.spread) if ratio else ""]
        name = cell.kernel if cell.kernel != last else ""
        rows.add_row(name, elements(cell.shape), *figures, _same_bits(cell.same_bits))
        last = cell.kernel
    show(rows, console, ("±%",))
    note(
        "Arrays of 100,000 and 1,000,000 elements are in cache on most machines, those of 16,000,000 are not. same bits: of "
        "all that the call wrote and returned, compared for every number of threads (· too large for a run of this length).",
        console,
    )


def _same_bits(found: dict[int, bool]) -> Text:
    if not found:
        return Text("·", style="dim")
    return Text("yes") if all(found.values()) else Text("NO", style="bold red")


def claims_table(verdicts: list[Verdict], console: Console) -> None:
    """What regkern claims of the kernels measured, and what this run found."""
    if not verdicts:
        console.print("No claim is judged: they are stated for float32, and not for every kernel.")
        return
    title = "Claims (float32, one thread where no other number is given)"
    rows = table(title, "kernel", "elements", "claim", "target", "measured", "±%", "a copy", "", left=("kernel", ""))
    rows.columns[2].justify = "left"
    for verdict in verdicts:
        claim, measured = verdict.claim, verdict.measured
        miss = "misses; a copy too" if verdict.copy_misses else "misses"
        outcome = {True: Text("holds", style="green"), False: Text(miss, style="bold red")}
        target = f"{'≤' if claim.at_most else '≥'} {claim.target:g}"
        result = ("·", "")
        if measured is not None:
            result = (median(measured), percent(measured.spread))
        word = outcome[verdict.holds] if verdict.holds is not None else Text(verdict.why_not, style="dim")
        bits = {None: "", True: "; same bits", False: "; NOT the same bits"}[verdict.same_bits]
        copied = number(verdict.copy.value) if verdict.copy else ""
        rows.add_row(claim.kernel, elements(claim.shape), claim.text + bits, target, *result, copied, word)
    show(rows, console, ("±%", "a copy", "target", "elements"))
    note(
        "a copy: what the same rounds measure where np.copyto of as many bytes is in regkern's place. Where that misses "
        "too, moving the bytes takes too long on this machine, whatever the kernel does with them.",
        console,
    )


def footer(run: Run, console: Console) -> None:
    """On what terms, and what is not there."""
    console.print("[bold]Contenders[/] (all: same arrays, dtype, layout and number of threads; warm; medians)")
    for name in CONTENDERS:
        if name in run.terms:
            console.print(f"  {name}: {escape(run.terms[name])}", highlight=False)
        elif name in run.missing:
            console.print(f"  {escape(run.missing[name])}", style="dim", highlight=False)
    for kernel, why in run.refused.items():
        console.print(f"  {kernel}: {escape(why)}", style="dim", highlight=False)
    for name, cell in run.wrong:
        console.print(f"[bold red]{name} is left out of {cell}: its result differs from the reference.[/]")
    if run.left_out:
        console.print(
            "Cells left out for want of time (--json names them all; with --full only the slowest are):",
            highlight=False,
        )
        for name in sorted({name for name, _ in run.left_out}, key=CONTENDERS.index):
            cells = [cell for other, cell in run.left_out if other == name]
            more = f"; and {len(cells) - NAMED} more" if len(cells) > NAMED else ""
            console.print(f"  {name} {len(cells)}: {'; '.join(cells[:NAMED])}{more}", highlight=False)
    slim = sum(1 for cell in run.cells for s in cell.samples.values() if 0 < len(s.rounds) < FEW)
    few = f"{slim} figures rest on fewer than {FEW} rounds. " if slim else ""
    if run.disturbed:
        console.print(
            f"[bold yellow]Other processes kept {run.others:.1f} cores busy meanwhile.[/] Rows of more than one thread then "
            "measure how long a thread waits for a core, and no longer the kernels."
        )
    ended = "Interrupted" if run.interrupted else "Done"
    rounds = [len(s.rounds) for cell in run.cells for (name, _), s in cell.samples.items() if name in (REGKERN, COPY)]
    least, most = min(rounds, default=0), max(rounds, default=0)
    console.print(
        f"{ended} after {run.seconds:.0f} s; {least} to {most} rounds of regkern and copy a cell. {few}",
        highlight=False,
    )


def ways(kernels: Sequence[Kernel], peers: Sequence[Peer], console: Console) -> None:
    """How each contender does the work of each kernel."""
    for kernel in kernels:
        console.print(f"[bold]{kernel.name}[/]  moves {kernel.moves} × the array", highlight=False)
        for peer in peers:
            make = getattr(peer.calls(1), kernel.op, None)
            if make is not None:
                console.print(f"  {peer.name:<14}{escape(make.__doc__ or '')}", highlight=False)
    console.print("[bold]Terms[/]")
    for peer in peers:
        console.print(f"  {peer.name:<14}{escape(peer.terms)}", highlight=False)


@contextmanager
def progress() -> Iterator[Callable[[str, float], None]]:
    """A bar, redrawn only between samples: a thread that redraws it would take time from what is measured."""
    columns = (BarColumn(bar_width=30), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    screen = Console(stderr=True)
    with Progress(*columns, console=screen, auto_refresh=False, transient=True, disable=not screen.is_terminal) as bar:
        task, drawn = bar.add_task("", total=1.0), 0.0

        def step(now: str, done: float) -> None:
            nonlocal drawn
            if time.monotonic() - drawn > 0.1:
                drawn = time.monotonic()
                bar.update(task, description=now, completed=done, refresh=True)

        yield step
