"""The command ``regkern``, also ``python -m regkern``."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence

import regkern
from regkern.bench import cli as bench

OVERVIEW = """\
regkern {version}
{purpose}

  python -m regkern config    version, compiler, instruction sets of this build
  python -m regkern bench     measure every kernel against NumPy and rivals

  instruction set   {isa}, of {isas} (REGKERN_ISA)
  threads           {threads} (REGKERN_NUM_THREADS, regkern.set_num_threads)

The pages of the documentation are in docs/ of the source. In Python:

  import regkern as rk              the library
  import regkern.reference as rk    the same calls in plain NumPy
  help(regkern)                     all there is
  help(regkern.dropout)             one of it
"""


def overview() -> str:
    """What there is, on one screen."""
    facts = regkern.show_config("dict")
    purpose = textwrap.fill(regkern.__doc__.partition("\n")[0], 80)
    return OVERVIEW.format_map(facts | {"purpose": purpose, "isas": ", ".join(facts["isas"])})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0 done, 2 bad input, 130 interrupted, 141 where nobody reads on."""
    try:
        status = _main(argv)
        if sys.stdout is not None:  # it may be closed
            sys.stdout.flush()
    except BrokenPipeError:  # of `| head`, which has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains as it ends
        return 141
    return status


def _main(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="regkern", description=regkern.__doc__.partition("\n")[0])
    parser.add_argument("--version", action="version", version=f"regkern {regkern.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("config", help="print version, compiler, instruction sets and threads of this build")
    bench.add_parser(commands)

    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(arguments)
    if options.command is None:
        print(overview(), end="")
        return 0
    if options.command == "config":
        regkern.show_config()
        return 0
    return bench.run(options, arguments)


if __name__ == "__main__":
    sys.exit(main())
