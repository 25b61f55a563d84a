"""The command ``regkern``, also ``python -m regkern``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import regkern
from regkern.bench import cli as bench


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0 done, 2 bad input, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="regkern", description=regkern.__doc__.partition("\n")[0])
    parser.add_argument("--version", action="version", version=f"regkern {regkern.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("config", help="print version, compiler, instruction sets and threads of this build")
    bench.add_parser(commands)

    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(arguments)
    if options.command == "config":
        regkern.show_config()
        return 0
    return bench.run(options, arguments)


if __name__ == "__main__":
    sys.exit(main())
