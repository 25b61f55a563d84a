"""The strength of ridge regression, chosen by leaving out samples or folds."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from numbers import Real
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.utils import check_scalar

from regkern._types import Int
from regkern._types import Real as AnyReal
from regkern.linear_model._base import (
    EXTRAS,
    NO_FOLDS,
    LinearRegressor,
    check_parameters,
    fold_numbers,
    standard_error,
)
from regkern.linear_model._compat import (
    BaseEstimator,
    Interval,
    MultiOutputMixin,
    RegressorMixin,
    StrOptions,
    metadata_routing,
    parameter_error,
    reads_groups,
    refuse_params,
    routing_owner,
)
from regkern.linear_model._gram import Design, make_design
from regkern.linear_model._least_squares import (
    Spectrum,
    check_range,
    folds,
    has_more_rows,
    is_tall,
    leave_one_out,
    solve,
)
from regkern.linear_model._ridge import Ridge, blas_threads, checked, set_fitted, solved_of, warn

__all__ = ["RidgeCV"]

Array = NDArray[Any]


def _takes_weights(scorer: Any) -> bool:
    """Whether a scorer has an argument sample_weight."""
    if hasattr(scorer, "_accept_sample_weight"):
        return bool(scorer._accept_sample_weight())
    return "sample_weight" in inspect.signature(scorer).parameters


def _scores(total: Array, squares: Array, count: int, n: int) -> tuple[Array, Array]:
    """-total/n and its standard error, from the sum and the sum of squares of ``count`` samples that have a weight.

    Samples of weight 0 count in n, as in scikit-learn, but are no draws: the error is relative to the score as without them.
    """
    mean = total / count
    error = np.sqrt(np.maximum(squares / count - mean**2, 0) / (count - 1))
    return -mean * (count / n), error * (count / n)


class _Predicted(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A regressor whose samples are its predictions: what a scorer is given in place of fits without these samples."""

    def predict(self, X: Any) -> Any:
        return X


class RidgeCV(MultiOutputMixin, LinearRegressor):  # type: ignore[misc]
    """Ridge regression with the strength chosen by leaving out single samples, or folds.

    The errors of leaving each sample out, exact ones, of all strengths come from one eigendecomposition of the smaller of X'X
    and XX'. Folds come from one Gram matrix, of which the folds' own are subtracted.

    scikit-learn's RidgeCV, with its parameters and attributes, to whom the keywords from selection on are new.

    Parameters
    ----------
    alphas : float > 0 or array-like (n_alphas,), default (0.1, 1, 10)
        In any order; of equally good ones it is the first. With folds 0 is one, too.
    fit_intercept : bool, default True
    scoring : str, callable or None, default None
        None is the mean squared error without ``cv``, R² with it.
    cv : int, splitter, iterable or None, default None
        None leaves out single samples.
    gcv_mode : {"auto", "svd", "eigen"}, default None
        Of leaving out single samples: "eigen" decomposes the smaller of X'X and XX', "svd" the triangle of X, which is more
        accurate where strengths are tiny. None and "auto" choose by the smallest strength.
    store_cv_results : bool, default False
        Whether ``cv_results_`` is kept. Not with ``cv``.
    alpha_per_target : bool, default False
        Whether each target has a strength of its own. Not with ``cv``.
    selection : {"min", "1se"}, default "min"
        "1se": the largest strength whose score is within a standard error of the best, over samples or folds.
    threads : int, optional
        Of BLAS, which does not promise the same bits for all numbers of threads.

    Attributes
    ----------
    alpha_ : float or ndarray (n_targets,)
    best_score_ : float or ndarray (n_targets,)
        The score of ``alpha_``; without ``scoring`` and ``cv`` the mean squared error, negative: with weights -Σ s·e²/n, n
        being all samples, those of weight 0 too.
    alphas_ : ndarray (n_alphas,)
    score_path_ : ndarray (n_alphas,) or (n_alphas, n_targets)
        The score of each strength.
    score_se_ : ndarray, shaped as score_path_
        Its standard error over samples or folds; NaN where a ``scoring`` judges all samples at once.
    cv_results_ : ndarray (n_samples, n_alphas) or (n_samples, n_targets, n_alphas)
        If stored: squared errors of each sample left out, times its weight, or with ``scoring`` what is predicted of it.
    coef_ : ndarray (n_features,) or (n_targets, n_features)
    sparse_coef_ : sparse matrix (1 or n_targets, n_features)
    intercept_ : float or ndarray (n_targets,)
    dual_gap_, gap_, objective_, n_iter_, reason_
        Of the fit to all samples, as those of Ridge.
    n_features_in_ : int
    feature_names_in_ : ndarray (n_features_in_,)
        Of a DataFrame.

    Raises
    ------
    ValueError, TypeError
        In ``fit``, if something is none of these, in scikit-learn's words.

    Warns
    -----
    ConvergenceWarning
        If the gap is above 1e-6, with the gap reached.

    See Also
    --------
    Ridge : With a given strength.

    Notes
    -----
    The error of sample i left out is that of the fit to all, divided by 1 - H_ii, with H the matrix from y to the fitted
    values [1]_. With X'X = V diag(d) V', H_ii is a sum over the squares of row i of XV, times 1 / (d + alpha): for all
    strengths a product of matrices. With n samples, p < n features and K strengths it takes about 3 n p² + 4 n p K
    operations, where a decomposition for each strength takes 2 n p² K more. Memory is as that of Ridge.

    Weights of samples count in the fits and in the scores, if the scorer takes any; with folds, each fold counts alike. Where
    scikit-learn routes metadata, the scorer's request decides.

    References
    ----------
    .. [1] Rifkin, Lippert: Notes on regularized least squares. MIT-CSAIL-TR-2007-025.

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import RidgeCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(50, 10))
    >>> y = X[:, 0] + rng.normal(size=50)
    >>> model = RidgeCV(alphas=np.logspace(-2, 4, 100)).fit(X, y)
    >>> simpler = RidgeCV(alphas=np.logspace(-2, 4, 100), selection="1se").fit(X, y)
    >>> round(model.alpha_, 1), round(simpler.alpha_, 1)
    (6.1, 43.3)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "alphas": ["array-like", Interval(Real, 0, None, closed="neither")],
        "fit_intercept": ["boolean"],
        "scoring": [str, callable, None],
        "cv": ["cv_object"],
        "gcv_mode": [StrOptions({"auto", "svd", "eigen"}), None],
        "store_cv_results": ["boolean"],
        "alpha_per_target": ["boolean"],
        "selection": [StrOptions({"min", "1se"})],
        "threads": EXTRAS["threads"],
    }

    def __init__(
        self,
        alphas: AnyReal | ArrayLike = (0.1, 1.0, 10.0),
        *,
        fit_intercept: bool = True,
        scoring: Any = None,
        cv: Any = None,
        gcv_mode: str | None = None,
        store_cv_results: bool = False,
        alpha_per_target: bool = False,
        selection: str = "min",
        threads: Int | None = None,
    ) -> None:
        self.alphas = alphas
        self.fit_intercept = fit_intercept
        self.scoring = scoring
        self.cv = cv
        self.gcv_mode = gcv_mode
        self.store_cv_results = store_cv_results
        self.alpha_per_target = alpha_per_target
        self.selection = selection
        self.threads = threads

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> Any:
        """Choose a strength and fit with it.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
            float32 or float64, of any order of its axes, CSC or CSR, is not copied; else it becomes float64.
        y : array-like (n_samples,) or (n_samples, n_targets)
        sample_weight : float or array-like (n_samples,), optional
            >= 0, and not all 0.
        **params
            For the scorer and the splitter, where scikit-learn routes metadata.

        Returns
        -------
        self
        """
        check_parameters(self)
        alphas = self._checked_alphas()
        if self.cv is not None:
            for name in ("store_cv_results", "alpha_per_target"):
                if getattr(self, name):
                    raise ValueError(f"cv!=None and {name}=True are incompatible")
        elif self.selection == "1se" and self.scoring is not None:
            raise ValueError(
                "selection='1se' needs cv or scoring=None: a scoring of all samples at once has no standard error"
            )
        X, y, weight = checked(self, X, y, sample_weight)
        if self.cv is None and (len(y) if weight is None else np.count_nonzero(weight)) == 1:
            raise ValueError("RidgeCV needs another sample with a weight than the one it leaves out, got n_samples = 1")
        route = self._routed(X, y, weight, params)
        with blas_threads(self.threads):
            design = make_design(X, weight, self.fit_intercept)
            targets = y if y.ndim == 2 else y[:, None]
            Y, middle = design.target(targets)
            if self.cv is None:
                gram = self._leave_one_out(design, targets, y, Y, middle, alphas, route)
            else:
                gram = self._fold(design, X, targets, y, Y, middle, alphas, route)
            chosen = np.broadcast_to(np.asarray(self.alpha_, np.float64), (targets.shape[1],))
            found = solve(design, Y, chosen, "svd" if gram is None and self.gcv_mode == "svd" else "auto", gram=gram)
        solved = solved_of(design, found, middle, None)
        set_fitted(self, solved, X.dtype, y.ndim == 1)
        warn(solved, 1e-6)
        return self

    def _checked_alphas(self) -> Array:
        options = {"min_val": 0.0, "include_boundaries": "neither" if self.cv is None else "left"}
        several: Any = self.alphas
        if np.ndim(several) == 0:
            return np.array([check_scalar(several, "alphas", Real, **options)], np.float64)
        for k, alpha in enumerate(several):
            check_scalar(alpha, "alphas" if len(several) == 1 else f"alphas[{k}]", Real, **options)
        alphas = np.asarray(several, np.float64)
        if alphas.ndim != 1 or not len(alphas) or not np.isfinite(alphas).all():
            raise parameter_error(self, "alphas", "one or several finite numbers", self.alphas)
        return alphas

    # --- single samples

    def _leave_one_out(
        self, design: Design, targets: Array, y: Array, Y: Array, middle: Array, alphas: Array, route: Any
    ) -> Any:
        """Choose alpha_; returns what ``solve`` takes as the Gram matrix, if it was made."""
        spectrum, gram, kept = self._spectrum(design, Y, alphas)
        scored = self.scoring is not None
        n, shape = design.n, (len(alphas), targets.shape[1])
        weight = np.ones(n) if design.weight is None else design.weight
        count = int(np.count_nonzero(weight))
        stored = np.empty((n, *shape)) if scored or self.store_cv_results else None
        total, squares = np.zeros(shape), np.zeros(shape)
        pooled = np.zeros(len(alphas))  # squares of a sample's mean over targets
        for rows, errors in self._errors(design, spectrum, targets, middle, Y, alphas, kept):
            values = targets[rows][:, None, :] - errors if scored else errors**2 * weight[rows][:, None, None]
            if stored is not None:
                stored[rows] = values
            if not scored:
                total += values.sum(axis=0)
                squares += np.einsum("ikt,ikt->kt", values, values)
                mean = values.mean(axis=2)
                pooled += np.einsum("ik,ik->k", mean, mean)
        if scored and stored is not None:
            score = np.array([self._score_of(stored[:, k], y, route.scorer.score) for k in range(len(alphas))])
            error = np.full(score.shape, np.nan)
        elif self.alpha_per_target and shape[1] > 1:
            score, error = _scores(total, squares, count, n)
        else:
            score, error = _scores(total.mean(axis=1), pooled, count, n)
        self._choose(alphas, score, error)
        self.__dict__.pop("cv_results_", None)
        if self.store_cv_results and stored is not None:
            stored = np.moveaxis(stored, 1, 2)
            self.cv_results_ = np.ascontiguousarray(stored[:, 0] if y.ndim == 1 else stored).astype(
                design.X.dtype if design.X.dtype.kind == "f" else np.float64, copy=False
            )
        return gram

    def _spectrum(self, design: Design, Y: Array, alphas: Array) -> tuple[Spectrum, Any, Array | None]:
        """Of the samples with a weight, where these are to be told apart."""
        kept = None
        if not has_more_rows(design) and design.weight is not None and not design.weight.all():
            kept = np.flatnonzero(design.weight)
            design, Y = make_design(design.X[kept], design.weight[kept], design.centred, design.scale), Y[kept]
        tall = has_more_rows(design)
        if self.gcv_mode != "svd" or self._refuses_svd(design):
            with np.errstate(over="ignore", invalid="ignore"):
                G, C = design.moments(Y) if tall else (design.kernel(), Y)
            check_range(design, np.diagonal(G), Y, alphas)
            if tall:
                spectrum = Spectrum.of_gram(design, G, C)
            else:
                root = np.ones(design.n) if design.root is None else design.root
                spectrum = Spectrum.of_kernel(design, G, Y, root if design.centred else None)
            known = kept is None and tall == is_tall(design)
            gram = (lambda: (G, C)) if known else None
            if self.gcv_mode == "eigen" or spectrum.resolves(float(alphas.min())):
                return spectrum, gram, kept
        else:
            check_range(design, design.squares(), Y, alphas)
        return Spectrum.of_design(design, Y), None, kept

    def _refuses_svd(self, design: Design) -> bool:
        """scikit-learn has no such mode for sparse X, and says so."""
        sparse = hasattr(design.X, "tocsr")
        if sparse:
            warnings.warn(
                "The 'svd' mode is not supported for sparse X, the 'eigen' mode is used instead.",
                FutureWarning,
                stacklevel=5,
            )
        return sparse

    def _errors(
        self,
        design: Design,
        spectrum: Spectrum,
        targets: Array,
        middle: Array,
        Y: Array,
        alphas: Array,
        kept: Array | None,
    ) -> Iterator[tuple[Any, Array]]:
        """Which samples, and their errors (samples, K, T) when left out."""
        if kept is None:
            for i, j, errors in leave_one_out(spectrum, targets, middle, Y, alphas):
                yield slice(i, j), errors
            return
        inner = spectrum.design
        for i, j, errors in leave_one_out(spectrum, targets[kept], middle, Y[kept], alphas):
            yield kept[i:j], errors
        others = np.setdiff1d(np.arange(design.n), kept)  # samples of no weight, which no fit has seen
        W = spectrum.coefficients(alphas)
        made = design.X[others] @ W.reshape(design.p, -1) - inner.mean @ W.reshape(design.p, -1)
        yield others, (targets[others] - middle)[:, None, :] - made.reshape(-1, *W.shape[1:])

    # --- folds

    def _fold(
        self, design: Design, X: Any, targets: Array, y: Array, Y: Array, middle: Array, alphas: Array, route: Any
    ) -> Any:
        """Choose alpha_."""
        from sklearn.model_selection import check_cv  # noqa: PLC0415 (half of the time that importing us takes)
        from sklearn.utils.validation import _check_method_params  # noqa: PLC0415

        n, pairs = len(y), check_cv(self.cv, y).split(X, y, **route.splitter.split)
        splits = [
            (fold_numbers(k, "fit", train, n), fold_numbers(k, "score", test, n))
            for k, (train, test) in enumerate(pairs)
        ]
        if not splits:
            raise ValueError(NO_FOLDS)
        for k, pair in enumerate(splits):
            for part, use in zip(pair, ("fit", "score"), strict=True):
                if not (len(part) and (design.weight is None or design.weight[part].any())):
                    raise ValueError(f"Fold {k} of cv has no samples, or none with a weight, to {use}.")
        scorer = self._scorer()
        table = np.empty((len(splits), len(alphas)))
        for row, fold in zip(table, folds(design, targets, middle, Y, alphas, splits), strict=True):
            given = _check_method_params(X, route.scorer.score, indices=fold.test)
            truth = y[fold.test]
            if callable(self.scoring):  # it can ask for anything
                W, b = fold.model()
            for k, alpha in enumerate(alphas.tolist()):
                if callable(self.scoring):
                    model = Ridge(alpha, fit_intercept=self.fit_intercept)
                    model.n_features_in_ = design.p
                    model.coef_ = W[:, k].T if len(W[0, k]) > 1 else W[:, k, 0]
                    model.intercept_ = b[k, 0] if y.ndim == 1 else b[k]
                    row[k] = scorer(model, X[fold.test], truth, **given)
                else:
                    said = fold.predictions[:, k]
                    row[k] = scorer(_Predicted(), said[:, 0] if y.ndim == 1 else said, truth, **given)
        self._choose(alphas, table.mean(axis=0), standard_error(table.T))

    def _choose(self, alphas: Array, score: Array, error: Array) -> None:
        self.alphas_, self.score_path_, self.score_se_ = alphas, score, error
        columns = score.reshape(len(alphas), -1)
        columns = np.where(np.isnan(columns), -np.inf, columns)
        best = columns.argmax(axis=0)
        if self.selection == "1se":
            at = np.arange(columns.shape[1])
            near = columns >= columns[best, at] - error.reshape(columns.shape)[best, at]
            best = np.where(near, alphas[:, None], -1.0).argmax(axis=0)
        if score.ndim == 2:
            self.alpha_, self.best_score_ = alphas[best], columns[best, np.arange(len(best))]
        else:
            self.alpha_, self.best_score_ = float(alphas[best[0]]), score[best[0]]

    # --- scoring, routing

    def _score_of(self, predictions: Array, y: Array, params: Any) -> Any:
        """By the user's scorer, of all samples, or of each target."""
        scorer = self._scorer()
        if y.ndim == 1:
            return scorer(_Predicted(), predictions[:, 0], y, **params)
        if self.alpha_per_target and y.shape[1] > 1:
            return [scorer(_Predicted(), predictions[:, t], y[:, t], **params) for t in range(y.shape[1])]
        return scorer(_Predicted(), predictions, y, **params)

    def _scorer(self) -> Any:
        from sklearn.metrics import check_scoring, get_scorer  # noqa: PLC0415

        if self.scoring is None and get_config()["enable_metadata_routing"]:
            return get_scorer("r2").set_score_request(sample_weight=True)
        return check_scoring(self, scoring=self.scoring, allow_none=True)

    def _routed(self, X: Any, y: Array, sample_weight: Any, params: dict[str, Any]) -> Any:
        """What ``fit`` was given beside the data, by who is to have it."""
        given = params if sample_weight is None else params | {"sample_weight": sample_weight}
        if get_config()["enable_metadata_routing"]:
            return metadata_routing.process_routing(self, "fit", **given)
        if not (set(params) == {"groups"} and reads_groups(self.cv)):
            refuse_params(params, self, "fit")
        weighs = sample_weight is not None and (
            self.scoring is None or self.cv is None or _takes_weights(self._scorer())
        )
        return SimpleNamespace(
            scorer=SimpleNamespace(score={"sample_weight": sample_weight} if weighs else {}),
            splitter=SimpleNamespace(split=params),
        )

    def get_metadata_routing(self) -> Any:
        """What goes where, as scikit-learn's metadata routing asks."""
        mapping = metadata_routing.MethodMapping
        return (
            metadata_routing.MetadataRouter(owner=routing_owner(self))
            .add_self_request(self)
            .add(scorer=self._scorer(), method_mapping=mapping().add(caller="fit", callee="score"))
            .add(splitter=self.cv, method_mapping=mapping().add(caller="fit", callee="split"))
        )
