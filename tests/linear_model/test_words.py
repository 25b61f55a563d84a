"""What linear models say of themselves: on their page, in their docstrings and in their warnings."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from regkern import linear_model


def test_the_page_tells_of_every_public_name() -> None:
    page = (Path(__file__).parents[2] / "docs" / "linear_models.md").read_text()
    assert {name for name in linear_model.__all__ if f"`{name}" not in page} == set()


def test_a_stalled_fit_is_said_to_know_no_way_and_no_more() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3)) + 1e6
    with pytest.warns(ConvergenceWarning, match=r"The solver found no way to a smaller gap: .*Duality gap: "):
        model = linear_model.Lasso(alpha=0.1, fit_intercept=False).fit(X, rng.normal(size=40))
    assert model.reason_ == "stalled"
    assert model.gap_ > model.tol


def test_what_can_warn_says_so() -> None:
    silent = {"alpha_max", "duality_gap", "objective", "plot_cv", "plot_path"}
    for name in set(linear_model.__all__) - silent:
        assert "Warns\n-----\nConvergenceWarning" in (inspect.getdoc(getattr(linear_model, name)) or ""), name


@pytest.mark.parametrize("name", linear_model.__all__)
def test_examples_import_from_the_public_module(name: str) -> None:
    text = inspect.getdoc(getattr(linear_model, name)) or ""
    assert ">>> from regkern.linear_model import " in text
    assert "import regkern.reference" not in text
    assert "from regkern.reference" not in text
