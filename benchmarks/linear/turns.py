"""Contenders take turns, and the tables of what they took."""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from linear.cases import CASES, ENGINE, GOAL, OURS, TWO, Case, Problem
from linear.contenders import CONTENDERS
from linear.processes import Contender, Failed
from linear.referee import Judge, Wrong


@dataclass(frozen=True)
class Settings:
    rounds: int
    budget: float
    limit: float
    threads: int
    divide: int
    pythons: dict[str, str]
    contenders: tuple[str, ...]
    folder: str | None


def cores(threads: int) -> list[int]:
    """The last ones: interrupts prefer the first."""
    return sorted(os.sched_getaffinity(0))[-threads:]


def sweep(contender: Contender, judge: Judge, repeat: int) -> None:
    """The loosest tol, of powers of ten, that reaches the goal."""
    for digits in range(2, 15):
        contender.tol = 10.0**-digits
        contender.reached = judge(contender.fit(contender.tol, repeat))
        if contender.reached <= GOAL:
            return
    raise Failed(f"reaches {contender.reached:.0e} at best")


def measure(
    case: Case, settings: Settings, say: Callable[[str], object]
) -> tuple[dict[str, Contender], dict[str, str], float]:
    """All who take part, with their times; who does not, and why; and how near P* is known."""
    names = [OURS, ENGINE, *case.against]
    if case.two_threads is not None and settings.threads == 1 and len(os.sched_getaffinity(0)) > 1:
        names.insert(1, TWO)
    names = [name for name in names if name in settings.contenders and hasattr(CONTENDERS[name], case.method)]
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=settings.folder)))
        problem = case.make(settings.divide)
        problem.write(folder)
        started = 0

        def start(name: str, where: Path, method: str) -> Contender:
            mine = cores(2 if name == TWO else settings.threads)
            contender = Contender.start(name, settings.pythons[name], mine, where, method, settings.limit)
            stack.callback(contender.process.wait)
            stack.callback(contender.process.kill)
            contender.versions = contender.answer()["versions"]
            return contender

        def helpers(asked: Problem, method: str) -> Iterator[Contender]:
            nonlocal started
            where = folder / str(started)
            where.mkdir()
            started += 1
            asked.write(where)
            for name in (OURS, ENGINE, "celer", "scikit-learn"):
                if name in settings.contenders and hasattr(CONTENDERS[name], method):
                    try:
                        helper = start(name, where, method)
                    except Failed:
                        continue
                    try:
                        yield helper
                    finally:
                        helper.process.kill()

        judge = Judge(case, problem, helpers)
        say("P* is certified")
        there: dict[str, Contender] = {}
        for name in names:
            try:
                contender = start(name, folder, case.method)
                if case.swept and name not in (OURS, TWO, ENGINE):
                    sweep(contender, judge, case.repeat)
                else:
                    contender.fit(None, case.repeat)
                there[name] = contender
            except Failed as error:
                absent[name] = str(error)
            say(f"{name}: {absent.get(name, 'ready')}")
        order = list(there.values())
        for _ in range(settings.rounds):
            random.shuffle(order)
            for contender in order:
                if sum(contender.wall) <= settings.budget:
                    contender.turn(case.repeat)
        for contender in there.values():
            contender.reached = judge(contender.found())
        return there, absent, judge.check()


def shown(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{1e6 * seconds:.0f} µs"
    return f"{1e3 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def verdicts(case: Case, there: dict[str, Contender], threads: int) -> list[tuple[str, bool]]:
    """What is asked of regkern in this case, and whether it holds."""
    if OURS not in there:
        return []
    said, ours = [], there[OURS]
    seconds = {name: c.seconds(wall=threads > 1) for name, c in there.items()}
    rivals = [name for name in case.against if name in there]
    if rivals:
        best = min(rivals, key=seconds.__getitem__)
        times = seconds[best] / seconds[OURS]
        said.append((f"{times:.2f} × as fast as {best}, asked {case.must:g}", times >= case.must))
    if TWO in there and case.two_threads is not None:
        times = ours.seconds(wall=True) / there[TWO].seconds(wall=True)
        said.append((f"2 threads {times:.2f} × as fast as one, asked {case.two_threads:g}", times >= case.two_threads))
    said.append((f"{ours.reached:.0e} reached, promised {GOAL:g}", ours.reached <= GOAL))
    return said


def compare(names: Sequence[str], settings: Settings, console: Any, file: Path | None) -> bool:
    """The tables; whether all checks held."""
    from rich.table import Table  # noqa: PLC0415 contenders go without

    everything: dict[str, Any] = {}
    goals = Table("case", "regkern is", "", title="Goals", title_justify="left")
    for name in names:
        case = CASES[name]
        with console.status(name) as status:
            try:
                say = status.update if console.is_terminal else partial(console.print, style="dim", highlight=False)
                there, absent, known = measure(case, settings, lambda text, n=name, say=say: say(f"{n}: {text}"))
            except Wrong as error:
                goals.add_row(name, str(error), "[red]NO RESULT")
                everything[name] = {"wrong": str(error)}
                continue
        title = f"{name}: {case.title}; P* to {known:.0e}" if np.isfinite(known) else f"{name}: {case.title}"
        table = Table("contender", "tol", title=title, title_justify="left")
        for column in ("reached", "CPU", "wall", "× ours"):
            table.add_column(column, justify="right")
        ours = there.get(OURS)
        for c in there.values():
            wall = settings.threads > 1 or c.name == TWO
            times = f"{c.seconds(wall) / ours.seconds(wall):.2f}" if ours else ""
            tol = "default" if c.tol is None else f"{c.tol:.0e}"
            table.add_row(c.name, tol, f"{c.reached:.0e}", shown(c.seconds(False)), shown(c.seconds(True)), times)
        console.print(table)
        for who, why in absent.items():
            console.print(f"  {who}: {why}", style="dim", highlight=False)
        said = verdicts(case, there, settings.threads)
        for text, holds in said:
            goals.add_row(name, text, "holds" if holds else "[red]NOT HELD")
        everything[name] = {
            "goals": said,
            "known_to": known,
            "absent": absent,
            "versions": {c.name: c.versions for c in there.values()},
            "contenders": {
                n: {"tol": c.tol, "reached": c.reached, "cpu": c.cpu, "wall": c.wall} for n, c in there.items()
            },
        }
        if file:
            file.write_text(json.dumps(everything, indent=1))
    console.print(goals)
    return not any("wrong" in one or any(not holds for _, holds in one["goals"]) for one in everything.values())
