"""Penalty values, proximal operators and projections.

- :mod:`~regkern.prox.elements`: element by element
- :mod:`~regkern.prox.vectors`: of vectors, groups, sorted weights, differences and singular values
- :mod:`~regkern.prox.projections`: onto convex sets
"""

from regkern.prox.elements import (
    l1_norm,
    prox_elastic_net,
    prox_huber,
    prox_l0,
    prox_l1,
    prox_l_half,
    prox_log_sum,
    prox_mcp,
    prox_ridge,
    prox_scad,
    squared_l2_norm,
)
from regkern.prox.projections import (
    project_box,
    project_l1_ball,
    project_l2_ball,
    project_linf_ball,
    project_nonneg,
    project_simplex,
)
from regkern.prox.vectors import (
    prox_group_l2,
    prox_l2,
    prox_linf,
    prox_nuclear,
    prox_sorted_l1,
    prox_sparse_group,
    prox_tv1d,
)

__all__ = [
    "l1_norm",
    "project_box",
    "project_l1_ball",
    "project_l2_ball",
    "project_linf_ball",
    "project_nonneg",
    "project_simplex",
    "prox_elastic_net",
    "prox_group_l2",
    "prox_huber",
    "prox_l0",
    "prox_l1",
    "prox_l2",
    "prox_l_half",
    "prox_linf",
    "prox_log_sum",
    "prox_mcp",
    "prox_nuclear",
    "prox_ridge",
    "prox_scad",
    "prox_sorted_l1",
    "prox_sparse_group",
    "prox_tv1d",
    "squared_l2_norm",
]
