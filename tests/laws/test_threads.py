"""Threads change nothing but the time: same bits, any caller, also in a forked child."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import platform
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import regkern as rk
from cases import CASES, Case, NormCase
from comparing import assert_same_bits
from regkern import _core

TEAMS = (1, 2, 3, 4, 7)
LARGE = 1_000_003  # several blocks a thread and a tail; far above the size below which work stays serial
LARGE_NORM = [
    NormCase((64, 5, 29, 31)),
    NormCase((2, 1, 400, 401)),
    NormCase((3, 2, 9000)),
    NormCase((20_001, 33)),
    NormCase((3000, 3), affine=False),
    NormCase((131, 1500)),
    NormCase((40, 30, 31, 16), axis=-1),
    NormCase((64, 5, 29, 31), training=False),
]


def run(code: str, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_same_bits_for_every_team(case: Case, dtype: type, rng: np.random.Generator) -> None:
    arrays = case.make((LARGE,), dtype, rng)
    strided = {name: np.repeat(a, 2)[::2] for name, a in arrays.items()}
    for memory in (arrays, strided):
        results = []
        for team in TEAMS:
            mine = {name: a.copy() if memory is arrays else np.repeat(a, 2)[::2] for name, a in memory.items()}
            with rk.threads(team):
                results.append((case.call(rk, mine), [mine[name] for name in case.writes]))
        for result, written in results[1:]:
            if result is not None:
                assert_same_bits(result, results[0][0])
            for got, first in zip(written, results[0][1], strict=True):
                assert_same_bits(got, first)


def test_norms_in_a_thread_with_little_stack(isa: str) -> None:
    """What musl gives a thread is 128 KiB: the sums of many channels must not fill it."""
    done = run(
        """
        import threading

        import numpy as np

        import regkern as rk

        rk.set_num_threads(1)
        x, passed = np.random.default_rng(0).standard_normal((8, 40, 7, 7)), []

        def work():
            for activation in (None, "relu"):
                _, cache = rk.batch_norm(x, training=True, activation=activation)
                rk.batch_norm_backward(x, cache)
            passed.append(True)

        threading.stack_size(128 * 1024)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        print(passed)
        """,
        REGKERN_ISA=isa,
    )
    assert done.stdout == "[True]\n", (done.returncode, done.stderr)


@pytest.mark.parametrize("case", LARGE_NORM, ids=str)
def test_batch_norm_same_bits_for_every_team(case: NormCase, dtype: type, rng: np.random.Generator) -> None:
    arrays = case.make(dtype, rng)
    dy = rng.standard_normal(case.shape).astype(dtype)
    first = None
    for team in TEAMS:
        mine = {name: a.copy() for name, a in arrays.items()}
        with rk.threads(team):
            y, cache = case.call(rk, mine)
            results = [y, *rk.batch_norm_backward(dy, cache), mine["running_mean"], mine["running_var"]]
        first = first or results
        for got, expected in zip(results, first, strict=True):
            assert_same_bits(got, expected, team)


def test_same_bits_whatever_the_governor_does(rng: np.random.Generator) -> None:
    """As users run it: teams come and go, callers compete for them."""
    x = rng.standard_normal((64, 16, 40, 41)).astype(np.float32)

    def results() -> list[np.ndarray]:
        return [rk.prox_l1(x, 0.3), rk.dropout(x, 0.4, rng=1)[0], rk.batch_norm(x, training=True)[0]]

    with rk.threads(1):
        expected = results()

    def work(team: int) -> None:
        with rk.threads(team):
            for _ in range(30):
                for got, reference in zip(results(), expected, strict=True):
                    assert_same_bits(got, reference)

    _core.set_governed(True)
    try:
        work(3)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(work, (1, 2, 4)))
    finally:
        _core.set_governed(False)


def test_helpers_round_as_their_caller_does(rng: np.random.Generator) -> None:
    """The floating-point environment is a thread's own, and helpers were made under another."""
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    upward = {"x86_64": 0x800, "aarch64": 0x400000}[platform.machine()]
    x = rng.standard_normal(LARGE).astype(np.float32)
    with rk.threads(4):
        nearest = rk.l2_decay(x, 0.1)
        before = libm.fegetround()
        assert libm.fesetround(upward) == 0
        try:
            got = rk.l2_decay(x, 0.1)
            with rk.threads(1):
                expected = rk.l2_decay(x, 0.1)
        finally:
            libm.fesetround(before)
        assert_same_bits(got, expected)
        assert (got != nearest).sum() > LARGE // 4
        assert_same_bits(rk.l2_decay(x, 0.1), nearest)


SCRIPT_OF_HASHES = """
    import hashlib, numpy as np, regkern as rk
    rk._core.set_governed(False)
    x = np.random.default_rng(0).standard_normal((50, 8, 50, 51)).astype(np.float32)
    digest = hashlib.sha256()
    for _ in range(5):
        y, cache = rk.batch_norm(x, training=True)
        for a in (y, *rk.batch_norm_backward(x, cache), rk.prox_l1(x, 0.5), rk.dropout(x, 0.3, rng=1)[0]):
            digest.update(a.tobytes())
    print(rk.show_config("dict")["team"], digest.hexdigest())
"""


def test_openmps_threads_for_those_who_say_how_they_run() -> None:
    alone = run(SCRIPT_OF_HASHES, REGKERN_NUM_THREADS="1").stdout.split()
    for environment in ({}, {"OMP_WAIT_POLICY": "passive"}, {"OMP_PROC_BIND": "true"}, {"GOMP_SPINCOUNT": "1000"}):
        for team in ("2", "5"):
            team_of, digest = run(SCRIPT_OF_HASHES, REGKERN_NUM_THREADS=team, **environment).stdout.split()
            assert digest == alone[1]
            expected = "OpenMP" if environment and rk.show_config("dict")["openmp"] != "none" else "regkern"
            assert team_of == expected


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_threads_are_n_at_most_and_know_no_signals() -> None:
    code = """
        import os, numpy as np, regkern as rk
        rk._core.set_governed(False)
        def tasks():
            return set(os.listdir("/proc/self/task"))
        x, before = np.ones(2_000_000, np.float32), tasks()
        for n in (1, 2, 4, 3):
            with rk.threads(n):
                rk.prox_l1(x, 0.5)
            print(len(tasks() - before), end=" ")
        for task in tasks() - before:
            with open(f"/proc/self/task/{task}/status") as status:
                blocked = next(line for line in status if line.startswith("SigBlk"))
            assert int(blocked.split()[1], 16) & 1 << 1, blocked  # SIGINT is for the interpreter's threads
    """
    done = run(code)
    assert done.stdout.split() == ["0", "1", "3", "3"], done.stderr


def test_stacks_that_take_all_memory() -> None:
    """Threads that are made find memory for their thread_local variables."""
    code = """
        import os, resource, numpy as np, regkern as rk
        rk._core.set_governed(False)
        x = np.linspace(-3, 3, 2_000_000, dtype=np.float32)
        with rk.threads(1):
            expected = rk.prox_l1(x, 0.5)
        out = np.empty_like(x)
        rk.set_num_threads(4096)
        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
        stacks = 3 * (resource.getrlimit(resource.RLIMIT_STACK)[0] + resource.getpagesize())  # each with its guard
        resource.setrlimit(resource.RLIMIT_AS, (used + stacks + int(os.environ["LEFT"]), resource.RLIM_INFINITY))
        rk.prox_l1(x, 0.5, out=out)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        assert np.array_equal(out, expected)
        print("done")
    """
    for left in range(0, 16384, 4096):
        done = run(code, LEFT=str(left))
        assert done.stdout.split() == ["done"], (left, done.stderr)


def test_threads_that_cannot_be_made() -> None:
    """A limit on memory leaves no room for stacks: the work goes on with those there are."""
    code = """
        import resource, numpy as np, regkern as rk
        rk._core.set_governed(False)
        x = np.linspace(-3, 3, 20_000_000, dtype=np.float32)
        out = np.empty_like(x)
        with rk.threads(1):
            expected = rk.prox_l1(x, 0.5)
        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
        for n in (4096, 4096, 3):
            rk.set_num_threads(n)
            resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
            rk.prox_l1(x, 0.5, out=out)
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
            assert np.array_equal(out, expected)
        print("done")
    """
    for environment in ({}, {"OMP_WAIT_POLICY": "passive"}):
        done = run(code, **environment)
        assert done.stdout.split() == ["done"], done.stderr


@pytest.mark.parametrize("governed", [True, False])
def test_the_interpreter_ends_while_a_daemon_thread_is_in_a_kernel(governed: bool) -> None:
    code = f"""
        import threading, time, numpy as np, regkern as rk
        rk._core.set_governed({governed})
        x = np.ones(3_000_000, np.float32)
        def busy():
            while True:
                rk.batch_norm(x.reshape(30, 10, -1), training=True)
        for _ in range(3):
            threading.Thread(target=busy, daemon=True).start()
        time.sleep(0.2)
    """
    for _ in range(5):
        done = run(code, REGKERN_NUM_THREADS="2")
        assert done.returncode == 0, done.stderr


def test_a_sub_interpreter_is_refused() -> None:
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    interpreters = pytest.importorskip(name)
    code = f"""
        import {name} as interpreters
        code = "import warnings; warnings.simplefilter('ignore'); import regkern"
        try:
            failure = interpreters.run_string(interpreters.create(), code)
        except interpreters.RunFailedError as error:
            failure = error
        print(failure)
    """
    assert interpreters
    assert "ImportError" in run(code).stdout


def test_masks_and_bits_for_every_team() -> None:
    results = []
    for team in TEAMS:
        with rk.threads(team):
            mask = np.asarray(rk.DropoutMask(1, 2, (LARGE,), 0.3))
            results.append((mask, rk.random_bits(LARGE, seed=3, stream=4)))
    for mask, words in results[1:]:
        assert_same_bits(mask, results[0][0])
        assert_same_bits(words, results[0][1])


def test_many_python_threads_at_once(rng: np.random.Generator) -> None:
    """Eight callers start together, sixteen times: shared input, their own outputs, the serial result."""
    x = rng.standard_normal((64, 16, 31, 9)).astype(np.float32)
    expected = [rk.prox_l1(x, 0.3), rk.dropout(x, 0.4, rng=1)[0], rk.batch_norm(x, training=True)[0]]
    barrier = threading.Barrier(8)

    def work(_: int) -> None:
        for _ in range(16):
            barrier.wait(timeout=60)
            got = [rk.prox_l1(x, 0.3), rk.dropout(x, 0.4, rng=1)[0], rk.batch_norm(x, training=True)[0]]
            for a, b in zip(got, expected, strict=True):
                assert_same_bits(a, b)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_threads_is_local_to_the_python_thread() -> None:
    before = rk.get_num_threads()
    with rk.threads(3):
        assert rk.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(rk.get_num_threads).result() == before
        with rk.threads(5):
            assert rk.get_num_threads() == 5
        assert rk.get_num_threads() == 3
    assert rk.get_num_threads() == before
    with pytest.raises(RuntimeError, match="inside"), rk.threads(2):
        raise RuntimeError("inside")
    assert rk.get_num_threads() == before


def test_set_num_threads() -> None:
    before = rk.get_num_threads()
    rk.set_num_threads(5)
    assert rk.get_num_threads() == 5
    rk.set_num_threads(before)
    for bad in (0, -1, 5000):
        with pytest.raises(ValueError, match=rf"^set_num_threads: n must be in \[1, 4096\], got {bad}"):
            rk.set_num_threads(bad)
        with rk.threads(3), pytest.raises(ValueError, match=rf"^threads: n must be in \[1, 4096\], got {bad}"):
            rk.threads(bad)
    for bad in (1.5, "2", True, None):
        with pytest.raises(TypeError, match=r"^set_num_threads: n must be an int, got"):
            rk.set_num_threads(bad)
        with pytest.raises(TypeError, match=r"^threads: n must be an int, got"):
            rk.threads(bad)
    assert rk.get_num_threads() == before


def test_environment() -> None:
    show = "import regkern as rk; d = rk.show_config('dict'); print(d['isa'], d['threads'])"
    worst = rk.show_config("dict")["isas"][-1]
    assert run(show, REGKERN_ISA=worst, REGKERN_NUM_THREADS="3").stdout.split() == [worst, "3"]
    assert run(show, OMP_NUM_THREADS="1", REGKERN_NUM_THREADS="").stdout.split()[1] == "1"
    # What get_num_threads says, set_num_threads takes.
    assert int(run(show, OMP_NUM_THREADS="5000", REGKERN_NUM_THREADS="").stdout.split()[1]) <= 4096
    for spaced in (" 3", "3 ", " 3\t\n"):
        assert run(show, REGKERN_NUM_THREADS=spaced).stdout.split()[1] == "3"
    assert "REGKERN_ISA must be one of" in run(show, REGKERN_ISA="avx9").stderr
    for bad in ("many", "0", "-1", "1.5", "3 4", " ", "4097", "9" * 30):
        message = f"REGKERN_NUM_THREADS must be an int in [1, 4096], got '{bad}'"
        assert message in run(show, REGKERN_NUM_THREADS=bad).stderr


def test_threadpoolctl_sees_and_limits_the_runtime() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    if rk.show_config("dict")["openmp"] == "none":
        pytest.skip("built without OpenMP")
    assert "openmp" in {pool["user_api"] for pool in threadpoolctl.threadpool_info()}
    code = """
        import regkern as rk, threadpoolctl
        with threadpoolctl.threadpool_limits(1, user_api="openmp"):
            print(rk.get_num_threads())
    """
    assert run(code, REGKERN_NUM_THREADS="", OMP_NUM_THREADS="2").stdout.split() == ["1"]


def test_the_gil_is_released() -> None:
    """A counting Python thread goes on while a kernel runs."""
    x = np.broadcast_to(np.float32(1), (1 << 30,))
    count, stop = 0, threading.Event()

    def counting() -> None:
        nonlocal count
        while not stop.is_set():
            count += 1
            time.sleep(0.001)

    thread = threading.Thread(target=counting)
    thread.start()
    try:
        while count == 0:
            time.sleep(0.001)
        before = count
        rk.l1_norm(x)
        during = count - before
    finally:
        stop.set()
        thread.join()
    assert during >= 10


FORKS = int(os.environ.get("REGKERN_TEST_FORKS", "20"))  # .ci/sanitize wants more
FORK = """
    import os, signal, sys, threading
    import numpy as np, regkern as rk
    rk._core.set_governed(False)
    x = np.linspace(-3, 3, 2_000_000, dtype=np.float32)
    rk.set_num_threads(2)
    def hashes():
        y, cache = rk.batch_norm(x.reshape(50, 4, -1), training=True)
        return [rk.prox_l1(x, 0.5).tobytes(), rk.dropout(x, 0.3, rng=1)[0].tobytes(), y.tobytes()]
    expected = hashes()
    stop = threading.Event()
    def busy():
        while not stop.is_set():
            rk.l1_norm(x)
    threads = [threading.Thread(target=busy, daemon=True) for _ in range({busy})]
    for t in threads: t.start()
    for i in range({forks}):
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)  # a hang ends the child with a signal
            os._exit(0 if hashes() == expected and rk.get_num_threads() == 1 else 1)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status == 0, f"child {{i}} ended with {{status}}"
        assert hashes() == expected  # the parent goes on as before
    stop.set()
    for t in threads: t.join()
    print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.parametrize(("forks", "busy"), [(10, 0), (FORKS, 2)])
def test_a_forked_child_can_call(forks: int, busy: int) -> None:
    """The parent has run parallel work; libgomp alone hangs here, and so would a pool that counts on its threads."""
    done = run(FORK.format(forks=forks, busy=busy), timeout=100 + 5 * forks, PYTHONWARNINGS="ignore")
    assert done.stdout.split() == ["done"], done.stderr


def test_a_multiprocessing_pool_after_parallel_work() -> None:
    code = """
        import multiprocessing, numpy as np, regkern as rk
        x = np.linspace(-3, 3, 2_000_000, dtype=np.float32)
        def total(seed):
            return rk.l1_norm(rk.dropout(x, 0.3, rng=seed)[0])
        expected = [total(seed) for seed in range(4)]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(pool.map_async(total, range(4)).get(timeout=50) == expected)
    """
    done = run(code, PYTHONWARNINGS="ignore")
    assert done.stdout.split() == ["True"], done.stderr


def test_blocks_of_threads_are_left_in_any_order() -> None:
    """Those of two coroutines on one thread are not nested."""
    before = rk.get_num_threads()
    first, second = rk.threads(before + 1), rk.threads(before + 2)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert rk.get_num_threads() == before + 2
    second.__exit__(None, None, None)
    assert rk.get_num_threads() == before


def test_one_object_of_threads_is_entered_again_and_within_itself() -> None:
    before = rk.get_num_threads()
    block, other = rk.threads(before + 1), rk.threads(before + 2)
    for _ in range(2):
        with block:
            assert rk.get_num_threads() == before + 1
            with other, block:
                assert rk.get_num_threads() == before + 1
                with other:
                    assert rk.get_num_threads() == before + 2
                assert rk.get_num_threads() == before + 1
            assert rk.get_num_threads() == before + 1
        assert rk.get_num_threads() == before
    with block, other, pytest.raises(RuntimeError, match="inside"), block:
        raise RuntimeError("inside")
    assert rk.get_num_threads() == before


def test_threads_decorates_a_function_that_calls_itself() -> None:
    before = rk.get_num_threads()

    @rk.threads(before + 1)
    def numbers(depth: int) -> list[int]:
        """Of threads, on the way down and up."""
        return [rk.get_num_threads(), *(numbers(depth - 1) if depth else []), rk.get_num_threads()]

    assert numbers(2) == [before + 1] * 6
    assert numbers(0) == [before + 1] * 2
    assert numbers.__name__ == "numbers"
    assert rk.get_num_threads() == before


def test_one_object_of_threads_on_several_python_threads_at_once() -> None:
    """Each leaves the block that it has entered."""
    before = rk.get_num_threads()
    block, together = rk.threads(before + 1), threading.Barrier(4)

    def work(i: int) -> None:
        for turn in range(20):
            with rk.threads(before + 2 + i):
                together.wait(timeout=60)
                with block:
                    together.wait(timeout=60)
                    for _ in range(turn + i):
                        with block:
                            assert rk.get_num_threads() == before + 1
                    assert rk.get_num_threads() == before + 1
                assert rk.get_num_threads() == before + 2 + i
            assert rk.get_num_threads() == before

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert rk.get_num_threads() == before


def test_a_block_of_threads_may_end_on_another_thread() -> None:
    before = rk.get_num_threads()
    block = rk.threads(before + 1)
    block.__enter__()
    with ThreadPoolExecutor(1) as other:
        other.submit(block.__exit__, None, None, None).result()
        assert other.submit(rk.get_num_threads).result() == before
    with rk.threads(before + 2):
        pass
    assert rk.get_num_threads() == before
