"""Augmentation in scikit-learn: an estimator that learns from the data and from draws of it.

Nothing else imports this module, which needs scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern._types import Int

try:
    from sklearn import get_config
    from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
    from sklearn.utils import get_tags
    from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.validation import check_array, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError("regkern.augment.sklearn needs scikit-learn >= 1.6: pip install 'regkern[sklearn]'") from error

from regkern import _checks
from regkern.augment import color, erase, geometry, policy
from regkern.augment._pipeline import Pipeline
from regkern.augment._transform import Transform

__all__ = ["AugmentedEstimator"]

Array = NDArray[Any]

# What any values go through: it moves pixels, or is the same arithmetic everywhere.
OF_ANY_RANGE = (
    geometry.CenterCrop,
    geometry.Pad,
    geometry.RandomAffine,
    geometry.RandomCrop,
    geometry.RandomHorizontalFlip,
    geometry.RandomPerspective,
    geometry.RandomResizedCrop,
    geometry.RandomRotate90,
    geometry.RandomRotation,
    geometry.RandomVerticalFlip,
    geometry.Resize,
    erase.Cutout,
    erase.RandomErasing,
    color.GaussianBlur,
    color.Normalize,
    color.RandomChannelPermutation,
    color.RandomGrayscale,
)


def _can(name: str) -> Callable[[Any], bool]:
    """Whether the estimator has a method; an AttributeError of its own says why not."""

    def check(self: Any) -> bool:
        getattr(getattr(self, "estimator_", self.estimator), name)
        return True

    return check


def _passed_on(name: str) -> Any:
    """The estimator's method of one argument, for what ``evaluation()`` makes of X."""

    def method(self: Any, X: ArrayLike) -> Any:
        check_is_fitted(self)
        return getattr(self.estimator_, name)(self._judged(X))

    method.__name__ = name
    method.__doc__ = f"The estimator's ``{name}``, of X without randomness."
    return available_if(_can(name))(method)


class AugmentedEstimator(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator that is fitted to the data and to draws of it.

    ``fit`` gives the estimator all samples as they are and behind them ``copies`` draws of each, with labels and weights of
    samples repeated. Everything else, ``predict`` or ``score``, sees the samples without randomness, as ``augment.evaluation()``
    makes them. A transformer of scikit-learn cannot do this: it must not change the number of samples.

    Needs scikit-learn 1.6: ``pip install 'regkern[sklearn]'``.

    Parameters
    ----------
    estimator : estimator
        A classifier, regressor, clusterer, transformer or pipeline of these; a clone of it is fitted.
    augment : Compose or signal.Compose
        Without a mixing. Its ``image_shape`` says what image a row of features is; without it, X is a batch of images
        or of signals. With a seed in its ``rng`` every fit is the same.
    copies : int >= 0, default 1
        Draws of each sample.

    Attributes
    ----------
    estimator_ : estimator
        The fitted one.
    evaluation_ : Compose or signal.Compose
        What samples go through before it.
    n_features_in_, feature_names_in_
        Of X. The estimator sees arrays.
    classes_
        The estimator's, if it has some.

    Raises
    ------
    TypeError
        In ``fit``, if augment is no pipeline or copies no int.
    ValueError
        In ``fit``, if shapes do not fit, augment mixes samples, or X leaves [0, 1] where a transform looks at values.

    Notes
    -----
    float64 images are drawn in float32, and come back as float64; the samples themselves stay what they are. Integers other
    than uint8 become float64, as everywhere in scikit-learn. Colors and noise take floats to lie in [0, 1]; what
    moves pixels does not ask.

    Search and cross-validate around this estimator: inside of it, draws of one sample would lie on both sides of a split.
    That includes estimators that hold back a part for early stopping.

    Examples
    --------
    >>> import regkern.augment as A
    >>> from regkern.augment.sklearn import AugmentedEstimator
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> shifts = A.Compose([A.RandomCrop(8, padding=1)], image_shape=(8, 8), rng=0)
    >>> model = AugmentedEstimator(KNeighborsClassifier(), shifts, copies=4).fit(X[:600], y[:600])
    >>> model.estimator_.n_samples_fit_
    3000
    """

    def __init__(self, estimator: Any, augment: Any, *, copies: Int = 1) -> None:
        self.estimator = estimator
        self.augment = augment
        self.copies = copies

    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None, **fit_params: Any) -> Any:
        """Fit the estimator to X and draws of it; returns self.

        Parameters
        ----------
        X : (n, features) array-like, or (n, h, w), (n, h, w, c) or (n, c, h, w) images, or (n, t, c) signals
        y : (n,) or (n, outputs) array-like, optional
        sample_weight : (n,) array-like, optional
        **fit_params
            Of the estimator's ``fit``; those of n rows are repeated as labels are.
        """
        augment = self._checked()
        copies = _checks.integer("AugmentedEstimator: copies", self.copies, 0)
        outputs = {} if y is None else {"multi_output": True}
        checked = validate_data(self, X, y, **outputs, **self._rules())
        x, labels = (checked, None) if y is None else checked
        if sample_weight is not None:
            fit_params["sample_weight"] = _weights(sample_weight, len(x))
        if get_config()["enable_metadata_routing"]:
            fit_params = process_routing(self, "fit", **fit_params).estimator.fit
        self._check_range(augment, x)
        self.evaluation_ = augment.evaluation()
        parts = [
            self._through(self.evaluation_, x, rng=0),
            *(self._through(augment, x, epoch=copy) for copy in range(copies)),
        ]
        rows = np.tile(np.arange(len(x)), copies + 1)
        given = {name: _repeated(value, rows, len(x)) for name, value in fit_params.items()}
        if labels is not None:
            given["y"] = labels[rows]
        self.estimator_ = clone(self.estimator).fit(np.concatenate(parts), **given)
        return self

    predict = _passed_on("predict")
    predict_proba = _passed_on("predict_proba")
    predict_log_proba = _passed_on("predict_log_proba")
    decision_function = _passed_on("decision_function")
    score_samples = _passed_on("score_samples")
    transform = _passed_on("transform")

    @available_if(_can("score"))  # type: ignore[untyped-decorator]
    def score(self, X: ArrayLike, y: Any = None, **score_params: Any) -> float:
        """The estimator's ``score``, of X without randomness."""
        if get_config()["enable_metadata_routing"]:
            score_params = process_routing(self, "score", **score_params).estimator.score
        check_is_fitted(self)
        return float(self.estimator_.score(self._judged(X), y, **score_params))

    @available_if(_can("transform"))  # type: ignore[untyped-decorator]
    def fit_transform(self, X: ArrayLike, y: Any = None, **fit_params: Any) -> Any:
        """``fit``, then ``transform``: as many rows as X has."""
        return self.fit(X, y, **fit_params).transform(X)

    @available_if(_can("get_feature_names_out"))  # type: ignore[untyped-decorator]
    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """The names that the estimator gives to its features."""
        check_is_fitted(self)
        return self.estimator_.get_feature_names_out(input_features)

    @available_if(_can("set_output"))  # type: ignore[untyped-decorator]
    def set_output(self, *, transform: str | None = None) -> Any:
        """What ``transform`` returns: 'default', 'pandas' or 'polars'; returns self."""
        for estimator in (self.estimator, getattr(self, "estimator_", None)):
            if estimator is not None:
                estimator.set_output(transform=transform)
        return self

    @property
    def classes_(self) -> Any:
        """The estimator's classes."""
        return self.estimator_.classes_

    def get_metadata_routing(self) -> Any:
        """Who is given what, where scikit-learn routes metadata: all of it the estimator."""
        mapping = MethodMapping().add(caller="fit", callee="fit").add(caller="score", callee="score")
        return MetadataRouter(owner=self).add(estimator=self.estimator, method_mapping=mapping)

    def __sklearn_tags__(self) -> Any:
        tags, inner = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type = inner.estimator_type
        tags.target_tags = inner.target_tags
        tags.classifier_tags = inner.classifier_tags
        tags.regressor_tags = inner.regressor_tags
        tags.transformer_tags = inner.transformer_tags
        tags.input_tags.three_d_array = True
        tags.non_deterministic = inner.non_deterministic or not _checks.is_integer(getattr(self.augment, "rng", None))
        return tags

    def _checked(self) -> Pipeline:
        augment = self.augment
        if not isinstance(augment, Pipeline):
            raise TypeError(f"AugmentedEstimator: augment must be a Compose or a signal.Compose, got {augment!r}")
        for t in augment.transforms:
            if t.kind == "mix":
                raise ValueError(f"AugmentedEstimator: augment must not mix, since a sample has one label, got {t!r}")
        return augment

    def _rules(self) -> dict[str, Any]:
        """What scikit-learn is to make of X."""
        natively = [] if _of_signals(self.augment) else [np.uint8]
        return {"dtype": [np.float64, np.float32, *natively], "allow_nd": True}

    def _check_range(self, augment: Pipeline, X: Array) -> None:
        """Refuse what a transform of colors would clamp."""
        if X.dtype == np.uint8 or _of_signals(augment):
            return
        for t in _within(augment.transforms):
            if not isinstance(t, OF_ANY_RANGE) and not (X.min() >= 0 and X.max() <= 1):
                raise ValueError(f"AugmentedEstimator: X must lie in [0, 1] for {t!r}, got {X.min():g} to {X.max():g}")

    def _judged(self, X: ArrayLike) -> Array:
        return self._through(self.evaluation_, validate_data(self, X, reset=False, **self._rules()), rng=0)

    def _through(self, pipeline: Any, X: Array, **options: Any) -> Array:
        """What a pipeline makes of samples: in their dtype, but for uint8 that it normalizes; rows as rows."""
        if _of_signals(pipeline):
            return np.asarray(pipeline(X, **options)) if pipeline.transforms else X
        shape = pipeline.image_shape
        if shape is not None:
            if X.ndim != 2 or X.shape[1] != np.prod(shape):
                raise ValueError(
                    f"AugmentedEstimator: X must have shape (n, {np.prod(shape)}) for image_shape {shape}, got {X.shape}"
                )
            images = X.reshape(-1, *shape)
        elif X.ndim == 2:
            raise ValueError(
                "AugmentedEstimator: augment must have image_shape where X has rows of features, "
                f"got X of shape {X.shape}"
            )
        else:
            images = X
        planar = pipeline.layout == "NCHW"
        if gray := images.ndim == 3:
            images = images[:, None] if planar else images[..., None]
        size = images.shape[2:] if planar else images.shape[1:3]
        if all(_leaves(t, size) for t in pipeline.transforms) and pipeline._layout_out in (None, pipeline.layout):
            return X
        y = pipeline(images.astype(np.float32) if X.dtype == np.float64 else images, **options)
        y = y.astype(np.float64) if X.dtype == np.float64 else y
        if shape is not None:
            return np.asarray(y.reshape(len(X), -1))
        return np.asarray(np.squeeze(y, 1 if (pipeline._layout_out or pipeline.layout) == "NCHW" else 3) if gray else y)


def _of_signals(pipeline: Any) -> bool:
    return "signal" in pipeline.KINDS


def _leaves(t: Transform, size: tuple[int, ...]) -> bool:
    """Whether a transform leaves images of this size as they are."""
    return isinstance(t, geometry.CenterCrop | geometry.Resize) and t.size == size


def _within(transforms: Sequence[Transform]) -> Iterator[Transform]:
    """The transforms, and in place of those that apply others these."""
    for t in transforms:
        if isinstance(t, policy.RandomApply):
            yield from _within(t.transforms)
        else:
            yield t


def _weights(value: Any, n: int) -> Array:
    weights = check_array(value, ensure_2d=False, dtype=[np.float64, np.float32], input_name="sample_weight")
    if weights.shape != (n,):
        raise ValueError(f"AugmentedEstimator: sample_weight must have shape ({n},), got {weights.shape}")
    return np.asarray(weights)


def _repeated(value: Any, rows: NDArray[np.intp], n: int) -> Any:
    """What has an entry a sample, in the order of rows; all else as it is."""
    listed = isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 0
    return np.asarray(value)[rows] if listed and len(value) == n else value


def __dir__() -> list[str]:
    return __all__
