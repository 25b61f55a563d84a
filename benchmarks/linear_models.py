"""Time linear models with L1 and L2 against scikit-learn, celer, skglm and adelie, at one accuracy that is checked.

    python benchmarks/linear_models.py                                # everything that is installed; half an hour
    python benchmarks/linear_models.py --quick                        # small problems, to see that it runs
    python benchmarks/linear_models.py --only a10 b10 --rounds 15 --json times.json
    python benchmarks/linear_models.py --python celer=peers/bin/python --python skglm=peers/bin/python
    python benchmarks/linear_models.py --peers peers/bin/python       # the same for all of them at once
    python benchmarks/linear_models.py --memory --folder /var/tmp     # a fit on 4 GB of float32 mapped from a file

Each contender is a process of its own, on the same cores with as many threads (--threads, default 1), and may have its
own interpreter: a peer need not be installed beside regkern, nor with its version of NumPy. It gets the data in the memory
order that suits it best (Fortran, float64; or CSC), unpacked before the clock starts; what an estimator checks and copies
is on the clock. Contenders take turns; the table has medians. A ratio is of CPU seconds with one thread, else of wall time.

How well a problem is solved is (P − P*)/P*, P the objective. P* has a lower bound: the dual objective at the rescaled
residual of the tightest solution, computed here with NumPy and from nothing that a solver says of itself; how far bound
and solution are apart is shown as "P* to", and what is above 1e-8 is an error, as a solution below the bound is one.
A peer is timed at the loosest power of ten as its tol that reaches 1e-6; regkern at its default, which promises that.
Cross-validation is compared at default settings; its errors are held against those of certified solutions.

Data: x_j = 0.6·x_{j−1} + 0.8·z_j along the columns, z standard normal, columns centred; k standard normal coefficients;
noise a third of the signal, y centred. αmax is the smallest α at which all coefficients are 0.

Needs scikit-learn, which brings SciPy, and regkern[bench] (rich).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))  # whose options are read alike
import common
from linear.cases import CASES, RIVALS
from linear.contenders import CONTENDERS, work
from linear.memory import memory
from linear.turns import Settings, compare


def folder(text: str) -> str:
    """An option that is a folder to make files in."""
    if not os.path.isdir(text) or not os.access(text, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"must be a folder that can be written, got {text!r}")
    return text


def interpreter(text: str) -> str:
    """An option that is a Python for contenders."""
    if shutil.which(text) is None:
        raise argparse.ArgumentTypeError(f"must be a program that can be run, got {text!r}")
    return text


def interpreter_of(text: str) -> tuple[str, str]:
    """An option that is a contender and its Python."""
    name, _, where = text.partition("=")
    if name not in CONTENDERS or not where:
        raise argparse.ArgumentTypeError(f"must be NAME=PATH, NAME of {list(CONTENDERS)}, got {text!r}")
    return name, interpreter(where)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"of {list(CASES)}")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    parser.add_argument(
        "--python",
        type=interpreter_of,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="a contender's interpreter",
    )
    parser.add_argument(
        "--peers", type=interpreter, metavar="PATH", help="the interpreter of celer, skglm, adelie and scikit-learn"
    )
    parser.add_argument("--rounds", type=common.count, default=9)
    parser.add_argument(
        "--budget", type=common.positive, default=20.0, help="seconds in which a contender gets another turn"
    )
    parser.add_argument("--limit", type=common.positive, default=300.0, help="seconds that a fit may take")
    parser.add_argument("--threads", type=common.count, default=1)
    parser.add_argument("--quick", action="store_true", help="sizes are a tenth; two rounds")
    parser.add_argument("--memory", action="store_true", help="the peak of memory instead of times")
    parser.add_argument(
        "--folder", type=folder, help="where data may be for as long as it takes (default: the system's)"
    )
    parser.add_argument("--json", type=common.written, metavar="FILE", help="write the seconds of every turn")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        name, where, method, mapped = args.worker
        work(name, Path(where), method, mapped == "mapped")
        return
    if args.memory and (ignored := "--only" if args.only else "--json" if args.json else ""):
        parser.error(f"argument {ignored}: must not be given with --memory, which is of one case and writes no file")
    cores = len(os.sched_getaffinity(0))
    if args.threads > cores:
        parser.error(f"argument --threads: must be at most the {cores} cores of this process, got {args.threads}")
    try:
        from rich.console import Console  # noqa: PLC0415 contenders go without
    except ModuleNotFoundError as error:
        raise common.missing(error) from None

    pythons = dict.fromkeys(CONTENDERS, sys.executable)
    if args.peers:
        pythons |= dict.fromkeys((*RIVALS, "liblinear", "saga"), args.peers)
    pythons |= dict(args.python)
    settings = Settings(
        rounds=2 if args.quick else args.rounds,
        budget=args.budget,
        limit=args.limit,
        threads=args.threads,
        divide=10 if args.quick else 1,
        pythons=pythons,
        contenders=tuple(args.contenders),
        folder=args.folder,
    )
    console = Console()
    fine = memory(settings, console) if args.memory else compare(args.only or list(CASES), settings, console, args.json)
    raise SystemExit(0 if fine else 1)


if __name__ == "__main__":
    main()
