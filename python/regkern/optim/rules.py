"""The rules of all optimizers: which options they have, which states, which step.

The parameters that many have, the errors, attributes and methods are explained once, in
:class:`regkern.optim.Optimizer`.
"""

from __future__ import annotations

from typing import Literal, Unpack

from regkern._types import Metric, Rate, Real
from regkern.optim.base import Optimizer, Shared
from regkern.optim.groups import Options, Params
from regkern.optim.options import OPTIONS, always_decoupled
from regkern.penalties import L1, ElasticNet, Penalty, SquaredL2


class SGD(Optimizer):
    """Stochastic gradient descent: ``sgd_step`` over many arrays, with torch's start of the momentum.

    Parameters
    ----------
    params : list of ndarray, dict of ndarray, or list of groups
    lr : float, >= 0, or function of the step, default 1e-3
        Learning rate; see :mod:`regkern.optim.schedules`.
    momentum : float, >= 0, default 0
    dampening : float, >= 0, default 0
        The first step is not dampened, as in torch.
    nesterov : bool, default False
        Requires ``momentum`` > 0 and ``dampening`` = 0.
    weight_decay : float, >= 0, default 0
    decoupled, maximize : bool, default False
    l1 : float, >= 0, default 0
        With momentum it acts as (1 − momentum)·l1: see the notes.
    penalty : penalty of :mod:`regkern.penalties`, optional
    no_decay, rounded, max_grad_norm, skip_nonfinite, collect
        As in ``Optimizer``, which explains all that optimizers have in common.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range; see ``Optimizer``.

    Notes
    -----
    g is ±grad + weight_decay·w, b ← momentum·b + (1 − dampening)·g, and w ← prox(w − lr·b), the proximal operator of
    lr·l1·‖w‖₁, or of lr times the penalty; squares, of ``SquaredL2`` and in ``ElasticNet``, are added to weight_decay
    instead. The conventions are those of ``torch.optim.SGD``.

    **Momentum and l1.** The threshold is lr·l1, as of torch's step followed by ``softshrink``, while momentum without
    dampening makes the gradient act 1/(1 − momentum)-fold. So the weights settle where loss + (1 − momentum)·l1·‖w‖₁ is
    least. For l1 itself give l1/(1 − momentum), or dampening = momentum. The same goes for a penalty, and for a
    decoupled decay.

    References
    ----------
    Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep learning", 2013.
    Parikh and Boyd, "Proximal Algorithms", 2014, section 4.2.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> w = {"weight": np.array([[1.0, -0.05]]), "bias": np.array([0.5])}
    >>> optimizer = rk.optim.SGD(w, lr=0.1, l1=1.0, no_decay=["bias"])
    >>> optimizer.step({"weight": np.array([[1.0, 0.0]]), "bias": np.array([1.0])})
    True
    >>> w
    {'weight': array([[0.8, 0. ]]), 'bias': array([0.4])}
    >>> optimizer.param_groups[0]["lr"] = 0.05
    """

    _rule = "sgd_step"
    _STATES = ("buffer",)

    def __init__(
        self,
        params: Params,
        *,
        lr: Rate = 1e-3,
        momentum: Real = 0.0,
        dampening: Real = 0.0,
        nesterov: bool = False,
        weight_decay: Real = 0.0,
        decoupled: bool = False,
        maximize: bool = False,
        l1: Real = 0.0,
        penalty: Penalty | None = None,
        **shared: Unpack[Shared],
    ) -> None:
        options = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "maximize": maximize,
            "l1": l1,
            "penalty": penalty,
        }
        super().__init__(params, options, shared)

    def _starts(self, options: Options) -> dict[str, float]:
        return {"buffer": 0.0} if options["momentum"] != 0 else {}

    def _connect(self) -> None:
        before = self._states["buffer"]
        super()._connect()
        if self.steps:  # a momentum that begins later does so as in a first step
            self._behind = self._behind.copy()
            for i, (old, new) in enumerate(zip(before, self._states["buffer"], strict=False)):
                if old is None and new is not None:
                    self._behind[i] = self.steps, self._saved_by(i)

    def _group_options(self, options: Options, step: int) -> Options:
        own = super()._group_options(options, step)
        if step == 1 and not own["nesterov"]:  # which goes without dampening anyway
            own["dampening"] = 0.0
        return own

    def _last(self, options: Options, step: int) -> bool:
        return step > 1


class Adam(Optimizer):
    """Adam: ``adam_step`` over many arrays.

    Parameters
    ----------
    params : list of ndarray, dict of ndarray, or list of groups
    lr : float, >= 0, or function of the step, default 1e-3
        Learning rate; see :mod:`regkern.optim.schedules`.
    betas : (float, float) in [0, 1), default (0.9, 0.999)
        Of the running means of the gradient and of its square.
    eps : float, >= 0, default 1e-8
    weight_decay : float, >= 0, default 0
    decoupled : bool, default False
    amsgrad : bool, default False
        Divide by the largest running mean of the square so far.
    maximize : bool, default False
    l1 : float, >= 0, default 0
    metric : {"euclidean", "diag"}, default "euclidean"
    penalty : penalty of :mod:`regkern.penalties`, optional
    no_decay, rounded, max_grad_norm, skip_nonfinite, collect
        As in ``Optimizer``, which explains all that optimizers have in common.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range; see ``Optimizer``.

    Notes
    -----
    The formula is that of ``adam_step``: w ← prox(w − lr·m̂/r), r = √v̂ + eps, with the bias-corrected means m̂ of the
    gradient and v̂ of its square. The conventions are those of ``torch.optim.Adam``; Keras' ``epsilon`` defaults to 1e-7.

    References
    ----------
    Kingma and Ba, "Adam", 2015, algorithm 1. Reddi, Kale and Kumar, "On the Convergence of Adam and Beyond", 2018,
    algorithm 2.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> w = [np.array([1.0, -0.005])]
    >>> rk.optim.Adam(w, lr=0.1, l1=0.5).step([np.array([2.0, 0.0])])
    True
    >>> w
    [array([0.85, 0.  ])]
    """

    _rule = "adam_step"
    _STATES = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    _SQUARES = ("exp_avg_sq", "max_exp_avg_sq")
    _EXTRA = ("amsgrad",)

    def __init__(
        self,
        params: Params,
        *,
        lr: Rate = 1e-3,
        betas: tuple[Real, Real] = (0.9, 0.999),
        eps: Real = 1e-8,
        weight_decay: Real = 0.0,
        decoupled: bool = False,
        amsgrad: bool = False,
        maximize: bool = False,
        l1: Real = 0.0,
        metric: Metric = "euclidean",
        penalty: Penalty | None = None,
        **shared: Unpack[Shared],
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "l1": l1,
            "metric": metric,
            "penalty": penalty,
        }
        super().__init__(params, options, shared)

    def _starts(self, options: Options) -> dict[str, float]:
        return dict.fromkeys(self._STATES if options["amsgrad"] else self._STATES[:2], 0.0)

    def _group_options(self, options: Options, step: int) -> Options:
        own = super()._group_options(options, step)
        own["step"] = step
        return own


class AdamW(Adam):
    """Adam with decoupled weight decay, of 0.01 as in torch: ``Adam(..., decoupled=True, weight_decay=0.01)``.

    Parameters
    ----------
    params : list of ndarray, dict of ndarray, or list of groups
    lr : float, >= 0, or function of the step, default 1e-3
        Learning rate; see :mod:`regkern.optim.schedules`.
    betas : (float, float) in [0, 1), default (0.9, 0.999)
        Of the running means of the gradient and of its square.
    eps : float, >= 0, default 1e-8
    weight_decay : float, >= 0, default 0.01
        Strength of the L2 penalty ``weight_decay/2·‖w‖²``; each step takes lr·weight_decay·w off the weights.
    amsgrad : bool, default False
        Divide by the largest running mean of the square so far.
    maximize : bool, default False
    l1 : float, >= 0, default 0
    metric : {"euclidean", "diag"}, default "euclidean"
    penalty : penalty of :mod:`regkern.penalties`, optional
    no_decay, rounded, max_grad_norm, skip_nonfinite, collect
        As in ``Optimizer``, which explains all that optimizers have in common.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range; see ``Optimizer``.

    Notes
    -----
    The formula is that of ``adam_step`` with ``decoupled=True``. Step and decay are added before the one rounding that
    meets w. torch multiplies by 1 − lr·weight_decay, which in float32 is no decay at all below 3e-8. Its groups have
    "decoupled", which stays True: ``Adam`` takes either.

    References
    ----------
    Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> w = [np.array([1.0, -2.0])]
    >>> rk.optim.AdamW(w, lr=0.1, weight_decay=0.5).step([np.array([2.0, 0.0])])
    True
    >>> w
    [array([ 0.85, -1.9 ])]
    """

    _CHECKS = OPTIONS | {"decoupled": always_decoupled}

    def __init__(
        self,
        params: Params,
        *,
        lr: Rate = 1e-3,
        betas: tuple[Real, Real] = (0.9, 0.999),
        eps: Real = 1e-8,
        weight_decay: Real = 1e-2,
        amsgrad: bool = False,
        maximize: bool = False,
        l1: Real = 0.0,
        metric: Metric = "euclidean",
        penalty: Penalty | None = None,
        **shared: Unpack[Shared],
    ) -> None:
        self._require_known(shared)  # decoupled is not one
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            decoupled=True,
            amsgrad=amsgrad,
            maximize=maximize,
            l1=l1,
            metric=metric,
            penalty=penalty,
            **shared,
        )


class Adagrad(Optimizer):
    """Adagrad: ``adagrad_step`` over many arrays.

    Parameters
    ----------
    params : list of ndarray, dict of ndarray, or list of groups
    lr : float, >= 0, or function of the step, default 1e-2
        Learning rate; see :mod:`regkern.optim.schedules`.
    lr_decay : float, >= 0, default 0
        Step t has the learning rate lr / (1 + (t − 1)·lr_decay), as in torch.
    initial_accumulator_value : float, >= 0, default 0
        What the sums of squares start with.
    eps : float, >= 0, default 1e-10
    weight_decay : float, >= 0, default 0
    decoupled, maximize : bool, default False
    l1 : float, >= 0, default 0
    metric : {"euclidean", "diag"}, default "euclidean"
    penalty : penalty of :mod:`regkern.penalties`, optional
    no_decay, rounded, max_grad_norm, skip_nonfinite, collect
        As in ``Optimizer``, which explains all that optimizers have in common.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range; see ``Optimizer``.

    Notes
    -----
    The formula is that of ``adagrad_step``: s ← s + g², w ← prox(w − lr·g/(√s + eps)). The conventions are those of
    ``torch.optim.Adagrad``; Keras starts s at 0.1 and adds its ``epsilon`` of 1e-7 under the root.

    References
    ----------
    Duchi, Hazan and Singer, "Adaptive Subgradient Methods", 2011, equation 3 (composite mirror descent).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> w = [np.array([1.0, -0.005])]
    >>> rk.optim.Adagrad(w, lr=0.1, l1=1.0, metric="diag").step([np.array([2.0, 0.1])])
    True
    >>> w
    [array([0.85, 0.  ])]
    """

    _rule = "adagrad_step"
    _STATES = ("square_sum",)
    _SQUARES = ("square_sum",)
    _EXTRA = ("initial_accumulator_value",)

    def __init__(
        self,
        params: Params,
        *,
        lr: Rate = 1e-2,
        lr_decay: Real = 0.0,
        initial_accumulator_value: Real = 0.0,
        eps: Real = 1e-10,
        weight_decay: Real = 0.0,
        decoupled: bool = False,
        maximize: bool = False,
        l1: Real = 0.0,
        metric: Metric = "euclidean",
        penalty: Penalty | None = None,
        **shared: Unpack[Shared],
    ) -> None:
        options = {
            "lr": lr,
            "lr_decay": lr_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "maximize": maximize,
            "l1": l1,
            "metric": metric,
            "penalty": penalty,
        }
        super().__init__(params, options, shared)

    def _starts(self, options: Options) -> dict[str, float]:
        return {"square_sum": options["initial_accumulator_value"]}

    def _group_options(self, options: Options, step: int) -> Options:
        own = super()._group_options(options, step)
        own["lr"] /= 1 + (step - 1) * own.pop("lr_decay")
        return own

    def _last(self, options: Options, step: int) -> bool:
        return not options["lr_decay"]


class RMSprop(Optimizer):
    """RMSprop: ``rmsprop_step`` over many arrays.

    Parameters
    ----------
    params : list of ndarray, dict of ndarray, or list of groups
    lr : float, >= 0, or function of the step, default 1e-2
        Learning rate; see :mod:`regkern.optim.schedules`.
    alpha : float in [0, 1), default 0.99
        Of the running mean of the squared gradient.
    eps : float, >= 0, default 1e-8
    momentum : float, >= 0, default 0
    centered : bool, default False
        Take the square of the gradient's running mean off: divide by its standard deviation.
    weight_decay : float, >= 0, default 0
    decoupled, maximize : bool, default False
    l1 : float, >= 0, default 0
        With momentum it acts as (1 − momentum)·l1: see the notes.
    metric : {"euclidean", "diag"}, default "euclidean"
    penalty : penalty of :mod:`regkern.penalties`, optional
    no_decay, rounded, max_grad_norm, skip_nonfinite, collect
        As in ``Optimizer``, which explains all that optimizers have in common.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range; see ``Optimizer``.

    Notes
    -----
    The formula is that of ``rmsprop_step``: v ← alpha·v + (1 − alpha)·g², b ← momentum·b + g/(√v + eps),
    w ← prox(w − lr·b). The conventions are those of ``torch.optim.RMSprop``; Keras calls ``alpha`` rho, defaults it to
    0.9, and adds its ``epsilon`` of 1e-7 under the root.

    **Momentum and l1.** The threshold is lr·l1 (over r in the diagonal metric), as of torch's step followed by
    ``softshrink``, while the momentum makes the gradient act 1/(1 − momentum)-fold: the weights settle as for
    (1 − momentum)·l1. For l1 itself give l1/(1 − momentum). The same goes for a penalty, and for a decoupled decay.

    References
    ----------
    Hinton, "Neural Networks for Machine Learning", 2012, lecture 6e. Graves, "Generating Sequences with Recurrent
    Neural Networks", 2013, equations 38 to 45 (centered).

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> w = [np.array([1.0, -0.005])]
    >>> rk.optim.RMSprop(w, lr=0.01, l1=1.0).step([np.array([2.0, 0.0])])
    True
    >>> w
    [array([0.89, 0.  ])]
    """

    _rule = "rmsprop_step"
    _STATES = ("square_avg", "grad_avg", "buffer")
    _SQUARES = ("square_avg",)
    _EXTRA = ("centered",)

    def __init__(
        self,
        params: Params,
        *,
        lr: Rate = 1e-2,
        alpha: Real = 0.99,
        eps: Real = 1e-8,
        momentum: Real = 0.0,
        centered: bool = False,
        weight_decay: Real = 0.0,
        decoupled: bool = False,
        maximize: bool = False,
        l1: Real = 0.0,
        metric: Metric = "euclidean",
        penalty: Penalty | None = None,
        **shared: Unpack[Shared],
    ) -> None:
        options = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "momentum": momentum,
            "centered": centered,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "maximize": maximize,
            "l1": l1,
            "metric": metric,
            "penalty": penalty,
        }
        super().__init__(params, options, shared)

    def _starts(self, options: Options) -> dict[str, float]:
        asked = {"grad_avg": options["centered"], "buffer": options["momentum"] != 0}
        return {"square_avg": 0.0} | {name: 0.0 for name in asked if asked[name]}


class FTRL(Optimizer):
    """FTRL-proximal: ``ftrl_step`` over many arrays. The first step replaces the weights by a function of its sums.

    Parameters
    ----------
    params : list of ndarray, dict of ndarray, or list of groups
    lr : float, >= 0, or function of the step, default 0.1
        The paper's α; see :mod:`regkern.optim.schedules`. A step at 0 leaves the weights and their sums as they are.
    beta : float, >= 0, default 1
    l1 : float, >= 0, default 0
        Strength λ₁ of ``λ₁·‖w‖₁``: the penalty of the whole sum, not of a step, so it is not multiplied by lr.
    l2 : float, >= 0, default 0
    l2_convention : {"paper", "keras"}, default "paper"
        "paper": the penalty is ``l2/2·‖w‖²``, the divisor gets l2. "keras", as in TensorFlow: ``l2·‖w‖²`` and 2·l2.
    initial_accumulator_value : float, >= 0, default 0
        What n starts with; Keras' is 0.1.
    weight_decay : float, >= 0, default 0
        Strength of an L2 penalty that acts as a gradient, weight_decay·w.
    decoupled : bool, default False
        Let it reach z without n: TensorFlow's l2_shrinkage, which is half of it.
    maximize : bool, default False
    penalty : L1, SquaredL2 or ElasticNet of :mod:`regkern.penalties`, without weights, optional
        The same as l1 and l2, which must be 0 then, in the paper's convention. No other: the weights are a function of z
        and n.
    no_decay, rounded, max_grad_norm, skip_nonfinite, collect
        As in ``Optimizer``, which explains all that optimizers have in common.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range; see ``Optimizer``.

    Notes
    -----
    The formula is that of ``ftrl_step``: z gathers the gradients less what the weights have taken of them, n their
    squares, and w = prox_l1(−z, l1) / ((beta + √n)/lr + l2). Keras has beta = 0 and adds beta/(2·lr) to its l2, which is
    the same; its learning_rate_power is −1/2 here.

    References
    ----------
    McMahan et al., "Ad Click Prediction: a View from the Trenches", 2013, algorithm 1.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> w = [np.zeros(2)]
    >>> rk.optim.FTRL(w, lr=0.5, l1=1.0).step([np.array([-3.0, 0.5])])
    True
    >>> w
    [array([0.25, 0.  ])]
    """

    _rule = "ftrl_step"
    _STATES = ("z", "n")
    _SQUARES = ("n",)
    _EXTRA = ("initial_accumulator_value",)
    _decays_weights = False

    def __init__(
        self,
        params: Params,
        *,
        lr: Rate = 0.1,
        beta: Real = 1.0,
        l1: Real = 0.0,
        l2: Real = 0.0,
        l2_convention: Literal["paper", "keras"] = "paper",
        initial_accumulator_value: Real = 0.0,
        weight_decay: Real = 0.0,
        decoupled: bool = False,
        maximize: bool = False,
        penalty: Penalty | None = None,
        **shared: Unpack[Shared],
    ) -> None:
        options = {
            "lr": lr,
            "beta": beta,
            "l1": l1,
            "l2": l2,
            "l2_convention": l2_convention,
            "initial_accumulator_value": initial_accumulator_value,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "maximize": maximize,
            "penalty": penalty,
        }
        super().__init__(params, options, shared)

    def _starts(self, options: Options) -> dict[str, float]:
        return {"z": 0.0, "n": options["initial_accumulator_value"]}

    def _fuse(self, options: Options, penalty: Penalty) -> bool:
        if options["l2"] != 0:
            raise ValueError(f"{self._name}: l2 must be 0 beside a penalty, got {options['l2']!r} beside {penalty!r}")
        match penalty if penalty._is_ours else None:
            case L1(l1, None):
                options["l1"] = l1
            case SquaredL2(l2, None):
                options.update(l2=l2, l2_convention="paper")
            case ElasticNet(l1, l2, None):
                options.update(l1=l1, l2=l2, l2_convention="paper")
            case _:
                known = "L1, SquaredL2 or ElasticNet without weights"
                raise ValueError(f"{self._name}: penalty must be {known}, got {penalty!r}")
        return True


class Lion(Optimizer):
    """Lion: ``lion_step`` over many arrays.

    Parameters
    ----------
    params : list of ndarray, dict of ndarray, or list of groups
    lr : float, >= 0, or function of the step, default 1e-4
        Learning rate; see :mod:`regkern.optim.schedules`.
    betas : (float, float) in [0, 1), default (0.9, 0.99)
        Of what the sign is taken of, and of the running mean of the gradient.
    weight_decay : float, >= 0, default 0
        Strength of the L2 penalty ``weight_decay/2·‖w‖²``.
    decoupled : bool, default True
        Take the decay off the weights, as in the paper, instead of adding it to the gradient.
    maximize : bool, default False
    l1 : float, >= 0, default 0
    penalty : penalty of :mod:`regkern.penalties`, optional
    no_decay, rounded, max_grad_norm, skip_nonfinite, collect
        As in ``Optimizer``, which explains all that optimizers have in common.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind or out of its range; see ``Optimizer``.

    Notes
    -----
    The formula is that of ``lion_step``: w ← prox(w − lr·sign(β₁·m + (1 − β₁)·g)), then m ← β₂·m + (1 − β₂)·g. Keras'
    ``Lion`` is the same; torch has none.

    References
    ----------
    Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023, algorithm 2.

    Examples
    --------
    >>> import numpy as np, regkern as rk
    >>> w = [np.array([1.0, -0.005])]
    >>> rk.optim.Lion(w, lr=0.1, l1=0.5).step([np.array([2.0, 0.0])])
    True
    >>> w
    [array([0.85, 0.  ])]
    """

    _rule = "lion_step"
    _STATES = ("exp_avg",)

    def __init__(
        self,
        params: Params,
        *,
        lr: Rate = 1e-4,
        betas: tuple[Real, Real] = (0.9, 0.99),
        weight_decay: Real = 0.0,
        decoupled: bool = True,
        maximize: bool = False,
        l1: Real = 0.0,
        penalty: Penalty | None = None,
        **shared: Unpack[Shared],
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "decoupled": decoupled,
            "maximize": maximize,
            "l1": l1,
            "penalty": penalty,
        }
        super().__init__(params, options, shared)
