"""An activation over flat arrays with its first two derivatives."""

from __future__ import annotations

import meanfield._kernels.two_layer_tangent  # noqa: F401  exposes curvature_at to compiled code
from solvers._jit import kernel


@kernel()
def activate_curvature(activation, z, value, slope, curvature):
    """value = sigma(z), slope = sigma'(z), curvature = sigma''(z) (0 where kinked), elementwise over flat arrays."""
    for i in range(z.size):
        value[i] = activation.value(z[i])
        slope[i] = activation.slope(z[i])
        curvature[i] = activation.curvature_at(z[i], value[i])
