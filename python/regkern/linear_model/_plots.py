"""Pictures of paths and of cross-validation. matplotlib is imported when one is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils.validation import check_array

from regkern import _checks
from regkern._types import Int
from regkern.linear_model._base import check_bounds, standard_error
from regkern.linear_model._block_models import BlockRegressor
from regkern.linear_model._blocks import largest_strength
from regkern.linear_model._coordinate import ElasticNet
from regkern.linear_model._design import Design
from regkern.linear_model._gram import make_design
from regkern.linear_model._groups import GroupLasso, GroupLassoCV
from regkern.linear_model._logistic import LogisticRegression
from regkern.linear_model._logistic_cv import LogisticRegressionCV
from regkern.linear_model._multitask import MultiTaskElasticNet, MultiTaskElasticNetCV, MultiTaskLassoCV
from regkern.linear_model._nonconvex import AdaptiveLasso, MCPRegressor, SCADRegressor
from regkern.linear_model._paths import alpha_max, enet_path
from regkern.linear_model._poisson import PoissonRegressor
from regkern.linear_model._ridge import Ridge
from regkern.linear_model._ridge_cv import RidgeCV
from regkern.linear_model._slope import SlopeRegressor, dual_norm

__all__ = ["plot_cv", "plot_path"]

Array = NDArray[Any]

GREY = "0.75"


CLASSIFIERS = (LogisticRegression, LogisticRegressionCV)
CHOOSERS_OF: tuple[tuple[Any, Any], ...] = (
    (GroupLassoCV, GroupLasso),
    ((MultiTaskElasticNetCV, MultiTaskLassoCV), MultiTaskElasticNet),
    (RidgeCV, Ridge),
)
CHOOSERS = (GroupLassoCV, MultiTaskElasticNetCV, MultiTaskLassoCV, RidgeCV)


def plot_path(
    path: Any,
    X: Any = None,
    y: Any = None,
    *,
    alphas: Int | ArrayLike | None = None,
    feature_names: Any = None,
    names: Int = 10,
    ax: Any = None,
) -> Any:
    """Draw coefficients against the strength of the penalty, on a logarithmic axis.

    The features with the largest coefficients along the path have colours and names, all others are grey. Above stands how many
    coefficients are not 0. Where the estimator has chosen a strength, or was given one, a line shows it.

    Parameters
    ----------
    path : tuple or estimator
        (alphas, coefs, ...) as ``lasso_path`` and ``enet_path`` return it, with coefs (n_features, n_alphas), or
        (n_targets, n_features, n_alphas), of which a feature has a line for each target; or an estimator with ``alpha``, or one
        that chooses it, which with X and y is fitted for each strength. It is left as it is. The strength of logistic
        regression is 1 / C, and of more than two classes each has a line. PenalizedRegression, whose penalty has its own
        strength, cannot be drawn so.
    X, y : optional
        The data, with an estimator.
    alphas : int or array-like, optional
        With an estimator: the strengths, or how many; those that it was cross-validated for by default, or 100. A number of them
        goes down from the strength from which on all coefficients are 0 to a thousandth of it. Of L2 alone it goes from a
        thousandth to a thousand times a strength that is felt.
    feature_names : sequence of str, optional
        By default those of the estimator or of a DataFrame X, or x0, x1 and so on.
    names : int >= 0, default 10
        How many features are named.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    ax : matplotlib Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    TypeError, ValueError
        If something is none of these, or X and y are missing.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> from sklearn.datasets import load_diabetes
    >>> from regkern.linear_model import Lasso, lasso_path, plot_path
    >>> data = load_diabetes(as_frame=True)
    >>> ax = plot_path(Lasso(), data.data, data.target, names=3)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['s5', 's1', 'bmi']
    >>> ax = plot_path(lasso_path(data.data, data.target), feature_names=data.feature_names)
    """
    head = "plot_path"
    many = _checks.integer(f"{head}: names", names, 0)
    chosen = None
    if isinstance(path, tuple):
        if len(path) < 2:
            raise ValueError(f"{head}: path must be (alphas, coefs, ...), got a tuple of {len(path)}")
        strengths, coefs = (np.asarray(part, np.float64) for part in path[:2])
    elif hasattr(path, "get_params"):
        if X is None or y is None:
            raise ValueError(f"{head}: X and y must be given with an estimator")
        chosen = _chosen(path)
        strengths, coefs = _path_of(path, X, y, alphas)
    else:
        raise TypeError(f"{head}: path must be a tuple (alphas, coefs, ...) or an estimator, got {type(path).__name__}")
    if strengths.ndim != 1 or coefs.shape[-1:] != strengths.shape or coefs.ndim not in (2, 3):
        raise ValueError(
            f"{head}: coefs must have shape (n_features, {strengths.size}) or (n_targets, n_features, {strengths.size}) "
            f"beside alphas {strengths.shape}, got {coefs.shape}"
        )
    coefs = coefs if coefs.ndim == 3 else coefs[None]
    labels = _names(head, feature_names, path, X, coefs.shape[1])
    shown = strengths > 0  # a logarithm has no 0
    strengths, coefs = strengths[shown], coefs[:, :, shown]
    ax = _axes(head, ax)
    size = np.abs(coefs).max(axis=(0, 2), initial=0)
    named = [j for j in np.argsort(-size, kind="stable")[:many] if size[j] > 0]
    for j in np.setdiff1d(np.arange(len(size)), named):
        ax.plot(strengths, coefs[:, j].T, color=GREY, linewidth=0.8, zorder=1)
    for k, j in enumerate(named):
        lines = ax.plot(
            strengths, coefs[:, j].T, color=f"C{k % 10}", linewidth=1.6, linestyle=("-", "--", ":")[k // 10 % 3]
        )
        lines[0].set_label(labels[j])
    ax.axhline(0, color="black", linewidth=0.6, zorder=0)
    if chosen is not None and np.ndim(chosen) == 0 and chosen > 0:
        ax.axvline(chosen, color="black", linewidth=0.8, linestyle=":", zorder=0)
    ax.set_xscale("log")
    ax.set(xlabel=_strength_of(path), ylabel="coefficient")
    ax.spines[["top", "right"]].set_visible(False)
    _count_above(ax, strengths, np.sum(coefs != 0, axis=(0, 1)))
    if named:
        ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def plot_cv(estimator: Any, *, ax: Any = None) -> Any:
    """Draw the scores of cross-validation against the strength of the penalty, with a band of one standard error.

    A line shows the strength chosen; a dotted one the largest strength whose score is within a standard error of the best, unless
    it is the same. Of several ``l1_ratio`` or targets there is a curve for each.

    Parameters
    ----------
    estimator : fitted estimator
        LassoCV, ElasticNetCV, RidgeCV, or another with ``alphas_`` and ``mse_path_``; or LogisticRegressionCV, whose strength
        is 1 / C.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    ax : matplotlib Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    TypeError
        If the estimator is not fitted, or of another kind.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("agg")
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from regkern.linear_model import RidgeCV, plot_cv
    >>> X, y = load_diabetes(return_X_y=True)
    >>> ax = plot_cv(RidgeCV(alphas=np.logspace(-3, 2, 50)).fit(X, y))
    >>> ax.get_ylabel()
    'mean squared error, each sample left out'
    """
    curves, label, low = _curves(estimator)
    ax = _axes("plot_cv", ax)
    for k, (name, *parts) in enumerate(curves):
        order = np.argsort(parts[0])
        alphas, mean, error = (part[order[parts[0][order] > 0]] for part in parts)
        ax.plot(alphas, mean, color=f"C{k % 10}", linewidth=1.6, label=name)
        if np.isfinite(error).all():
            ax.fill_between(alphas, mean - error, mean + error, color=f"C{k % 10}", alpha=0.2, linewidth=0)
    chosen = np.atleast_1d(_chosen(estimator))
    for k, alpha in enumerate(chosen):
        color = "black" if len(chosen) == 1 else f"C{k % 10}"
        ax.axvline(alpha, color=color, linewidth=0.8, linestyle="-", label="chosen" if len(chosen) == 1 else None)
    if len(curves) == 1 and len(chosen) == 1:
        _, alphas, mean, error = curves[0]
        loss = mean if low else -mean
        best = int(np.argmin(loss))
        within = alphas[loss <= loss[best] + error[best]]
        if np.isfinite(error[best]) and within.max() != chosen[0]:
            ax.axvline(
                within.max(), color="black", linewidth=0.8, linestyle=":", label="largest within one standard error"
            )
    ax.set_xscale("log")
    ax.set(xlabel=_strength_of(estimator), ylabel=label)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return ax


# --- what is drawn ----------------------------------------------------------------------------------------------------


def _axes(head: str, ax: Any) -> Any:
    try:
        import matplotlib.pyplot as plt  # noqa: PLC0415 (only pictures need it)
    except ImportError as error:
        raise ImportError(f"{head} needs matplotlib: pip install matplotlib") from error
    if ax is None:
        return plt.subplots(layout="constrained")[1]
    return ax


def _names(head: str, given: Any, path: Any, X: Any, features: int) -> list[str]:
    if given is None:
        given = getattr(path, "feature_names_in_", None)
    if given is None:
        given = getattr(X, "columns", None)
    if given is None:
        return [f"x{j}" for j in range(features)]
    names = [str(name) for name in given]
    if len(names) != features:
        raise ValueError(f"{head}: feature_names must have {features} names, got {len(names)}")
    return names


def _path_of(estimator: Any, X: Any, y: Any, alphas: Any) -> tuple[Array, Array]:
    """Strengths, and coefficients (features, strengths) or (targets, features, strengths)."""
    parameters = estimator.get_params()
    if isinstance(estimator, CLASSIFIERS):
        return _logistic_path(estimator, parameters, X, y, alphas)
    known = isinstance(estimator, CHOOSERS) or hasattr(estimator, "alpha_") or hasattr(estimator, "path")
    if "alpha" not in parameters and not known:
        raise TypeError(
            f"plot_path: path must be an estimator with alpha, or fitted, with alpha_, got {type(estimator).__name__}"
        )
    if alphas is None:
        alphas = getattr(estimator, "alphas_", 100)
    ratio = getattr(estimator, "l1_ratio_", parameters.get("l1_ratio", 1.0))
    if np.ndim(alphas) > 1:  # for each ratio
        alphas = np.asarray(alphas)[int(np.argmin(np.abs(np.asarray(parameters["l1_ratio"]) - ratio)))]
    if hasattr(estimator, "path") and not (ratio == 0 and np.ndim(alphas) == 0):
        options = {
            name: parameters[name]
            for name in ("eps", "fit_intercept", "positive", "max_iter", "penalty_factor", "bounds", "tol", "threads")
            if parameters.get(name) is not None
        }
        strengths, coefs = enet_path(X, y, l1_ratio=ratio, alphas=alphas, **options)[:2]
        return np.asarray(strengths), np.asarray(coefs)
    model = _of_one_strength(estimator, parameters, ratio)
    if np.ndim(alphas) == 0:
        alphas = _grid_of(model, X, y, _checks.integer("plot_path: alphas", alphas, 1))
    strengths = np.asarray(alphas, np.float64)
    coefs = [np.asarray(model.set_params(alpha=float(alpha)).fit(X, y).coef_) for alpha in strengths]
    return strengths, np.stack(coefs, axis=-1)


def _logistic_path(estimator: Any, parameters: dict[str, Any], X: Any, y: Any, strengths: Any) -> tuple[Array, Array]:
    """The same, with a strength of 1 / C."""
    ratio = float(np.mean(getattr(estimator, "l1_ratio_", parameters.get("l1_ratio") or 0.0)))
    names = set(LogisticRegression().get_params()) - {"penalty", "C", "n_jobs"}
    model = LogisticRegression(**{name: value for name, value in parameters.items() if name in names})
    model.set_params(l1_ratio=ratio, warm_start=True)
    if strengths is None:
        strengths = 1 / np.asarray(estimator.Cs_) if hasattr(estimator, "Cs_") else 100
    if np.ndim(strengths) == 0:
        count = _checks.integer("plot_path: alphas", strengths, 1)
        data = check_array(X, accept_sparse=["csc", "csr"], dtype=np.float64)
        if ratio > 0:  # from where all coefficients are 0
            hit = 1.0 * (np.asarray(y)[:, None] == np.unique(y))
            left = hit - (hit.mean(axis=0) if model.fit_intercept else 1 / hit.shape[1])
            largest = float(np.abs(data.T @ left).max()) / ratio
            strengths = np.geomspace(largest, largest / 1e3, count)
        else:  # about the largest curvature of the loss
            felt = float(make_design(data, None, model.fit_intercept).squares().max()) / 4 or 1.0
            strengths = np.geomspace(1e3 * felt, 1e-3 * felt, count)
    strengths = np.asarray(strengths, np.float64)
    coefs = np.stack([model.set_params(C=float(1 / s)).fit(X, y).coef_.copy() for s in strengths], axis=-1)
    return strengths, coefs[0] if len(coefs) == 1 else coefs


def _chosen(estimator: Any) -> Any:
    """The strength that an estimator has chosen, or was given."""
    if isinstance(estimator, CLASSIFIERS):
        C = getattr(estimator, "C_", estimator.get_params().get("C"))
        return None if C is None else 1 / float(np.mean(C))
    return getattr(estimator, "alpha_", estimator.get_params().get("alpha"))


def _strength_of(estimator: Any) -> str:
    return "1 / C" if isinstance(estimator, CLASSIFIERS) else "alpha"


def _of_one_strength(estimator: Any, parameters: dict[str, Any], ratio: Any) -> Any:
    """An unfitted estimator with alpha, of one that may choose it."""
    if "alpha" in parameters:
        return clone(estimator)
    kind = next((one for chooser, one in CHOOSERS_OF if isinstance(estimator, chooser)), None)
    if kind is None:
        raise TypeError(f"plot_path: path must be an estimator with alpha or a path, got {type(estimator).__name__}")
    names = set(kind().get_params()) - {"selection"}  # of features there, of alpha here
    model = kind(**{name: value for name, value in parameters.items() if name in names})
    return model.set_params(l1_ratio=ratio) if "l1_ratio" in names else model


def _grid_of(model: Any, X: Any, y: Any, many: int) -> Array:
    """Strengths from where all coefficients are 0 to a thousandth of it; about what is felt where none makes them 0."""
    parameters = model.get_params()
    X = check_array(X, accept_sparse=["csc", "csr"], dtype=[np.float64, np.float32])
    y = check_array(y, dtype=np.float64, order="C", ensure_2d=False, input_name="y")
    n, p = X.shape
    common = {
        name: parameters[name]
        for name in ("fit_intercept", "penalty_factor", "bounds", "positive")
        if parameters.get(name) is not None
    }
    largest = 0.0
    if isinstance(model, BlockRegressor):
        shares = model._shares()
        if shares[:2] != (0.0, 0.0):
            largest = largest_strength(
                X,
                y if y.ndim > 1 else y[:, None],
                blocks=model._blocks(p),
                strength=shares,
                fit_intercept=model.fit_intercept,
                positive=common.get("positive", False),
            )
            largest /= n
    elif isinstance(model, AdaptiveLasso):
        weights = clone(model).fit(X, y).weights_
        held = np.isfinite(weights)
        if held.any():
            if common.get("bounds") is not None:
                lower, upper = check_bounds(model, model.bounds, p)
                common["bounds"] = tuple(None if end is None else end[held] for end in (lower, upper))
            largest = alpha_max(X[:, np.flatnonzero(held)], y, **{**common, "penalty_factor": weights[held]})
    elif isinstance(model, SlopeRegressor):
        design = Design(X, y, None, model.fit_intercept)
        largest = dual_norm(design.gradient(design.y), model._lambdas(p)) / n
    elif isinstance(model, (ElasticNet, PoissonRegressor, MCPRegressor, SCADRegressor)):
        ratio = parameters.get("l1_ratio", 1.0)
        if ratio > 0:
            largest = alpha_max(
                X, y, l1_ratio=ratio, loss="poisson" if isinstance(model, PoissonRegressor) else "squared", **common
            )
    elif not isinstance(model, Ridge):
        raise TypeError(f"plot_path: alphas must be numbers for {type(model).__name__}, got a count of them")
    if largest > 0:
        return np.geomspace(largest, 1e-3 * largest, many)
    scale = float(np.mean(make_design(X, None, model.fit_intercept).squares())) or 1.0  # of columns
    scale = scale if isinstance(model, Ridge) else scale / n
    return np.geomspace(1e-3 * scale, 1e3 * scale, many)


def _count_above(ax: Any, alphas: Array, counts: Array) -> None:
    """How many coefficients are not 0, at some strengths."""
    if len(alphas) < 2 or counts.min() == counts.max():
        return
    order = np.argsort(alphas)
    at = order[np.unique(np.linspace(0, len(order) - 1, 7).astype(int))]
    above = ax.secondary_xaxis("top")
    above.set_xticks(alphas[at], [str(count) for count in counts[at]])
    above.minorticks_off()
    above.tick_params(length=2, labelsize="small")
    above.set_xlabel("coefficients that are not 0", fontsize="small")
    above.spines["top"].set_visible(False)


def _curves(estimator: Any) -> tuple[list[tuple[str, Array, Array, Array]], str, bool]:
    """Names, strengths, means and standard errors; what they are, and whether less of it is better."""
    if hasattr(estimator, "mse_path_") and hasattr(estimator, "alphas_"):
        path = np.asarray(estimator.mse_path_)
        mean, folds = path.mean(axis=-1), path.shape[-1]
        error = np.asarray(getattr(estimator, "mse_se_", path.std(axis=-1, ddof=1) / np.sqrt(folds)))
        label = f"mean squared error, {folds} folds"
        if mean.ndim == 1:
            return [("mean", estimator.alphas_, mean, error)], label, True
        alphas = np.broadcast_to(estimator.alphas_, mean.shape)
        ratios = np.atleast_1d(estimator.l1_ratio)
        return (
            [(f"l1_ratio {r:g}", a, m, e) for r, a, m, e in zip(ratios, alphas, mean, error, strict=True)],
            label,
            True,
        )
    if hasattr(estimator, "score_path_"):
        low = estimator.scoring is None and estimator.cv is None
        mean = -estimator.score_path_ if low else estimator.score_path_
        scoring = estimator.scoring if isinstance(estimator.scoring, str) else "score" if estimator.scoring else "R²"
        label = "mean squared error" if low else scoring
        label += ", each sample left out" if estimator.cv is None else ", folds"
        if mean.ndim == 1:
            return [("mean", estimator.alphas_, mean, estimator.score_se_)], label, low
        parts = zip(mean.T, estimator.score_se_.T, strict=True)
        return [(f"target {t}", estimator.alphas_, m, e) for t, (m, e) in enumerate(parts)], label, low
    if isinstance(estimator, LogisticRegressionCV) and hasattr(estimator, "scores_"):
        scores = estimator.scores_
        scores = np.asarray(next(iter(scores.values())) if isinstance(scores, dict) else scores)
        ratios = np.atleast_1d(estimator.l1_ratios_)
        by_ratio = scores.reshape(len(scores), len(ratios), -1)
        mean, error = by_ratio.mean(axis=0), standard_error(np.moveaxis(by_ratio, 0, -1))
        scoring = estimator.scoring if isinstance(estimator.scoring, str) else "score"
        names = [f"l1_ratio {r:g}" for r in ratios] if len(ratios) > 1 else ["mean"]
        curves = [(name, 1 / estimator.Cs_, m, e) for name, m, e in zip(names, mean, error, strict=True)]
        return curves, f"{scoring}, {len(scores)} folds", False
    raise TypeError(f"plot_cv: estimator must be fitted by cross-validation over strengths, got {estimator!r}")
