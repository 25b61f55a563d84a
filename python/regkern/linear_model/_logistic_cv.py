"""Strengths of logistic regression by cross-validation."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.metrics import get_scorer, get_scorer_names, make_scorer
from sklearn.model_selection import check_cv
from sklearn.utils import Bunch

from regkern.linear_model._base import (
    check_parameters,
    fold_samples,
    relative,
    standard_error,
    warn_of_folds,
)
from regkern.linear_model._compat import (
    Hidden,
    Interval,
    StrOptions,
    metadata_routing,
    reads_groups,
    refuse_params,
    routing_owner,
)
from regkern.linear_model._logistic import (
    SHARED_CONSTRAINTS,
    Classifier,
    Labelled,
    LogisticRegression,
    Penalty,
    Solver,
    check_labelled,
    log_probabilities,
    strengths_of,
    warn_of_penalty,
)

__all__ = ["LogisticRegressionCV"]

Array = NDArray[Any]
Selection = Literal["min", "1se"]


class LogisticRegressionCV(Classifier):
    """Logistic regression whose C and l1_ratio are chosen by cross-validation; every fit to a certified gap.

    Parameters
    ----------
    Cs : int >= 1 or array-like, default 10
        Values of C in (0, inf], or how many between 1e-4 and 1e4.
    l1_ratios : array-like of floats in [0, 1] or None, default None
        All are tried. None, and scikit-learn's "warn", are (0.0,).
    fit_intercept : bool, default True
    cv : int, splitter, iterable of (train, test) or None
        None: 5 stratified folds. A splitter by groups gets them by metadata routing: ``fit(X, y, groups=groups)``.
    dual : bool
        Has no effect.
    penalty : {"l1", "l2", "elasticnet"}, default "deprecated"
        "l1" is ``l1_ratios=(1.0,)``, "l2" is ``(0.0,)``.
    scoring : str, callable or None, default None
        A scorer, greater is better. None, and scikit-learn's "warn": accuracy. "neg_log_loss" tells models apart that
        predict the same classes; it is not clipped.
    solver : {"lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"}
        Has no effect: see :class:`LogisticRegression`.
    tol : float >= 0, default 1e-6
        Of every fit: the largest duality gap, relative to the objective.
    max_iter : int >= 0, default 100
    class_weight : dict, "balanced" or None
        "balanced" by all of y.
    n_jobs : int or None
        Has no effect: see ``threads``.
    verbose : int
        Has no effect.
    refit : bool, default True
        Whether the model of all samples is fitted with the best C. Else coefficients and C are means of each fold's best.
    intercept_scaling : float
        Has no effect.
    random_state : int, RandomState or None
        Has no effect: the folds' randomness is that of ``cv``.
    use_legacy_attributes : bool, default False
        False: the attributes below, of scikit-learn from 1.10 on. True: ``scores_`` and ``coefs_paths_`` are dicts
        by class, ``C_`` and ``l1_ratio_`` arrays, and ``n_iter_`` has one more axis, as before; without ``l1_ratios``
        their axis is left out. "warn" is True.
    selection : {"min", "1se"}, default "min"
        "min": the best mean score. "1se": the smallest C whose mean score is within one standard error of it.
    penalty_factor, bounds, threads
        Of :class:`LogisticRegression`.

    Attributes
    ----------
    classes_ : ndarray (n_classes,)
    coef_ : ndarray (1, n_features) or (n_classes, n_features)
    intercept_ : ndarray (1,) or (n_classes,)
    Cs_ : ndarray (n_cs,)
    l1_ratios_ : ndarray (n_l1_ratios,)
    C_ : float
    l1_ratio_ : float
    scores_ : ndarray (n_folds, n_l1_ratios, n_cs)
    coefs_paths_ : ndarray (n_folds, n_l1_ratios, n_cs, n_classes or 1, n_features + fit_intercept)
    n_iter_ : ndarray (n_folds, n_l1_ratios, n_cs)
    gaps_ : ndarray (n_folds, n_l1_ratios, n_cs)
        Relative gaps of the folds' fits.
    n_features_in_, feature_names_in_
    objective_, dual_gap_, gap_, reason_
        Of the last fit, as of :class:`LogisticRegression`; missing with ``refit=False``.

    Raises
    ------
    ValueError
        Of scikit-learn's kinds: X or y not finite or not of one length, one class, parameters out of range.

    Warns
    -----
    ConvergenceWarning
        Where a gap is above ``tol``, with the worst.

    Notes
    -----
    The objective is that of :class:`LogisticRegression`. X is not copied: a fold is a weight of 0. Each fold goes from
    the smallest C to the largest, each fit from the one before.

    See Also
    --------
    LogisticRegression

    Examples
    --------
    >>> import numpy as np
    >>> from regkern.linear_model import LogisticRegressionCV
    >>> X = np.random.default_rng(0).standard_normal((60, 5))
    >>> y = X[:, 0] + 0.5 * X[:, 1] > 0
    >>> model = LogisticRegressionCV(Cs=[0.1, 1.0, 10.0], l1_ratios=(1.0,), scoring="neg_log_loss").fit(X, y)
    >>> model.C_, model.scores_.shape, bool((model.gaps_ <= 1e-6).all())
    (10.0, (5, 1, 3), True)
    """

    scores_: Any
    coefs_paths_: Any
    C_: Any
    l1_ratio_: Any
    __metadata_request__score: ClassVar[dict[str, Any]] = {"sample_weight": metadata_routing.UNUSED}
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "Cs": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "l1_ratios": ["array-like", None, Hidden(StrOptions({"warn"}))],
        "cv": ["cv_object"],
        "penalty": [StrOptions({"l1", "l2", "elasticnet"}), Hidden(StrOptions({"deprecated"}))],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None, Hidden(StrOptions({"warn"}))],
        "refit": ["boolean"],
        "use_legacy_attributes": ["boolean", Hidden(StrOptions({"warn"}))],
        "selection": [StrOptions({"min", "1se"})],
        **SHARED_CONSTRAINTS,
    }

    def __init__(
        self,
        *,
        Cs: int | ArrayLike = 10,
        l1_ratios: Any = None,
        fit_intercept: bool = True,
        cv: Any = None,
        dual: bool = False,
        penalty: Penalty | Literal["deprecated"] = "deprecated",
        scoring: Any = None,
        solver: Solver = "lbfgs",
        tol: float = 1e-6,
        max_iter: int = 100,
        class_weight: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        refit: bool = True,
        intercept_scaling: float = 1.0,
        random_state: Any = None,
        use_legacy_attributes: bool | Literal["warn"] = False,
        selection: Selection = "min",
        penalty_factor: ArrayLike | None = None,
        bounds: tuple[Any, Any] | None = None,
        threads: int | None = None,
    ) -> None:
        self.Cs = Cs
        self.l1_ratios = l1_ratios
        self.fit_intercept = fit_intercept
        self.cv = cv
        self.dual = dual
        self.penalty = penalty
        self.scoring = scoring
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.refit = refit
        self.intercept_scaling = intercept_scaling
        self.random_state = random_state
        self.use_legacy_attributes = use_legacy_attributes
        self.selection = selection
        self.penalty_factor = penalty_factor
        self.bounds = bounds
        self.threads = threads

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> LogisticRegressionCV:
        """Fit the folds, choose, and fit the model.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,)
            Labels.
        sample_weight : array-like (n_samples,) or None
            >= 0, and not all 0. A number is all of them: each C is multiplied with it.
        **params
            For the splitter and the scorer, by metadata routing.

        Returns
        -------
        self
        """
        check_parameters(self)
        routed = _route(self, "fit", sample_weight, params)
        l1_ratios = self._l1_ratios()
        data = check_labelled(self, X, y, sample_weight, quote=False)
        self.classes_ = data.classes
        splitter = check_cv(self.cv, data.classes[data.y.astype(np.intp)], classifier=True)
        folds = list(splitter.split(data.X, data.classes[data.y.astype(np.intp)], **routed.splitter.split))
        Cs = np.logspace(-4, 4, self.Cs) if isinstance(self.Cs, Integral) else np.asarray(self.Cs, np.float64)
        if Cs.ndim != 1 or not len(Cs) or not (Cs > 0).all():
            raise ValueError(f"Cs must be an int >= 1 or an array-like of positive numbers; got (Cs={self.Cs!r})")

        scored = _validated(routed.scorer.score, data.weight)
        weights = fold_samples(folds, len(data.y), data.weight_fit, scored.get("sample_weight"))
        paths = _Paths(self, data, folds, weights, Cs, l1_ratios)
        scores = paths.scores(_scoring(self.scoring), scored)
        self.Cs_, self.l1_ratios_ = Cs, l1_ratios
        self.gaps_ = paths.gaps
        if self.refit:
            c, r = _best(scores, Cs, self.selection)
            self.C_, self.l1_ratio_ = float(Cs[c]), float(l1_ratios[r])
            start = paths.coef[:, r, c].mean(axis=0)[:, : data.X.shape[1]]
            l1, l2 = strengths_of(self.C_, self.l1_ratio_, data.scale)
            solution = data.solve(self, l1=l1, l2=l2, coef=start[0] if data.rows == 1 else start)
            self._keep(solution, data)
        else:
            best = [_best(scores[f : f + 1], Cs, "min") for f in range(len(folds))]
            self.C_ = float(np.mean([Cs[c] for c, _ in best]))
            self.l1_ratio_ = float(np.mean([l1_ratios[r] for _, r in best]))
            mean = np.mean([paths.coef[f, r, c] for f, (c, r) in enumerate(best)], axis=0)
            self.coef_ = mean[:, : data.X.shape[1]]
            self.intercept_ = mean[:, -1] if self.fit_intercept else np.zeros(data.rows)
        self.scores_, self.coefs_paths_, self.n_iter_ = scores, paths.coef, paths.iterations
        if self.use_legacy_attributes:
            self._make_legacy(data.rows)
        return self

    def score(self, X: Any, y: Any, *, sample_weight: Any = None, **score_params: Any) -> float:
        """The score by ``scoring`` of predictions for X.

        Parameters
        ----------
        X : array-like or sparse matrix (n_samples, n_features)
        y : array-like (n_samples,)
        sample_weight : array-like (n_samples,) or None
        **score_params
            For the scorer, by metadata routing.

        Returns
        -------
        score : float
        """
        routed = _route(self, "score", sample_weight, score_params)
        return float(self._get_scorer()(self, X, y, **routed.scorer.score))

    def get_metadata_routing(self) -> Any:
        """Where the metadata of fit and score goes.

        Returns
        -------
        routing : MetadataRouter
        """
        return (
            metadata_routing.MetadataRouter(owner=routing_owner(self))
            .add_self_request(self)
            .add(splitter=self.cv, method_mapping=metadata_routing.MethodMapping().add(caller="fit", callee="split"))
            .add(
                scorer=self._get_scorer(),
                method_mapping=metadata_routing.MethodMapping()
                .add(caller="score", callee="score")
                .add(caller="fit", callee="score"),
            )
        )

    def _get_scorer(self) -> Any:
        return get_scorer(_scoring(self.scoring) or "accuracy")

    def _l1_ratios(self) -> Array:
        given = None if isinstance(self.l1_ratios, str) else self.l1_ratios
        if self.penalty != "deprecated":
            warn_of_penalty(
                "'l1_ratios' and 'Cs' instead. Use l1_ratios=(0,) instead of penalty='l2', l1_ratios=(1,) instead of "
                "penalty='l1' and l1_ratios set to floats between 0 and 1 instead of penalty='elasticnet'"
            )
            if self.penalty != "elasticnet":
                if given is not None:
                    warnings.warn(
                        f"l1_ratios parameter is only used when penalty is 'elasticnet'. Got (penalty={self.penalty})",
                        stacklevel=3,
                    )
                return np.array([1.0 if self.penalty == "l1" else 0.0])
        elif given is None:
            return np.zeros(1)
        known = given is not None and len(given) and all(isinstance(r, Real) and 0 <= float(r) <= 1 for r in given)
        if not known:
            raise ValueError(f"l1_ratios must be an array-like of numbers between 0 and 1; got (l1_ratios={given!r})")
        return np.asarray(given, np.float64)

    def _make_legacy(self, rows: int) -> None:
        """Attributes in the shapes that scikit-learn had before 1.10."""
        keep = slice(None) if self.l1_ratios is not None and not isinstance(self.l1_ratios, str) else 0
        labels = self.classes_[1:] if rows == 1 else self.classes_
        scores, paths = self.scores_.transpose(0, 2, 1), self.coefs_paths_.transpose(3, 0, 2, 1, 4)
        self.scores_ = {label: scores[:, :, keep].copy() for label in labels}
        self.coefs_paths_ = {label: path[:, :, keep] for label, path in zip(labels, paths, strict=True)}
        self.n_iter_ = self.n_iter_.transpose(0, 2, 1)[None, :, :, keep]
        self.C_, self.l1_ratio_ = np.full(rows, self.C_), np.full(rows, self.l1_ratio_)


class _Paths:
    """The fits of all folds: arrays by (fold, l1_ratio, C)."""

    def __init__(
        self,
        estimator: Any,
        data: Labelled,
        folds: Sequence[Any],
        weights: tuple[Array, Array],
        Cs: Array,
        l1_ratios: Array,
    ) -> None:
        p = data.X.shape[1]
        train, test = weights
        self.data, self.folds, self.Cs = data, folds, Cs
        self.fit_intercept = estimator.fit_intercept
        shape = (len(folds), len(l1_ratios), len(Cs))
        self.coef = np.empty((*shape, data.rows, p + bool(self.fit_intercept)))
        self.gaps, self.iterations = np.empty(shape), np.empty(shape, np.int32)
        self.intercept = np.empty((*shape, data.rows))
        order = np.argsort(Cs, kind="stable")
        for r, l1_ratio in enumerate(l1_ratios):
            l1, l2 = (np.tile(s[order], (len(folds), 1)) for s in strengths_of(Cs, l1_ratio, data.scale))
            found = data.solve_folds(estimator, l1=l1, l2=l2, train=train, test=test, keep_coef=True)
            assert found.coef is not None
            self.coef[:, r, order, :, :p] = found.coef.reshape(len(folds), len(Cs), data.rows, p)
            self.intercept[:, r, order] = found.intercept.reshape(len(folds), len(Cs), data.rows)
            self.gaps[:, r, order] = relative(found.gap, found.objective)
            self.iterations[:, r, order] = found.iterations
            warn_of_folds(found, train, estimator.tol, stacklevel=4)
        if self.fit_intercept:
            self.coef[..., p] = self.intercept

    def scores(self, scoring: Any, params: dict[str, Any]) -> Array:
        """(folds, l1_ratios, Cs) scores of the test samples."""
        made = np.empty(self.gaps.shape)
        labels = self.data.y.astype(np.intp)
        for f, (_, test) in enumerate(self.folds):
            X = self._rows(test)
            given = _at(params, test, len(labels))
            if scoring in (None, "accuracy", "neg_log_loss") and set(given) <= {"sample_weight"}:
                weights = given.get("sample_weight")
                for r, c in np.ndindex(made.shape[1:]):
                    decision = np.asarray(X @ self.coef[f, r, c, :, : X.shape[1]].T + self.intercept[f, r, c])
                    told = _accuracy if scoring != "neg_log_loss" else _log_likelihood
                    made[f, r, c] = np.average(told(decision, labels[test]), weights=weights)
                continue
            scorer = _with_labels(get_scorer(scoring), self.data.classes)
            for r, c in np.ndindex(made.shape[1:]):
                made[f, r, c] = scorer(self._model(f, r, c), X, self.data.classes[labels[test]], **given)
        return made

    def _rows(self, test: Any) -> Any:
        X = self.data.X
        return X.tocsr()[test] if scipy.sparse.issparse(X) else X[test]

    def _model(self, f: int, r: int, c: int) -> LogisticRegression:
        model = LogisticRegression(C=self.Cs[c], fit_intercept=self.fit_intercept)
        model.classes_ = self.data.classes
        model.coef_ = self.coef[f, r, c, :, : self.data.X.shape[1]]
        model.intercept_ = self.intercept[f, r, c]
        return model


def _accuracy(decision: Array, labels: Array) -> Array:
    """1 where the decision is right."""
    predicted = decision[:, 0] > 0 if decision.shape[1] == 1 else decision.argmax(axis=1)
    return np.asarray(predicted == labels, np.float64)


def _log_likelihood(decision: Array, labels: Array) -> Array:
    log_p = log_probabilities(decision[:, 0] if decision.shape[1] == 1 else decision)
    return np.asarray(log_p[np.arange(len(labels)), labels])


def _best(scores: Array, Cs: Array, selection: Selection) -> tuple[int, int]:
    """Where the best C and l1_ratio are."""
    mean = scores.mean(axis=0)  # (l1_ratios, Cs)
    c, r = (int(k) for k in np.unravel_index(np.argmax(mean.T), mean.T.shape))
    if selection == "1se":
        least = mean[r, c] - standard_error(scores[:, r, c])
        near = np.flatnonzero((mean[r] >= least) & (Cs <= Cs[c]))
        c = int(near[np.argmin(Cs[near])])
    return c, r


def _scoring(scoring: Any) -> Any:
    return None if isinstance(scoring, str) and scoring == "warn" else scoring


def _with_labels(scorer: Any, classes: Array) -> Any:
    """The scorer, told of all classes where it takes them: a fold's test samples may lack one."""
    function = getattr(scorer, "_score_func", None)
    takes = inspect.signature(function).parameters if function is not None else {}
    if "labels" not in takes:
        return scorer
    positive = {"pos_label": classes[-1]} if len(classes) == 2 and "pos_label" in takes else {}
    return make_scorer(
        function,
        greater_is_better=scorer._sign == 1,
        response_method=scorer._response_method,
        **{"labels": classes, **positive, **getattr(scorer, "_kwargs", {})},
    )


def _validated(params: dict[str, Any], weight: Array | None) -> dict[str, Any]:
    """The scorer's parameters, with the weights that were checked."""
    return {**params, "sample_weight": weight} if "sample_weight" in params else params


def _at(params: dict[str, Any], rows: Any, samples: int) -> dict[str, Any]:
    """Of what has an entry for each sample, those of some rows."""

    def of(value: Any) -> Any:
        held = np.asarray(value) if hasattr(value, "__len__") and not isinstance(value, str) else None
        return held[rows] if held is not None and held.ndim and len(held) == samples else value

    return {name: of(value) for name, value in params.items() if value is not None}


def _route(estimator: Any, method: str, sample_weight: Any, params: dict[str, Any]) -> Any:
    """What the splitter and the scorer get. Without metadata routing, groups go to a splitter that reads them."""
    weights = {} if sample_weight is None else {"sample_weight": sample_weight}
    if get_config()["enable_metadata_routing"]:
        return metadata_routing.process_routing(estimator, method, **params, **weights)
    if not (method == "fit" and set(params) == {"groups"} and reads_groups(estimator.cv)):
        refuse_params(params, estimator, method)
    return Bunch(splitter=Bunch(split=params), scorer=Bunch(score=weights))
