"""What the benchmark makes of its measurements, on numbers that are made up."""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from regkern.__main__ import main
from regkern.bench import agreement, cli, headline, machine, peers, plans, report, session
from regkern.bench.claims import CLAIMS, Claim
from regkern.bench.data import Shape, channels_last
from regkern.bench.kernels import FLOAT32, KERNELS
from regkern.bench.lines import LINES
from regkern.bench.measure import Participant, even_out, nothing
from regkern.bench.peers import COMPILE, COPY, NUMPY, REGKERN
from regkern.bench.results import Cell, Run, Samples, save
from regkern.bench.verdicts import judge

BY_NAME = {kernel.name: kernel for kernel in KERNELS}
FACTS = {"machine": {"cpu": "a processor", "cores": 2}}


def cell_of(kernel: str, shape: Shape, times: dict[tuple[str, int], float]) -> Cell:
    cell = Cell(kernel, shape, BY_NAME[kernel].dtype or "float32", 8)
    cell.samples = {key: Samples("", 1, {0: ns, 1: ns, 2: ns}) for key, ns in times.items()}
    return cell


def run_that(claim: Claim, value: float) -> Run:
    """A run in which the claim's ratio is this."""
    times = {claim.over: 1000.0 * value, claim.under: 1000.0}
    return Run(FACTS, "float32", [cell_of(claim.kernel, claim.shape, times)])


def bench(*arguments: str) -> int:
    """The exit status of the command."""
    return main(["bench", *arguments])


def identity(claim: Claim) -> str:
    return f"{claim.kernel}, {claim.shape}, {claim.text}"


@pytest.mark.parametrize("claim", CLAIMS, ids=identity)
def test_every_claim_is_about_a_cell_that_is_measured(claim: Claim) -> None:
    kernel = BY_NAME[claim.kernel]
    assert claim.shape in plans.QUICK.shapes(kernel)
    assert not kernel.shapes or claim.shape in kernel.shapes or len(claim.shape.dims) == 1
    known = {REGKERN, COPY, *(kernel.rivals or (NUMPY, *peers.RIVALS)), *(name for name, _, _ in kernel.extras)}
    assert claim.contenders() <= known
    assert REGKERN in claim.contenders() or any(peer == REGKERN for _, peer, _ in kernel.extras)


@pytest.mark.parametrize("claim", CLAIMS, ids=identity)
def test_a_claim_holds_up_to_its_bound(claim: Claim) -> None:
    inside, outside = (0.99, 1.01) if claim.at_most else (1.01, 0.99)
    for factor, expected in ((inside, True), (outside, False)):
        found = [v for v in judge(run_that(claim, factor * claim.target)) if v.claim == claim]
        assert [v.holds for v in found] == [expected]


def test_a_copy_is_judged_in_place_of_regkern() -> None:
    """A rival of 1.4 copies cannot be beaten 1.5 times by who moves as much, nor one of .8 be matched."""
    faster = next(c for c in CLAIMS if not c.at_most and c.threads() == {1} and c.rival != (COPY, 1))
    shorter = next(c for c in CLAIMS if c.at_most and c.threads() == {1} and c.rival != (COPY, 1))
    for claim, copy, misses in (
        (faster, 0.99, True),
        (faster, 1.01, False),
        (shorter, 1.01, True),
        (shorter, 0.99, False),
    ):
        run = run_that(claim, claim.target)
        rival = run.cells[0].samples[claim.rival].rounds[0]
        ns = rival / (copy * claim.target) if claim is faster else rival * copy * claim.target
        run.cells[0].samples[COPY, 1] = Samples("", 1, {0: ns, 1: ns, 2: ns})
        verdict = next(v for v in judge(run) if v.claim == claim)
        assert verdict.copy is not None
        assert verdict.copy.value == pytest.approx(copy * claim.target)
        assert verdict.copy_misses is misses


def test_a_copy_says_nothing_of_itself_nor_of_more_threads() -> None:
    for claim in CLAIMS:
        if claim.rival == (COPY, 1) or claim.threads() != {1}:
            run = run_that(claim, claim.target)
            run.cells[0].samples.setdefault((COPY, 1), Samples("", 1, {0: 1.0, 1: 1.0, 2: 1.0}))
            assert next(v for v in judge(run) if v.claim == claim).copy is None


def test_no_claim_is_made_twice() -> None:
    assert len({(c.kernel, c.shape, c.over, c.under) for c in CLAIMS}) == len(CLAIMS)


def test_what_misses_is_printed_last_and_fits_a_screen() -> None:
    cells: dict[tuple[str, Shape], Cell] = {}
    for claim in CLAIMS:
        cell = cells.setdefault((claim.kernel, claim.shape), cell_of(claim.kernel, claim.shape, {}))
        for (name, threads), ns in ((claim.over, 9e3 if claim.at_most else 10.0), (claim.under, 1e3)):
            cell.samples.setdefault((name, threads), Samples("", 1, {0: ns, 1: ns, 2: ns}))
    run = Run(FACTS, "float32", list(cells.values()))
    console = Console(width=120, record=True)
    headline.summary(run, judge(run), console)
    lines = console.export_text().rstrip().splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 120
    missed = [verdict for verdict in judge(run) if verdict.holds is False]
    assert len(missed) > headline.MISSES
    assert f"{len(missed) - headline.MISSES} more" in lines[-1]
    for line in LINES:
        assert any(line.kernel in text for text in lines) == ((line.kernel, line.shape) in cells)


def test_ranges_have_two_digits_or_all_before_the_point() -> None:
    """99.9 is 100, not 1e+02."""
    assert headline._range([99.9, 104.2], " %") == "100–104 %"
    assert headline._range([1.74, 1.66]) == "1.7"


def test_the_best_rival_is_the_fastest_with_one_thread() -> None:
    shape = Shape((1000,))
    cell = cell_of("prox_l1 out=", shape, {(REGKERN, 1): 10, (NUMPY, 1): 50, ("torch", 1): 30, ("torch", 2): 1})
    found = headline.best_rival(cell)
    assert found is not None
    assert (found[0], found[1].value) == ("torch", 3.0)


def test_who_knows_threads_is_compared_at_the_same_number() -> None:
    times = {(name, 1): 10.0 for name in (REGKERN, COPY, NUMPY, "torch")}
    cell = cell_of("prox_l1 out=", Shape((1000,)), times)
    assert cell.key_of("torch", 2) is None  # it was not measured there: its one thread would be no comparison
    assert cell.key_of(NUMPY, 2) == (NUMPY, 1)


def test_channels_last_is_the_memory_that_torch_means() -> None:
    d = channels_last(Shape((2, 3, 4, 5)), "float32")
    for a in (d.x, d.dy, d.out):
        assert a.shape == (2, 3, 4, 5)
        assert np.moveaxis(a, 1, -1).flags.c_contiguous


def test_half_precision_is_measured_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    half = [kernel for kernel in KERNELS if kernel.dtype == "bfloat16"]
    norms = {"batch_norm", "layer_norm", "group_norm", "group_norm_backward"}
    assert {kernel.name.split()[0] for kernel in half} == {"dropout", "dropout_backward", "prox_l1", *norms}
    for kernel in half:
        refusal = plans.refusal(kernel)
        assert not refusal or "bfloat16" in refusal
        if not refusal and not kernel.random:
            shape = Shape((4, 32, 5, 5)) if kernel.op in norms else Shape((64,))
            found, expected = (agreement.result(peer, 1, kernel, shape, "bfloat16") for peer in peers.own()[:2])
            assert found is not None
            assert expected is not None
            assert agreement.near(found, expected, "bfloat16")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert all("not installed" in plans.refusal(kernel) for kernel in half)
    assert not any(plans.refusal(kernel) for kernel in KERNELS if kernel.dtype != "bfloat16")


def test_half_precision_runs_beside_float32() -> None:
    """All that the session does with it: data, agreement, rows. torch's tensors too, where there is torch."""
    pytest.importorskip("ml_dtypes")
    kernel, run = BY_NAME["prox_l1 bfloat16"], Run(FACTS, "float32")
    work = session.Session(plans.QUICK, [replace(kernel, shapes=(Shape((1000,)),))], [1], "float32", run, 0.0)
    work.load()
    work.peers = [peer for peer in work.peers if peer.name in (REGKERN, "torch")]
    work.finish = float("inf")
    assert work._disagreeing(kernel, Shape((1000,)), "bfloat16") == set()
    contenders = {name for name, _, _ in work._contenders(kernel, Shape((1000,)), 1)}
    assert {REGKERN, FLOAT32} <= contenders


def test_claims_about_a_refused_kernel_say_why() -> None:
    run = Run(FACTS, "float32", refused={"prox_l1 bfloat16": "bfloat16 needs ml_dtypes: not installed"})
    verdicts = judge(run)
    assert {verdict.why_not for verdict in verdicts} == {"bfloat16 needs ml_dtypes"}
    assert [verdict.holds for verdict in verdicts] == [None] * len(verdicts)


def test_without_a_compiler_torch_is_measured_without_compiling(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("PATH", str(tmp_path))
    found, missing = peers.rivals(["torch", COMPILE])
    assert [peer.name for peer in found] == ["torch"]
    assert "no C++ compiler" in missing[COMPILE]


def test_torch_compile_is_asked_for_few_rows_unless_all_are_wanted() -> None:
    cells = [(kernel, shape) for kernel in KERNELS for shape in plans.DEFAULT.shapes(kernel)]
    asked = [(kernel.name, shape) for kernel, shape in cells if plans.DEFAULT.asks(kernel, shape, COMPILE)]
    assert set(asked) <= {(line.kernel, line.shape) for line in LINES}
    assert not any(plans.DEFAULT.asks(kernel, shape, COMPILE, threads=2) for kernel, shape in cells)
    assert all(plans.FULL.asks(kernel, shape, COMPILE, 2) for kernel, shape in cells if kernel.rivals is None)


def test_a_wrong_result_is_seen() -> None:
    x = np.ones(4, np.float32)
    assert agreement.near(x, x, "float32")
    assert not agreement.near(x * 1.001, x, "float32")


def test_contenders_make_as_many_calls_a_sample_unless_that_takes_too_long() -> None:
    def of(microseconds: float, loops: int) -> Participant:
        return Participant(nothing, seconds=microseconds / 1e6, loops=loops)

    contenders = of(8, 24), of(30, 6), of(600, 1)
    even_out(contenders)
    assert [p.loops for p in contenders] == [24, 24, 1]
    assert contenders[1].cost == pytest.approx(30e-6 * (24 + 24))  # as many come before a sample
    even_out([])


def calls_of_both() -> tuple[int, int]:
    run, kernel = Run(FACTS, "float32"), BY_NAME["dropout out="]
    plan = replace(plans.QUICK, contenders=(REGKERN,))
    work = session.Session(plan, [replace(kernel, shapes=(Shape((10_000,)),))], [1], "float32", run, 0.0)
    work.load()
    work.measure(lambda *_: None)
    loops = {key: samples.loops for key, samples in run.cells[0].samples.items()}
    return loops[COPY, 1], loops[REGKERN, 1]


def test_a_cell_is_measured_with_as_many_calls_of_both() -> None:
    """Unless one takes too long, as any does where a busy machine takes the core away: so not each of five times."""
    assert any(of_copy == ours > 1 for of_copy, ours in (calls_of_both() for _ in range(5)))


def test_a_run_that_can_measure_nothing_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    path = tmp_path / "run.json"
    for kernel, why in (("dropout bf*", "needs ml_dtypes: not installed"), ("group_norm", "too large for a quick run")):
        assert bench("--quick", "--threads", "1", "--only", kernel, "--json", str(path)) == 2
        assert why in capsys.readouterr().err
        assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "missed"),
    [
        (["typo*"], "'typo*'"),
        (["prox_ridge", "typo*"], "'typo*'"),
        (["typo*", "prox_ridge", "other"], "'typo*' or 'other'"),
        ([""], "''"),
    ],
    ids=str,
)
def test_a_pattern_that_names_no_kernel_is_refused_beside_others(
    arguments: list[str], missed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session.Session, "load", lambda self: pytest.fail("it goes on to measure"))
    patterns = [word for pattern in arguments for word in ("--only", pattern)]
    assert bench("--quick", *patterns) == 2
    assert f"--only: no kernel is named like {missed}; there are prox_l1" in capsys.readouterr().err


def test_a_pattern_that_names_no_claim_is_refused_beside_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session.Session, "load", lambda self: pytest.fail("it goes on to measure"))
    assert bench("--quick", "--claims", "--only", "l2_decay", "--only", "uniform") == 2
    assert "--only: no kernel with a claim is named like 'uniform'; there are " in capsys.readouterr().err


def hasty_run() -> Run:
    """torch has one round, and NumPy, which may be the better one, none."""
    shape = Shape((16_000_000,))
    cell = cell_of("dropout out=", shape, {(REGKERN, 1): 10.0, (COPY, 1): 10.0, ("torch", 1): 277.0})
    cell.samples["torch", 1].rounds = {0: 277.0}
    left_out = [(NUMPY, "dropout out= 16,000,000"), ("torch", "dropout out= 16,000,000")]  # of it 2 threads alone
    return Run(machine.facts([]), "float32", [cell], {"torch": "2: eager"}, left_out=left_out)


def test_the_last_screen_says_what_its_best_rival_rests_on() -> None:
    run, console = hasty_run(), Console(width=120, record=True)
    headline.summary(run, [], console)
    text = console.export_text()
    assert re.search(r"torch \* +~27\.7 ", text)
    assert "Left out for want of time: NumPy in dropout out= 16,000,000." in text
    run.cells[0].samples[NUMPY, 1] = Samples("", 1, {0: 90.0, 1: 90.0, 2: 90.0})
    headline.summary(run, [], console)
    text = console.export_text()
    assert re.search(r"NumPy +9\.00 ", text)
    assert "Left out" not in text


def test_a_headline_says_what_its_best_rivals_rest_on_beside_the_table(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The table, which goes into a page, is as it was."""
    path = tmp_path / "run.json"
    save(path, hasty_run().to_json([]))
    assert bench("--headline", str(path)) == 0
    shown = capsys.readouterr()
    assert "| torch | 28 | 100 % |" in shown.out
    assert shown.err.splitlines() == [
        "regkern bench: --headline: fewer than 3 rounds of the best rival: torch in dropout out= 16,000,000",
        "regkern bench: --headline: rivals left out for want of time: NumPy in dropout out= 16,000,000",
    ]


def test_who_was_left_out_is_named_with_the_cell() -> None:
    console = Console(width=120, record=True)
    run = hasty_run()
    run.left_out += [("numba", f"prox_ridge {n}") for n in range(9)]
    report.footer(run, console)
    text = console.export_text()
    assert "NumPy 1: dropout out= 16,000,000\n" in text
    assert "numba 9: prox_ridge 0; prox_ridge 1; prox_ridge 2; prox_ridge 3; prox_ridge 4; and 4 more\n" in text


def test_a_headline_of_an_interrupted_run_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    run = hasty_run()
    run.interrupted = True
    save(path, run.to_json([]))
    assert bench("--headline", str(path)) == 0
    assert f"the run of {path} was interrupted\n" in capsys.readouterr().err


def refused_headline(capsys: pytest.CaptureFixture[str], paths: list[Path]) -> str:
    assert bench("--headline", *map(str, paths)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err


def test_a_headline_of_nothing_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    full, empty = tmp_path / "full.json", tmp_path / "empty.json"
    save(full, hasty_run().to_json([]))
    save(empty, Run(machine.facts([]), "float32", terms={}).to_json([]))
    for paths in ([empty], [full, empty]):
        assert f"{empty} has no row" in refused_headline(capsys, paths)


def test_a_headline_without_a_row_of_one_thread_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    full, two = tmp_path / "full.json", tmp_path / "two.json"
    run = hasty_run()
    save(full, run.to_json([]))
    samples = run.cells[0].samples
    samples[REGKERN, 2] = samples.pop((REGKERN, 1))
    save(two, run.to_json([]))
    for paths in ([two], [full, two], [two, full]):
        assert f"--headline: {two} has no row of one thread" in refused_headline(capsys, paths)


def test_a_headline_names_files_that_add_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    save(first, hasty_run().to_json([]))
    assert bench("--headline", str(first)) == 0
    alone = capsys.readouterr()
    other = hasty_run()
    other.cells = [cell_of("prox_l1 out=", Shape((1000,)), {(REGKERN, 1): 1.0, (COPY, 1): 1.0})]
    save(second, other.to_json([]))
    assert bench("--headline", str(first), str(second)) == 0
    shown = capsys.readouterr()
    assert shown.out == alone.out
    assert f"regkern bench: --headline: {second} has no row of {first}\n" in shown.err
    assert bench("--headline", str(first), str(first)) == 0
    assert "has no row" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    [
        ["--only", "x"],
        ["--quick"],
        ["--full"],
        ["--claims"],
        ["--list"],
        ["--threads", "1"],
        ["--dtype", "float32"],
        ["--json", "x"],
        ["--threads", ""],
    ],
    ids=" ".join,
)
def test_a_headline_goes_without_what_a_run_needs(
    option: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "run.json"
    save(path, hasty_run().to_json([]))
    assert bench(*option, "--headline", str(path)) == 2
    assert f"goes without {option[0]}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    [
        ["--quick"],
        ["--full"],
        ["--threads", "1"],
        ["--threads", ""],
        ["--dtype", "float64"],
        ["--json", "x.json"],
        ["--plot", "x.png"],
        ["--compare", "no-such-file.json"],
    ],
    ids=" ".join,
)
def test_a_list_goes_without_what_a_run_needs(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--list", *option, "--only", "prox_ridge") == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"regkern bench: --list: measures nothing, and goes without {option[0]}\n"


def test_a_list_is_of_the_kernels_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--list", "--claims", "--only", "l2_d*") == 0
    assert "l2_decay" in capsys.readouterr().out


@pytest.mark.parametrize(("was", "now"), [("float64", "float32"), ("float32", "float64")])
def test_a_run_of_another_dtype_is_refused_before_it_is_measured(
    was: str, now: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(session.Session, "load", lambda self: pytest.fail("it goes on to measure"))
    path = tmp_path / "old.json"
    save(path, Run(machine.facts([]), was).to_json([]))
    assert bench("--quick", "--only", "prox_ridge", "--dtype", now, "--compare", str(path)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"regkern bench: --compare: {path} must be of {now}, like this run, got {was}\n"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder in which nobody can make a file")
def test_what_cannot_be_written_is_refused_before_it_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session.Session, "load", lambda self: pytest.fail("it goes on to measure"))
    for option, path in (("--json", "/proc/x.json"), ("--plot", "/proc/x.png"), ("--json", "x" * 300)):
        assert bench("--quick", "--only", "prox_ridge", option, path) == 2
        assert f"{option}: {path} cannot be written: " in capsys.readouterr().err


def test_to_ask_whether_a_file_can_be_written_changes_nothing(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text("old")
    before = old.stat()
    cli._writable("--json", old)
    cli._writable("--json", new)
    after = old.stat()
    assert (old.read_text(), after.st_mtime_ns, after.st_ino) == ("old", before.st_mtime_ns, before.st_ino)
    assert list(tmp_path.iterdir()) == [old]


def wide_run() -> Run:
    """As many columns and as long words as there may be."""
    run = hasty_run()
    everyone = [REGKERN, COPY, "reference", NUMPY, *peers.RIVALS]
    times = {(name, threads): 1e6 + threads for name in everyone for threads in (1, 2)}
    run.cells = [
        cell_of(kernel, shape, times)
        for kernel, shape in (
            ("sgd_step momentum+L1+L2", Shape((16_000_000,))),
            ("dropout out=", Shape((1_000_000,))),
            ("batch_norm_backward", Shape((32, 56, 56, 64), axis=-1)),
        )
    ]
    run.left_out = [("torch", f"{cell.kernel} {cell.shape}") for cell in run.cells]
    run.terms = dict.fromkeys(everyone, "2: " + "words " * 30)
    return run


def everything(run: Run, width: int) -> str:
    """All that is shown of a run."""
    console = Console(width=width, record=True)
    options = argparse.Namespace(claims=False)
    cli._show(run, judge(run), run, options, console)
    return console.export_text()


def test_a_narrow_screen_has_whole_figures_and_says_what_it_lacks() -> None:
    run = wide_run()
    for width in (50, 80, 100, 119):
        text = everything(run, width)
        assert max(map(len, text.splitlines())) <= width
        tables, _, missed = text.partition("Claims: ")
        assert "…" not in tables
        assert "1.00, not ≥ 1.5 (a copy: 1.00)" in missed  # the names before it may be cut
        table = text[: text.index("thr:")]
        for word in ("sgd_step", "momentum", "elements", "16,000,000", "×torch", "1.00"):
            assert word in table
        assert ("too narrow for ±%, ×ref" in " ".join(table.split())) == ("±%" not in table.partition("This")[0])
    wide = everything(run, 120)
    assert "narrow" not in wide
    assert re.search(r"sgd_step momentum\+L1\+L2 +16,000,000", wide)


def test_the_width_is_that_of_the_terminal_or_of_columns_and_else_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "get_terminal_size", lambda _=0: os.terminal_size((50, 25)))
    for terminal, columns, width in (
        (True, None, 50),
        (True, "90", 90),
        (True, "0", 120),
        (False, None, 120),
        (False, "50", 50),
        (False, "140", 140),
        (False, "", 120),
    ):
        screen = io.StringIO()
        monkeypatch.setattr(screen, "isatty", lambda terminal=terminal: terminal)
        monkeypatch.setattr(sys, "stdout", screen)
        if columns is not None:
            monkeypatch.setenv("COLUMNS", columns)
        assert report.console().width == width


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("what", ["run", "list", "headline"])
def test_an_output_that_is_full_is_an_error_of_one_line(what: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    save(path, hasty_run().to_json([]))
    options = {
        "run": ["--quick", "--threads", "1", "--only", "project_nonneg"],
        "list": ["--list", "--only", "project_nonneg"],
        "headline": ["--headline", path],
    }
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "regkern", "bench", *options[what]]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "regkern bench: the output cannot be written: No space left on device\n"
