"""Normalization as others define it: ONNX's operators, by its reference evaluator, and torch, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import regkern as rk

SHAPES = [(40, 6), (5, 6, 7), (4, 6, 5, 5), (3, 6, 2, 3, 4)]


def close(got: np.ndarray, expected: Any, *terms: Any, roundings: float = 32) -> None:
    """``reduction`` class on both sides, which add in different orders: eps times the size of the terms."""
    expected = expected.detach().numpy() if hasattr(expected, "detach") else np.asarray(expected)
    assert got.dtype == expected.dtype
    largest = max((float(np.max(np.abs(np.asarray(t)))) for t in terms), default=1.0)
    atol = roundings * float(np.finfo(got.dtype).eps) * max(1.0, largest)
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol)


def draw(shape: tuple[int, ...], dtype: type, rng: np.random.Generator, mean: float = 0.5) -> np.ndarray:
    return (mean + 2 * rng.standard_normal(shape)).astype(dtype)


# --- ONNX ---


def onnx_run(
    operator: str, opset: int, inputs: dict[str, np.ndarray], outputs: int = 1, **attributes: Any
) -> list[Any]:
    """A model of one node, evaluated."""
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    if onnx.defs.onnx_opset_version() < opset:
        pytest.skip(f"the installed onnx knows opset {onnx.defs.onnx_opset_version()}, {operator} needs {opset}")
    helper = onnx.helper
    x = inputs["x"]
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    names = [f"out{i}" for i in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node(operator, list(inputs), names, **attributes)],
        operator,
        [helper.make_tensor_value_info(name, kind, a.shape) for name, a in inputs.items()],
        [
            helper.make_tensor_value_info(name, kind, x.shape if i == 0 else x.shape[1:2])
            for i, name in enumerate(names)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    onnx.checker.check_model(model)
    return reference.ReferenceEvaluator(model).run(None, inputs)


@pytest.mark.parametrize("momentum", [0.9, 0.6, 0.0, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_onnx_batch_normalization(
    shape: tuple[int, ...], momentum: float, dtype: type, rng: np.random.Generator
) -> None:
    """Their momentum weighs the old statistics, and their running variance is the biased one."""
    x, (gamma, beta, mean) = draw(shape, dtype, rng), draw((3, 6), dtype, rng)
    var = (1 + rng.random(6)).astype(dtype)
    inputs = {"x": x, "scale": gamma, "bias": beta, "mean": mean, "var": var}
    (expected,) = onnx_run("BatchNormalization", 15, inputs, epsilon=1e-3)
    got, _ = rk.batch_norm(
        x, gamma=gamma, beta=beta, running_mean=mean, running_var=var, training=False, eps=float(np.float32(1e-3))
    )
    terms = np.abs(gamma).max() * (np.abs(x).max() + np.abs(mean).max()) + np.abs(beta).max()
    close(got, expected, terms)

    expected, running_mean, running_var = onnx_run(
        "BatchNormalization", 15, inputs, outputs=3, training_mode=1, momentum=momentum
    )
    layer = rk.BatchNorm.preset(
        "onnx", 6, momentum=1 - float(np.float32(momentum)), eps=float(np.float32(1e-5)), dtype=dtype
    )
    layer.load_state_dict(
        {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": var, "num_batches_tracked": 0}
    )
    close(layer.forward(x), expected, terms)
    close(layer.running_mean, running_mean, x)
    close(layer.running_var, running_var, np.square(x))


def test_onnx_defaults_are_those_of_the_preset(dtype: type, rng: np.random.Generator) -> None:
    x, (gamma, beta, mean) = draw((5, 6, 7), dtype, rng), draw((3, 6), dtype, rng)
    inputs = {"x": x, "scale": gamma, "bias": beta, "mean": mean, "var": np.ones(6, dtype)}
    _, running_mean, running_var = onnx_run("BatchNormalization", 15, inputs, outputs=3, training_mode=1)
    layer = rk.BatchNorm.preset("onnx", 6, dtype=dtype)
    layer.running_mean[...] = mean
    layer.forward(x)
    # 0.9 is stored in float32, which is what their 1 − momentum is taken of
    tolerance = 4 * np.finfo(np.float32).eps
    np.testing.assert_allclose(layer.running_mean, running_mean, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(layer.running_var, running_var, rtol=tolerance)


@pytest.mark.parametrize("axis", [-1, -2, 1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_onnx_layer_normalization(axis: int, bias: bool, dtype: type, rng: np.random.Generator) -> None:
    x = draw((4, 6, 5, 3), dtype, rng)
    inputs = {"x": x, "scale": draw(x.shape[axis:], dtype, rng)}
    if bias:
        inputs["b"] = draw(x.shape[axis:], dtype, rng)
    (expected,) = onnx_run("LayerNormalization", 17, inputs, axis=axis, epsilon=1e-2)
    got, _ = rk.layer_norm(x, inputs["scale"], inputs.get("b"), axis=axis, eps=float(np.float32(1e-2)))
    close(got, expected, np.abs(expected) + np.abs(inputs["scale"]).max() * 5)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_onnx_group_normalization(shape: tuple[int, ...], groups: int, dtype: type, rng: np.random.Generator) -> None:
    x, (gamma, beta) = draw(shape, dtype, rng), draw((2, 6), dtype, rng)
    options = {"num_groups": groups, "epsilon": 1e-3, "stash_type": {np.float32: 1, np.float64: 11}[dtype]}
    (expected,) = onnx_run("GroupNormalization", 21, {"x": x, "scale": gamma, "bias": beta}, **options)
    got, _ = rk.group_norm(x, groups, gamma, beta, eps=float(np.float32(1e-3)))
    close(got, expected, np.abs(expected) + np.abs(gamma).max() * 5)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_onnx_instance_normalization(shape: tuple[int, ...], dtype: type, rng: np.random.Generator) -> None:
    x, (gamma, beta) = draw(shape, dtype, rng), draw((2, 6), dtype, rng)
    (expected,) = onnx_run("InstanceNormalization", 22, {"x": x, "scale": gamma, "bias": beta}, epsilon=1e-3)
    got, _ = rk.instance_norm(x, gamma=gamma, beta=beta, eps=float(np.float32(1e-3)))
    close(got, expected, np.abs(expected) + np.abs(gamma).max() * 5)


@pytest.mark.parametrize("axis", [-1, -2, 1])
def test_onnx_rms_normalization(axis: int, dtype: type, rng: np.random.Generator) -> None:
    x = draw((4, 6, 5, 3), dtype, rng)
    scale = draw(x.shape[axis:], dtype, rng)
    (expected,) = onnx_run("RMSNormalization", 23, {"x": x, "scale": scale}, axis=axis, epsilon=1e-2)
    got, _ = rk.rms_norm(x, scale, axis=axis, eps=float(np.float32(1e-2)))
    close(got, expected, np.abs(expected) + np.abs(scale).max())


# --- torch ---


@pytest.fixture(scope="module")
def torch() -> Iterator[Any]:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(before)


def leaves(torch: Any, *arrays: np.ndarray | None) -> list[Any]:
    return [None if a is None else torch.tensor(a, requires_grad=True) for a in arrays]


def compare_gradients(
    torch: Any, expected: Any, tensors: list[Any], got: tuple[np.ndarray, ...], dy: np.ndarray
) -> None:
    """Sums over the batch have terms of size |dy|·|x̂|."""
    wanted = torch.autograd.grad(expected, [t for t in tensors if t is not None], torch.tensor(dy))
    mine = [g for g, t in zip(got, tensors, strict=False) if t is not None]
    for one, two in zip(mine, wanted, strict=True):
        close(one, two, 4 * np.abs(dy).sum() / (1 if one.shape == dy.shape else one.size), 32 * np.abs(dy).max())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": 0.0}, {"momentum": 1.0, "eps": 0.1}, {"running": False}, {"training": False}],
    ids=["defaults", "momentum 0", "momentum 1", "no running statistics", "inference"],
)
def test_torch_batch_norm(
    torch: Any, shape: tuple[int, ...], affine: bool, options: dict[str, Any], dtype: type, rng: np.random.Generator
) -> None:
    options = {"training": True} | options
    x, dy = draw(shape, dtype, rng), rng.standard_normal(shape).astype(dtype)
    gamma, beta = draw((2, 6), dtype, rng) if affine else (None, None)
    mean, var = draw((6,), dtype, rng), (1 + rng.random(6)).astype(dtype)
    if not options.pop("running", True):
        mean = var = None
    t_mean, t_var = (None if a is None else torch.tensor(a) for a in (mean, var))
    tensors = leaves(torch, x, gamma, beta)
    expected = torch.nn.functional.batch_norm(tensors[0], t_mean, t_var, *tensors[1:], **options)
    y, cache = rk.batch_norm(x, gamma=gamma, beta=beta, running_mean=mean, running_var=var, **options)
    close(y, expected, 16 * np.abs(gamma).max() if affine else 16)
    if mean is not None:
        close(mean, t_mean, x)
        close(var, t_var, np.square(x))
    compare_gradients(torch, expected, tensors, rk.batch_norm_backward(dy, cache), dy)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["train", "infer"])
@pytest.mark.parametrize("activation", [None, "relu", "leaky_relu"])
def test_torch_residual_and_activation(
    torch: Any, shape: tuple[int, ...], training: bool, activation: str | None, dtype: type, rng: np.random.Generator
) -> None:
    F = torch.nn.functional
    x, residual, dy = (draw(shape, dtype, rng) for _ in range(3))
    gamma, beta = draw((2, 6), dtype, rng)
    mean, var = draw((6,), dtype, rng), (1 + rng.random(6)).astype(dtype)
    statistics = {"running_mean": mean.copy(), "running_var": var.copy(), "training": training}
    v = rk.batch_norm(x, gamma=gamma, beta=beta, **statistics)[0] + residual
    residual += np.where(np.abs(v) < 1e-3, dtype(0.1), dtype(0))  # rounding must not choose the side
    functions = {None: lambda t: t, "relu": torch.relu, "leaky_relu": lambda t: F.leaky_relu(t, 0.2)}
    tensors = leaves(torch, x, gamma, beta, residual)
    normalized = F.batch_norm(tensors[0], torch.tensor(mean), torch.tensor(var), *tensors[1:3], training=training)
    expected = functions[activation](normalized + tensors[3])
    statistics = {"running_mean": mean.copy(), "running_var": var.copy(), "training": training}
    options = {"residual": residual, "activation": activation, "negative_slope": 0.2}
    y, cache = rk.batch_norm(x, gamma=gamma, beta=beta, **statistics, **options)
    close(y, expected, 16 * np.abs(gamma).max() + np.abs(residual).max())
    compare_gradients(torch, expected, tensors, rk.batch_norm_backward(dy, cache), dy)


@pytest.mark.parametrize("step", [3, 4, 8, 100])
def test_torch_on_slices_is_a_virtual_batch(torch: Any, step: int, dtype: type, rng: np.random.Generator) -> None:
    x, dy = draw((10, 6, 5, 4), dtype, rng), rng.standard_normal((10, 6, 5, 4)).astype(dtype)
    module = torch.nn.BatchNorm2d(6, momentum=0.3, dtype=getattr(torch, np.dtype(dtype).name))
    (tensor,) = leaves(torch, x)
    expected = torch.cat([torch.relu(module(part)) for part in tensor.split(step)])
    layer = rk.BatchNorm(6, momentum=0.3, virtual_batch_size=step, activation="relu", dtype=dtype)
    close(layer.forward(x), expected, 16)
    close(layer.running_mean, module.running_mean, x)
    close(layer.running_var, module.running_var, np.square(x))
    dx = layer.backward(dy)
    tensors = [tensor, module.weight, module.bias]
    compare_gradients(torch, expected, tensors, (dx, layer.dgamma, layer.dbeta), dy)


@pytest.mark.parametrize("momentum", [None, 0.1, 0.7])
@pytest.mark.parametrize("affine", [True, False])
def test_torch_modules_over_several_batches(
    torch: Any, momentum: float | None, affine: bool, dtype: type, rng: np.random.Generator
) -> None:
    """Running statistics after each batch, None being the cumulative average; then inference; states both ways."""
    kind = getattr(torch, np.dtype(dtype).name)
    theirs = torch.nn.BatchNorm2d(6, momentum=momentum, affine=affine, dtype=kind)
    ours = rk.BatchNorm(6, momentum=momentum, affine=affine, dtype=dtype)
    if affine:
        with torch.no_grad():
            theirs.weight.copy_(torch.tensor(draw((6,), dtype, rng)))
            theirs.bias.copy_(torch.tensor(draw((6,), dtype, rng)))
        ours.gamma[...], ours.beta[...] = theirs.weight.detach().numpy(), theirs.bias.detach().numpy()
    for n in (4, 1, 7, 2):
        x = draw((n, 6, 5, 3), dtype, rng)
        close(ours.forward(x), theirs(torch.tensor(x)), 32)
        close(ours.running_mean, theirs.running_mean, x)
        close(ours.running_var, theirs.running_var, np.square(x))
    state = {name: t.numpy() for name, t in theirs.state_dict().items()}
    assert set(state) == set(ours.state_dict())
    assert int(state["num_batches_tracked"]) == ours.num_batches_tracked == 4
    other = rk.BatchNorm(6, momentum=momentum, affine=affine, dtype=dtype)
    other.load_state_dict(state)
    assert other.num_batches_tracked == 4
    theirs.eval()
    close(other.forward(x, training=False), theirs(torch.tensor(x)), 32)
    theirs.load_state_dict({name: torch.as_tensor(a) for name, a in ours.state_dict().items()})
    close(ours.forward(x, training=False), theirs(torch.tensor(x)), 32)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("affine", ["both", "weight", "none"])
def test_torch_layer_norm(torch: Any, axes: int, affine: str, dtype: type, rng: np.random.Generator) -> None:
    x, dy = draw((4, 6, 5, 3), dtype, rng), rng.standard_normal((4, 6, 5, 3)).astype(dtype)
    gamma = None if affine == "none" else draw(x.shape[-axes:], dtype, rng)
    beta = draw(x.shape[-axes:], dtype, rng) if affine == "both" else None
    tensors = leaves(torch, x, gamma, beta)
    expected = torch.nn.functional.layer_norm(tensors[0], x.shape[-axes:], *tensors[1:], eps=1e-3)
    y, cache = rk.layer_norm(x, gamma, beta, axis=-axes, eps=1e-3)
    close(y, expected, 16 * np.abs(expected.detach().numpy()).max())
    compare_gradients(torch, expected, tensors, rk.layer_norm_backward(dy, cache), dy)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("eps", [None, 1e-3])
@pytest.mark.parametrize("affine", [True, False])
def test_torch_rms_norm(
    torch: Any, axes: int, eps: float | None, affine: bool, dtype: type, rng: np.random.Generator
) -> None:
    x, dy = draw((4, 6, 5, 3), dtype, rng), rng.standard_normal((4, 6, 5, 3)).astype(dtype)
    gamma = draw(x.shape[-axes:], dtype, rng) if affine else None
    tensors = leaves(torch, x, gamma)
    expected = torch.nn.functional.rms_norm(tensors[0], x.shape[-axes:], tensors[1], eps=eps)
    y, cache = rk.rms_norm(x, gamma, axis=-axes, eps=eps)
    close(y, expected, 16 * np.abs(expected.detach().numpy()).max())
    compare_gradients(torch, expected, tensors, rk.rms_norm_backward(dy, cache), dy)


@pytest.mark.parametrize("groups", [1, 2, 3, 6, None], ids=lambda g: "instance" if g is None else f"{g} groups")
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_torch_group_and_instance_norm(
    torch: Any, groups: int | None, affine: bool, shape: tuple[int, ...], dtype: type, rng: np.random.Generator
) -> None:
    x, dy = draw(shape, dtype, rng), rng.standard_normal(shape).astype(dtype)
    gamma, beta = draw((2, 6), dtype, rng) if affine else (None, None)
    tensors = leaves(torch, x, gamma, beta)
    if groups is None:
        expected = torch.nn.functional.instance_norm(tensors[0], weight=tensors[1], bias=tensors[2], eps=1e-3)
        y, cache = rk.instance_norm(x, gamma=gamma, beta=beta, eps=1e-3)
        gradients = rk.instance_norm_backward(dy, cache)
    else:
        expected = torch.nn.functional.group_norm(tensors[0], groups, *tensors[1:], eps=1e-3)
        y, cache = rk.group_norm(x, groups, gamma, beta, eps=1e-3)
        gradients = rk.group_norm_backward(dy, cache)
    close(y, expected, 16 * np.abs(expected.detach().numpy()).max())
    compare_gradients(torch, expected, tensors, gradients, dy)


def test_torch_states_load(torch: Any, dtype: type, rng: np.random.Generator) -> None:
    kind = getattr(torch, np.dtype(dtype).name)
    x = draw((4, 6, 5, 3), dtype, rng)
    for theirs, ours in (
        (torch.nn.LayerNorm((5, 3), dtype=kind), rk.LayerNorm((5, 3), dtype=dtype)),
        (torch.nn.LayerNorm(3, bias=False, dtype=kind), rk.LayerNorm(3, bias=False, dtype=dtype)),
        (torch.nn.LayerNorm(3, elementwise_affine=False), rk.LayerNorm(3, elementwise_affine=False)),
        (torch.nn.RMSNorm((5, 3), dtype=kind), rk.RMSNorm((5, 3), dtype=dtype)),
        (torch.nn.GroupNorm(2, 6, dtype=kind), rk.GroupNorm(2, 6, dtype=dtype)),
        (torch.nn.InstanceNorm2d(6, affine=True, dtype=kind), rk.InstanceNorm(6, affine=True, dtype=dtype)),
        (torch.nn.InstanceNorm2d(6), rk.InstanceNorm(6)),
    ):
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.normal_()
        ours.load_state_dict({name: t.numpy() for name, t in theirs.state_dict().items()})
        assert {name: a.shape for name, a in ours.state_dict().items()} == {
            name: tuple(t.shape) for name, t in theirs.state_dict().items()
        }
        expected = theirs(torch.tensor(x))
        close(ours.forward(x), expected, 16 * np.abs(expected.detach().numpy()).max())


def test_torch_states_without_running_statistics_or_count(torch: Any, rng: np.random.Generator) -> None:
    x = draw((4, 6, 5, 3), np.float32, rng)
    theirs = torch.nn.BatchNorm2d(6, track_running_stats=False)
    ours = rk.BatchNorm(6, track_running_stats=False)
    with torch.no_grad():
        theirs.weight.normal_()
    ours.load_state_dict({name: t.numpy() for name, t in theirs.state_dict().items()})
    for training in (True, False):
        close(ours.forward(x, training=training), theirs.train(training)(torch.tensor(x)), 32)
    assert set(ours.state_dict()) == set(theirs.state_dict())

    theirs, ours = torch.nn.BatchNorm2d(6), rk.BatchNorm(6)
    theirs(torch.tensor(x))
    ours.forward(x)
    ours.forward(x)
    old = {name: t.numpy() for name, t in theirs.state_dict().items() if name != "num_batches_tracked"}
    ours.load_state_dict(old)
    assert ours.num_batches_tracked == 2
    close(ours.forward(x, training=False), theirs.eval()(torch.tensor(x)), 32)

    theirs, ours = torch.nn.InstanceNorm2d(6, affine=True, track_running_stats=True), rk.BatchNorm(6)
    theirs(torch.tensor(x))
    ours.load_state_dict({name: t.numpy() for name, t in theirs.state_dict().items()})
    close(ours.forward(x, training=False), theirs.eval()(torch.tensor(x)), 32)


def test_torch_residuals_in_layers(torch: Any, dtype: type, rng: np.random.Generator) -> None:
    x, residual, dy = (draw((4, 5, 6), dtype, rng) for _ in range(3))
    kind = getattr(torch, np.dtype(dtype).name)
    for theirs, ours in (
        (torch.nn.LayerNorm(6, dtype=kind), rk.LayerNorm(6, dtype=dtype)),
        (torch.nn.RMSNorm(6, dtype=kind), rk.RMSNorm(6, dtype=dtype)),
    ):
        tensors = leaves(torch, x, residual)
        expected = theirs(tensors[0] + tensors[1])
        close(ours.forward(x, residual=residual), expected, 16 * np.abs(expected.detach().numpy()).max())
        compare_gradients(torch, expected, tensors, (ours.backward(dy), ours.dresidual), dy)
