"""A seeded fuzzer: every public function, on any memory, numbers, kinds of arguments, instruction sets and teams.

    python tests/fuzz/fuzz.py --seconds 600 --seed 1 --jobs 2
    python tests/fuzz/fuzz.py --seed 1 --only prox_l1 --call 4711    # one call again, as a finding names it

A call is a function of (seed, name, number). Operands lie beside pages that may not be touched. Laws:

- the result is that of ``regkern.reference``, within its accuracy class;
- the same bits come out of dense memory, on another instruction set, with another number of threads;
- nothing is written but the result;
- an error is a TypeError or ValueError that reads ``function: argument must rule, got value``, and nothing is written
  before it; what is not refused has the reference's result.

Calls run in processes of their own: one that dies, or hangs, is a finding as well, and another process goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import numpy as np
from known import reason
from pencil import Made, Pencil
from spoil import spoil, spoil_out
from targets import OF_NUMPY, TARGETS, Call, Target, missing, parts_of

import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits

ISAS = rk.show_config("dict")["isas"]
TEAMS = (1, 2, 3, 7)
SILENT = 300.0  # seconds after which a call counts as hanging
MESSAGE = re.compile(r"[\w.()]+: \S.* must .+, got ", re.DOTALL)


# Sums of these run in the order of x's memory where it is dense in another order of its axes than C.
IN_ORDER_OF_MEMORY = ("batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm")


def dense_in_another_order(a: Any) -> bool:
    if type(a) is not np.ndarray or a.flags.c_contiguous or not a.flags.aligned:
        return False
    return a.transpose(sorted(range(a.ndim), key=lambda i: -a.strides[i])).flags.c_contiguous


class Finding(Exception):
    """A broken law: its kind, and what was seen."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind)
        self.kind, self.text = kind, text


# --- one call ----------------------------------------------------------------------------------------------------------


class Attempt:
    """One drawn call, and what became of it."""

    def __init__(self, seed: int, name: str, number: int, wrong: float) -> None:
        self.target: Target = TARGETS[name]
        self.rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
        self.pencil = Pencil(self.rng)
        self.call: Call = self.target.draw(self.pencil)
        p = self.pencil
        self.isas = [str(p.one_of(ISAS)) for _ in range(2)]
        self.teams = [p.one_of(TEAMS) for _ in range(2)]
        self.spoiled: str | None = spoil(self.call, p) if p.chance(wrong) else None
        self.wants_out = self.call.out_for is not None and p.chance(0.35)
        self.plant, self.wrong = False, wrong

    def made(self, module: Any, *, dense: bool) -> dict[str, Any]:
        """The arguments for one of the libraries, as drawn or in memory of their own."""

        def one(value: Any) -> Any:
            if isinstance(value, Made):
                return value.make(module)
            if dense and type(value) is np.ndarray:
                return np.array(value, order="C")
            return value

        with np.errstate(all="ignore"):
            return {name: one(value) for name, value in self.call.arguments.items()}

    def expected(self) -> tuple[Any, dict[str, Any]]:
        """What the reference makes of copies; an exception is a result, too."""
        arguments = self.made(ref, dense=True)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                for name, value in arguments.items():
                    if isinstance(value, list | tuple | float) and name in self.pencil.placed:
                        arguments[name] = np.asarray(value)  # the reference takes arrays alone
                    elif isinstance(value, np.floating | np.integer):
                        arguments[name] = value.item()  # and numbers that do not narrow
                result = self.target.function(ref)(**arguments)
                parts_of(result)
                return result, arguments
            except Exception as error:  # noqa: BLE001
                return error, arguments

    def add_out(self, expected: Any) -> None:
        """An ``out`` of the result's shape, in any memory; the operand itself; or a wrong one."""
        first = next(iter(parts_of(expected)), None) if not isinstance(expected, Exception) else None
        if not isinstance(first, np.ndarray) or first.dtype.kind not in "fu":
            return
        p, alias = self.pencil, self.call.out_for
        operand = self.call.arguments.get(alias) if alias else None
        same = (
            alias in p.placed
            and operand is p.placed[alias].array
            and (operand.shape, operand.dtype) == (first.shape, first.dtype)
        )
        if same and 0 not in p.placed[alias].strides and p.chance(0.35):
            self.call.arguments["out"] = operand
            self.call.writes += (alias,)
            return
        p.place("out", np.zeros(first.shape, first.dtype), read_only=False)
        self.call.arguments["out"] = p.placed["out"].array
        if self.spoiled is None and p.chance(self.wrong):
            self.spoiled = "out"
            self.call.arguments["out"] = spoil_out(first, self.call, p)
        self.call.writes += ("out",)

    def run(self) -> bool:
        """Whether the call was answered; raises a Finding."""
        expected, ref_arguments = self.expected()
        if self.wants_out:
            self.add_out(expected)
        originals, copies = self.made(rk, dense=True), self.made(rk, dense=True)
        self.join(copies)
        arguments = self.made(rk, dense=False)
        got = self.native(arguments, 0)
        if isinstance(got, Exception):
            self.judge_error(got)
            return False
        self.judge_memory()
        parts = parts_of(got)
        if self.call.check is not None and self.spoiled is None:
            self.judged("reference", lambda: self.call.check(originals))
        if isinstance(expected, Exception) and self.call.reference:
            raise Finding("accepted", f"regkern answers where the reference raises {expected!r}")
        # Another memory, instruction set and team first: a difference there says more.
        again = self.native(copies, 1)
        if isinstance(again, Exception):
            raise Finding("memory", f"refused in dense memory: {again!r}")
        summed = self.target.name.startswith(IN_ORDER_OF_MEMORY) and dense_in_another_order(arguments.get("x"))
        if not (self.call.order_matters or summed):
            self.judged("same bits", lambda: self.same(parts, parts_of(again)))
            for name in self.written(arguments):
                self.judged("same bits", lambda name=name: assert_same_bits(arguments[name], copies[name], name))
        if self.call.close is not None:
            close = self.call.close
            given = {n: np.asarray(v) if n in self.pencil.placed and v is not None else v for n, v in originals.items()}
            self.judged("reference", lambda: close(given, parts, parts_of(expected)))
            for name in self.written(arguments) if "out" not in arguments else ():
                if isinstance(theirs := ref_arguments[name], np.ndarray):
                    self.judged("reference", lambda name=name, a=theirs: assert_same_bits(arguments[name], a, name))
        return True

    def written(self, arguments: dict[str, Any]) -> list[str]:
        return [n for n in self.call.writes if type(arguments.get(n)) is np.ndarray and arguments[n].dtype.kind in "fu"]

    @staticmethod
    def same(got: list[Any], expected: list[Any]) -> None:
        assert len(got) == len(expected)
        for a, b in zip(got, expected, strict=True):
            if isinstance(a, str) or a is None:
                assert a == b
            else:
                assert_same_bits(np.asarray(a), np.asarray(b))

    def judged(self, kind: str, law: Any) -> None:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                law()
        except AssertionError as error:
            raise Finding(kind, str(error)[:600]) from None

    def native(self, arguments: dict[str, Any], which: int) -> Any:
        """What regkern makes of the arguments; an exception is a result, too."""
        rk._core.set_isa(self.isas[which])
        with rk.threads(self.teams[which]), warnings.catch_warnings():
            warnings.simplefilter("error")
            if self.target.name in OF_NUMPY:
                warnings.simplefilter("ignore", RuntimeWarning)
            try:
                result = self.target.function(rk)(**arguments)
            except Exception as error:  # noqa: BLE001
                return error
        return planted(result) if self.plant and which == 0 else result

    def join(self, copies: dict[str, Any]) -> None:
        """What was one array is one again."""
        drawn = self.call.arguments
        for name, value in drawn.items():
            if name != "out" and type(value) is np.ndarray and value is drawn.get("out"):
                copies["out"] = copies[name]

    def judge_memory(self, failed: bool = False) -> None:
        for name, placed in self.pencil.placed.items():
            if (problem := placed.problem(written=not failed and name in self.call.writes)) is not None:
                raise Finding("written before an error" if failed else "written", f"{name}: {problem}")

    def judge_error(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {str(error)[:300]}"
        if isinstance(error, Warning):
            raise Finding("warning", text)
        if not isinstance(error, TypeError | ValueError):
            if isinstance(error, MemoryError):
                return
            raise Finding("error", text)
        if not MESSAGE.match(str(error)):
            raise Finding("message", text)
        self.judge_memory(failed=True)
        if self.spoiled is None and "out must be aligned" not in str(error):  # pictures are written by whole numbers
            raise Finding("refused", text)

    def snippet(self) -> str:
        """Python that does it again."""
        lines = [
            "import numpy as np, regkern as rk",
            f"rk._core.set_isa({self.isas[0]!r}); rk.set_num_threads({self.teams[0]})",
        ]
        parts = []
        for name, value in self.call.arguments.items():
            placed = next((n for n, m in self.pencil.placed.items() if m.array is value), None)
            if placed is not None:
                if placed == name:
                    lines += self.pencil.placed[name].recipe(name)
                parts.append(f"{name}={placed}")
            elif isinstance(value, Made):
                parts.append(f"{name}={value.text}")
            else:
                with np.printoptions(threshold=20):
                    parts.append(f"{name}={value!r}")
        return "\n".join([*lines, f"{self.target.text}({', '.join(parts)})"])


def planted(result: Any) -> Any:
    """A wrong bit at the end of the first result: what a fuzzer has to find."""
    for part in parts_of(result):
        if isinstance(part, np.ndarray) and part.size > 16 and part.dtype.kind == "f" and part.flags.writeable:
            last = (-1,) * part.ndim
            part[last] = np.nextafter(part[last], np.inf, dtype=part.dtype)
            break
    return result


# --- a process that calls ----------------------------------------------------------------------------------------------


def name_of(seed: int, number: int, names: list[str]) -> str:
    return names[int(np.random.default_rng([seed, number]).integers(len(names)))]


def say(**message: Any) -> None:
    os.write(REPORT, (json.dumps(message) + "\n").encode())


REPORT = 1


def attempt(seed: int, name: str, number: int, options: argparse.Namespace) -> dict[str, Any]:
    """Draws a call and makes it; what there is to tell."""
    one: Attempt | None = None
    try:
        one = Attempt(seed, name, number, options.wrong)
        one.plant = one.target.name == options.plant
        if name == options.plant_crash:
            os.kill(os.getpid(), signal.SIGSEGV)
        return {"answered": one.run()}
    except Finding as finding:
        spoiled = f" (spoiled: {one.spoiled})" if one and one.spoiled else ""
        return {"kind": finding.kind, "text": finding.text + spoiled, "snippet": one.snippet() if one else ""}
    except Exception:  # noqa: BLE001
        snippet = one.snippet() if one is not None else ""
        return {"kind": "the fuzzer itself", "text": traceback.format_exc()[-900:], "snippet": snippet}


def work(options: argparse.Namespace, names: list[str]) -> None:
    """Calls one number after another until the other end of the pipe is closed."""
    global REPORT  # noqa: PLW0603
    REPORT = os.dup(1)
    os.dup2(2, 1)  # what is printed goes to the log
    if "asan" not in os.environ.get("LD_PRELOAD", "") and "tsan" not in os.environ.get("LD_PRELOAD", ""):
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    number = options.start
    while options.calls is None or number < options.calls:
        name = name_of(options.seed, number, names)
        say(begin=number, name=name)
        result = attempt(options.seed, name, number, options)
        say(end=number, **result)
        number += options.jobs
    say(done=True)


# --- the process that watches ------------------------------------------------------------------------------------------


class Watcher:
    """One worker after another, and the findings of all."""

    def __init__(self, options: argparse.Namespace, names: list[str]) -> None:
        self.options, self.names = options, names
        self.calls = self.answered = self.restarts = 0
        self.findings: dict[tuple[str, str, str], int] = {}
        self.known: dict[str, int] = {}
        self.begin = time.monotonic()
        self.selector = selectors.DefaultSelector()
        self.folder = Path(options.log or tempfile.mkdtemp(prefix="fuzz-"))

    def start(self, job: int, number: int) -> None:
        o = self.options
        command = [
            sys.executable,
            __file__,
            "--worker",
            "--seed",
            o.seed,
            "--jobs",
            o.jobs,
            "--start",
            number,
            "--wrong",
            o.wrong,
        ]
        command += ["--only", ",".join(self.names)] + (["--calls", o.calls] if o.calls is not None else [])
        for option in ("plant", "plant_crash"):
            command += [f"--{option.replace('_', '-')}", getattr(o, option)] if getattr(o, option) else []
        log = self.folder / f"fuzz-{job}-{number}.log"
        with log.open("wb") as printed:
            child = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=printed)
        os.set_blocking(child.stdout.fileno(), False)  # type: ignore[union-attr]
        state = {
            "job": job,
            "child": child,
            "number": number,
            "name": "",
            "text": b"",
            "heard": time.monotonic(),
            "log": log,
        }
        self.selector.register(child.stdout, selectors.EVENT_READ, state)

    def listen(self, state: dict[str, Any]) -> None:
        chunk = os.read(state["child"].stdout.fileno(), 1 << 16)
        state["heard"] = time.monotonic()
        if not chunk:
            self.buried(state)
            return
        *lines, state["text"] = (state["text"] + chunk).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "begin" in message:
                state["number"], state["name"], state["ended"] = message["begin"], message["name"], False
            elif "end" in message:
                state["ended"] = True
                self.calls += 1
                self.answered += bool(message.get("answered"))
                if "kind" in message:
                    self.found(state["name"], message["end"], message["kind"], message["text"], message["snippet"])

    def buried(self, state: dict[str, Any], hung: bool = False) -> None:
        child = state["child"]
        self.selector.unregister(child.stdout)
        code = child.wait()
        if code == 0 and not hung:
            return
        text = state["log"].read_text(errors="replace")
        reports = re.findall(r"^.*(?:ERROR: |WARNING: |runtime error: |SUMMARY: ).*$", text, re.MULTILINE)
        said = "\n".join(reports[:4]) or text[-500:]
        what = "hangs" if hung else f"ended the process with {code}"
        if state.get("ended", True):
            self.found(state["name"], state["number"], "crash between calls", f"{what}\n{said}", "")
        else:
            self.calls += 1
            self.found(
                state["name"], state["number"], "hang" if hung else "crash", f"{what}\n{said}", self.drawn(state)
            )
        self.restarts += 1
        self.start(state["job"], state["number"] + self.options.jobs)

    def drawn(self, state: dict[str, Any]) -> str:
        try:
            return Attempt(self.options.seed, state["name"], state["number"], self.options.wrong).snippet()
        except Exception as error:  # noqa: BLE001
            return f"# cannot be drawn again: {error!r}"

    def found(self, name: str, number: int, kind: str, text: str, snippet: str) -> None:
        if (why := reason(name, kind, text)) is not None:
            self.known[why] = self.known.get(why, 0) + 1
            return
        signature = re.sub(r"0x[0-9a-f]+|[-+]?\d[\d.e+-]*|\[.*?\]|'[^']*'", "#", text.split("\n", maxsplit=1)[0])[:70]
        key = (name, kind, signature)
        self.findings[key] = self.findings.get(key, 0) + 1
        if self.findings[key] == 1:
            wrong = "" if self.options.wrong == 0.25 else f" --wrong {self.options.wrong}"
            again = f"python tests/fuzz/fuzz.py{wrong} --seed {self.options.seed} --only '{name}' --call {number}"
            indented = "\n".join("      " + line for line in f"{text}\n{snippet}".split("\n"))
            print(f"FOUND {kind}: {name}\n    {again}\n{indented}", flush=True)

    def watch(self) -> bool:
        for job in range(self.options.jobs):
            self.start(job, self.options.first + job)
        end = None if self.options.seconds is None else self.begin + self.options.seconds
        while self.selector.get_map():
            for key, _ in self.selector.select(timeout=1):
                self.listen(key.data)
            now = time.monotonic()
            for key in list(self.selector.get_map().values()):
                if now - key.data["heard"] > SILENT:
                    key.data["child"].kill()
                    self.buried(key.data, hung=True)
            if end is not None and now > end:
                break
        for key in list(self.selector.get_map().values()):
            key.data["child"].kill()
            key.data["child"].wait()
        seconds = time.monotonic() - self.begin
        print(
            f"{self.calls} calls of {len(self.names)} functions, {self.answered} answered, the others refused; "
            f"{len(self.findings)} kinds of findings in {sum(self.findings.values())} calls; "
            f"{self.restarts} restarts; {seconds:.0f} s; ISAs {', '.join(ISAS)}"
        )
        for why, count in sorted(self.known.items()):
            print(f"  {count:6d} × known: {why}")
        for (name, kind, signature), count in sorted(self.findings.items()):
            print(f"  {count:6d} × {kind}: {name}: {signature}")
        return not self.findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, help="how long; without it, --calls says how many")
    parser.add_argument("--calls", type=int, help="how many calls")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first call")
    parser.add_argument("--only", default="", help="functions, separated by commas")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--call", type=int, help="one call of the function --only names, in this process")
    parser.add_argument("--wrong", type=float, default=0.25, help="share of calls with a wrong argument")
    parser.add_argument("--plant", help="a function whose last element is off by a bit: the fuzzer must find it")
    parser.add_argument("--plant-crash", help="a function that ends the process")
    parser.add_argument("--log", help="folder for what the processes print")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.only.split(",") if options.only else sorted(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"unknown: {sorted(unknown)}; there are {sorted(TARGETS)}")
    if without := missing():
        parser.error(f"public functions without a target: {sorted(without)}")
    if options.worker:
        work(options, names)
        return 0
    if options.call is not None:
        result = attempt(options.seed, names[0], options.call, options)
        print("\n".join(str(v) for v in result.values()))
        return int("kind" in result)
    if options.seconds is None and options.calls is None:
        options.seconds = 60.0
    return 0 if Watcher(options, names).watch() else 1


if __name__ == "__main__":
    sys.exit(main())
