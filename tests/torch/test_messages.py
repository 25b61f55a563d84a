"""Every function, called with every argument wrong in many ways: what it says has its name and those of torch's arguments."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import regkern.torch.functional as F

X = torch.linspace(-2, 2, 120).view(4, 6, 5)
GOOD: dict[str, Any] = {
    "input": X,
    "normalized_shape": (5,),
    "num_groups": 3,
    "threshold": 0.5,
    "group_threshold": 0.5,
    "shrink": 0.5,
    "lower": -1.0,
    "upper": 1.0,
    "block_size": 2,
    "bias": None,
    "residual": None,
    "p": 0.5,
    "training": True,
    "running_mean": torch.zeros(6),
    "running_var": torch.ones(6),
}
OF: dict[str, dict[str, Any]] = {
    "drop_block2d": {"input": X[None]},
    "dropout2d": {"input": X[None]},
    "dropout3d": {"input": X[None]},
    "prox_sorted_l1": {"weights": torch.linspace(2, 1, 5), "axis": -1},
    "prox_group_l2": {"group_size": 5},
    "prox_sparse_group": {"group_size": 5},
}
BAD: list[Any] = [
    torch.ones(7),
    torch.ones(6).double(),
    torch.ones(4, 7, 5),
    torch.ones(()),
    torch.ones(6).long(),
    torch.ones(6).bfloat16(),
    -torch.ones(5),
    torch.ones(0),
    torch.ones(2, 2, 2, 2, 2, 2, 2),
    torch.tensor([0, 4, 999]),
    torch.ones(6, requires_grad=True),
    torch.ones(6).to("meta"),
    torch.eye(5).to_sparse(),
    np.ones(6),
    [1, 2],
    {},
    "a",
    -1,
    2,
    7,
    1.5,
    10**400,
    True,
    None,
    float("nan"),
    float("inf"),
]
TRUTH = {"training", "inplace", "use_input_stats"}  # what counts of them is their truth
OWN = {"prox_mcp": {"gamma"}}  # names of ours that are the function's, too


def calls(name: str, argument: str) -> list[dict[str, Any]]:
    parameters = inspect.signature(getattr(F, name)).parameters
    of = OF.get(name, {})
    given = {p: of.get(p, GOOD.get(p, info.default)) for p, info in parameters.items()}
    others = (
        [{"use_input_stats": False}] if name == "instance_norm" else [{"training": False}] if "batch" in name else []
    )
    return [given, *[given | other for other in others if argument not in other]]


@pytest.mark.filterwarnings("ignore:dropout:UserWarning")
@pytest.mark.parametrize("name", F.__all__)
def test_messages_name_the_function_and_the_arguments_of_torch(name: str) -> None:
    refused = 0
    function = getattr(F, name)
    for argument in inspect.signature(function).parameters:
        for given in calls(name, argument):
            function(**given)  # as it is right
            for bad in [] if argument in TRUTH else BAD:
                try:
                    function(**given | {argument: bad})
                except (TypeError, ValueError) as error:
                    said = str(error)
                else:
                    continue
                refused += 1
                assert re.match(rf"{name}: \w+( \w+)? must ", said), (argument, said)
                ours = set(re.findall(r"\b(?:x|gamma|beta|dy|out|cache)\b", said.partition(", got ")[0]))
                assert ours <= OWN.get(name, set()), (argument, said)
    assert refused > 15
