"""Half precision in optimizer steps: gradients beside float32 weights, and weights rounded in the pass of the step."""

from __future__ import annotations

import pickle
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import regkern as rk
import regkern.reference as ref
from comparing import assert_same_bits

HALVES = [np.float16, pytest.importorskip("ml_dtypes").bfloat16]
MODULES = pytest.mark.parametrize("module", [rk, ref])
STEPS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "sgd": (("buffer",), {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    "adam": (("exp_avg", "exp_avg_sq"), {"lr": 0.1, "step": 3, "l1": 0.5, "weight_decay": 0.1, "decoupled": True}),
    "adagrad": (("square_sum",), {"lr": 0.1, "l1": 0.5, "metric": "diag"}),
    "rmsprop": (("square_avg", "grad_avg", "buffer"), {"lr": 0.1, "momentum": 0.5, "maximize": True}),
    "ftrl": (("z", "n"), {"lr": 0.1, "l1": 0.5}),
    "lion": (("exp_avg",), {"lr": 0.1}),
}
OPTIMIZERS = ["SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "FTRL", "Lion"]


@pytest.fixture(params=HALVES, ids=["float16", "bfloat16"])
def half(request: pytest.FixtureRequest) -> type:
    return request.param


def bits(x: np.ndarray, half: type) -> np.ndarray:
    """Numbers that float32 has, rounded to half precision, NaN all alike."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = x.astype(half)
    return np.where(np.isnan(rounded.astype(np.float32)), np.uint16(0x7FFF), rounded.view(np.uint16))


def edges(rng: np.random.Generator, n: int) -> np.ndarray:
    """Numbers of all sizes that half precision meets: normal, subnormal, halfway, too large, Inf, NaN."""
    x = rng.standard_normal(n) * 2.0 ** rng.integers(-30, 20, n)
    special = [
        np.nan,
        np.inf,
        -np.inf,
        65504,
        65520,
        -65536,
        3.4e38,
        -3.4e38,
        1 + 2**-8,
        1 + 3 * 2**-8,
        1 + 2**-11,
        6e-8,
    ]
    x[: len(special)] = special[:n]
    return rng.permutation(x).astype(np.float32)


def strided(x: np.ndarray, layout: str) -> np.ndarray:
    """The same numbers in memory of another kind."""
    if layout == "dense":
        return x.copy()
    if layout == "Fortran":
        return np.asfortranarray(x)
    room = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::-2] if layout == "gaps" else None
    if room is None:  # an odd address
        room = np.frombuffer(bytearray(x.nbytes + 1), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    room[...] = x
    return room


@pytest.mark.parametrize("rule", STEPS)
@pytest.mark.parametrize("layout", ["dense", "Fortran", "gaps", "odd"])
@pytest.mark.parametrize("shape", [(3, 5), (37, 129), (1, 1), (0, 4)])
def test_steps_are_those_of_float32(
    isa: str, rule: str, layout: str, shape: tuple[int, ...], half: type, rng: np.random.Generator
) -> None:
    """The bits of a step with the gradient widened before it; ``rounded`` gets the weights, rounded once."""
    del isa
    names, options = STEPS[rule]
    n = int(np.prod(shape))
    with np.errstate(over="ignore"):
        grad = edges(rng, n).reshape(shape).astype(half)
    w = edges(rng, n).reshape(shape)
    arrays = {name: np.abs(rng.standard_normal(shape)).astype(np.float32) for name in names}
    expected, states = w.copy(), {name: a.copy() for name, a in arrays.items()}
    with np.errstate(all="ignore"):
        getattr(ref, f"{rule}_step")(expected, grad.astype(np.float32), **states, **options)
    got, rounded = strided(w, layout), strided(np.zeros(shape, half), layout)
    getattr(rk, f"{rule}_step")(got, strided(grad, layout), **arrays, **options, rounded=rounded)
    assert_same_bits(got, expected)
    for name in names:
        assert_same_bits(arrays[name], states[name], name)
    np.testing.assert_array_equal(bits(rounded, half), bits(expected, half))
    twin, twin_rounded = w.copy(), np.zeros(shape, half)
    twin_states = {name: np.abs(a) for name, a in states.items()}
    with np.errstate(all="ignore"):
        getattr(ref, f"{rule}_step")(twin, grad, **twin_states, **options, rounded=twin_rounded)
    np.testing.assert_array_equal(bits(twin_rounded, half), bits(twin, half))


@MODULES
@pytest.mark.parametrize("rule", STEPS)
@pytest.mark.parametrize("lr", [0.0, 0.1])
def test_what_is_in_an_output_is_not_read(
    module: ModuleType, rule: str, lr: float, half: type, rng: np.random.Generator
) -> None:
    """Weights are what they are; what was written to ``rounded`` since the last step goes, whatever its bits."""
    names, options = STEPS[rule]
    n = 1003
    w, grad = rng.standard_normal(n).astype(np.float32), rng.standard_normal(n).astype(half)
    results = []
    for fill in (0, 0x7FFF, 0x3C01):
        own, rounded = w.copy(), np.full(n, fill, np.uint16).view(half)
        states = {name: np.ones(n, np.float32) for name in names}
        getattr(module, f"{rule}_step")(own, grad, **states, **{**options, "lr": lr}, rounded=rounded)
        results.append((own, bits(rounded, half)))
        np.testing.assert_array_equal(bits(own, half), bits(rounded, half))
    for own, halved in results[1:]:
        assert_same_bits(own, results[0][0])
        np.testing.assert_array_equal(halved, results[0][1])


def halves_of(arrays: list[np.ndarray], half: type) -> list[np.ndarray]:
    return [a.astype(half) for a in arrays]


@MODULES
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    "options",
    [{}, {"collect": True}, {"max_grad_norm": 0.5}, {"penalty": rk.penalties.L1(0.1)}],
    ids=["plain", "collect", "clip", "penalty"],
)
def test_optimizers_round_what_they_step(
    module: ModuleType, name: str, options: dict[str, Any], half: type, rng: np.random.Generator
) -> None:
    """The weights of an optimizer whose gradients were widened before each step."""
    shapes = [(3, 5), (), (40, 33), (2049,)]
    w = [np.asarray(rng.standard_normal(s), np.float32) for s in shapes]
    masters, rounded = [a.copy() for a in w], halves_of(w, half)
    rounded[2] = np.asfortranarray(rounded[2])
    kind = getattr(module.optim, name)
    one, other = kind(masters, rounded=[*rounded[:3], None], **options), kind(w, **options)
    for k in range(3):
        grads = halves_of([np.asarray(rng.standard_normal(s), np.float32) for s in shapes], half)
        given: list[Any] = [None if (k, i) == (1, 0) else g for i, g in enumerate(grads)]
        before = rounded[0].copy()
        assert one.step(given)
        assert other.step([g if g is None else g.astype(np.float32) for g in given])
        if k == 1:
            np.testing.assert_array_equal(bits(rounded[0], half), bits(before, half))
    for i, (a, b) in enumerate(zip(masters, w, strict=True)):
        assert_same_bits(a, b, i)
        if i < 3:
            np.testing.assert_array_equal(bits(rounded[i], half), bits(b, half))
    assert one.grad_norm == other.grad_norm
    assert one.stats == other.stats


@pytest.mark.parametrize("weighted", [False, True], ids=["all", "one without a gradient"])
def test_operators_behind_a_step_come_before_the_rounding(weighted: bool, half: type, rng: np.random.Generator) -> None:
    w = [rng.standard_normal((4, 6)).astype(np.float32) for _ in range(2)]
    rounded = halves_of(w, half)
    optimizer = rk.optim.SGD(w, lr=0.5, penalty=rk.penalties.GroupL2(0.9, axis=1), rounded=rounded, collect=True)
    before = [a.copy() for a in rounded]
    optimizer.step([np.zeros((4, 6), half), None if weighted else np.zeros((4, 6), half)])
    for i in range(2):
        np.testing.assert_array_equal(bits(rounded[i], half), bits(before[i] if weighted and i else w[i], half))
    assert np.any(w[0] == 0) or optimizer.stats is not None


def test_steps_that_are_skipped_round_nothing(half: type) -> None:
    w, rounded = [np.ones(3, np.float32)], [np.zeros(3, half)]
    optimizer = rk.optim.Adam(w, skip_nonfinite=True, rounded=rounded)
    assert not optimizer.step([np.array([1.0, np.inf, 0.0]).astype(half)])
    np.testing.assert_array_equal(bits(rounded[0], half), bits(np.zeros(3), half))


def test_threads_change_no_bit(half: type, rng: np.random.Generator) -> None:
    w = [rng.standard_normal(n).astype(np.float32) for n in (70_001, 3, 50_000)]
    g = halves_of(w, half)
    results = []
    for threads in (1, 4):
        masters, rounded = [a.copy() for a in w], halves_of(w, half)
        with rk.threads(threads):
            rk.optim.AdamW(masters, lr=0.1, rounded=rounded, max_grad_norm=1.0).step(g)
        results.append([*masters, *(r.view(np.uint16) for r in rounded)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a.view("u2"), b.view("u2"))


@MODULES
def test_decay_of_halves(module: ModuleType, half: type, rng: np.random.Generator) -> None:
    """The product of float32, rounded once."""
    w = edges(rng, 3000)
    with np.errstate(over="ignore"):
        w = w.astype(half)
    expected = bits(ref.l2_decay(w.astype(np.float32), 0.3), half)
    np.testing.assert_array_equal(bits(module.l2_decay(w, 0.3), half), expected)
    out = np.zeros((3000, 2), half)[:, 1]
    assert module.l2_decay(w, 0.3, out=out) is out
    np.testing.assert_array_equal(bits(out, half), expected)


@MODULES
def test_groups_and_names(module: ModuleType, half: type) -> None:
    """Arrays to round to by the names of their masters, and of a group that comes later; copies have their own."""
    a, b, c = (np.ones(2, np.float32) for _ in range(3))
    ra, rc = np.zeros(2, half), np.zeros(2, half)
    optimizer = module.optim.SGD({"a": a, "b": b}, lr=0.5, rounded={"a": ra})
    optimizer.add_param_group({"params": {"c": c}}, rounded=[rc])
    grads = {name: np.ones(2, half) for name in "abc"}
    optimizer.step(grads)
    copy = pickle.loads(pickle.dumps(optimizer))
    copy.step(grads)
    assert [ra[0], rc[0], b[0]] == [0.5, 0.5, 0.5]
    optimizer.step(grads)
    assert ra[0] == 0


@MODULES
def test_a_state_rounds_the_weights_anew(module: ModuleType, half: type) -> None:
    """They come first: what is rounded is what stands there when the state is taken up."""
    w, plain = np.full(3, 0.1, np.float32), np.ones(2)
    r = np.zeros(6, half)[::-2]
    optimizer = module.optim.SGD({"w": w, "plain": plain}, momentum=0.9, rounded={"w": r})
    state = optimizer.state_dict()
    with pytest.raises(ValueError, match="states must be"):
        optimizer.load_state_dict({**state, "states": {}})
    np.testing.assert_array_equal(bits(r, half), bits(np.zeros(3), half))
    w[:] = [1e6, 1 + 2**-12, np.nan]
    optimizer.load_state_dict(state)
    np.testing.assert_array_equal(bits(r, half), bits(w, half))


@MODULES
def test_refusals(module: ModuleType, half: type) -> None:
    name = np.dtype(half).name
    w, wide, r = np.ones(3, np.float32), np.ones(3), np.ones(3, half)
    wrong: list[tuple[type[Exception], str, Any, Any]] = [
        (TypeError, r"rounded\[0\] must be bfloat16 or float16, got float32", [w], [np.ones(3, np.float32)]),
        (TypeError, r"params\[0\] must be float32 beside rounded\[0\], got float64", [wide], [r]),
        (ValueError, r"rounded\[0\] must have shape \(3,\), got \(2,\)", [w], [r[:2]]),
        (TypeError, r"rounded\[0\] must be an ndarray, got list", [w], [[1.0, 2.0, 3.0]]),
        (ValueError, "rounded must hold 1 arrays, got 2", [w], [r, None]),
        (TypeError, r"rounded must be a list or dict of arrays, got an ndarray: write \[r\]$", [w], r),
        (ValueError, "rounded must name parameters, got 'b'", {"a": w}, {"b": r}),
        (TypeError, rf"params\[0\] must be float32 or float64, got {name}", [r], None),
        (ValueError, r"rounded\[1\] must not overlap rounded\[0\]", [w, w.copy()], [r, r]),
    ]
    for error, message, params, rounded in wrong:
        with pytest.raises(error, match=f"^Adam: {message}"):
            module.optim.Adam(params, rounded=rounded)
    frozen = np.ones(3, half)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match=r"^Adam: rounded\[0\] must be writable"):
        module.optim.Adam([w], rounded=[frozen])
    with pytest.raises(TypeError, match=rf"^Adam: grads\[0\] must be float64 like the data, got {name}"):
        module.optim.Adam([wide]).step([r])
    optimizer = module.optim.Adam([w], rounded=[r])
    with pytest.raises(ValueError, match=r"^Adam: rounded\[0\] must not overlap grads\[0\]"):
        optimizer.step([r])
    assert w[0] == r[0] == 1


def test_refusals_of_functions(half: type) -> None:
    name = np.dtype(half).name
    w, r = np.ones(3, np.float32), np.ones(3, half)
    wrong: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (TypeError, "rounded must be bfloat16 or float16, got float32", {"rounded": w.copy()}),
        (TypeError, "w must be float32 beside rounded, got float64", {"w": np.ones(3), "rounded": r}),
        (TypeError, f"w must be float32 or float64, got {name}", {"w": r}),
        (TypeError, f"grad must be float64 like the data, got {name}", {"w": np.ones(3), "grad": r}),
        (ValueError, "rounded must not overlap grad", {"grad": r, "rounded": r}),
        (ValueError, r"rounded must have shape \(3,\)", {"rounded": r[:2]}),
        (TypeError, f"buffer must be float32 or float64, got {name}", {"buffer": r}),
    ]
    for error, message, changes in wrong:
        with pytest.raises(error, match=f"^sgd_step: {message}"):
            rk.sgd_step(**{"w": w, "grad": np.ones_like(changes.get("w", w)), "lr": 0.1, **changes})
    assert w[0] == r[0] == 1
