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
import gc
import importlib
import json
import os
import random
import select
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
GOAL = 1e-6  # of (P − P*)/P*
SURE = 1e-8  # how near to its bound P* must be known
OURS = "regkern"
TWO = "regkern, 2 threads"
ENGINE = "regkern's engine"
RIVALS = ("scikit-learn", "celer", "skglm", "adelie")


# --- the problems -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """Σ loss(y, Xw + b) + l1·Σ|w| + ½·l2·Σw², for each pair of l1 and l2."""

    X: Any
    y: Array
    l1: Array
    l2: Array
    intercept: bool = True
    logistic: bool = False
    folds: tuple[tuple[Array, Array], ...] = ()  # (train, test) of a cross-validation

    @property
    def alphas(self) -> Array:
        """As scikit-learn's linear models for regression count: of the mean loss."""
        return (self.l1 + self.l2) / len(self.y)

    @property
    def alpha(self) -> float:
        return float(self.alphas[0])

    @property
    def l1_ratio(self) -> float:
        return float(self.l1[0] / (self.l1[0] + self.l2[0]))

    @property
    def Cs(self) -> Array:
        """As scikit-learn's classifiers count."""
        return 1 / self.l1

    def write(self, folder: Path) -> None:
        arrays = {"y": self.y, "l1": self.l1, "l2": self.l2}
        if hasattr(self.X, "tocsc"):
            arrays |= {"data": self.X.data, "indices": self.X.indices, "indptr": self.X.indptr}
        elif not (folder / "X.npy").exists():  # a mapped one is there
            np.save(folder / "X.npy", self.X)
        for f, (train, test) in enumerate(self.folds):
            arrays |= {f"train{f}": train, f"test{f}": test}
        facts = {
            "intercept": self.intercept,
            "logistic": self.logistic,
            "folds": len(self.folds),
            "shape": self.X.shape,
        }
        np.savez(folder / "problem.npz", facts=np.array(json.dumps(facts)), **arrays)

    @staticmethod
    def read(folder: Path, mapped: bool) -> Problem:
        with np.load(folder / "problem.npz") as file:
            arrays = dict(file)
        facts = json.loads(str(arrays["facts"]))
        if "indptr" in arrays:
            from scipy.sparse import csc_matrix  # noqa: PLC0415

            X = csc_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), facts["shape"])
        else:
            X = np.load(folder / "X.npy", mmap_mode="r" if mapped else None)
        folds = tuple((arrays[f"train{f}"], arrays[f"test{f}"]) for f in range(facts["folds"]))
        return Problem(X, arrays["y"], arrays["l1"], arrays["l2"], facts["intercept"], facts["logistic"], folds)


def response(X: Any, k: int, rng: np.random.Generator) -> Array:
    """k coefficients of Xw + noise are not 0; the noise is a third of the signal."""
    w = np.zeros(X.shape[1])
    w[rng.choice(len(w), k, replace=False)] = rng.standard_normal(k)
    y = X @ w
    y += rng.standard_normal(len(y)) * np.linalg.norm(y) / 3 / np.sqrt(len(y))
    return np.asarray(y - y.mean())


def dense(n: int, p: int, k: int, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    X = np.asfortranarray(rng.standard_normal((n, p)))
    for j in range(1, p):
        X[:, j] *= 0.8
        X[:, j] += 0.6 * X[:, j - 1]
    X -= X.mean(axis=0)
    return X, response(X, k, rng)


def sparse(n: int, p: int, k: int, seed: int) -> tuple[Any, Array]:
    from scipy.sparse import csc_matrix, random_array  # noqa: PLC0415

    rng = np.random.default_rng(seed)
    X = csc_matrix(random_array((n, p), density=0.002, rng=rng, data_sampler=rng.standard_normal))
    X.sort_indices()
    return X, response(X, k, rng)


def lasso(X: Any, y: Array, divide: float, ratio: float = 1.0, intercept: bool = True) -> Problem:
    total = abs(X.T @ (y - y.mean() if intercept else y)).max() / ratio / divide
    return Problem(X, y, np.array([ratio * total]), np.array([(1 - ratio) * total]), intercept)


def path(X: Array, y: Array, folds: int = 0) -> Problem:
    l1 = abs(X.T @ y).max() * np.geomspace(1, 1e-3, 100)
    everything = np.arange(len(y))
    parts = np.array_split(everything, folds) if folds else []
    cut = tuple((np.setdiff1d(everything, test), test) for test in parts)
    return Problem(X, y, l1, np.zeros(100), folds=cut)


def ridges(X: Array, y: Array) -> Problem:
    return Problem(X, y, np.zeros(100), np.geomspace(1e-2, 1e5, 100))


def logistic(X: Array, y: Array, divide: float) -> Problem:
    labels = (y > np.median(y)).astype(np.float64)
    l1 = abs(X.T @ (labels - 0.5)).max() / divide
    return Problem(X, labels, np.array([l1]), np.zeros(1), intercept=False, logistic=True)


def houses() -> Problem:
    """Area and rooms, and the price."""
    X = np.asfortranarray([[1000.0, 3.0], [1200.0, 4.0], [1500.0, 5.0]])
    y = np.array([300_000.0, 350_000.0, 400_000.0])
    return lasso(X - X.mean(axis=0), y, 10)


def patients(scaled: bool) -> Problem:
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415

    X, y = load_breast_cancer(return_X_y=True)
    if scaled:
        X = (X - X.mean(axis=0)) / X.std(axis=0)
    parts = [np.array_split(np.flatnonzero(y == label), 5) for label in (0, 1)]
    tests = [np.sort(np.concatenate(pair)) for pair in zip(*parts, strict=True)]
    folds = tuple((np.setdiff1d(np.arange(len(y)), test), test) for test in tests)
    l1 = 1 / np.logspace(-4, 4, 10)  # the default of LogisticRegressionCV
    return Problem(np.asfortranarray(X), y.astype(np.float64), l1, np.zeros(10), not scaled, logistic=True, folds=folds)


@dataclass(frozen=True)
class Case:
    """What is solved, by which method of the contenders, and how often faster than the best rival it must be."""

    title: str
    method: str
    make: Callable[[int], Problem]  # the argument divides the sizes
    must: float
    against: tuple[str, ...] = RIVALS
    swept: bool = True  # rivals at the tol that reaches the goal, or at their default
    repeat: int = 1
    two_threads: float | None = None
    sure: float = SURE


CASES = {
    "a10": Case(
        "lasso, 1,000 × 10,000, αmax/10",
        "lasso",
        lambda q: lasso(*dense(1000 // q, 10_000 // q, 100 // q, 0), 10),
        2.5,
        two_threads=1.4,
    ),
    "a100": Case("the same, αmax/100", "lasso", lambda q: lasso(*dense(1000 // q, 10_000 // q, 100 // q, 0), 100), 1.6),
    "f10": Case(
        "elastic net, l1_ratio ½, the same X, αmax/10",
        "lasso",
        lambda q: lasso(*dense(1000 // q, 10_000 // q, 100 // q, 0), 10, 0.5),
        2.0,
    ),
    "b10": Case(
        "lasso, 20,000 × 500, αmax/10",
        "lasso",
        lambda q: lasso(*dense(20_000 // q, 500 // q, 50 // q, 1), 10),
        2.2,
        two_threads=1.4,
    ),
    "b100": Case("the same, αmax/100", "lasso", lambda q: lasso(*dense(20_000 // q, 500 // q, 50 // q, 1), 100), 1.3),
    "c20": Case(
        "lasso, CSC 20,000 × 50,000, 2 million, αmax/20, no intercept",
        "lasso",
        lambda q: lasso(*sparse(20_000 // q, 50_000 // q, 500 // q, 6), 20, intercept=False),
        1.8,
    ),
    "c20i": Case(
        "the same with an intercept",
        "lasso",
        lambda q: lasso(*sparse(20_000 // q, 50_000 // q, 500 // q, 6), 20),
        3.5,
    ),
    "d": Case(
        "lasso path of 100 α to αmax/1000, 500 × 5,000",
        "path",
        lambda q: path(*dense(500 // q, 5000 // q, 50 // q, 2)),
        7.0,
    ),
    "g10": Case(
        "L1 logistic, 5,000 × 5,000, αmax/10, no intercept",
        "logistic",
        lambda q: logistic(*dense(5000 // q, 5000 // q, 100 // q, 4), 10),
        1.2,
    ),
    "e": Case(
        "LassoCV, 500 × 2,000, 5 folds, 100 α, defaults",
        "lasso_cv",
        lambda q: path(*dense(500 // q, 2000 // q, 50 // q, 3), folds=5),
        1.0,
        swept=False,
        two_threads=1.4,
    ),
    "h": Case(
        "RidgeCV, 20,000 × 1,000, 100 α, leave-one-out",
        "ridge_cv",
        lambda q: ridges(*dense(20_000 // q, 1000 // q, 1000 // q, 5)),
        20.0,
        swept=False,
    ),
    "house": Case("lasso, 3 houses × 2, one fit, defaults", "lasso", lambda _: houses(), 8.0, RIVALS[:1], False, 200),
    "logcv": Case(
        "LogisticRegressionCV, L1, breast_cancer scaled, 5 folds, 10 C, no intercept",
        "logistic_cv",
        lambda _: patients(scaled=True),
        10.0,
        ("liblinear", "saga"),
        swept=False,
        sure=1e-7,
    ),
    "logcv-raw": Case(
        "the same unscaled, with an intercept",
        "logistic_cv",
        lambda _: patients(scaled=False),
        10.0,
        ("liblinear", "saga"),
        swept=False,
        sure=1e-5,
    ),
}


# --- the contenders ---------------------------------------------------------------------------------------------------
# Each method takes a problem and a tol, or None for the default, and returns what the referee asks for.

Found = dict[str, Any]


def tight(tol: float | None) -> dict[str, float]:
    return {} if tol is None else {"tol": tol}


def fitted(model: Any, problem: Problem) -> Found:
    model.fit(problem.X, problem.y)
    return {"coef": np.reshape(model.coef_, (1, -1)), "intercept": np.reshape(model.intercept_, -1)}


def each(models: Sequence[Any], problem: Problem) -> Found:
    found = [fitted(model, problem) for model in models]
    return {name: np.concatenate([one[name] for one in found]) for name in ("coef", "intercept")}


def l1(kind: type, **given: Any) -> Any:
    """A logistic regression with L1, by the name that this version of scikit-learn has for it."""
    names = signature(kind).parameters
    if "l1_ratios" in names:
        modern = names["penalty"].default == "deprecated" if "penalty" in names else True
        given |= {"l1_ratios": (1.0,), "use_legacy_attributes": True} if modern else {"penalty": "l1"}
    else:
        modern = names["l1_ratio"].default is not None
        given |= {"l1_ratio": 1.0} if modern else {"penalty": "l1"}
    return kind(**{name: value for name, value in given.items() if name in names})


class SciKitLearn:
    """The methods that scikit-learn and regkern's estimators have in common."""

    needs = ("scikit-learn",)
    package = "sklearn.linear_model"
    patient: ClassVar = {"max_iter": 1_000_000}  # so that tol decides
    solver: ClassVar = {"solver": "liblinear", "random_state": 0}  # of logistic regression

    def __init__(self) -> None:
        self.api: Any = importlib.import_module(self.package)

    def lasso(self, problem: Problem, tol: float | None) -> Found:
        settings = {"fit_intercept": problem.intercept, **self.patient, **tight(tol)}
        if problem.l1_ratio == 1:
            return fitted(self.api.Lasso(problem.alpha, **settings), problem)
        return fitted(self.api.ElasticNet(problem.alpha, l1_ratio=problem.l1_ratio, **settings), problem)

    def path(self, problem: Problem, tol: float | None) -> Found:
        _, coefs, *_ = self.api.lasso_path(problem.X, problem.y, alphas=problem.alphas, **self.patient, **tight(tol))
        return {"coef": coefs.T, "intercept": np.zeros(len(problem.l1))}

    def logistic(self, problem: Problem, tol: float | None) -> Found:
        given = {"fit_intercept": problem.intercept, **self.solver, **self.patient}
        return each([l1(self.api.LogisticRegression, C=C, **given, **tight(tol)) for C in problem.Cs], problem)

    def lasso_cv(self, problem: Problem, tol: float | None) -> Found:
        model = self.api.LassoCV(alphas=problem.alphas, cv=list(problem.folds), **tight(tol))
        return fitted(model, problem) | {"alpha": model.alpha_, "error": model.mse_path_.mean(axis=1)}

    def ridge_cv(self, problem: Problem, tol: float | None) -> Found:
        model = self.api.RidgeCV(alphas=problem.alphas * len(problem.y))
        return fitted(model, problem) | {"alpha": model.alpha_, "error": -model.best_score_}


class Logistic(SciKitLearn):
    """Cross-validated logistic regression."""

    def logistic_cv(self, problem: Problem, tol: float | None) -> Found:
        given = {"scoring": "accuracy", "fit_intercept": problem.intercept, **self.solver, **tight(tol)}
        model = l1(self.api.LogisticRegressionCV, Cs=problem.Cs, cv=list(problem.folds), **given)
        model.fit(problem.X, problem.y)
        paths = np.asarray(next(iter(model.coefs_paths_.values())))
        paths = paths.reshape(len(problem.folds), len(problem.l1), -1)
        p = problem.X.shape[1]
        return {"coef": paths[..., :p], "intercept": paths[..., p] if problem.intercept else np.zeros(paths.shape[:2])}


class Saga(Logistic):
    solver: ClassVar = {"solver": "saga", "random_state": 0}


class Regkern(Logistic):
    needs = (OURS,)
    package = "regkern.linear_model"
    patient: ClassVar = {}
    solver: ClassVar = {}


class Engine:
    """The native solver without an estimator around it."""

    needs = (OURS,)

    def __init__(self) -> None:
        self.solve = importlib.import_module("regkern.linear_model._engine").solve

    def lasso(self, problem: Problem, tol: float | None) -> Found:
        found = self.solve(
            problem.X,
            problem.y,
            l1=problem.l1,
            l2=problem.l2,
            loss="logistic" if problem.logistic else "squared",
            fit_intercept=problem.intercept,
            **tight(tol),
        )
        return {"coef": found.coef, "intercept": found.intercept}

    path = logistic = lasso


class Celer:
    needs = ("celer",)
    patient: ClassVar = {"max_iter": 10_000}

    def __init__(self) -> None:
        self.api: Any = importlib.import_module("celer")

    def lasso(self, problem: Problem, tol: float | None) -> Found:
        settings = {"fit_intercept": problem.intercept, **self.patient, **tight(tol)}
        if problem.l1_ratio == 1:
            return fitted(self.api.Lasso(problem.alpha, **settings), problem)
        return fitted(self.api.ElasticNet(problem.alpha, l1_ratio=problem.l1_ratio, **settings), problem)

    def path(self, problem: Problem, tol: float | None) -> Found:
        _, coefs, *_ = self.api.celer_path(
            problem.X, problem.y, "lasso", alphas=problem.alphas, prune=1, **self.patient, **tight(tol)
        )
        return {"coef": coefs.T, "intercept": np.zeros(len(problem.l1))}

    def logistic(self, problem: Problem, tol: float | None) -> Found:
        if problem.intercept:
            raise ValueError("celer's logistic regression has no intercept")
        return each([self.api.LogisticRegression(C, **self.patient, **tight(tol)) for C in problem.Cs], problem)


class Skglm:
    needs = ("skglm",)
    patient: ClassVar = {"max_iter": 1000}

    def __init__(self) -> None:
        self.api: Any = importlib.import_module("skglm")

    lasso = Celer.lasso

    def path(self, problem: Problem, tol: float | None) -> Found:
        from skglm.datafits import Quadratic  # noqa: PLC0415
        from skglm.penalties import L1  # noqa: PLC0415
        from skglm.solvers import AndersonCD  # noqa: PLC0415
        from skglm.utils.jit_compilation import compiled_clone  # noqa: PLC0415

        solver = AndersonCD(fit_intercept=False, **self.patient, **tight(tol))
        _, coefs, *_ = solver.path(
            problem.X, problem.y, compiled_clone(Quadratic()), compiled_clone(L1(1.0)), alphas=problem.alphas
        )
        return {"coef": coefs.T, "intercept": np.zeros(len(problem.l1))}

    def logistic(self, problem: Problem, tol: float | None) -> Found:
        settings = {"fit_intercept": problem.intercept, **self.patient, **tight(tol)}
        return each([self.api.SparseLogisticRegression(alpha, **settings) for alpha in problem.alphas], problem)


class Adelie:
    needs = ("adelie",)

    def __init__(self) -> None:
        self.api: Any = importlib.import_module("adelie")
        self.threads = int(os.environ["OMP_NUM_THREADS"])

    def lasso(self, problem: Problem, tol: float | None) -> Found:
        ad = self.api
        X = ad.matrix.sparse if hasattr(problem.X, "tocsc") else ad.matrix.dense
        state = ad.grpnet(
            X(problem.X, method="naive", n_threads=self.threads),
            (ad.glm.binomial if problem.logistic else ad.glm.gaussian)(problem.y),
            alpha=problem.l1_ratio,
            lmda_path=problem.alphas,
            intercept=problem.intercept,
            early_exit=False,
            max_iters=10_000_000,
            n_threads=self.threads,
            progress_bar=False,
            **(tight(tol) | ({} if tol is None or not problem.logistic else {"irls_tol": tol})),
        )
        return {"coef": state.betas.toarray(), "intercept": np.asarray(state.intercepts)}

    path = logistic = lasso


CONTENDERS: dict[str, type] = {
    OURS: Regkern,
    TWO: Regkern,
    ENGINE: Engine,
    "scikit-learn": SciKitLearn,
    "celer": Celer,
    "skglm": Skglm,
    "adelie": Adelie,
    "liblinear": Logistic,
    "saga": Saga,
}


def work(name: str, folder: Path, method: str, mapped: bool) -> None:
    """A contender's process: a fit for each line that it reads, whose seconds it prints."""
    kind = CONTENDERS[name]
    try:
        contender = kind()
        versions = {package: metadata.version(package) for package in kind.needs if package != OURS}
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), flush=True)
        return
    warnings.simplefilter("ignore")  # what was reached is measured
    problem = Problem.read(folder, mapped)
    fit = getattr(contender, method)
    print(json.dumps({"versions": versions}), flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            for _ in range(task["repeat"]):
                found = fit(problem, task["tol"])
        except Exception as error:  # noqa: BLE001 a rival that cannot is a line of the table
            print(json.dumps({"failed": f"{type(error).__name__}: {error}"[:200]}), flush=True)
            continue
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        if task["out"] is not None:
            np.savez(task["out"], **found)
        print(json.dumps({"cpu": cpu / task["repeat"], "wall": wall / task["repeat"]}), flush=True)


# --- their processes --------------------------------------------------------------------------------------------------


class Failed(Exception):
    """A contender is not there, cannot, or takes too long."""


@dataclass
class Contender:
    """A fresh process, and what it reached."""

    name: str
    process: Any
    answers: Path
    limit: float
    tol: float | None = None
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    reached: float = np.nan
    versions: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def start(
        name: str, python: str, cores: Sequence[int], folder: Path, method: str, limit: float, mapped: bool = False
    ) -> Contender:
        pools = ("OMP", "OPENBLAS", "MKL", "NUMBA", "REGKERN")
        environment = os.environ | {f"{pool}_NUM_THREADS": str(len(cores)) for pool in pools}
        command = [python, __file__, "--worker", name, str(folder), method, "mapped" if mapped else "read"]
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)  # which a child inherits, before its libraries start threads
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        os.sched_setaffinity(0, before)
        answers = folder / f"{name.replace(' ', '-')}.npz"
        return Contender(name, process, answers, limit)

    def answer(self, meanwhile: Callable[[], object] | None = None) -> dict[str, Any]:
        """The next line, or Failed."""
        end = time.monotonic() + self.limit
        while not select.select([self.process.stdout], [], [], 0.002 if meanwhile else self.limit)[0]:
            if meanwhile:
                meanwhile()
            if time.monotonic() > end:
                self.process.kill()
                raise Failed(f"more than {self.limit:.0f} s")
        line = self.process.stdout.readline()
        said: dict[str, Any] = json.loads(line) if line else {"failed": "its process ended"}
        for trouble in ("missing", "failed"):
            if trouble in said:
                raise Failed(said[trouble])
        return said

    def ask(self, tol: float | None, *, keep: bool, repeat: int = 1) -> None:
        task = {"tol": tol, "out": str(self.answers) if keep else None, "repeat": repeat}
        if self.process.poll() is not None:
            raise Failed("its process ended")
        self.process.stdin.write(json.dumps(task).encode() + b"\n")
        self.process.stdin.flush()

    def fit(self, tol: float | None, repeat: int = 1) -> Found:
        """Outside of the table."""
        self.ask(tol, keep=True, repeat=repeat)
        self.answer()
        return self.found()

    def found(self) -> Found:
        with np.load(self.answers) as file:
            return dict(file)

    def turn(self, repeat: int) -> None:
        self.ask(self.tol, keep=True, repeat=repeat)
        said = self.answer()
        self.cpu.append(said["cpu"])
        self.wall.append(said["wall"])

    def seconds(self, wall: bool) -> float:
        return statistics.median(self.wall if wall else self.cpu)


# --- the referee ------------------------------------------------------------------------------------------------------


def by_columns(X: Any) -> Iterator[tuple[slice, Any]]:
    """A mapped X is not copied whole."""
    step = X.shape[1] if hasattr(X, "tocsc") or X.dtype == np.float64 else 256
    for start in range(0, X.shape[1], step):
        part = slice(start, start + step)
        yield part, X[:, part]


def predictor(X: Any, w: Array) -> Array:
    if hasattr(X, "tocsc"):
        return np.asarray(X @ w)
    support = np.flatnonzero(w)
    return np.asarray(X[:, support] @ w[support])


def losses(problem: Problem, z: Array) -> float:
    if problem.logistic:
        return float(np.logaddexp(0, z).sum() - problem.y @ z)
    return float((problem.y - z) @ (problem.y - z)) / 2


def mean_of(problem: Problem, z: Array) -> Array:
    if problem.logistic:
        return np.asarray(np.exp(-np.logaddexp(0, -z)))
    return z


def objective(problem: Problem, k: int, w: Array, b: float) -> float:
    penalty = problem.l1[k] * abs(w).sum() + problem.l2[k] * (w @ w) / 2
    return losses(problem, predictor(problem.X, w) + b) + float(penalty)


def lower_bound(problem: Problem, k: int, w: Array, b: float) -> float:
    """The dual objective at the residual of w, scaled to be feasible. An intercept asks that the residuals sum to 0."""
    y, l1, l2 = problem.y, problem.l1[k], problem.l2[k]
    z = predictor(problem.X, w)
    if problem.intercept:
        for _ in range(5):  # Newton's steps from the one that was found
            mu = mean_of(problem, z + b)
            b += (y - mu).sum() / (mu * (1 - mu) if problem.logistic else np.ones(len(y))).sum()
        z = z + b
    r = y - mean_of(problem, z)
    if problem.intercept:
        r -= r.mean()
    u = np.empty(len(w))
    for part, X in by_columns(problem.X):
        u[part] = X.T @ r
    scale = 1.0 if l2 > 0 else min(1.0, l1 / max(abs(u).max(), 1e-300))
    r, u = scale * r, scale * u
    beyond = np.maximum(abs(u) - l1, 0) if l2 > 0 else np.zeros(1)
    conjugate = beyond @ beyond / (2 * l2) if l2 > 0 else 0.0
    if not problem.logistic:
        return float(r @ y - r @ r / 2 - conjugate)
    q = np.clip(y - r, 0, 1)
    if abs(q - (y - r)).max() > 1e-12:
        return 0.0
    entropy = [t * np.log(np.where(t > 0, t, 1)) for t in (q, 1 - q)]
    return float(-np.sum(entropy)) - float(conjugate)


class Wrong(Exception):
    """The benchmark's own checks fail: no number of this case means anything."""


class Referee:
    """Between which bounds P* is, and how far above a solution is."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.best = np.full(len(problem.l1), np.inf)
        self.bound = np.zeros(len(problem.l1))

    def certify(self, found: Found) -> None:
        self.see(found)
        if len(found["coef"]) != len(self.bound):
            raise Wrong(f"{len(found['coef'])} solutions of {len(self.bound)} problems")
        for k, (w, b) in enumerate(zip(found["coef"], found["intercept"], strict=True)):
            self.bound[k] = max(self.bound[k], lower_bound(self.problem, k, w, b))

    def see(self, found: Found) -> float:
        """The largest (P − bound)/bound."""
        pairs = enumerate(zip(found["coef"], found["intercept"], strict=True))
        P = np.array([objective(self.problem, k, w, b) for k, (w, b) in pairs])
        P = np.where(np.isfinite(P), P, np.inf)
        self.best = np.minimum(self.best, P)
        return self.above(P)

    def above(self, P: Array) -> float:
        if not (self.bound > 0).all():
            return np.inf
        return float((P / self.bound - 1).max())

    def known_to(self) -> float:
        return self.above(self.best)

    def check(self, sure: float) -> None:
        known = self.known_to()
        if not known <= sure:
            raise Wrong(f"P* is known to {known:.1e} only")
        if known < -1e-11:
            raise Wrong(f"a solution is below the bound by {-known:.1e}: the bound or the data are wrong")


class Judge:
    """How far a contender's answer to a case is from the truth, which it finds first."""

    def __init__(self, case: Case, problem: Problem, helpers: Callable[[Problem, str], Iterator[Contender]]) -> None:
        self.case, self.problem, self.helpers = case, problem, helpers
        self.referees: list[Referee] = []
        self.error: Any = None
        getattr(self, case.method)()

    def solved(self, problem: Problem, method: str) -> tuple[Referee, Found]:
        """The tightest solution that is to be had, regkern's first, and its bound."""
        referee, found = Referee(problem), {}
        for helper in self.helpers(problem, method):
            try:
                found = helper.fit(1e-12)
            except Failed:
                continue
            referee.certify(found)
            if referee.known_to() <= self.case.sure:
                break
        referee.check(self.case.sure)
        self.referees.append(referee)
        return referee, found

    def lasso(self) -> None:
        self.solved(self.problem, self.case.method)

    path = logistic = lasso

    def lasso_cv(self) -> None:
        errors = []
        for train, test in self.problem.folds:
            X, y = self.problem.X[train], self.problem.y[train]
            middle, level = X.mean(axis=0), y.mean()
            l1 = self.problem.alphas * len(train)
            fold = Problem(np.asfortranarray(X - middle), y - level, l1, 0 * l1)
            _, found = self.solved(fold, "path")
            missed = self.problem.y[test] - level - found["coef"] @ (self.problem.X[test] - middle).T
            errors.append((missed**2).mean(axis=1))
        self.error = np.mean(errors, axis=0)

    def ridge_cv(self) -> None:
        X, y, l2 = self.problem.X, self.problem.y, self.problem.l2
        X, y = X - X.mean(axis=0), y - y.mean()
        values, V = np.linalg.eigh(X.T @ X)
        XV, Vy = X @ V, V.T @ (X.T @ y)
        squares = XV**2
        missed = [(y - XV @ (Vy / (values + a))) / (1 - 1 / len(y) - squares @ (1 / (values + a))) for a in l2]
        self.error = np.mean(np.square(missed), axis=1)
        k = int(np.argmin(self.error))
        w = V @ (Vy / (values[:] + l2[k]))
        slope = X.T @ (y - X @ w) - l2[k] * w
        if np.linalg.norm(slope) > 1e-9 * np.linalg.norm(X.T @ y):
            raise Wrong("the ridge solution has a slope")
        self.best = k, w

    def logistic_cv(self) -> None:
        for train, _ in self.problem.folds:
            p = self.problem
            fold = Problem(np.asfortranarray(p.X[train]), p.y[train], p.l1, p.l2, p.intercept, logistic=True)
            self.solved(fold, "logistic")

    def __call__(self, found: Found) -> float:
        """What was reached."""
        if self.case.method == "lasso_cv":
            return float((abs(found["error"] - self.error) / self.error).max())
        if self.case.method == "ridge_cv":
            k, w = self.best
            if not np.isclose(found["alpha"], self.problem.l2[k]):
                return float("inf")
            far = np.linalg.norm(found["coef"][0] - w) / np.linalg.norm(w)
            return float(max(far, abs(found["error"] - self.error[k]) / self.error[k]))
        if self.case.method == "logistic_cv":
            return max(
                referee.see({"coef": w, "intercept": b})
                for referee, w, b in zip(self.referees, found["coef"], found["intercept"], strict=True)
            )
        return self.referees[0].see(found)

    def check(self) -> float:
        for referee in self.referees:
            referee.check(self.case.sure)
        return max((abs(referee.known_to()) for referee in self.referees), default=np.nan)


# --- taking turns -----------------------------------------------------------------------------------------------------


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
    mine = sorted(os.sched_getaffinity(0))
    if threads > len(mine):
        raise SystemExit(f"{threads} threads were asked for, and this process has {len(mine)} cores")
    return mine[-threads:]


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


def compare(names: Sequence[str], settings: Settings, console: Any, file: str | None) -> bool:
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
                goals.add_row(name, str(error), "[red]WRONG")
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
            Path(file).write_text(json.dumps(everything, indent=1))
    console.print(goals)
    return not any("wrong" in one or any(not holds for _, holds in one["goals"]) for one in everything.values())


# --- memory -----------------------------------------------------------------------------------------------------------


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


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"of {list(CASES)}")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH", help="a contender's interpreter")
    parser.add_argument("--peers", metavar="PATH", help="the interpreter of celer, skglm, adelie and scikit-learn")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--budget", type=float, default=20.0, help="seconds in which a contender gets another turn")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds that a fit may take")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="sizes are a tenth; two rounds")
    parser.add_argument("--memory", action="store_true", help="the peak of memory instead of times")
    parser.add_argument("--folder", help="where data may be for as long as it takes (default: the system's)")
    parser.add_argument("--json", metavar="FILE", help="write the seconds of every turn")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        name, folder, method, mapped = args.worker
        work(name, Path(folder), method, mapped == "mapped")
        return
    from rich.console import Console  # noqa: PLC0415 contenders go without

    pythons = dict.fromkeys(CONTENDERS, sys.executable)
    if args.peers:
        pythons |= dict.fromkeys((*RIVALS, "liblinear", "saga"), args.peers)
    for given in args.python:
        name, _, where = given.partition("=")
        if name not in pythons or not where:
            parser.error(f"--python must be NAME=PATH, NAME of {list(pythons)}, got {given}")
        pythons[name] = where
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
