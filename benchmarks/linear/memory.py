"""The peak of memory of one fit whose X is mapped from a file."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from linear.cases import ENGINE, OURS, RIVALS, Array, Problem
from linear.processes import Contender, Failed
from linear.referee import Referee, by_columns
from linear.turns import Settings, cores


def anonymous(pid: int) -> int:
    """Bytes that the process has beyond mapped files."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("the system does not say RssAnon")


def on_disk(folder: Path, n: int, p: int) -> Array:
    """Float32 in Fortran order, made some columns at a time."""
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (n, p), fortran_order=True)
    rng, last = np.random.default_rng(0), np.zeros(n, np.float32)
    for j in range(p):
        column = rng.standard_normal(n, np.float32)
        last = 0.6 * last + 0.8 * (column - column.mean()) if j else column - column.mean()
        X[:, j] = last
    X.flush()
    return np.load(folder / "X.npy", mmap_mode="r")


def memory(settings: Settings, console: Any) -> bool:
    """Peak memory beyond X of one fit whose X is mapped from a file."""
    from rich.table import Table  # noqa: PLC0415

    n, p = 100_000 // settings.divide, 10_000 // settings.divide
    table = Table("contender", title=f"lasso, αmax/10, {n:,} × {p:,} float32, {4 * n * p / 2**30:.2f} GiB mapped")
    for name in ("peak beyond X", "seconds", "reached"):
        table.add_column(name, justify="right")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=settings.folder)))
        X = on_disk(folder, n, p)
        rng = np.random.default_rng(1)
        support = np.sort(rng.choice(p, 50, replace=False))
        y = X[:, support].astype(np.float64) @ rng.standard_normal(50)
        y += rng.standard_normal(n) * np.linalg.norm(y) / 3 / np.sqrt(n)
        y -= y.mean()
        l1 = max(abs(part.T.astype(np.float64) @ y).max() for _, part in by_columns(X)) / 10
        problem = Problem(X, y, np.array([l1]), np.zeros(1))
        problem.write(folder)
        referee = Referee(problem)
        for name in settings.contenders:
            if name not in (OURS, ENGINE, *RIVALS):
                continue
            contender = Contender.start(
                name, settings.pythons[name], cores(settings.threads), folder, "lasso", settings.limit, mapped=True
            )
            stack.callback(contender.process.wait)
            stack.callback(contender.process.kill)
            try:
                contender.answer()
                before = peak = anonymous(contender.process.pid)

                def look(pid: int = contender.process.pid) -> None:
                    nonlocal peak
                    peak = max(peak, anonymous(pid))

                contender.ask(None, keep=True)
                said = contender.answer(look)
                if not referee.bound.any():
                    referee.certify(contender.found())
                table.add_row(
                    name,
                    f"{(peak - before) / 2**20:,.0f} MiB",
                    f"{said['wall']:.2f}",
                    f"{referee.see(contender.found()):.0e}",
                )
            except Failed as error:
                table.add_row(name, str(error), style="dim")
            contender.process.kill()
    console.print(table)
    return True
