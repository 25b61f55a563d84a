"""``regkern bench``: options, the run, what is shown of it."""

from __future__ import annotations

import argparse
import errno
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from regkern.bench.results import Run
    from regkern.bench.verdicts import Verdict

PICTURES = (".png", ".svg", ".pdf")
OF_A_RUN = ("quick", "full", "threads", "dtype", "json", "plot", "compare")  # how to measure, and where to put it
EXAMPLES = """examples:
  regkern bench                                  all kernels, about a minute
  regkern bench --quick --only 'prox*'           a look at some
  regkern bench --claims --only 'layer_norm*'    what is claimed of some, in seconds
  regkern bench --json new.json --compare old.json
  regkern bench --headline new.json              the table "In short" of docs/benchmarks.md
"""


class BadInput(Exception):
    """The user's fault; the message says what to change."""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``regkern``."""
    parser = commands.add_parser(
        "bench",
        help="measure every kernel against a copy, NumPy and the rivals installed",
        description="Measure every kernel against a copy of the same bytes, the NumPy reference and torch, "
        "torch.compile, numba, JAX and OpenCV where they are installed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--quick",
        action="store_true",
        help="12 seconds, 17 with torch: without reference, torch.compile, numba and JAX",
    )
    parser.add_argument("--claims", action="store_true", help="measure only what claims name, and print what they find")
    length.add_argument("--full", action="store_true", help="some minutes: more sizes and rounds, every rival")
    parser.add_argument(
        "--only", metavar="PATTERN", action="append", default=[], help="kernels by glob, as 'prox*'; may be repeated"
    )
    parser.add_argument("--threads", metavar="N,N", help="numbers of threads, as 1,2,all (default: 1, 2, 4 ... all)")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="default: float32")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures and the facts of the machine")
    parser.add_argument("--plot", metavar="FILE", type=Path, help=f"draw a picture: {', '.join(PICTURES)}")
    parser.add_argument("--compare", metavar="OLD", type=Path, help="show the change since a file of --json")
    parser.add_argument(
        "--headline",
        metavar="FILE",
        type=Path,
        nargs="+",
        help="print the rows that stand for all from files of --json, and end",
    )
    parser.add_argument("--list", action="store_true", help="print how each contender does each kernel, and end")


def _require(packages: Sequence[str]) -> None:
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    if absent:
        raise BadInput(f"the benchmark needs {' and '.join(absent)}: pip install 'regkern[bench]'")


def _threads(text: str | None, cores: int) -> list[int]:
    """The numbers of threads to measure, ascending."""
    if text is None:
        return sorted({*(1 << i for i in range(cores.bit_length()) if 1 << i <= cores), cores})
    found = set()
    for word in text.split(","):
        if word.strip() != "all" and not word.strip().isdecimal():
            raise BadInput(f"--threads: must be numbers such as 1,2,all, got {text!r}")
        count = cores if word.strip() == "all" else int(word)
        if not 1 <= count <= cores:
            raise BadInput(f"--threads: must be from 1 to the {cores} cores this process may use, got {count}")
        found.add(count)
    return sorted(found)


def _writable(option: str, path: Path | None) -> None:
    """Refuse now what would fail after a minute of measuring, and leave what is there as it is."""
    if path is None:
        return
    try:
        if path.is_dir():
            raise BadInput(f"{option}: {path} is a directory")
        if not path.parent.exists():
            raise BadInput(f"{option}: there is no directory {path.parent}")
        if path.exists():
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            if not path.is_file():
                return  # a device, which nothing takes the place of
        with tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(path))):
            pass  # that it can be made is what nothing else tells, /proc being as writable as any to root
    except OSError as error:
        raise BadInput(f"{option}: {path} cannot be written: {error.strerror}") from None


def _written(found: Run, verdicts: Sequence[Verdict], options: argparse.Namespace) -> list[str]:
    """Write the files, before anything is shown, which somebody may not read; what has failed."""
    from regkern.bench.results import save  # noqa: PLC0415

    failures = []
    try:
        if options.json:
            save(options.json, found.to_json([verdict.to_json() for verdict in verdicts]))
    except OSError as error:
        failures.append(f"--json: {options.json} cannot be written: {error.strerror}")
    try:
        if options.plot:
            from regkern.bench.plot import draw  # noqa: PLC0415  # matplotlib takes a second to load

            draw(found, options.plot)
    except OSError as error:
        failures.append(f"--plot: {options.plot} cannot be written: {error.strerror}")
    return failures


def _load(option: str, path: Path) -> Run:
    from regkern.bench.results import load  # noqa: PLC0415  # with it comes NumPy

    try:
        return load(path)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None


def _of_one_kind(paths: Sequence[Path]) -> list[Run]:
    """Runs whose figures may stand in one row."""
    runs = [_load("--headline", path) for path in paths]
    for path, run in zip(paths, runs, strict=True):
        for what, is_there, is_first in (
            ("dtype", run.dtype, runs[0].dtype),
            ("processor", run.facts["machine"].get("cpu"), runs[0].facts["machine"].get("cpu")),
            ("versions", run.facts["versions"], runs[0].facts["versions"]),
        ):
            if is_there != is_first:
                raise BadInput(
                    f"--headline: files must have one {what}, got {is_first} in {paths[0]}, {is_there} in {path}"
                )
    return runs


@contextmanager
def _shown() -> Iterator[None]:
    """Say it in one line where the output takes no more, unless that is because nobody reads on."""
    try:
        yield
        if sys.stdout is not None:  # it may be closed
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        with suppress(OSError):  # or the interpreter complains of what is left over as it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise BadInput(f"the output cannot be written: {error.strerror}") from None


def _goes_without(options: argparse.Namespace, what: str, others: Sequence[str]) -> None:
    """Refuse what would be of no effect."""
    for option in others:
        if getattr(options, option) not in (None, False, []):
            raise BadInput(f"--{what}: measures nothing, and goes without --{option}")


def _headline(options: argparse.Namespace) -> None:
    """The table, and beside it, on stderr, what it rests on."""
    from regkern.bench import headline  # noqa: PLC0415  # needs the extra

    runs = _of_one_kind(options.headline)
    _goes_without(options, "headline", ("only", "claims", "list", *OF_A_RUN))
    for path, kept in zip(options.headline, runs, strict=True):
        if not headline.lines_of(kept):
            raise BadInput(f"--headline: {path} has no row to print: nothing was measured")
        if not headline.of_one_thread(kept):
            raise BadInput(f"--headline: {path} has no row of one thread, which the table is of")
    with _shown():
        print(headline.markdown(runs))
    doubts = []
    for path, kept in zip(options.headline, runs, strict=True):
        doubts += [f"the run of {path} was interrupted"] if kept.interrupted else []
        doubts += [] if headline.adds_to(runs[0], kept) else [f"{path} has no row of {options.headline[0]}"]
    for doubt in doubts + headline.doubts(runs):
        print(f"regkern bench: --headline: {doubt}", file=sys.stderr)


def _show(found: Run, verdicts: list[Verdict], old: Run | None, options: argparse.Namespace, console: Console) -> None:
    from regkern.bench import compare, headline, report  # noqa: PLC0415  # needs the extra

    if not options.claims:
        report.main_table(found, console)
        report.scaling_table(found, console)
    report.claims_table(verdicts, console)
    report.footer(found, console)
    if old is not None:
        compare.compare_table(old, found, console)
    if options.claims:
        headline.misses(found, verdicts, console)
    else:
        headline.summary(found, verdicts, console)


def run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Run the command; the exit status is 0, or 2 for bad input, or 130 if interrupted."""
    try:
        return _run(options, arguments)
    except BadInput as error:
        print(f"regkern bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("regkern bench: interrupted before anything was measured", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    started = time.perf_counter()
    _require(["rich", "threadpoolctl", *(["matplotlib"] if options.plot else [])])
    from threadpoolctl import threadpool_limits  # noqa: PLC0415  # needs the extra, like all that is imported here

    from regkern.bench import machine, peers, plans, report, session  # noqa: PLC0415
    from regkern.bench.claims import CLAIMS  # noqa: PLC0415
    from regkern.bench.kernels import KERNELS  # noqa: PLC0415
    from regkern.bench.results import Run  # noqa: PLC0415
    from regkern.bench.verdicts import judge  # noqa: PLC0415

    if options.headline:
        _headline(options)
        return 0
    if options.list:
        _goes_without(options, "list", OF_A_RUN)
    dtype = options.dtype or "float32"
    threads = _threads(options.threads, peers.cores())
    selected = partial(plans.select, rare=options.full or options.list, claimed=options.claims)
    if missed := [pattern for pattern in options.only if not selected([pattern])]:
        names = ", ".join(
            dict.fromkeys(claim.kernel for claim in CLAIMS) if options.claims else (k.name for k in KERNELS)
        )
        kind = "kernel with a claim" if options.claims else "kernel"
        raise BadInput(f"--only: no {kind} is named like {' or '.join(map(repr, missed))}; there are {names}")
    kernels = selected(options.only)
    _writable("--json", options.json)
    _writable("--plot", options.plot)
    if options.plot and options.plot.suffix.lower() not in PICTURES:
        raise BadInput(f"--plot: must end in {', '.join(PICTURES)}, got {options.plot}")
    old = _load("--compare", options.compare) if options.compare else None
    if old is not None and old.dtype != dtype:
        raise BadInput(f"--compare: {options.compare} must be of {dtype}, like this run, got {old.dtype}")
    console = report.console()
    if options.list:
        everyone = [*peers.own(), *peers.rivals(peers.RIVALS, started=False)[0]]
        with _shown():
            report.ways(kernels, everyone, console)
        return 0

    plan = plans.QUICK if options.quick else plans.FULL if options.full else plans.DEFAULT
    if options.claims:
        plan = plan.of_claims()
    if options.plot:
        plan = replace(plan, seconds=plan.seconds - 3)  # the picture takes its time too
    found = Run(machine.facts(arguments), dtype)
    with _shown():
        report.header(found, console)
    with threadpool_limits(1, user_api="blas"), report.progress() as step:
        neighbours = machine.Neighbours()
        step("loading the contenders", 0.0)
        work = session.Session(plan, kernels, threads, dtype, found, started)
        work.load()
        if not work.cells():
            raise BadInput(work.why_nothing())
        work.measure(step)
        found.others = neighbours.cores()

    verdicts = judge(found)
    if not found.cells:
        raise KeyboardInterrupt
    failures = _written(found, verdicts, options)
    try:
        with _shown():
            _show(found, verdicts, old, options, console)
    except BadInput as error:
        failures.append(str(error))
    if failures:
        raise BadInput("; ".join(failures))
    return 130 if found.interrupted else 0
