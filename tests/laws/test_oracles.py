"""Agreement with what we did not write: scikit-learn, SciPy, torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNet, Lasso, Ridge

import regkern as rk


@pytest.mark.parametrize(("l1", "l2"), [(0.8, 0.0), (0.8, 0.6), (0.0, 0.6)])
def test_prox_against_a_scalar_minimizer(l1: float, l2: float) -> None:
    for x in np.linspace(-3, 3, 13):
        best = minimize_scalar(
            lambda y, x=x: 0.5 * (y - x) ** 2 + l1 * abs(y) + 0.5 * l2 * y * y,
            bounds=(-4, 4),
            method="bounded",
            options={"xatol": 1e-10},
        )
        assert rk.prox_elastic_net(np.array([x]), l1, l2)[0] == pytest.approx(best.x, abs=1e-6)


def standardized() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_diabetes(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), y - y.mean()


def fista(X: np.ndarray, y: np.ndarray, prox: Any, steps: int = 4000) -> np.ndarray:
    """Accelerated proximal gradient on 1/(2n)·‖Xw − y‖²."""
    n = len(y)
    step = n / np.linalg.norm(X, 2) ** 2
    w = z = np.zeros(X.shape[1])
    t = 1.0
    for _ in range(steps):
        w_next = prox(z - step / n * X.T @ (X @ z - y), step)
        t_next = (1 + np.sqrt(1 + 4 * t * t)) / 2
        z = w_next + (t - 1) / t_next * (w_next - w)
        w, t = w_next, t_next
    return w


def test_scikit_learn_lasso_elastic_net_and_ridge() -> None:
    X, y = standardized()
    models = {
        Lasso(alpha=3.0, fit_intercept=False, tol=1e-12, max_iter=100_000): lambda w, s: rk.prox_l1(w, 3.0 * s),
        Lasso(alpha=3.0, fit_intercept=False, tol=1e-12, max_iter=100_000, positive=True): lambda w, s: rk.prox_l1(
            w, 3.0 * s, nonneg=True
        ),
        ElasticNet(alpha=2.0, l1_ratio=0.7, fit_intercept=False, tol=1e-12, max_iter=100_000): lambda w, s: (
            rk.prox_elastic_net(w, 2.0 * 0.7 * s, 2.0 * 0.3 * s)
        ),
        Ridge(alpha=50.0, fit_intercept=False, tol=1e-12): lambda w, s: rk.prox_ridge(w, 50.0 / len(y) * s),
    }
    for model, prox in models.items():
        ref = model.fit(X, y).coef_
        got = fista(X, y, prox)
        np.testing.assert_allclose(got, ref, rtol=0, atol=1e-6)
        assert (got[ref == 0] == 0).all()  # exact zeros, not small numbers


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "dampening": 0.3}],
    ids=["plain", "momentum", "nesterov", "dampening"],
)
def test_torch_sgd_trajectories(options: dict[str, Any], weight_decay: float, dtype: type) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    w = rng.standard_normal(1001).astype(dtype)
    t_w = torch.tensor(w, requires_grad=True)
    optimizer = torch.optim.SGD([t_w], lr=0.05, weight_decay=weight_decay, **options)
    buffer = np.zeros_like(w) if options else None
    for step in range(100):
        grad = rng.standard_normal(1001).astype(dtype)
        t_w.grad = torch.tensor(grad)
        optimizer.step()
        # torch starts its buffer at g, not at (1 − dampening)·g
        mine = options | ({"dampening": 0.0} if step == 0 and "dampening" in options else {})
        rk.sgd_step(w, grad, lr=0.05, buffer=buffer, weight_decay=weight_decay, **mine)
    # 100 steps of a few roundings each, on weights and buffers of size up to about 10
    np.testing.assert_allclose(w, t_w.detach().numpy(), rtol=0, atol=100 * 10 * np.finfo(dtype).eps)


def test_torch_softshrink(dtype: type) -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(1).standard_normal(10_007).astype(dtype)
    ref = torch.nn.functional.softshrink(torch.tensor(x), 0.5).numpy()
    assert (rk.prox_l1(x, 0.5) == ref).all()
