"""How each library is told of a problem, and the process in which it is."""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from importlib import metadata
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from linear.cases import ENGINE, OURS, TWO, Problem

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
