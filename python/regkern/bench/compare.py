"""This run against an older one."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from regkern.bench.peers import COPY, REGKERN
from regkern.bench.report import elements, note, number, show, table
from regkern.bench.results import Cell, Run

LEAST = 0.05  # smaller changes are noise on any machine
ENOUGH = 4  # of fewer rounds nobody knows the spread


@dataclass(frozen=True)
class Change:
    """Time of regkern in one cell, new over old; ``machine`` is the same of the copy, and tells of the machine."""

    cell: Cell
    threads: int
    old: float
    new: float
    noise: float
    machine: float
    rounds: int  # the fewer of the two runs

    @property
    def value(self) -> float:
        return self.new / self.old

    @property
    def mark(self) -> str:
        """A change counts if it exceeds the noise, both as it is and after division by the change of the machine."""
        if self.rounds < ENOUGH:
            return ""
        for word, sign in (("slower", 1), ("faster", -1)):
            if all(sign * (ratio - 1) > self.noise for ratio in (self.value, self.value / self.machine)):
                return word
        return ""


def changes(old: Run, new: Run) -> list[Change]:
    """One entry for every cell and number of threads that both runs have."""
    found = []
    for cell in new.cells:
        before = old.cell(cell.kernel, cell.shape)
        if before is None or before.dtype != cell.dtype:
            continue
        for threads in cell.thread_counts(REGKERN):
            was, now = before.time(REGKERN, threads), cell.time(REGKERN, threads)
            copy_was, copy_now = before.time(COPY, 1), cell.time(COPY, 1)
            if was and now and copy_was and copy_now:
                noise = max(LEAST, 2 * (was.spread**2 + now.spread**2) ** 0.5)
                n, machine = cell.shape.elements, copy_now.value / copy_was.value
                rounds = min(was.rounds, now.rounds)
                found.append(Change(cell, threads, was.value / n, now.value / n, noise, machine, rounds))
    return found


def compare_table(old: Run, new: Run, console: Console) -> None:
    found = changes(old, new)
    if not found:
        console.print("Nothing to compare: the two runs have no cell in common.")
        return
    if old.facts["machine"].get("cpu") != new.facts["machine"].get("cpu"):
        console.print("[yellow]The older run is from another CPU.[/]")
    columns = ("kernel", "elements", "thr", "old ns/el", "new ns/el", "change", "noise", "copy", "")
    rows = table(f"Change since {old.facts['date']}", *columns, left=("kernel", ""))
    last = ""
    for change in found:
        if last and change.cell.kernel != last:
            rows.add_section()
        rows.add_row(
            change.cell.kernel if change.cell.kernel != last else "",
            elements(change.cell.shape),
            str(change.threads),
            number(change.old),
            number(change.new),
            f"{100 * (change.value - 1):+.0f} %",
            f"{100 * change.noise:.0f} %",
            f"{100 * (change.machine - 1):+.0f} %",
            Text(change.mark, style={"slower": "bold red", "faster": "green"}.get(change.mark, "")),
        )
        last = change.cell.kernel
    show(rows, console, ("noise", "copy", "old ns/el", "new ns/el"))
    note(
        "Change of time: negative is faster. copy: the change of np.copyto, which tells what the machine did. A change is "
        "marked where it exceeds twice the spread of both runs and 5 %, with the machine's change and without it; "
        f"never on fewer than {ENOUGH} rounds.",
        console,
    )
    marks = [change.mark for change in found]
    slower, faster = marks.count("slower"), marks.count("faster")
    console.print(
        f"{len(found)} entries: {faster} faster, {slower} slower, {len(found) - faster - slower} within noise."
    )
