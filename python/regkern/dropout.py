"""Dropout of every kind, with masks that are functions of (seed, stream, index) and are never stored."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regkern import _core
from regkern._layers import DropoutLayer
from regkern._mask import BlockHandle, Handle, MaskHandle, NoiseHandle, backward_with
from regkern._rng import seed_from

Array = NDArray[Any]


class DropoutMask(MaskHandle):
    __doc__ = f"""{MaskHandle.__doc__}
    Notes
    -----
    ``np.asarray(mask)`` computes the booleans, True where an element was kept, and ``mask.packbits()`` the same
    eight to a byte. Handles compare, hash and pickle by their numbers.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> mask = rk.DropoutMask(seed=1, stream=0, shape=(2, 3), p=0.5)
    >>> np.asarray(mask)
    array([[ True,  True, False],
           [False, False,  True]])
    >>> mask.packbits()
    array([35], dtype=uint8)
    """

    __slots__ = ()

    def _keep(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        return _core.keep_mask(shape, self.p, self.seed, self.stream, False)

    def packbits(self) -> NDArray[np.uint8]:
        if self.noise_shape is not None:
            return super().packbits()
        return _core.keep_mask(self.shape, self.p, self.seed, self.stream, True)


class DropBlockMask(BlockHandle):
    __doc__ = f"""{BlockHandle.__doc__}
    Notes
    -----
    ``np.asarray(mask)`` computes the booleans, True where an element was kept. ``mask.scale`` is all elements /
    kept elements.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> mask = rk.DropBlockMask(seed=1, stream=0, shape=(1, 1, 4, 8), p=0.3, block_size=2)
    >>> np.asarray(mask).astype(int)[0, 0]
    array([[1, 1, 0, 0, 0, 1, 1, 1],
           [0, 0, 0, 0, 0, 1, 1, 1],
           [0, 0, 1, 0, 0, 1, 1, 1],
           [1, 1, 1, 1, 1, 1, 1, 1]])
    """

    __slots__ = ()

    def _blocks(self, planes: int, space: tuple[int, int], block: tuple[int, int], gamma: float) -> tuple[Any, int]:
        return _core.drop_block_mask((planes, *space), block, gamma, self.seed, self.stream)


class GaussianDropoutMask(NoiseHandle):
    __doc__ = f"""{NoiseHandle.__doc__}
    Notes
    -----
    ``np.asarray(mask)`` computes the factors in float64.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> np.asarray(rk.GaussianDropoutMask(seed=1, stream=0, shape=(3,), p=0.5)).round(3)
    array([1.38 , 0.704, 0.751])
    """

    __slots__ = ()

    def _asarray(self) -> NDArray[Any]:
        return _core.gaussian_dropout(np.ones(self.shape), self.p, self.seed, self.stream, True, self.shape, None)


def dropout(
    x: ArrayLike,
    p: float,
    *,
    noise_shape: tuple[int | None, ...] | None = None,
    rng: Any = None,
    stream: int = 0,
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
    x : (...) ndarray of float32 or float64
        Any strides and alignment.
    p : float in [0, 1]
        Probability of being dropped, honoured to 2**-41.
    noise_shape : tuple of int or None, optional
        Shape of the decisions, one entry for each dimension of x: 1 where elements along it share a decision, its
        length or None where they do not (Keras' ``noise_shape``). By default every element has its own.
    rng : int in [0, 2**64), np.random.Generator or None
        The seed, a generator to draw one from, or None for one from the operating system.
    stream : int in [0, 2**64), default 0
        Selects one of the independent streams of a seed: a layer, a step.
    training : bool, default True
        If False, the result is a copy of ``x`` and the mask keeps everything.
    out : ndarray, optional
        Where to write, of x's shape and dtype; may be ``x``.

    Returns
    -------
    y : ndarray
        ``out``, or a new array.
    mask : DropoutMask
        The handle for the backward; ``np.asarray(mask)`` gives the booleans, True = kept.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or ``rng`` is of another kind.
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
    return _drop("dropout", x, p, noise_shape, None, rng, stream, training, out)


def _int(function: str, name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{function}: {name} must be an int, got {value!r}")
    try:
        return operator.index(value)
    except TypeError:  # an array
        raise TypeError(f"{function}: {name} must be an int, got {value!r}") from None


def _drop(
    function: str,
    x: ArrayLike,
    p: float,
    noise_shape: tuple[int | None, ...] | None,
    axes: tuple[int, ...] | None,
    rng: Any,
    stream: int,
    training: bool,
    out: Array | None,
    *,
    scale_by_keep: bool = True,
    alpha: bool = False,
) -> tuple[Array, DropoutMask]:
    """The common way of the kinds: decisions of noise_shape, or along some axes, or one for each element."""
    seed = seed_from(rng, function)
    y, noise, scale = _core.dropout(
        function, x, p, seed, stream, noise_shape, axes, scale_by_keep, alpha, training, out
    )
    return y, DropoutMask.made(seed, stream, y.shape, float(p) if training else 0.0, noise, scale)


def feature_dropout(
    x: ArrayLike,
    p: float,
    *,
    axis: int = 1,
    rng: Any = None,
    stream: int = 0,
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
    x : (...) ndarray of float32 or float64
        Any strides and alignment.
    p : float in [0, 1]
        Probability of being dropped, honoured to 2**-41.
    axis : int, default 1
        The channel axis; samples are axis 0.
    rng : int in [0, 2**64), np.random.Generator or None
        The seed, a generator to draw one from, or None for one from the operating system.
    stream : int in [0, 2**64), default 0
        Selects one of the independent streams of a seed: a layer, a step.
    training : bool, default True
        If False, the result is a copy of ``x`` and the mask keeps everything.
    out : ndarray, optional
        Where to write, of x's shape and dtype; may be ``x``.

    Returns
    -------
    y : ndarray
        ``out``, or a new array.
    mask : DropoutMask
        The handle for the backward; ``np.asarray(mask)`` gives the booleans, True = kept.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or ``rng`` is of another kind.
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
    return _drop("feature_dropout", x, p, None, (0, axis), rng, stream, training, out)


def drop_path(
    x: ArrayLike,
    p: float,
    *,
    scale_by_keep: bool = True,
    rng: Any = None,
    stream: int = 0,
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
    x : (...) ndarray of float32 or float64
        Any strides and alignment.
    p : float in [0, 1]
        Probability of being dropped, honoured to 2**-41.
    scale_by_keep : bool, default True
        Divide what is kept by the probability of being kept.
    rng : int in [0, 2**64), np.random.Generator or None
        The seed, a generator to draw one from, or None for one from the operating system.
    stream : int in [0, 2**64), default 0
        Selects one of the independent streams of a seed: a layer, a step.
    training : bool, default True
        If False, the result is a copy of ``x`` and the mask keeps everything.
    out : ndarray, optional
        Where to write, of x's shape and dtype; may be ``x``.

    Returns
    -------
    y : ndarray
        ``out``, or a new array.
    mask : DropoutMask
        The handle for the backward; ``np.asarray(mask)`` gives the booleans, True = kept.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or ``rng`` is of another kind.
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
    return _drop("drop_path", x, p, None, (0,), rng, stream, training, out, scale_by_keep=scale_by_keep)


def drop_connect(
    w: ArrayLike,
    p: float,
    *,
    rng: Any = None,
    stream: int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    r"""Drop weights instead of activations: ``x @ drop_connect(w, p)[0]``.

    .. math:: v_i = w_i \cdot 2^{40}/K \ \text{ where kept}, \quad +0.0 \text{ elsewhere}

    The decisions are those of ``dropout``; all samples of a batch see the same weights. The paper draws a mask for
    each sample and does not scale; the "drop connect" of TensorFlow's EfficientNet is ``drop_path``.

    Parameters
    ----------
    w : (...) ndarray of float32 or float64
        Weights; they are not changed.
    p : float in [0, 1]
        Probability of being dropped, honoured to 2**-41.
    rng : int in [0, 2**64), np.random.Generator or None
        The seed, a generator to draw one from, or None for one from the operating system.
    stream : int in [0, 2**64), default 0
        Selects one of the independent streams of a seed: a layer, a step.
    training : bool, default True
        If False, the result is a copy of ``w`` and the mask keeps everything.
    out : ndarray, optional
        Where to write, of w's shape and dtype; may be ``w``.

    Returns
    -------
    v : ndarray
        ``out``, or a new array.
    mask : DropoutMask
        The handle for the backward; ``np.asarray(mask)`` gives the booleans, True = kept.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or ``rng`` is of another kind.
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
    return _drop("drop_connect", w, p, None, None, rng, stream, training, out)


def alpha_dropout(
    x: ArrayLike,
    p: float,
    *,
    rng: Any = None,
    stream: int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    r"""Dropout for SELU networks: mean 0 and variance 1 stay what they are.

    .. math:: y_i = a x_i + b \ \text{ where kept}, \quad a \alpha + b \text{ elsewhere}, \qquad
              a = (q + \alpha^2 q (1 - q))^{-1/2}, \quad b = -a (1 - q) \alpha

    with :math:`q = K/2^{40}` and :math:`\alpha = -1.7580993408473766`, the lower limit of SELU. The decisions are
    those of ``dropout``. p = 0 copies x and p = 1 gives zeros, as in torch.

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
        Any strides and alignment.
    p : float in [0, 1]
        Probability of being dropped, honoured to 2**-41.
    rng : int in [0, 2**64), np.random.Generator or None
        The seed, a generator to draw one from, or None for one from the operating system.
    stream : int in [0, 2**64), default 0
        Selects one of the independent streams of a seed: a layer, a step.
    training : bool, default True
        If False, the result is a copy of ``x`` and the mask keeps everything.
    out : ndarray, optional
        Where to write, of x's shape and dtype; may be ``x``.

    Returns
    -------
    y : ndarray
        ``out``, or a new array.
    mask : DropoutMask
        The handle for the backward; ``np.asarray(mask)`` gives the booleans, True = kept.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or ``rng`` is of another kind.
    ValueError
        If ``p`` is outside [0, 1] or NaN, a seed is out of range, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``. ``mask.scale`` is a.

    References
    ----------
    G. Klambauer et al., "Self-normalizing neural networks", NIPS 2017, section 2.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.alpha_dropout(np.zeros(6), 0.5, rng=1)[0].round(4)
    array([ 0.7792,  0.7792, -0.7792, -0.7792, -0.7792,  0.7792])
    """
    return _drop("alpha_dropout", x, p, None, None, rng, stream, training, out, alpha=True)


def feature_alpha_dropout(
    x: ArrayLike,
    p: float,
    *,
    axis: int = 1,
    rng: Any = None,
    stream: int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, DropoutMask]:
    r"""``alpha_dropout`` of whole channels: all elements of a sample and channel share one decision.

    .. math:: y_i = a x_i + b \ \text{ where kept}, \quad a \alpha + b \text{ elsewhere}, \qquad
              a = (q + \alpha^2 q (1 - q))^{-1/2}, \quad b = -a (1 - q) \alpha

    with :math:`q = K/2^{40}` and :math:`\alpha = -1.7580993408473766`, the lower limit of SELU.

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
        Any strides and alignment.
    p : float in [0, 1]
        Probability of being dropped, honoured to 2**-41.
    axis : int, default 1
        The channel axis; samples are axis 0.
    rng : int in [0, 2**64), np.random.Generator or None
        The seed, a generator to draw one from, or None for one from the operating system.
    stream : int in [0, 2**64), default 0
        Selects one of the independent streams of a seed: a layer, a step.
    training : bool, default True
        If False, the result is a copy of ``x`` and the mask keeps everything.
    out : ndarray, optional
        Where to write, of x's shape and dtype; may be ``x``.

    Returns
    -------
    y : ndarray
        ``out``, or a new array.
    mask : DropoutMask
        The handle for the backward; ``np.asarray(mask)`` gives the booleans, True = kept.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or ``rng`` is of another kind.
    ValueError
        If ``p`` is outside [0, 1] or NaN, a seed is out of range, ``axis`` is not an axis of x, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``exact``. ``mask.scale`` is a.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> rk.feature_alpha_dropout(np.zeros((1, 3, 2)), 0.5, rng=1)[0].round(4)
    array([[[ 0.7792,  0.7792],
            [ 0.7792,  0.7792],
            [-0.7792, -0.7792]]])
    """
    return _drop("feature_alpha_dropout", x, p, None, (0, axis), rng, stream, training, out, alpha=True)


def gaussian_dropout(
    x: ArrayLike,
    p: float,
    *,
    rng: Any = None,
    stream: int = 0,
    training: bool = True,
    out: Array | None = None,
) -> tuple[Array, GaussianDropoutMask]:
    r"""Multiply by normal numbers of mean 1 and the variance of dropout's own factors.

    .. math:: y_i = x_i (1 + \sigma z_i), \qquad \sigma = \sqrt{p / (1 - p)}

    z is ``normal(x.shape, seed=seed, stream=stream, dtype=x.dtype)``. Keras' ``GaussianDropout``; p is its rate.

    Parameters
    ----------
    x : (...) ndarray of float32 or float64
        Any strides and alignment.
    p : float in [0, 1)
        The rate.
    rng : int in [0, 2**64), np.random.Generator or None
        The seed, a generator to draw one from, or None for one from the operating system.
    stream : int in [0, 2**64), default 0
        Selects one of the independent streams of a seed: a layer, a step.
    training : bool, default True
        If False, the result is a copy of ``x`` and the mask keeps everything.
    out : ndarray, optional
        Where to write, of x's shape and dtype; may be ``x``.

    Returns
    -------
    y : ndarray
        ``out``, or a new array.
    mask : GaussianDropoutMask
        The handle for the backward; ``np.asarray(mask)`` gives the factors.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or ``rng`` is of another kind.
    ValueError
        If ``p`` is outside [0, 1) or NaN, a seed is out of range, or ``out`` does not fit.

    Notes
    -----
    Accuracy class ``ulp(8)``, relative to \|x\|·(1 + σ\|z\|).

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014),
    section 10.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> y, mask = rk.gaussian_dropout(np.ones(3), 0.5, rng=1)
    >>> y.round(3)
    array([1.38 , 0.704, 0.751])
    """
    seed = seed_from(rng, "gaussian_dropout")
    y = _core.gaussian_dropout(x, p, seed, stream, training, None, out)
    return y, GaussianDropoutMask(seed, stream, y.shape, float(p) if training else 0.0)


def drop_block(
    x: ArrayLike,
    p: float,
    *,
    block_size: int = 7,
    axis: int = 1,
    per_channel: bool = True,
    rng: Any = None,
    stream: int = 0,
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
    x : (N, C, L) or (N, C, H, W) ndarray of float32 or float64
        Signals or images; the channel axis may be another one. Any strides and alignment.
    p : float in [0, 1]
        Expected share that is dropped.
    block_size : int, >= 1, default 7
        Side of a block, in elements.
    axis : int, default 1
        The channel axis; samples are axis 0.
    per_channel : bool, default True
        Whether each channel has blocks of its own; else a sample's channels share them.
    rng : int in [0, 2**64), np.random.Generator or None
        The seed, a generator to draw one from, or None for one from the operating system.
    stream : int in [0, 2**64), default 0
        Selects one of the independent streams of a seed: a layer, a step.
    training : bool, default True
        If False, the result is a copy of ``x`` and the mask keeps everything.
    out : ndarray, optional
        Where to write, of x's shape and dtype; may be ``x``.

    Returns
    -------
    y : ndarray
        ``out``, or a new array.
    mask : DropBlockMask
        The handle for the backward; ``np.asarray(mask)`` gives the booleans, True = kept.

    Raises
    ------
    TypeError
        If an array is not float32 or float64, or ``rng`` is of another kind.
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
    seed = seed_from(rng, "drop_block")
    x = _core.require_float("drop_block", "x", x)
    rate, shape = _core.probability("drop_block", p), x.shape
    if len(shape) not in (3, 4):
        raise ValueError(f"drop_block: x must have rank 3 or 4, got shape {shape}")
    side, channel = (_int("drop_block", n, v) for n, v in (("block_size", block_size), ("axis", axis)))
    for name, value in (("per_channel", per_channel), ("training", training)):
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"drop_block: {name} must be True or False, got {value!r}")
    if side < 1:
        raise ValueError(f"drop_block: block_size must be >= 1, got {block_size}")
    if not -len(shape) < channel < len(shape) or channel == 0:
        raise ValueError(f"drop_block: axis must be an axis of x with shape {shape} behind the first, got {axis}")
    rate = rate if training else 0.0
    mask = DropBlockMask(seed, stream, shape, rate, side, channel % len(shape), bool(per_channel))
    if not training:
        return _drop("drop_block", x, p, None, None, seed, stream, training, out)[0], mask
    keep, scale = mask._kept()
    return _core.apply_mask("drop_block", "x", x, keep, scale, out), mask


def dropout_backward(
    dy: ArrayLike,
    mask: Handle | NDArray[Any],
    *,
    scale: float | None = None,
    out: Array | None = None,
) -> Array:
    r"""The gradient of every dropout of this module: the same mask and the same scale, applied to dy.

    .. math:: dx_i = dy_i \cdot s \ \text{ where kept}, \quad +0.0 \text{ elsewhere}

    For a ``GaussianDropoutMask`` :math:`dx_i = dy_i (1 + \sigma z_i)`.

    Parameters
    ----------
    dy : ndarray of float32 or float64, of the shape that was dropped
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
        If an array is not float32 or float64, or ``mask`` is none of the above.
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
    if isinstance(mask, MaskHandle):
        return _core.dropout_backward(dy, mask.arguments(), out)
    if isinstance(mask, NoiseHandle):
        return _core.gaussian_dropout(dy, mask.p, mask.seed, mask.stream, True, mask.shape, out)
    dy = _core.require_float(f, "dy", dy)
    if isinstance(mask, BlockHandle):
        if dy.shape != mask.shape:
            raise ValueError(f"{f}: dy must have shape {mask.shape}, got {dy.shape}")
        keep, factor = mask._kept()
    else:
        keep, factor = backward_with(f, mask, dy, scale)
    return _core.apply_mask(f, "dy", dy, keep, factor, out)


class Dropout(DropoutLayer):
    __doc__ = f"""{DropoutLayer.__doc__}
    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> layer = rk.Dropout(0.5, rng=1)
    >>> layer.forward(np.ones(6))
    array([2., 2., 0., 0., 0., 2.])
    >>> layer.backward(np.ones(6))
    array([2., 2., 0., 0., 0., 2.])
    """

    _forward = staticmethod(dropout)
    _backward = staticmethod(dropout_backward)
