"""Run scikit-learn's own tests on regkern's estimators, which take the places of scikit-learn's before the tests are imported.

    python tests/linear_model/sklearn_suite.py                                # all four modules
    python tests/linear_model/sklearn_suite.py test_ridge -- -k cholesky -x   # one of them, and what pytest takes
    python tests/linear_model/sklearn_suite.py --names Lasso LassoCV          # replace these alone
    python tests/linear_model/sklearn_suite.py --names                        # nothing: scikit-learn against itself

Every public name of regkern.linear_model that sklearn.linear_model has is replaced. What tests import from private modules
stays scikit-learn's. An item that is not done after --seconds of CPU time fails. Prints how many items pass, and the failing
ones: with a reason where EXPLAINED has one. Ends with an error if one has none.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import signal
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

MODULES = ("test_coordinate_descent", "test_sparse_coordinate_descent", "test_ridge", "test_logistic")

# Tests that cannot pass, whatever their parameters where none are named, and why.
ENOUGH = "asks for a warning after so few rounds: they are enough"
OTHERS = "asks what one of scikit-learn's solvers does or refuses: there is one solver, and it takes everything"
PAST = "asks for a warning of scikit-learn's that a default will change: ours is the coming one"
PRIVATE = "asks a private part of scikit-learn's own estimators"
EXPLAINED = {
    rf"{module}\.py::{test}" + (r"(\[.*)?" if test.isidentifier() else ""): why
    for module, tests in {
        "test_coordinate_descent": {
            "test_check_input_false": "asks that C order be refused: any strides are taken",
            "test_enet_copy_X_False_check_input_False": "asks that X be overwritten: it never is",
            "test_enet_coordinate_descent_raises_convergence": ENOUGH,
            "test_enet_nonfinite_params": "asks for words about coordinate descent: ours name the column",
            "test_lasso_alpha_warning": "asks for a warning that alpha=0 would not converge: it does",
            "test_lasso_dual_gap": "compares gaps of 1e-16, of which rounding is all that is left",
            "test_lassoCV_does_not_set_precompute": PRIVATE,
            "test_warm_start_convergence_with_regularizer_decrement": "asks that a harder problem take more rounds than one",
        },
        "test_sparse_coordinate_descent": {"test_sparse_enet_coordinate_descent": ENOUGH},
        "test_ridge": {
            "test_lbfgs_solver_error": ENOUGH,
            "test_n_iter": OTHERS,
            "test_ridge_fit_intercept_sparse_error": OTHERS,
            "test_ridge_fit_intercept_sparse_sag": OTHERS,
        },
        "test_logistic": {
            "test_check_solver_option": OTHERS,
            r"test_dtype_match\[.*-liblinear\]": "asks that float32 become float64: it stays",
            "test_l1_ratio_None_deprecated": PAST,
            r"test_large_sparse_matrix\[.*-(liblinear|sag|saga)\]": OTHERS,
            "test_liblinear_dual_random_state": OTHERS,
            "test_liblinear_multiclass_raises": OTHERS,
            "test_liblinear_with_large_values": OTHERS,
            "test_logistic_cv": "compares six decimals of two fits, of which the tol promises five",
            "test_logistic_cv_multinomial_score": PRIVATE,
            "test_logistic_regression_callback_fitted_estimator": "asks for callbacks, which scikit-learn calls experimental",
            "test_logistic_regression_callback_support": "asks for callbacks, which scikit-learn calls experimental",
            "test_logistic_regression_callback_support_warning": "asks for callbacks, which scikit-learn calls experimental",
            "test_logisticregressioncv_warns_with_use_legacy_attributes": PAST,
            "test_lr_scoring_warns": PAST,
            "test_max_iter": ENOUGH,
            "test_newton_cholesky_fallback_to_lbfgs": OTHERS,
            r"test_warm_start\[.*-False-[a-z-]+\]": "asks that two rounds be worse without a warm start: they are enough",
            r"test_warm_start_newton_solver\[inf-.*": OTHERS,
            "test_zero_max_iter": "asks for the intercept 0 without a round: it begins at its best",
        },
    }.items()
    for test, why in tests.items()
}


@dataclass
class Suite:
    """A plugin of pytest: replaces, limits the time of an item, and counts."""

    names: Sequence[str] | None = None
    seconds: float = 60.0
    outcomes: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)

    def pytest_configure(self) -> None:
        theirs, ours = (importlib.import_module(f"{package}.linear_model") for package in ("sklearn", "regkern"))
        for name in ours.__all__:
            if hasattr(theirs, name) and (self.names is None or name in self.names):
                setattr(theirs, name, getattr(ours, name))
                self.replaced.append(name)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        def late(*_: Any) -> None:
            raise TimeoutError(f"not done after {self.seconds:g} CPU seconds")

        before = signal.signal(signal.SIGPROF, late)
        signal.setitimer(signal.ITIMER_PROF, self.seconds)
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.rpartition("/")[2]
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[name] = report.outcome
        if report.outcome == "failed":
            crash = getattr(report.longrepr, "reprcrash", None)
            self.errors[name] = crash.message if crash else str(report.longrepr)

    def count(self, outcome: str, modules: Sequence[str] = MODULES) -> int:
        names = [name for name in self.outcomes if name.partition(".py::")[0] in modules]
        return sum(self.outcomes[name] == outcome for name in names)

    def failing(self) -> dict[str, str | None]:
        """Each failing item, and why it cannot pass, or None."""
        found = [name for name, outcome in self.outcomes.items() if outcome == "failed"]
        return {name: next((why for p, why in EXPLAINED.items() if re.fullmatch(p, name)), None) for name in found}

    def unused(self, modules: Sequence[str]) -> list[str]:
        """Patterns of which no item fails: their reasons hold no longer. What compares digits behind the tol may pass."""
        mine = [
            p for p, why in EXPLAINED.items() if p.partition(r"\.py::")[0] in modules and not why.startswith("compares")
        ]
        return [p for p in mine if not any(re.fullmatch(p, name) for name in self.failing())]


def run(
    suite: Suite, modules: Sequence[str] = MODULES, options: Sequence[str] = ("-q", "--tb=no", "--no-header")
) -> int:
    """Run the modules in this process, whose sklearn.linear_model is regkern's afterwards."""
    import sklearn  # noqa: PLC0415 so that --help is quick

    package = Path(sklearn.__file__).parent
    tests = [str(package / "linear_model" / "tests" / f"{module}.py") for module in modules]
    ours = [
        "-c",
        os.devnull,
        f"--rootdir={package}",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore::pytest.PytestConfigWarning",
    ]
    return int(pytest.main([*ours, *options, *tests], plugins=[suite]))


def main(argv: Sequence[str] | None = None) -> None:
    arguments = list(sys.argv[1:] if argv is None else argv)
    own, options = arguments, ["-q", "--tb=no", "--no-header"]
    if "--" in arguments:
        cut = arguments.index("--")
        own, options = arguments[:cut], arguments[cut + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", default=MODULES, metavar="MODULE", help=f"of {', '.join(MODULES)}")
    parser.add_argument("--names", nargs="*", help="what to replace (default: everything)")
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU time that an item may take")
    parser.add_argument("--json", metavar="FILE", help="write the counts and the failing items")
    args = parser.parse_args(own)
    if not set(args.modules) <= set(MODULES):
        parser.error(f"a module must be of {', '.join(MODULES)}, got {' '.join(args.modules)}")
    suite = Suite(args.names, args.seconds)
    run(suite, args.modules, options)
    print(f"\nreplaced: {', '.join(suite.replaced) or 'nothing'}")
    failing = suite.failing()
    for name, why in sorted(failing.items()):
        first = suite.errors.get(name, "").strip().partition("\n")[0]
        print(f"FAILED {name}\n    {'explained: ' + why if why else first[:200]}")
    for module in args.modules:
        counts = {outcome: suite.count(outcome, [module]) for outcome in ("passed", "failed", "skipped")}
        print(f"{module}: " + ", ".join(f"{n} {outcome}" for outcome, n in counts.items()))
    if args.json:
        found = {"passed": suite.count("passed"), "failing": failing, "unused": suite.unused(args.modules)}
        Path(args.json).write_text(json.dumps(found))
    unexplained = sum(why is None for why in failing.values())
    print(f"{unexplained} failures without a reason")
    raise SystemExit(1 if unexplained or not suite.count("passed") else 0)


if __name__ == "__main__":
    main()
