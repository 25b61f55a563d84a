"""Dropout that puts zeros, with masks that are functions of (seed, stream, index) and are never stored.

Common to the functions here and in :mod:`regkern.dropouts.noise`: arrays are float32, float64, bfloat16 (of ``ml_dtypes``)
or float16, of any strides and alignment; in half precision results are those of float32, rounded once to nearest even.
``out`` has the shape and dtype of the input and may be the input itself. p is the probability of being dropped, honoured to
2**-41, and ``rng``, ``stream`` and ``training`` are those of ``dropout``. The mask that comes with the result is a handle for
``dropout_backward``; ``np.asarray(mask)`` gives the booleans, True = kept.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from regkern import _checks as check
from regkern import _core
from regkern._types import Int, Real
from regkern.dropouts.handles import (
    DropBlockMask,
    DropoutMask,
    GaussianDropoutMask,
    Handle,
    backward_with,
    channel_axis,
    drawn,
)

Array = NDArray[Any]


def dropout(
    x: ArrayLike,
    p: Real,
    *,
    noise_shape: tuple[Int | None, ...] | None = None,
    rng: Any = None,
    stream: Int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    r"""Drop elements with probability p and scale the rest by 1/(1 − p).

    .. math:: y_i = x_i \cdot 2^{40}/K \ \text{ where } U_i < K \cdot 2^{-40}, \quad +0.0 \text{ elsewhere},
              \qquad K = \mathrm{round}((1 - p)\, 2^{40})

    Decision i, counted in C order, has the uniform number :math:`U_i = b_i 2^{-8} + t_i 2^{-40}`, where
    :math:`b_i` is byte i of ``random_bits(..., seed=seed, stream=stream)`` in little-endian order and
    :math:`t_i` is word i mod 4 of Philox block :math:`2^{63} + \lfloor i/4 \rfloor` of that stream. The mask
    is therefore the same for every dtype, memory layout, instruction set and number of threads.

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
        Any strides and alignment.
    p : float in [0, 1]
    noise_shape : tuple of int or None, optional
        Shape of the decisions, one entry for each dimension of x: 1 where elements along it share a decision, its
        length or None where they do not (Keras' ``noise_shape``). By default every element has its own.
    rng : int in [0, 2**64), np.random.Generator or None
        The seed, a generator to draw one from, or None for one from the operating system. A call that decides nothing
        (p = 0 or 1, ``training=False``, no elements) or is refused leaves a generator as it was; its mask has seed 0, as
        no other has been drawn; an int stays the seed.
    stream : int in [0, 2**64), default 0
        Selects one of the independent streams of a seed: a layer, a step.
    training : bool, default True
        If False, the result is a copy of ``x`` and the mask keeps everything.
    out : ndarray, optional
        Where to write, of x's shape and dtype; may be ``x``.

    Returns
    -------
    y : ndarray
    mask : DropoutMask

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or ``rng`` is of another kind.
    ValueError
        If ``p`` is outside [0, 1] or NaN, a seed is out of range, ``noise_shape`` does not fit, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``. Dropped elements are +0.0 even where x is NaN or Inf. p = 0 copies x and p = 1
    gives zeros.

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, mask = rk.dropout(np.ones(6), 0.5, rng=1)
    >>> y
    array([2., 2., 0., 0., 0., 2.])
    >>> mask
    DropoutMask(seed=1, stream=0, shape=(6,), p=0.5)
    >>> y, mask = rk.dropout(np.ones((2, 3)), 0.5, noise_shape=(None, 1), rng=1)
    >>> mask.noise_shape
    (2, 1)
    """
    return drop("dropout", x, p, noise_shape, None, rng, stream, training, out)


def drop(
    function: str,
    x: ArrayLike,
    p: Real,
    noise_shape: tuple[Int | None, ...] | None,
    axes: tuple[Int, ...] | None,
    rng: Any,
    stream: Int,
    training: bool,
    out: Array | None,
    *,
    scale_by_keep: bool = True,
    alpha: bool = False,
) -> tuple[Array, DropoutMask]:
    """The common way of the kinds: decisions of noise_shape, or along some axes, or one for each element."""
    draw = check.seed_or_draw(function, rng)
    y, seed, noise, scale = _core.dropout(
        function, x, p, draw, stream, noise_shape, axes, scale_by_keep, alpha, training, out
    )
    return y, DropoutMask.made(seed, stream, y.shape, float(p) if training else 0.0, noise, scale)


def feature_dropout(
    x: ArrayLike,
    p: Real,
    *,
    axis: Int = 1,
    rng: Any = None,
    stream: Int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    r"""Drop whole channels: all elements of a sample and channel share one decision.

    .. math:: y_{n,c,\ldots} = x_{n,c,\ldots} \cdot 2^{40}/K \ \text{ where } (n, c) \text{ is kept}, \quad +0.0
              \text{ elsewhere}

    Decision i of ``dropout`` belongs to sample n and channel c with i = n·C + c (of samples alone if ``axis`` is
    0). This is torch's ``feature_dropout`` (``dropout1d``, ``2d``, ``3d``), whose channels are always axis 1.

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
        Any strides and alignment.
    p : float in [0, 1]
    axis : int, default 1
        The channel axis; samples are axis 0.
    rng, stream, training, out
        As in ``dropout``.

    Returns
    -------
    y : ndarray
    mask : DropoutMask

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or ``rng`` is of another kind.
    ValueError
        If ``p`` is outside [0, 1] or NaN, a seed is out of range, ``axis`` is not an axis of x, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``.

    References
    ----------
    J. Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015 (SpatialDropout).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, mask = rk.feature_dropout(np.ones((1, 4, 2)), 0.5, rng=1)
    >>> y[0]
    array([[2., 2.],
           [2., 2.],
           [0., 0.],
           [0., 0.]])
    """
    return drop("feature_dropout", x, p, None, (0, axis), rng, stream, training, out)


def drop_path(
    x: ArrayLike,
    p: Real,
    *,
    scale_by_keep: bool = True,
    rng: Any = None,
    stream: Int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    r"""Drop whole samples of a residual branch (stochastic depth).

    .. math:: y_{n,\ldots} = x_{n,\ldots} \cdot s \ \text{ where sample } n \text{ is kept}, \quad +0.0
              \text{ elsewhere}

    Decision n of ``dropout`` belongs to sample n of axis 0. s is :math:`2^{40}/K`, or 1 without ``scale_by_keep``.
    Names after timm's ``drop_path``; its ``drop_prob`` is ``p``, and ``training`` is True by default here.

    Parameters
    ----------
    x : (...) ndarray of float32, float64, bfloat16 or float16
        Any strides and alignment.
    p : float in [0, 1]
    scale_by_keep : bool, default True
        Divide what is kept by the probability of being kept.
    rng, stream, training, out
        As in ``dropout``.

    Returns
    -------
    y : ndarray
    mask : DropoutMask

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or ``rng`` is of another kind.
    ValueError
        If ``p`` is outside [0, 1] or NaN, a seed is out of range, x has no axis, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``.

    References
    ----------
    G. Huang et al., "Deep networks with stochastic depth", ECCV 2016.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.drop_path(np.ones((3, 2)), 0.5, rng=1)[0]
    array([[2., 2.],
           [2., 2.],
           [0., 0.]])
    """
    return drop("drop_path", x, p, None, (0,), rng, stream, training, out, scale_by_keep=scale_by_keep)


def drop_connect(
    w: ArrayLike,
    p: Real,
    *,
    rng: Any = None,
    stream: Int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    r"""Drop weights instead of activations: ``x @ drop_connect(w, p)[0]``.

    .. math:: v_i = w_i \cdot 2^{40}/K \ \text{ where kept}, \quad +0.0 \text{ elsewhere}

    The decisions are those of ``dropout``; all samples of a batch see the same weights. The paper draws a mask for
    each sample and does not scale; the "drop connect" of TensorFlow's EfficientNet is ``drop_path``.

    Parameters
    ----------
    w : (...) ndarray of float32, float64, bfloat16 or float16
        Weights; they are not changed.
    p : float in [0, 1]
    rng, stream, training, out
        As in ``dropout``.

    Returns
    -------
    v : ndarray
    mask : DropoutMask

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or ``rng`` is of another kind.
    ValueError
        If ``p`` is outside [0, 1] or NaN, a seed is out of range, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``.

    References
    ----------
    L. Wan et al., "Regularization of neural networks using DropConnect", ICML 2013.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.drop_connect(np.ones((2, 3)), 0.5, rng=1)[0]
    array([[2., 2., 0.],
           [0., 0., 2.]])
    """
    return drop("drop_connect", w, p, None, None, rng, stream, training, out)


def drop_block(
    x: ArrayLike,
    p: Real,
    *,
    block_size: Int = 7,
    axis: Int = 1,
    per_channel: bool = True,
    rng: Any = None,
    stream: Int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropBlockMask]:
    r"""Drop square regions of images, or stretches of signals.

    .. math:: y_i = x_i \cdot \frac{\#\text{all}}{\#\text{kept}} \ \text{ outside the blocks}, \quad +0.0
              \text{ inside}

    Every position where a whole block fits is the upper left corner of a block with probability γ, by the
    decisions of ``dropout`` counted in C order of (sample, channel, row, column). γ is solved for, so that the
    expected share dropped is p; the formula of the paper, which torchvision and timm use, drops less where blocks
    overlap. A block larger than the image is cut to its shorter side.

    Parameters
    ----------
    x : (N, C, L) or (N, C, H, W) ndarray of float32, float64, bfloat16 or float16
        Signals or images; the channel axis may be another one. Any strides and alignment.
    p : float in [0, 1]
        Expected share that is dropped.
    block_size : int, >= 1, default 7
        Side of a block, in elements.
    axis : int, default 1
        The channel axis; samples are axis 0.
    per_channel : bool, default True
        Whether each channel has blocks of its own; else a sample's channels share them.
    rng, stream, training, out
        As in ``dropout``.

    Returns
    -------
    y : ndarray
        ``out``, or a new array.
    mask : DropBlockMask
        The handle for the backward; ``np.asarray(mask)`` gives the booleans, True = kept.

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or ``rng`` is of another kind.
    ValueError
        If ``p`` is outside [0, 1] or NaN, a seed is out of range,
        x has another rank, ``axis`` is not a channel axis, ``block_size`` is below 1, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``. The scale is a function of the mask, not of p alone: the sum over a batch keeps its
    size. Images with their channels last get the mask of the same images with their channels first.

    References
    ----------
    G. Ghiasi, T.-Y. Lin and Q. V. Le, "DropBlock: a regularization method for convolutional networks", NeurIPS 2018.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, mask = rk.drop_block(np.ones((1, 1, 4, 8)), 0.3, block_size=2, rng=3)
    >>> np.asarray(mask).astype(int)[0, 0]
    array([[1, 1, 1, 1, 1, 1, 0, 0],
           [1, 1, 0, 0, 0, 0, 0, 0],
           [0, 0, 0, 0, 0, 0, 0, 1],
           [0, 0, 1, 1, 1, 1, 1, 1]])
    """
    f = "drop_block"
    draw, stream = check.seed_or_draw(f, rng), check.integer64(f"{f}: stream", stream)
    x, p = _core.require_float(f, "x", x), check.probability(f"{f}: p", p)
    if x.ndim not in (3, 4):
        raise ValueError(f"{f}: x must have rank 3 or 4, got shape {x.shape}")
    side, channel = check.integer(f"{f}: block_size", block_size, 1), channel_axis(f, axis, "x with shape ", x.shape)
    each, training = check.flag(f"{f}: per_channel", per_channel), check.flag(f"{f}: training", training)
    _core.require_out(f, "x", x, out)
    mask = drawn(draw, DropBlockMask, stream, x.shape, p if training else 0.0, side, channel, each)
    if not training:
        return drop(f, x, p, None, None, 0, stream, training, out)[0], mask
    keep, scale = mask._kept()
    return _core.apply_mask(f, "x", x, keep, scale, out), mask


def dropout_backward(
    dy: ArrayLike,
    mask: Handle | NDArray[Any],
    *,
    scale: Real | None = None,
    out: Array | None = None,
) -> Array:
    r"""The gradient of every dropout of this module: the same mask and the same scale, applied to dy.

    .. math:: dx_i = dy_i \cdot s \ \text{ where kept}, \quad +0.0 \text{ elsewhere}

    For a ``GaussianDropoutMask`` :math:`dx_i = dy_i (1 + \sigma z_i)`.

    Parameters
    ----------
    dy : ndarray of float32, float64, bfloat16 or float16, of the shape that was dropped
        Gradient with respect to the output.
    mask : DropoutMask, DropBlockMask, GaussianDropoutMask, or ndarray of bool or uint8
        What the forward function returned; or the booleans ``np.asarray(mask)``, of a shape that can be broadcast
        to dy; or the bits ``mask.packbits()``.
    scale : float, >= 0 and finite, optional
        s, to be given with booleans and bits (``mask.scale``), and with these only.
    out : ndarray, optional
        Where to write, of dy's shape and dtype; may be ``dy``.

    Returns
    -------
    ndarray
        ``out``, or a new array.

    Raises
    ------
    TypeError
        If an array is not of these dtypes, or ``mask`` is none of the above.
    ValueError
        If shapes do not fit, or ``scale`` is missing, superfluous or out of range.

    Notes
    -----
    Accuracy class ``exact``; that of ``gaussian_dropout`` for its mask. A handle costs no memory traffic, bits an
    eighth of a byte for each element, booleans a byte.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, mask = rk.dropout(np.ones(6), 0.5, rng=1)
    >>> rk.dropout_backward(np.ones(6), mask)
    array([2., 2., 0., 0., 0., 2.])
    >>> rk.dropout_backward(np.ones(6), mask.packbits(), scale=mask.scale)
    array([2., 2., 0., 0., 0., 2.])
    """
    f = "dropout_backward"
    if isinstance(mask, Handle) and scale is not None:
        raise ValueError(f"{f}: scale must not be given with a handle, which knows it, got {scale}")
    if isinstance(mask, DropoutMask):
        return _core.dropout_backward(dy, mask.arguments(), out)
    if isinstance(mask, GaussianDropoutMask):
        return _core.gaussian_dropout(dy, mask.p, mask.seed, mask.stream, True, mask.shape, out)[0]
    dy = _core.require_float(f, "dy", dy)
    if isinstance(mask, DropBlockMask):
        if dy.shape != mask.shape:
            raise ValueError(f"{f}: dy must have shape {mask.shape}, got {dy.shape}")
        keep, factor = mask._kept()
    else:
        keep, factor = backward_with(f, mask, dy, scale)
    return _core.apply_mask(f, "dy", dy, keep, factor, out)
