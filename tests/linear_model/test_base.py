"""What the linear models share, where no estimator shows it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.exceptions import ConvergenceWarning

from regkern.linear_model import Lasso
from regkern.linear_model import _base as base


def solved(gap: Any, reason: Any, objective: float = 2.0) -> SimpleNamespace:
    return SimpleNamespace(gap=np.array(gap), objective=np.full(len(gap), objective), reason=reason)


def test_the_worst_gap_is_told_and_why() -> None:
    with pytest.warns(
        ConvergenceWarning,
        match=r"Objective did not converge at 2 of 3 strengths\. The solver found no way to a smaller gap",
    ) as t:
        base.warn_unless_converged(
            solved([1e-9, 4e-3, 2e-3], ("converged", "stalled", "max_iter")), 1e-6, 10.0, stacklevel=2
        )
    assert "Duality gap: 4.000e-04, 2.000e-03 of the objective, tolerance: 1.000e-06" in str(t[0].message)
    with pytest.warns(ConvergenceWarning, match=r"Objective did not converge\. You might want to increase the number"):
        base.warn_unless_converged(solved([1.0], ("max_iter",)), 1e-6, 10.0, stacklevel=2)
    base.warn_unless_converged(solved([1.0], ("converged",)), 1e-6, 10.0)
    with pytest.warns(ConvergenceWarning):  # the reason says whether, and nothing else
        base.warn_unless_converged(solved([1e-7], ("stalled",)), 1e-6, 10.0, stacklevel=2)


class Own(scipy.sparse.csc_array):  # type: ignore[misc]
    pass


@pytest.mark.parametrize("kind", [*base.COMPRESSED, scipy.sparse.coo_array, Own], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_large_sparse_data_meet_the_rules_of_small(kind: Any, dtype: Any) -> None:
    """What is scipy's own is not looked through by scikit-learn; what is then wrong is said in the same words."""
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((300, 300)) < 0.8, rng.integers(-9, 10, (300, 300)), 0).astype(dtype)
    X, y = kind(dense), rng.standard_normal(300)
    assert X.nnz > base.LARGE
    model = Lasso(0.1)
    model.feature_names_in_ = np.array(["of another fit"])
    model.fit(X, y)
    np.testing.assert_allclose(model.coef_, Lasso(0.1).fit(dense.astype(float), y).coef_, atol=1e-4)
    assert model.n_features_in_ == 300
    assert not hasattr(model, "feature_names_in_")
    for wrong in (y[:-1], np.append(y[:-1], np.nan), y.astype(complex), None):
        said = []
        for some in (X, kind(dense[:, :9])):
            with pytest.raises(ValueError, match=r"\w") as error:
                Lasso(0.1).fit(some, wrong)
            said.append(str(error.value))
        assert said[0] == said[1]
    if dtype is np.int64:
        return
    X.data[-1] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        Lasso(0.1).fit(X, y)


@pytest.mark.parametrize(("tol", "share"), [(1e-6, 1e-14), (1e-14, 1e-14), (2e-15, 2e-15), (0.0, 1e-15)])
def test_a_gap_of_rounding_is_small_enough_unless_tol_asks_for_less(tol: float, share: float) -> None:
    assert base.rounding_of(5.0, tol) == pytest.approx(share * 2.5)


def test_a_gap_is_relative_to_an_objective_of_any_size() -> None:
    np.testing.assert_array_equal(base.relative([0.0, 1.0, 1.0], [0.0, 0.0, 4.0]), [0, np.inf, 0.25])


def test_the_rule_of_one_standard_error() -> None:
    score = np.array([[[9.0, 9.0], [3.0, 5.0], [2.0, 5.0], [4.0, 4.0]], [[9.0, 9.0]] * 4])
    assert base.choose(score) == (0, 2)
    assert base.choose(score, "1se") == (0, 1)
    np.testing.assert_allclose(base.standard_error(score)[0], [0, 1, 1.5, 0])
    assert base.standard_error(score[..., :1]).tolist() == [[0] * 4] * 2


class Subclass(Lasso):
    """Of a user: nothing is known of its parameters."""

    def __init__(self, alpha: Any = "none", *, tol: float = 1e-6) -> None:
        super().__init__(alpha, tol=tol)


def test_parameters_are_looked_at_wherever_they_may_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Any] = []

    def look(self: Any) -> None:
        looked.append(self)

    monkeypatch.setattr(Lasso, "_validate_params", look)
    plain = Lasso(0.5, fit_intercept=False, tol=1e-3)
    base.check_parameters(plain)
    base.check_parameters(Lasso(np.float64(0.5)))
    assert not looked
    odd: list[Any] = [
        Lasso(-0.5),
        Lasso(np.inf),
        Lasso(np.nan),
        Lasso(1),
        Lasso("a"),
        Lasso(copy_X=1),
        Lasso(threads=2),
    ]
    for model in [*odd, Subclass(), Subclass(1.0)]:
        base.check_parameters(model)
        assert looked.pop() is model


def test_plain_data_pass_without_a_copy() -> None:
    model = Lasso()
    X, y = np.asfortranarray(np.ones((3, 2))), np.ones(3)
    data, target, _ = base.check_data(model, X, y)
    assert data is X
    assert target is y
    huge = np.full((3, 2), 1e308)  # finite, though its sum is not
    assert base.check_data(model, huge, y)[0] is huge
    assert model.n_features_in_ == 2
