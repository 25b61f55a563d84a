"""Pictures of paths and of cross-validation: what is drawn is what was computed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from regkern.linear_model import (
    AdaptiveLasso,
    ElasticNet,
    ElasticNetCV,
    GroupLasso,
    GroupLassoCV,
    Lasso,
    LassoCV,
    LogisticRegression,
    LogisticRegressionCV,
    MCPRegressor,
    MultiTaskElasticNet,
    MultiTaskElasticNetCV,
    MultiTaskLasso,
    MultiTaskLassoCV,
    PenalizedRegression,
    PoissonRegressor,
    Ridge,
    RidgeCV,
    SCADRegressor,
    SlopeRegressor,
    SparseGroupLasso,
    lasso_path,
    plot_cv,
    plot_path,
)

mpl.use("agg")
Array = NDArray[Any]
NAMES = ["age", "size", "rooms", "floor", "noise"]


def problem() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    return X, X @ [3.0, -2.0, 1.0, 0.2, 0.0] + rng.normal(size=60)


def axes() -> Any:
    return Figure(layout="constrained").subplots()


def drawn(ax: Any, label: str) -> tuple[Array, Array]:
    (line,) = [line for line in ax.get_lines() if line.get_label() == label]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def verticals(ax: Any, style: str) -> list[float]:
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 2 and line.get_linestyle() == style]
    return [line.get_xdata()[0] for line in lines if line.get_xdata()[0] == line.get_xdata()[1]]


def test_a_path_is_drawn_as_it_is() -> None:
    X, y = problem()
    alphas, coefs, gaps = lasso_path(X, y, alphas=20)
    ax = plot_path((alphas, coefs, gaps), feature_names=NAMES, names=3, ax=axes())
    assert ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["age", "size", "rooms"]
    for name, row in zip(NAMES[:3], coefs[:3], strict=True):
        strengths, values = drawn(ax, name)
        np.testing.assert_array_equal(strengths, alphas)
        np.testing.assert_array_equal(values, row)
    grey = [line for line in ax.get_lines() if line.get_color() == "0.75"]
    assert len(grey) == 2
    (above,) = ax.child_axes
    ax.figure.canvas.draw()
    counts = [int(text.get_text()) for text in above.get_xticklabels()]
    places = np.asarray(above.get_xticks())
    assert counts == [int(np.sum(coefs[:, np.argmin(abs(alphas - place))] != 0)) for place in places]


@pytest.mark.parametrize("model", [Lasso(0.1), LassoCV(cv=3, alphas=15)], ids=repr)
def test_an_estimator_is_fitted_for_each_strength(model: Any) -> None:
    X, y = problem()
    frame = pd.DataFrame(X, columns=NAMES)
    if isinstance(model, LassoCV):
        model.fit(frame, y)
    before = vars(model).copy()
    ax = plot_path(model, frame, y, ax=axes())
    assert vars(model).keys() == before.keys()
    strengths, values = drawn(ax, "size")
    np.testing.assert_allclose(values[3], Lasso(strengths[3]).fit(X, y).coef_[1], rtol=1e-3)
    if isinstance(model, LassoCV):
        np.testing.assert_array_equal(strengths, model.alphas_)
    assert verticals(ax, ":") == [model.alpha_ if isinstance(model, LassoCV) else 0.1]


@pytest.mark.parametrize("model", [Ridge(), RidgeCV([0.1, 1.0, 10.0])], ids=repr)
def test_ridge_has_a_path_too(model: Any) -> None:
    X, y = problem()
    given = None if isinstance(model, RidgeCV) else [0.0, 0.1, 1.0, 10.0]
    if isinstance(model, RidgeCV):
        model.fit(X, y)
    ax = plot_path(model, X, y, alphas=given, ax=axes())
    strengths, values = drawn(ax, "x0")
    np.testing.assert_array_equal(strengths, [0.1, 1.0, 10.0])
    np.testing.assert_allclose(values, [Ridge(a).fit(X, y).coef_[0] for a in strengths], rtol=1e-10)
    strengths, values = drawn(plot_path(Ridge(), X, y, ax=axes()), "x0")
    assert len(strengths) == 100
    assert values[-1] < 0.1 * values[0]


BOUNDED = {"bounds": (-1.0, [2.0] * 5), "penalty_factor": [1.0, 2.0, 1.0, 0.5, 1.0]}


@pytest.mark.parametrize(
    "model",
    [
        GroupLasso(),
        GroupLasso(groups=[2, 3], l2_ratio=0.2, positive=True),
        SparseGroupLasso(groups=[2, 3]),
        PoissonRegressor(l1_ratio=1.0, **BOUNDED),
        PoissonRegressor(l1_ratio=0.5, fit_intercept=False),
        AdaptiveLasso(),
        AdaptiveLasso(initial=[1.0, 1.0, 1.0, 0.0, 0.0], **BOUNDED),
        AdaptiveLasso(initial="lasso", initial_alpha=0.5),
        ElasticNet(l1_ratio=0.5, fit_intercept=False),
        MCPRegressor(),
        MCPRegressor(**BOUNDED),
        SCADRegressor(positive=True),
        SlopeRegressor(),
        SlopeRegressor(lambdas="oscar", fit_intercept=False),
        MultiTaskLasso(penalty_factor=BOUNDED["penalty_factor"]),
        MultiTaskElasticNet(),
    ],
    ids=repr,
)
def test_a_path_begins_where_all_coefficients_are_0(model: Any) -> None:
    X, y = problem()
    y = np.exp(y / 4) if isinstance(model, PoissonRegressor) else y
    y = np.c_[y, X[:, 1]] if isinstance(model, MultiTaskElasticNet) else y
    before = vars(model).copy()
    ax = plot_path(model, X, y, alphas=15, ax=axes())
    assert vars(model) == before
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 15]
    coefs = np.array([line.get_ydata() for line in lines])
    strengths = np.asarray(lines[0].get_xdata())
    np.testing.assert_allclose(strengths, np.geomspace(strengths[0], 1e-3 * strengths[0], 15))
    assert np.abs(coefs[:, 0]).max() <= 1e-6
    assert coefs[:, 1].any()


@pytest.mark.parametrize("model", [PoissonRegressor(), GroupLasso(l2_ratio=1.0), ElasticNet(l1_ratio=0.0)], ids=repr)
def test_l2_alone_has_a_path_about_what_is_felt(model: Any) -> None:
    X, y = problem()
    strengths, values = drawn(plot_path(model, X, np.exp(y / 4), alphas=20, ax=axes()), "x0")
    assert len(strengths) == 20
    np.testing.assert_allclose(strengths.max(), 1e6 * strengths.min())
    assert min(abs(values[0]), abs(values[-1])) < 0.1 * max(abs(values[0]), abs(values[-1]))


@pytest.mark.parametrize(
    ("model", "simple"),
    [
        (MultiTaskLassoCV(cv=3, alphas=10), MultiTaskLasso()),
        (MultiTaskElasticNetCV(cv=3, alphas=10, l1_ratio=[0.5, 0.9]), MultiTaskElasticNet()),
        (GroupLassoCV(groups=[2, 3], cv=3, alphas=10), GroupLasso(groups=[2, 3])),
    ],
    ids=repr,
)
def test_what_has_chosen_a_strength_is_drawn_with_its_own_penalty(model: Any, simple: Any) -> None:
    X, y = problem()
    y = y if isinstance(model, GroupLassoCV) else np.c_[y, X[:, 1]]
    model.fit(X, y)
    ax = plot_path(model, X, y, ax=axes())
    strengths, values = drawn(ax, "x1")
    if isinstance(model, MultiTaskElasticNetCV):
        simple.set_params(l1_ratio=model.l1_ratio_)
    expected = [np.atleast_2d(simple.set_params(alpha=a).fit(X, y).coef_)[0, 1] for a in strengths]
    np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-6)
    assert model.alpha_ in strengths
    assert verticals(ax, ":") == [model.alpha_]


@pytest.mark.parametrize("model", [AdaptiveLasso(), GroupLasso(), MCPRegressor(), Ridge(), SlopeRegressor()], ids=repr)
def test_forms_of_data(model: Any) -> None:
    X, y = problem()
    expected = drawn(plot_path(model, X, y, alphas=5, ax=axes()), "x0")
    for made in (scipy.sparse.csr_array(X), scipy.sparse.coo_array(X), X.tolist(), pd.DataFrame(X)):
        names = [f"x{j}" for j in range(5)]
        got = drawn(plot_path(model, made, y.tolist(), alphas=5, feature_names=names, ax=axes()), "x0")
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-6)


def test_a_feature_has_a_line_for_each_target() -> None:
    X, y = problem()
    alphas, coefs, gaps = lasso_path(X, np.c_[y, X[:, 1]], alphas=20)
    assert coefs.shape == (2, 5, 20)
    ax = plot_path((alphas, coefs, gaps), feature_names=NAMES, names=3, ax=axes())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["age", "size", "rooms"]
    first = next(line for line in ax.get_lines() if line.get_label() == "size")
    both = [line for line in ax.get_lines() if line.get_color() == first.get_color()]
    np.testing.assert_array_equal([line.get_ydata() for line in both], coefs[:, 1])
    (above,) = ax.child_axes
    ax.figure.canvas.draw()
    assert int(above.get_xticklabels()[0].get_text()) == np.sum(coefs[:, :, -1] != 0)


def test_cross_validation_is_drawn_with_its_error() -> None:
    X, y = problem()
    model = LassoCV(cv=4, alphas=20).fit(X, y)
    ax = plot_cv(model, ax=axes())
    order = np.argsort(model.alphas_)
    strengths, values = drawn(ax, "mean")
    np.testing.assert_array_equal(strengths, model.alphas_[order])
    mean = model.mse_path_.mean(axis=1)
    np.testing.assert_allclose(values, mean[order])
    (band,) = ax.collections
    error = model.mse_path_.std(axis=1, ddof=1) / 2
    edges = band.get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([edges.min(), edges.max()], [(mean - error).min(), (mean + error).max()])
    assert verticals(ax, "-") == [model.alpha_]
    best = np.argmin(mean)
    assert verticals(ax, ":") == [model.alphas_[mean <= mean[best] + error[best]].max()]


def test_samples_left_out_are_drawn_as_errors() -> None:
    X, y = problem()
    model = RidgeCV(np.logspace(-2, 4, 20), selection="1se").fit(X, y)
    ax = plot_cv(model, ax=axes())
    np.testing.assert_allclose(drawn(ax, "mean")[1], -model.score_path_)
    assert verticals(ax, "-") == [model.alpha_]
    assert verticals(ax, ":") == []
    scored = plot_cv(RidgeCV(cv=3).fit(X, y), ax=axes())
    assert scored.get_ylabel() == "R², folds"
    assert drawn(scored, "mean")[1].max() > 0.5
    alone = plot_cv(RidgeCV(scoring="r2").fit(X, y), ax=axes())  # which has no standard error
    assert not alone.collections


def test_ratios_and_targets_have_curves_of_their_own() -> None:
    X, y = problem()
    ax = plot_cv(ElasticNetCV(l1_ratio=[0.3, 1.0], cv=3, alphas=10).fit(X, y), ax=axes())
    assert {"l1_ratio 0.3", "l1_ratio 1"} <= {line.get_label() for line in ax.get_lines()}
    both = RidgeCV(alpha_per_target=True).fit(X, np.c_[y, X[:, 0]])
    ax = plot_cv(both, ax=axes())
    np.testing.assert_allclose(drawn(ax, "target 1")[1], -both.score_path_[:, 1])


def test_legends_are_beside_what_is_drawn() -> None:
    X, y = problem()
    for ax in (plot_path(Lasso(), X, y), plot_cv(LassoCV(cv=3).fit(X, y))):
        canvas = FigureCanvasAgg(ax.figure)
        canvas.draw()
        legend = ax.get_legend().get_window_extent(canvas.get_renderer())
        assert not legend.overlaps(ax.get_window_extent())
        assert ax.figure.bbox.x1 >= legend.x1
        assert ax.figure.bbox.y1 >= legend.y1


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda X, y: plot_path(3), TypeError, "path must be a tuple"),
        (lambda X, y: plot_path((1,)), ValueError, "path must be .* a tuple of 1"),
        (lambda X, y: plot_path(([1.0, 2.0], np.zeros((3, 3)))), ValueError, "coefs must have shape"),
        (lambda X, y: plot_path((1.0, np.zeros((3, 3)))), ValueError, "coefs must have shape"),
        (lambda X, y: plot_path(PenalizedRegression(), X, y), TypeError, "with alpha, or .* got PenalizedRegression"),
        (lambda X, y: plot_path(Ridge(), X, y, alphas=0), ValueError, "alphas must be >= 1, got 0"),
        (lambda X, y: plot_path(Lasso()), ValueError, "X and y must be given with an estimator"),
        (lambda X, y: plot_path(Lasso(), X, y, names=-1), ValueError, "names must be >= 0, got -1"),
        (lambda X, y: plot_path(Lasso(), X, y, feature_names=["a"]), ValueError, "must have 5 names, got 1"),
        (lambda X, y: plot_cv(Lasso()), TypeError, "estimator must be fitted"),
        (lambda X, y: plot_cv(LassoCV()), TypeError, "estimator must be fitted"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call(*problem())


def test_matplotlib_is_imported_for_pictures_alone() -> None:
    code = (
        "import sys, regkern.linear_model as lm; assert 'matplotlib' not in sys.modules; sys.modules['matplotlib'] = None\n"
        "try:\n    lm.plot_path(([1.0], [[1.0]]))\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "plot_path needs matplotlib: pip install matplotlib\n"


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("ratios", [(0.0,), (1.0,), (0.2, 0.9)], ids=str)
def test_logistic_regression_is_drawn_against_its_strength(classes: int, ratios: Any) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = rng.integers(0, classes, 60)
    Cs = np.array([0.1, 1.0, 10.0])
    model = LogisticRegressionCV(Cs=Cs, cv=3, l1_ratios=ratios, scoring="neg_log_loss", use_legacy_attributes=False)
    ax = plot_cv(model.fit(X, y), ax=Figure().subplots())
    assert ax.get_xlabel() == "1 / C"
    assert ax.get_ylabel() == "neg_log_loss, 3 folds"
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 3]
    assert len(lines) == len(ratios)
    np.testing.assert_allclose(lines[0].get_ydata(), model.scores_.mean(axis=0)[0][::-1])
    assert any(line.get_xdata()[0] == pytest.approx(1 / model.C_) for line in ax.get_lines())
    ax = plot_path(model, X, y, ax=Figure().subplots())
    assert ax.get_xlabel() == "1 / C"
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 3]
    assert len(lines) == 4 * (1 if classes == 2 else 3)
    one = LogisticRegression(C=10.0, l1_ratio=float(model.l1_ratio_)).fit(X, y)
    ends = [line.get_ydata()[np.argmin(line.get_xdata())] for line in lines]
    np.testing.assert_allclose(np.sort(ends), np.sort(one.coef_.ravel()), atol=1e-3)


def test_a_grid_of_logistic_regression_begins_where_nothing_is_left() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = rng.integers(0, 2, 60)
    for model in (LogisticRegression(l1_ratio=1.0), LogisticRegression(l1_ratio=1.0, fit_intercept=False)):
        ax = plot_path(model, X, y, alphas=5, ax=Figure().subplots())
        lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 5]
        assert max(abs(line.get_ydata()[0]) for line in lines) < 1e-6
        assert all(line.get_ydata()[-1] != 0 for line in lines)
    ax = plot_path(LogisticRegression(), X, y, alphas=5, ax=Figure().subplots())
    assert len([line for line in ax.get_lines() if len(line.get_xdata()) == 5]) == 4


@pytest.mark.parametrize(
    "model", [GroupLassoCV(groups=2), MultiTaskLassoCV(), MultiTaskElasticNetCV(), RidgeCV()], ids=repr
)
def test_estimators_that_will_choose_need_not_be_fitted(model: Any) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 4))
    y = X[:, :2] if "MultiTask" in type(model).__name__ else X[:, 0]
    ax = plot_path(model, X, y + rng.normal(size=y.shape), alphas=4, ax=Figure().subplots())
    assert ax.get_xlabel() == "alpha"
