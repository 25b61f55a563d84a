"""What the docstrings of optimizers have in common."""

from __future__ import annotations

import inspect

# "<name>" in a line of its own stands for one of these.
TEXTS = {
    "params": """
        params : list of ndarray, dict of ndarray, or list of groups
            The weights, changed in place; float32 or float64, of any strides, no two sharing memory. A group is a dict
            with "params", a list or dict of arrays, and any of the options that differ from the optimizer's own.
        """,
    "decay": """
        weight_decay : float, >= 0, default 0
            Strength of the L2 penalty ``weight_decay/2·‖w‖²``.
        decoupled : bool, default False
            Take the decay off the weights instead of adding it to the gradient.
        """,
    "maximize": """
        maximize : bool, default False
            Climb: the gradient's sign is turned.
        """,
    "l1": """
        l1 : float, >= 0, default 0
            Strength of the L1 penalty ``l1·‖w‖₁``. Acts through its proximal operator and makes exact zeros, +0.0.
        """,
    "weakened l1": """
        l1 : float, >= 0, default 0
            Strength of the L1 penalty ``l1·‖w‖₁``. Acts through its proximal operator and makes exact zeros, +0.0. With
            momentum it acts as (1 − momentum)·l1: see the notes.
        """,
    "metric": """
        metric : {"euclidean", "diag"}, default "euclidean"
            The metric of the proximal step. "euclidean" takes lr·l1 off every weight; "diag" takes lr·l1/r, the exact
            proximal operator in the metric of the step, so that the fixed point minimizes loss + penalty.
        """,
    "penalty": """
        penalty : penalty of :mod:`regkern.penalties`, optional
            ``L1``, ``SquaredL2`` and ``ElasticNet`` are the same as l1, weight_decay and both, in the pass of the step;
            l1 must be 0 then, a weight_decay is added. Of any other, the proximal operator with step size lr follows the
            step, array by array and in the Euclidean metric.
        """,
    "shared": """
        no_decay : collection of names or positions, or callable, optional
            Which arrays no penalty touches, neither weight_decay nor l1 nor penalty: those named, or those for which
            ``no_decay(key, array)`` is true. ``lambda key, w: w.ndim < 2`` means biases and norm parameters. An array's
            key is its name in a dict, else its position among all arrays.
        max_grad_norm : float, >= 0, optional
            Clip: where the norm of all gradients together is larger, they are scaled by max_grad_norm / (norm + 1e-6),
            as in torch; a norm of NaN makes all of them NaN. Costs one more pass over the gradients.
        skip_nonfinite : bool, default False
            A step whose gradients hold a NaN or an Inf is not taken and changes nothing. Costs the same pass.
        collect : bool, default False
            Fill ``stats`` in each step.
        """,
    "raises": """
        Raises
        ------
        TypeError
            If a weight is not an ndarray of float32 or float64, or an option is not of its kind.
        ValueError
            If an option is unknown or out of range, if arrays share memory or cannot be written, or if a penalty does
            not fit an array.
        """,
    "saved": """
        A decoupled decay below lr·weight_decay = 2**-21 in float32, 2**-50 in float64, is saved up for each array until it
        is as large, and then added to one step: taken bit by bit it would never move a weight that nothing else moves.
        """,
    "groups": """
        All options but no_decay, max_grad_norm, skip_nonfinite and collect may differ by group. Attributes, ``step``,
        ``add_param_group`` and ``state_dict`` are those of ``Optimizer``.
        """,
}


def filled_in(text: str | None) -> str:
    """A docstring with its "<name>" lines replaced by what they stand for."""
    lines = []
    for line in inspect.cleandoc(text or "").splitlines():
        name = line.strip()[1:-1]
        known = line.strip() == f"<{name}>" and name in TEXTS
        lines += inspect.cleandoc(TEXTS[name]).splitlines() if known else [line]
    return "\n".join(lines) + "\n"
