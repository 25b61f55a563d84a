"""Augmentation in scikit-learn: what is learned from, what predictions see, and the conventions of its estimators."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier, is_regressor
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import regkern.augment as A
import regkern.reference.augment as reference
from regkern.augment.sklearn import AugmentedEstimator

Array = NDArray[Any]
SHIFTS = A.Compose([A.RandomCrop(8, padding=1)], rng=0, image_shape=(8, 8))
SCANS, LABELS = load_digits(return_X_y=True)
SCANS = SCANS[:60] / 16
LABELS = LABELS[:60]


class Recorder(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Keeps what it is given."""

    def fit(self, X: Array, y: Array | None = None, sample_weight: Any = None, other: Any = None) -> Recorder:
        self.X_, self.y_, self.weight_, self.other_ = X, y, sample_weight, other
        self.classes_ = np.arange(10)
        return self

    def predict(self, X: Array) -> Array:
        self.seen_ = X
        return np.zeros(len(X), int)


def fitted(augment: Any = SHIFTS, x: Any = SCANS, copies: int = 2, **given: Any) -> Recorder:
    recorder: Recorder = AugmentedEstimator(Recorder(), augment, copies=copies).fit(x, LABELS, **given).estimator_
    return recorder


@pytest.mark.parametrize("kind", [A, reference], ids=["native", "reference"])
def test_originals_come_first_and_draws_behind(kind: Any) -> None:
    shifts = kind.Compose([kind.RandomCrop(8, padding=1)], rng=0, image_shape=(8, 8))
    recorder = fitted(shifts, sample_weight=np.arange(60.0))
    assert recorder.X_.dtype == np.float64
    np.testing.assert_array_equal(recorder.X_[:60], SCANS)
    images = SCANS.astype(np.float32).reshape(-1, 8, 8, 1)
    for copy in (0, 1):
        want = SHIFTS(images, rng=0, epoch=copy).reshape(60, 64)
        np.testing.assert_array_equal(recorder.X_[60 * (1 + copy) :][:60], want)
    assert not np.array_equal(recorder.X_[60:120], recorder.X_[120:])
    np.testing.assert_array_equal(recorder.y_, np.tile(LABELS, 3))
    np.testing.assert_array_equal(recorder.weight_, np.tile(np.arange(60.0), 3))


def test_originals_are_what_predictions_see() -> None:
    """To the last bit of float64, wherever the pipeline leaves images as they are when a model is judged."""
    x = np.random.default_rng(0).random((60, 64))
    model = AugmentedEstimator(Recorder(), SHIFTS).fit(x, LABELS)
    model.predict(x)
    np.testing.assert_array_equal(model.estimator_.X_[:60], x)
    np.testing.assert_array_equal(model.estimator_.seen_, x)
    smaller = A.Compose([A.RandomCrop(6), A.Normalize((0.3,), (0.5,))], rng=0, image_shape=(8, 8))
    model = AugmentedEstimator(Recorder(), smaller).fit(x, LABELS)
    model.predict(x)
    assert model.estimator_.X_.shape == (120, 36)
    np.testing.assert_array_equal(model.estimator_.seen_, model.estimator_.X_[:60])
    want = (x.reshape(-1, 8, 8)[:, 1:7, 1:7].reshape(60, 36) - 0.3) / 0.5
    np.testing.assert_allclose(model.estimator_.seen_, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int64, np.int16])
def test_data_of_any_kind(dtype: Any) -> None:
    """uint8, float32 and float64 stay what they are; other numbers become float64, as scikit-learn makes them."""
    x = (16 * SCANS).astype(dtype)
    want = dtype if dtype in (np.uint8, np.float32, np.float64) else np.float64
    recorder = fitted(x=x)
    assert recorder.X_.dtype == want
    np.testing.assert_array_equal(recorder.X_[:60], x)
    np.testing.assert_array_equal(recorder.X_[60:], fitted(x=x.astype(np.float64)).X_[60:])


def test_images_and_planes_and_signals() -> None:
    rng = np.random.default_rng(0)
    channels = rng.random((60, 3, 8, 8)).astype(np.float32)
    flips = A.Compose([A.RandomHorizontalFlip(1)], rng=0, layout="NCHW")
    recorder = fitted(flips, channels, copies=1)
    np.testing.assert_array_equal(recorder.X_, np.concatenate([channels, channels[..., ::-1]]))
    rows = A.Compose([A.RandomHorizontalFlip(1)], rng=0, layout="NCHW", image_shape=(3, 8, 8))
    recorder = fitted(rows, channels.reshape(60, 192), copies=1)
    np.testing.assert_array_equal(recorder.X_[60:], channels[..., ::-1].reshape(60, 192))
    gray = A.Compose([A.RandomHorizontalFlip(1)], rng=0, layout="NCHW", image_shape=(8, 8))
    np.testing.assert_array_equal(
        fitted(gray, copies=1).X_[60:], SCANS.astype(np.float32).reshape(60, 8, 8)[..., ::-1].reshape(60, 64)
    )
    plain = A.Compose([A.RandomHorizontalFlip(1)], rng=0)
    np.testing.assert_array_equal(fitted(plain, channels[:, 0], copies=1).X_[60:], channels[:, 0, :, ::-1])
    jitter = A.signal.Compose([A.signal.Jitter()], rng=0)
    np.testing.assert_array_equal(fitted(jitter, copies=1).X_[60:], jitter(SCANS))


def test_draws_follow_the_seed() -> None:
    first, again = fitted().X_, fitted().X_
    np.testing.assert_array_equal(first, again)
    fresh = A.Compose(SHIFTS.transforms, image_shape=(8, 8))
    assert not np.array_equal(fitted(fresh).X_, fitted(fresh).X_)
    generator = A.Compose(SHIFTS.transforms, image_shape=(8, 8), rng=np.random.default_rng(0))
    drawn = fitted(generator).X_
    assert not np.array_equal(drawn[60:120], drawn[120:])


def test_no_copies_are_the_estimator_alone() -> None:
    np.testing.assert_array_equal(fitted(copies=0).X_, SCANS)


def test_what_belongs_to_samples_is_repeated_and_all_else_is_not() -> None:
    assert fitted(other=[3, 4]).other_ == [3, 4]
    assert fitted(other="x" * 60).other_ == "x" * 60
    assert len(fitted(other=list(range(60))).other_) == 180
    model = AugmentedEstimator(make_pipeline(StandardScaler(), LogisticRegression()), SHIFTS, copies=1)
    by_weight = model.fit(SCANS, LABELS, logisticregression__sample_weight=(LABELS < 5) * 1.0)
    assert set(by_weight.predict(SCANS)) <= set(range(5))


def test_metadata_are_routed() -> None:
    with config_context(enable_metadata_routing=True):
        inner = Recorder().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        model = AugmentedEstimator(inner, SHIFTS).fit(SCANS, LABELS, sample_weight=np.arange(60.0))
        np.testing.assert_array_equal(model.estimator_.weight_, np.tile(np.arange(60.0), 2))
        of_zeros = cross_val_score(model, SCANS, LABELS, cv=2, params={"sample_weight": LABELS == 0})
        np.testing.assert_array_equal(of_zeros, 1)  # zeros are what a Recorder predicts
        with pytest.raises(UnsetMetadataPassedError):
            AugmentedEstimator(Recorder(), SHIFTS).fit(SCANS, LABELS, sample_weight=np.ones(60))


def test_clone_and_search() -> None:
    model = AugmentedEstimator(KNeighborsClassifier(), SHIFTS, copies=3)
    twin = clone(model)
    assert twin.copies == 3
    assert twin.augment == SHIFTS
    assert twin.augment is not SHIFTS
    assert twin.set_params(augment__rng=5, estimator__n_neighbors=1).augment.rng == 5
    assert SHIFTS.rng == 0
    assert "copies=3" in repr(model)
    search = GridSearchCV(model, {"copies": [0, 2], "estimator__n_neighbors": [1, 3]}, cv=2).fit(SCANS, LABELS)
    assert search.best_score_ > 0.8
    assert is_classifier(model)
    assert not is_regressor(model)
    assert is_regressor(AugmentedEstimator(Ridge(), SHIFTS))


def test_what_the_estimator_can_do_and_nothing_else() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = AugmentedEstimator(LogisticRegression(), SHIFTS)
        with pytest.raises(NotFittedError):
            model.predict(SCANS)
        assert not hasattr(model, "classes_")
        model.fit(SCANS, LABELS)
    inner = model.estimator_
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        np.testing.assert_array_equal(getattr(model, name)(SCANS), getattr(inner, name)(SCANS))
    assert model.score(SCANS, LABELS, sample_weight=np.ones(60)) == inner.score(SCANS, LABELS)
    np.testing.assert_array_equal(model.classes_, np.arange(10))
    assert model.n_features_in_ == 64
    assert not hasattr(model, "transform")
    assert not hasattr(model, "fit_transform")
    assert not hasattr(AugmentedEstimator(LinearRegression(), SHIFTS), "predict_proba")
    clusters = AugmentedEstimator(KMeans(3, n_init=1, random_state=0), SHIFTS).fit(SCANS)
    assert clusters.predict(SCANS).shape == (60,)


def test_around_a_transformer() -> None:
    """It learns from the draws, and rows stay as many as they are; names and containers are the transformer's."""
    model = AugmentedEstimator(PCA(4), SHIFTS, copies=2)
    made = model.fit_transform(SCANS)
    assert made.shape == (60, 4)
    assert model.estimator_.n_samples_ == 180
    np.testing.assert_array_equal(made, model.transform(SCANS))
    np.testing.assert_array_equal(model.get_feature_names_out(), ["pca0", "pca1", "pca2", "pca3"])
    pipeline = make_pipeline(model, KNeighborsClassifier()).set_output(transform="default").fit(SCANS, LABELS)
    np.testing.assert_array_equal(pipeline[:-1].get_feature_names_out(), ["pca0", "pca1", "pca2", "pca3"])
    pandas = pytest.importorskip("pandas")
    frame = model.set_output(transform="pandas").fit_transform(SCANS)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["pca0", "pca1", "pca2", "pca3"]


@pytest.mark.parametrize(("estimator", "copies"), [(GaussianNB(), 0), (GaussianNB(), 1), (Ridge(), 2), (PCA(), 1)])
@pytest.mark.filterwarnings("ignore")  # of the estimators, in cases that the checks provoke
def test_scikit_learns_own_checks(estimator: Any, copies: int) -> None:
    """All of them but those of weights, where two samples have other draws than one of weight 2, or PCA takes none."""
    model = AugmentedEstimator(estimator, A.signal.Compose([A.signal.Jitter()], rng=0), copies=copies)
    reports = check_estimator(model, on_fail=None, on_skip=None)
    failed = {report["check_name"] for report in reports if report["status"] == "failed"}
    of_weights = {name for name in failed if "sample_weight" in name}
    assert len(reports) > 50
    assert failed == of_weights
    if not isinstance(estimator, PCA):
        assert of_weights == ({"check_sample_weight_equivalence_on_dense_data"} if copies else set())


def test_a_compose_is_no_transformer() -> None:
    """In a scikit-learn pipeline it would replace the data by draws: it is refused there."""
    with pytest.raises(TypeError, match="Compose"):
        make_pipeline(SHIFTS, LogisticRegression()).fit(SCANS, LABELS)


COLOR = A.Compose([A.RandomCrop(8, padding=1), A.ColorJitter(0.2)], rng=0, image_shape=(8, 8))
MAYBE = A.Compose([A.RandomApply([A.RandomHorizontalFlip(), A.RandomInvert()])], rng=0, image_shape=(8, 8))
MIXED = A.Compose([A.MixUp()], rng=0, image_shape=(8, 8))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: fitted(sample_weight=np.ones(180)), ValueError, "sample_weight must have shape (60,), got (180,)"),
        (
            lambda: fitted(sample_weight=np.ones((60, 1))),
            ValueError,
            "sample_weight must have shape (60,), got (60, 1)",
        ),
        (
            lambda: fitted(A.RandomCrop(8, padding=1)),
            TypeError,
            "augment must be a Compose or a signal.Compose, got Random",
        ),
        (lambda: fitted(None), TypeError, "augment must be a Compose or a signal.Compose, got None"),
        (lambda: fitted(MIXED), ValueError, "augment must not mix, since a sample has one label, got MixUp()"),
        (lambda: fitted(copies=-1), ValueError, "copies must be >= 0, got -1"),
        (lambda: fitted(copies=1.5), TypeError, "copies must be an int, got 1.5"),
        (lambda: fitted(x=SCANS[:, :60]), ValueError, "X must have shape (n, 64) for image_shape (8, 8), got (60, 60)"),
        (
            lambda: fitted(A.Compose([], rng=0)),
            ValueError,
            "augment must have image_shape where X has rows of features, got X of shape (60, 64)",
        ),
        (
            lambda: fitted(COLOR, 16 * SCANS),
            ValueError,
            "X must lie in [0, 1] for ColorJitter(brightness=(0.8, 1.2)), got 0 to 16",
        ),
        (lambda: fitted(MAYBE, -SCANS), ValueError, "X must lie in [0, 1] for RandomInvert()"),
    ],
)
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as info:
        call()
    assert str(info.value).startswith("AugmentedEstimator: ")
    assert text in str(info.value)


def test_colors_need_the_range_of_images() -> None:
    for x in (SCANS, SCANS.astype(np.float32), (255 * SCANS).astype(np.uint8)):
        assert fitted(COLOR, x).X_.shape == (180, 64)
    AugmentedEstimator(Recorder(), COLOR).fit(SCANS, LABELS).predict(16 * SCANS)  # no color is left there


def test_where_scikit_learn_is_missing(tmp_path: Path) -> None:
    (tmp_path / "sklearn.py").write_text("raise ImportError('none')")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import regkern.augment.sklearn"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert last == "ImportError: regkern.augment.sklearn needs scikit-learn >= 1.6: pip install 'regkern[sklearn]'"
