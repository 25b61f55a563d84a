"""Weight decay, and optimizer steps with the penalty fused in: one pass over memory.

Common to the steps: ``w`` and the states beside it are changed in place; they and ``grad`` are float32 or float64, all of
w's shape and dtype, of any strides, and share no memory.

Half precision (bfloat16 of ``ml_dtypes``, float16): beside float32 weights, the masters, ``grad`` may be of either, and
``rounded`` is an array of either that gets the stepped weights in the same pass, rounded once to nearest even: what a network
calculates with. Calculated is in float32, with the bits of a step whose gradient was widened before it.

weight_decay
    Strength of the L2 penalty ``weight_decay/2·‖w‖²``: added to the gradient, or where ``decoupled`` taken off the weights.
    A decoupled one below lr·weight_decay = 3e-8 is lost in float32 on a weight that nothing else moves: it is less than
    half a unit in the last place. The optimizers of :mod:`regkern.optim` save it up.
maximize
    Climb: the gradient's sign is turned.
l1
    Strength of the L1 penalty ``l1·‖w‖₁``. It acts through its proximal operator and makes exact zeros, +0.0.
metric
    Of the proximal step. "euclidean" takes lr·l1 off every weight; "diag" takes lr·l1/r, the exact proximal operator in the
    metric of the step, so that the fixed point minimizes loss + penalty. There a weight that has never seen a gradient
    (r = eps) becomes 0 at once.
eps
    Above 0 it is at least the root of the dtype's smallest number, 3.7e-23 in float32: smaller gradients have squares of 0.
"""

from __future__ import annotations

from typing import Any, Literal

from numpy.typing import ArrayLike, NDArray

from regkern import _core
from regkern._types import Int, Metric, Real

Array = NDArray[Any]


def l2_decay(w: ArrayLike, rate: Real, *, out: Array | None = None) -> Array:
    r"""Decoupled L2 decay: multiply by 1 − rate.

    .. math:: y_i = w_i\,(1 - \text{rate})

    Parameters
    ----------
    w : (...) ndarray of float32, float64, bfloat16 or float16
        Any strides and alignment.
    rate : float in [0, 1]
        Learning rate × decay strength.
    out : ndarray, optional
        Where to write, of w's shape and dtype; may be ``w``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not of these dtypes.
    ValueError
        If ``rate`` is outside [0, 1] or NaN, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``. A factor rounded to float32 would be 19 % off at rate = 1e-7: up to a rate of 1/16
    this is w − rate·w. An infinite weight stays.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.l2_decay(np.array([2.0, -4.0]), 0.25)
    array([ 1.5, -3. ])
    """
    return _core.l2_decay(w, rate, out)


def sgd_step(
    w: Array,
    grad: ArrayLike,
    *,
    lr: Real,
    momentum: Real = 0.0,
    buffer: Array | None = None,
    dampening: Real = 0.0,
    nesterov: bool = False,
    weight_decay: Real = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    l1: Real = 0.0,
    rounded: Array | None = None,
) -> None:
    """One step of stochastic gradient descent with L2 decay and the L1 proximal step, in place.

    ::

        g ← ±grad + weight_decay·w               (coupled)
        buffer ← momentum·buffer + (1 − dampening)·g
        d ← g + momentum·buffer  if nesterov,  else buffer   (g itself without a buffer)
        w ← prox_l1(w − (lr·d + lr·weight_decay·w), lr·l1)   (decoupled)

    The L1 term acts through its proximal operator, so weights become exactly 0 and stay there; added to the
    loss it never does that. Memory is passed over once: 12 bytes an element in float32, 20 with a buffer.

    Parameters
    ----------
    w : (...) ndarray of float32 or float64
        The weights, changed in place.
    grad : (...) ndarray of w's dtype, or of half precision beside float32
    lr : float, >= 0
        Learning rate.
    momentum : float, >= 0, default 0
    buffer : (...) ndarray of w's dtype
        The momentum, changed in place; zeros before the first step. Required where ``momentum`` > 0.
    dampening : float, default 0
    nesterov : bool, default False
        Requires ``momentum`` > 0 and ``dampening`` = 0.
    weight_decay : float, >= 0, default 0
    decoupled : bool, default False
        Let the decay bypass the momentum, as AdamW does for Adam.
    maximize : bool, default False
    l1 : float, >= 0, default 0
        Strength of the L1 penalty ``l1·‖w‖₁``; with momentum it acts as (1 − momentum)·l1, see the notes.
    rounded : (...) ndarray of bfloat16 or float16, optional
        Beside float32 weights: gets what they are after the step, rounded once.

    Raises
    ------
    TypeError
        If an array is of another dtype, or the dtypes do not go together.
    ValueError
        If a number is out of range or NaN, if ``buffer`` is missing, or if shapes or memory do not fit.

    Notes
    -----
    Accuracy class ``exact``. The conventions are those of ``torch.optim.SGD`` with one difference: torch
    starts its buffer at g rather than (1 − dampening)·g. With ``weight_decay`` = 0 the decay is skipped, with
    ``l1`` = 0 the proximal step.

    **Momentum and l1.** The threshold is lr·l1, as of torch's step followed by ``softshrink``, while momentum without
    dampening makes the gradient act 1/(1 − momentum)-fold. So the weights settle where loss + (1 − momentum)·l1·‖w‖₁
    is least, not loss + l1·‖w‖₁. For that give l1/(1 − momentum), or dampening = momentum.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> w = np.array([1.0, -0.05])
    >>> rk.sgd_step(w, np.array([1.0, 0.0]), lr=0.1, l1=1.0)
    >>> w
    array([0.8, 0. ])
    """
    _core.sgd_step(w, grad, buffer, rounded, lr, momentum, dampening, nesterov, weight_decay, decoupled, maximize, l1)


def adam_step(
    w: Array,
    grad: ArrayLike,
    exp_avg: Array,
    exp_avg_sq: Array,
    *,
    step: Int,
    lr: Real,
    betas: tuple[Real, Real] = (0.9, 0.999),
    eps: Real = 1e-8,
    weight_decay: Real = 0.0,
    decoupled: bool = False,
    max_exp_avg_sq: Array | None = None,
    maximize: bool = False,
    l1: Real = 0.0,
    metric: Metric = "euclidean",
    rounded: Array | None = None,
) -> None:
    """One step of Adam or AdamW with L2 decay and the L1 proximal step, in place.

    ::

        g ← ±grad + weight_decay·w                (coupled: Adam)
        exp_avg ← exp_avg + (1 − β₁)·(g − exp_avg)
        exp_avg_sq ← β₂·exp_avg_sq + (1 − β₂)·g²
        r ← √exp_avg_sq / √(1 − β₂ᵗ) + eps        (of the largest exp_avg_sq so far for amsgrad)
        w ← prox_l1(w − (lr/(1 − β₁ᵗ)·exp_avg/r + lr·weight_decay·w), lr·l1 or lr·l1/r)   (decoupled: AdamW)

    Memory is passed over once: 28 bytes an element in float32, 36 with amsgrad.

    Parameters
    ----------
    w : (...) ndarray of float32 or float64
        The weights, changed in place.
    grad : (...) ndarray of w's dtype, or of half precision beside float32
    exp_avg : (...) ndarray of w's dtype
        Running mean of the gradient, changed in place; zeros before the first step.
    exp_avg_sq : (...) ndarray of w's dtype
        Running mean of its square, changed in place; zeros before the first step.
    step : int, >= 1
        The number t of this step.
    lr : float, >= 0
        Learning rate.
    betas : (float, float) in [0, 1), default (0.9, 0.999)
    eps : float, >= 0, default 1e-8
    weight_decay : float, >= 0, default 0
    decoupled : bool, default False
    max_exp_avg_sq : (...) ndarray of w's dtype, optional
        Given: amsgrad. The largest ``exp_avg_sq`` so far, changed in place; zeros before the first step.
    maximize : bool, default False
    l1 : float, >= 0, default 0
    metric : {"euclidean", "diag"}, default "euclidean"
    rounded : (...) ndarray of bfloat16 or float16, optional
        Beside float32 weights: gets what they are after the step, rounded once.

    Raises
    ------
    TypeError
        If an array is of another dtype, or the dtypes do not go together.
    ValueError
        If a number is out of range or NaN, or if shapes or memory do not fit.

    Notes
    -----
    Accuracy class ``exact``. The conventions are those of ``torch.optim.Adam`` and ``AdamW``; Keras' ``epsilon``
    defaults to 1e-7. Numbers are formed in float64; step and decay are added before the one rounding that meets w.
    torch multiplies by 1 − lr·weight_decay, which in float32 is no decay at all below lr·weight_decay = 3e-8.

    References
    ----------
    Kingma and Ba, "Adam", 2015, algorithm 1. Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019,
    algorithm 2. Reddi, Kale and Kumar, "On the Convergence of Adam and Beyond", 2018, algorithm 2.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> w, m, v = np.array([1.0, -0.005]), np.zeros(2), np.zeros(2)
    >>> rk.adam_step(w, np.array([2.0, 0.0]), m, v, step=1, lr=0.1, l1=0.5)
    >>> w
    array([0.85, 0.  ])
    """
    _core.adam_step(
        w,
        grad,
        exp_avg,
        exp_avg_sq,
        max_exp_avg_sq,
        rounded,
        step,
        lr,
        betas,
        eps,
        weight_decay,
        decoupled,
        maximize,
        l1,
        metric,
    )


def adagrad_step(
    w: Array,
    grad: ArrayLike,
    square_sum: Array,
    *,
    lr: Real,
    eps: Real = 1e-10,
    weight_decay: Real = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    l1: Real = 0.0,
    metric: Metric = "euclidean",
    rounded: Array | None = None,
) -> None:
    """One step of Adagrad with L2 decay and the L1 proximal step, in place.

    ::

        g ← ±grad + weight_decay·w                (coupled)
        square_sum ← square_sum + g²
        r ← √square_sum + eps
        w ← prox_l1(w − (lr·g/r + lr·weight_decay·w), lr·l1 or lr·l1/r)   (decoupled)

    Memory is passed over once: 20 bytes an element in float32.

    Parameters
    ----------
    w : (...) ndarray of float32 or float64
        The weights, changed in place.
    grad : (...) ndarray of w's dtype, or of half precision beside float32
    square_sum : (...) ndarray of w's dtype
        Sum of the squared gradients, changed in place; zeros, or an initial value as in Keras.
    lr : float, >= 0
        Learning rate.
    eps : float, >= 0, default 1e-10
    weight_decay : float, >= 0, default 0
    decoupled, maximize : bool, default False
    l1 : float, >= 0, default 0
    metric : {"euclidean", "diag"}, default "euclidean"
    rounded : (...) ndarray of bfloat16 or float16, optional
        Beside float32 weights: gets what they are after the step, rounded once.

    Raises
    ------
    TypeError
        If an array is of another dtype, or the dtypes do not go together.
    ValueError
        If a number is out of range or NaN, or if shapes or memory do not fit.

    Notes
    -----
    Accuracy class ``exact``. The conventions are those of ``torch.optim.Adagrad`` without its lr_decay, which is a
    change of ``lr``. Keras starts ``square_sum`` at 0.1, adds its ``epsilon`` of 1e-7 under the root and has no L1;
    TensorFlow's ProximalAdagrad is ``metric="diag"``.

    References
    ----------
    Duchi, Hazan and Singer, "Adaptive Subgradient Methods", 2011, equation 3 (composite mirror descent).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> w, s = np.array([1.0, -0.005]), np.zeros(2)
    >>> rk.adagrad_step(w, np.array([2.0, 0.1]), s, lr=0.1, l1=1.0, metric="diag")
    >>> w
    array([0.85, 0.  ])
    """
    _core.adagrad_step(w, grad, square_sum, rounded, lr, eps, weight_decay, decoupled, maximize, l1, metric)


def rmsprop_step(
    w: Array,
    grad: ArrayLike,
    square_avg: Array,
    *,
    lr: Real,
    alpha: Real = 0.99,
    eps: Real = 1e-8,
    momentum: Real = 0.0,
    buffer: Array | None = None,
    grad_avg: Array | None = None,
    weight_decay: Real = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    l1: Real = 0.0,
    metric: Metric = "euclidean",
    rounded: Array | None = None,
) -> None:
    """One step of RMSprop with L2 decay and the L1 proximal step, in place.

    ::

        g ← ±grad + weight_decay·w                (coupled)
        square_avg ← α·square_avg + (1 − α)·g²
        grad_avg ← grad_avg + (1 − α)·(g − grad_avg)         (centered)
        r ← √max(square_avg − grad_avg², 0) + eps            (√square_avg + eps if not centered)
        buffer ← momentum·buffer + g/r
        w ← prox_l1(w − (lr·buffer + lr·weight_decay·w), lr·l1 or lr·l1/r)   (g/r without a buffer; decoupled)

    Memory is passed over once: 20 bytes an element in float32, 8 more for each of ``buffer`` and ``grad_avg``.

    Parameters
    ----------
    w : (...) ndarray of float32 or float64
        The weights, changed in place.
    grad : (...) ndarray of w's dtype, or of half precision beside float32
    square_avg : (...) ndarray of w's dtype
        Running mean of the squared gradient, changed in place; zeros before the first step.
    lr : float, >= 0
        Learning rate.
    alpha : float in [0, 1), default 0.99
    eps : float, >= 0, default 1e-8
    momentum : float, >= 0, default 0
    buffer : (...) ndarray of w's dtype, optional
        The momentum, changed in place; zeros before the first step. Required where ``momentum`` > 0.
    grad_avg : (...) ndarray of w's dtype, optional
        Given: centered. Running mean of the gradient, changed in place; zeros before the first step.
    weight_decay : float, >= 0, default 0
    decoupled, maximize : bool, default False
    l1 : float, >= 0, default 0
        Strength of the L1 penalty ``l1·‖w‖₁``. Acts through its proximal operator and makes exact zeros, +0.0; with
        momentum it acts as (1 − momentum)·l1, see the notes.
    metric : {"euclidean", "diag"}, default "euclidean"
    rounded : (...) ndarray of bfloat16 or float16, optional
        Beside float32 weights: gets what they are after the step, rounded once.

    Raises
    ------
    TypeError
        If an array is of another dtype, or the dtypes do not go together.
    ValueError
        If a number is out of range or NaN, or if shapes or memory do not fit.

    Notes
    -----
    Accuracy class ``exact``. The conventions are those of ``torch.optim.RMSprop`` with one difference: where rounding
    makes the centered variance negative it is 0 here and NaN in torch. Keras calls ``alpha`` rho, defaults it to 0.9,
    and adds its ``epsilon`` of 1e-7 under the root.

    **Momentum and l1.** The threshold is lr·l1, or lr·l1/r, as of torch's step followed by ``softshrink``, while the
    momentum makes the gradient act 1/(1 − momentum)-fold: the weights settle as for a penalty of (1 − momentum)·l1. For
    l1 itself give l1/(1 − momentum).

    References
    ----------
    Hinton, "Neural Networks for Machine Learning", 2012, lecture 6e. Graves, "Generating Sequences with Recurrent
    Neural Networks", 2013, equations 38 to 45 (centered).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> w, s = np.array([1.0, -0.005]), np.zeros(2)
    >>> rk.rmsprop_step(w, np.array([2.0, 0.0]), s, lr=0.01, l1=1.0)
    >>> w
    array([0.89, 0.  ])
    """
    _core.rmsprop_step(
        w,
        grad,
        square_avg,
        grad_avg,
        buffer,
        rounded,
        lr,
        alpha,
        eps,
        momentum,
        weight_decay,
        decoupled,
        maximize,
        l1,
        metric,
    )


def ftrl_step(
    w: Array,
    grad: ArrayLike,
    z: Array,
    n: Array,
    *,
    lr: Real,
    beta: Real = 1.0,
    l1: Real = 0.0,
    l2: Real = 0.0,
    l2_convention: Literal["paper", "keras"] = "paper",
    weight_decay: Real = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    rounded: Array | None = None,
) -> None:
    """One step of FTRL-proximal, in place: sparse weights by construction.

    ::

        g ← ±grad + weight_decay·w                (coupled)
        σ ← g² / (lr·(√(n + g²) + √n)),  0 where n and g are
        n ← n + g²
        z ← z + (g − σ·w + weight_decay·w)        (decoupled)
        w ← prox_l1(−z, l1) / ((beta + √n)/lr + l2),  0 where the divisor is

    Memory is passed over once: 28 bytes an element in float32.

    Parameters
    ----------
    w : (...) ndarray of float32 or float64
        The weights, changed in place.
    grad : (...) ndarray of w's dtype, or of half precision beside float32
    z : (...) ndarray of w's dtype
        Sum of the gradients less what the weights have taken of it, changed in place; zeros before the first step.
    n : (...) ndarray of w's dtype
        Sum of the squared gradients, changed in place; zeros before the first step.
    lr : float, >= 0
        The paper's α. At 0, where σ has no finite value, w, z and n stay as they are.
    beta : float, >= 0, default 1
    l1 : float, >= 0, default 0
        Strength λ₁ of ``λ₁·‖w‖₁``: the penalty of the whole sum, not of a step, so it is not multiplied by lr.
    l2 : float, >= 0, default 0
    l2_convention : {"paper", "keras"}, default "paper"
        "paper": the penalty is ``l2/2·‖w‖²``, the divisor gets l2. "keras", as in TensorFlow: ``l2·‖w‖²`` and 2·l2.
    weight_decay : float, >= 0, default 0
        Strength of an L2 penalty that acts as a gradient, weight_decay·w.
    decoupled : bool, default False
        Let it reach z without n: TensorFlow's l2_shrinkage, which is half of it.
    maximize : bool, default False
    rounded : (...) ndarray of bfloat16 or float16, optional
        Beside float32 weights: gets what they are after the step, rounded once.

    Raises
    ------
    TypeError
        If an array is of another dtype, or the dtypes do not go together.
    ValueError
        If a number is out of range or NaN, or if shapes or memory do not fit.

    Notes
    -----
    Accuracy class ``exact``. The weights are a function of z and n, so w from before the first step counts for σ
    alone. The paper's σ = (√(n + g²) − √n)/α cancels: in float32 it is 0 where n = 1e4 and g = 1e-2. Keras starts n
    at 0.1, has beta = 0, and adds beta/(2·lr) to its l2, which is the same; its learning_rate_power is −1/2 here. The
    own metric of the step is the only one.

    References
    ----------
    McMahan et al., "Ad Click Prediction: a View from the Trenches", 2013, algorithm 1.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> w, z, n = np.zeros(2), np.zeros(2), np.zeros(2)
    >>> rk.ftrl_step(w, np.array([-3.0, 0.5]), z, n, lr=0.5, beta=1.0, l1=1.0)
    >>> w
    array([0.25, 0.  ])
    """
    _core.ftrl_step(w, grad, z, n, rounded, lr, beta, l1, l2, l2_convention, weight_decay, decoupled, maximize)


def lion_step(
    w: Array,
    grad: ArrayLike,
    exp_avg: Array,
    *,
    lr: Real,
    betas: tuple[Real, Real] = (0.9, 0.99),
    weight_decay: Real = 0.0,
    decoupled: bool = False,
    maximize: bool = False,
    l1: Real = 0.0,
    rounded: Array | None = None,
) -> None:
    """One step of Lion with L2 decay and the L1 proximal step, in place.

    ::

        g ← ±grad + weight_decay·w                (coupled)
        c ← β₁·exp_avg + (1 − β₁)·g
        exp_avg ← β₂·exp_avg + (1 − β₂)·g
        w ← prox_l1(w − (lr·sign(c) + lr·weight_decay·w), lr·l1)   (decoupled, as in the paper)

    Memory is passed over once: 20 bytes an element in float32.

    Parameters
    ----------
    w : (...) ndarray of float32 or float64
        The weights, changed in place.
    grad : (...) ndarray of w's dtype, or of half precision beside float32
    exp_avg : (...) ndarray of w's dtype
        Running mean of the gradient, changed in place; zeros before the first step.
    lr : float, >= 0
        Learning rate.
    betas : (float, float) in [0, 1), default (0.9, 0.99)
    weight_decay : float, >= 0, default 0
    decoupled, maximize : bool, default False
    l1 : float, >= 0, default 0
    rounded : (...) ndarray of bfloat16 or float16, optional
        Beside float32 weights: gets what they are after the step, rounded once.

    Raises
    ------
    TypeError
        If an array is of another dtype, or the dtypes do not go together.
    ValueError
        If a number is out of range or NaN, or if shapes or memory do not fit.

    Notes
    -----
    Accuracy class ``exact``. sign(0) is 0 and sign(NaN) is NaN. The step has no metric of its own but the Euclidean.
    Keras' ``Lion`` is the same.

    References
    ----------
    Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, algorithm 2.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> w, m = np.array([1.0, -0.005]), np.zeros(2)
    >>> rk.lion_step(w, np.array([2.0, 0.0]), m, lr=0.1, l1=0.5)
    >>> w
    array([0.85, 0.  ])
    """
    _core.lion_step(w, grad, exp_avg, rounded, lr, betas, weight_decay, decoupled, maximize, l1)
