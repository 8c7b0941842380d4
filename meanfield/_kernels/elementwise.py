"""An activation over flat arrays: its value, and its value and slope."""

from __future__ import annotations

from solvers._jit import kernel


@kernel()
def activate(activation, z, value):
    """value = sigma(z), elementwise over flat arrays (in place allowed)."""
    for i in range(z.size):
        value[i] = activation.value(z[i])


@kernel()
def activate_slope(activation, z, value, slope):
    """value = sigma(z) and slope = sigma'(z), elementwise over flat arrays."""
    for i in range(z.size):
        value[i] = activation.value(z[i])
        slope[i] = activation.slope(z[i])
