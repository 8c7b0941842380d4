"""Plain functions as flows, and pairwise interactions: `solvers` without a network."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import solvers
from solvers.errors import InputError, PluginError
from solvers.testing import check_flow

ROOT = Path(__file__).resolve().parents[2]
METHOD = solvers.RK4(step=0.05)


def test_time_dependence_is_read_off_the_signature():
    x0 = np.array([1.0, 2.0])
    reference = solvers.integrate(lambda t, x: np.cos(t) * x, x0, 1.0, method=METHOD).final
    # x exp(sin t); RK4 at step 0.05 measured 3e-8
    assert np.allclose(reference, x0 * np.exp(np.sin(1.0)), rtol=1e-6)

    class Callable:
        def __call__(self, t, x):
            return np.cos(t) * x

        def method(self, t, x):
            return np.cos(t) * x

    for f in (Callable(), Callable().method, lambda t, x, k=1: np.cos(t) * x):
        assert np.array_equal(solvers.integrate(f, x0, 1.0, method=METHOD).final, reference)
    anything = solvers.FunctionFlow(lambda *args: np.cos(args[0]) * args[1], time_dependent=True)
    assert np.array_equal(solvers.integrate(anything, x0, 1.0, method=METHOD).final, reference)
    assert np.array_equal(solvers.integrate(np.negative, x0, 1.0, method=METHOD).initial, x0)


def test_a_function_that_fills_its_argument():
    def fill(x, out):
        np.negative(x, out=out)

    def fill_timed(t, x, out):
        np.multiply(x, -1.0, out=out)

    x0 = np.ones((2, 3))
    plain = solvers.integrate(lambda x: -x, x0, 1.0, method=METHOD)
    for f in (fill, fill_timed):
        flow = solvers.FunctionFlow(f, out=True)
        assert np.array_equal(solvers.integrate(flow, x0, 1.0, method=METHOD).final, plain.final)
    check_flow(solvers.FunctionFlow(fill, out=True), x0)


def test_compiled_functions():
    import numba

    def plain(x):
        return -x * x

    def fill(x, out):
        for i in range(x.shape[0]):
            out[i] = -x[i] * x[i]

    x0 = np.array([1.0, 2.0])
    reference = solvers.integrate(plain, x0, 1.0, method=METHOD).final
    for flow in (
        solvers.FunctionFlow(plain, jit=True),
        solvers.FunctionFlow(numba.njit(plain)),
        solvers.FunctionFlow(numba.njit(fill), out=True),
    ):
        run = solvers.integrate(flow, x0, 1.0, method=METHOD)
        assert np.array_equal(run.final, reference)
    assert run.stats["compile_seconds"] > 0


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (lambda x: x[:1], {}, r"returned shape \(1,\), but the state has shape \(2,\)"),
        (lambda x: 1.0, {}, r"returned shape \(\), but"),
        (lambda x: None, {}, "returned None; return the velocity, or say out=True"),
        (lambda x: x + 1j, {}, "must return real numbers, not complex128"),
        (lambda x: np.array(["a", "b"]), {}, "must return real numbers"),
        (lambda x: x / 0.0, {}, "returned NaN or infinity at t = 0, where x is finite"),
        (lambda x: x.__iadd__(1.0), {}, "changes its argument x in place"),
        (lambda x, t: -x, {}, r"\(x, t\) has time last; here it comes first"),
        (lambda a, b, c: a, {}, "needs 3 arguments; a velocity is"),
        (lambda: 0, {}, r"must be callable as f\(x\)"),
        (lambda x, out: None, {"out": True}, "with out=True every entry of the argument must be filled"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_wrong_functions_are_refused_in_words(function, options, words):
    with pytest.raises(PluginError, match=words) as caught:
        solvers.integrate(solvers.FunctionFlow(function, **options), np.array([1.0, 2.0]), 1.0)
    assert "\n" not in str(caught.value)


def test_a_function_that_does_not_compile_is_refused_in_words():
    with pytest.raises(PluginError, match="cannot be compiled by numba") as caught:
        solvers.integrate(solvers.FunctionFlow(lambda x: x.unknown_method(), jit=True), np.ones(2), 1.0)
    assert "\n" not in str(caught.value)


def test_errors_of_the_function_itself_pass_through():
    with pytest.raises(KeyError):
        solvers.integrate(lambda x: {}["key"], [1.0], 1.0)
    with pytest.raises(TypeError, match="unsupported operand"):
        solvers.integrate(lambda x: "a" - x[0].item(), [1.0], 1.0)


def test_arguments_are_checked():
    with pytest.raises(InputError, match="function must be callable"):
        solvers.FunctionFlow(3.0)
    with pytest.raises(InputError, match="project must be callable"):
        solvers.FunctionFlow(np.negative, project=1)


def test_projection_to_the_torus_and_the_sphere():
    flow = solvers.FunctionFlow(lambda x: np.ones_like(x), project=lambda x: x % 1.0)
    run = solvers.integrate(flow, np.array([0.25, 0.5]), 10.25, method=METHOD)
    # 205 additions of 0.05, each rounded
    assert np.allclose(run.final, [0.5, 0.75], atol=1e-12)

    def retract(x):
        x /= np.linalg.norm(x, axis=1, keepdims=True)

    tilt = np.array([1.0, 0.0, 0.0])
    flow = solvers.FunctionFlow(lambda x: tilt - (x @ tilt)[:, None] * x, project=retract)
    run = solvers.integrate(flow, np.array([[0.0, 1.0, 0.0], [0.0, 0.6, 0.8]]), 3.0)
    assert np.max(np.abs(np.linalg.norm(run.final, axis=1) - 1)) < 5e-16
    # the angle to the pole obeys a' = -sin a: cos a = tanh t
    assert np.allclose(run.final @ tilt, np.tanh(3.0), atol=1e-6)


def test_several_shapes_one_flow():
    flow = solvers.FunctionFlow(lambda x: -x)
    for shape in ((2,), (3, 2)):
        assert solvers.integrate(flow, np.ones(shape), 1.0).final.shape == shape


# -- pairwise interactions ------------------------------------------------------------------------------------


def gaussian(r):
    return -r * np.exp(-(r**2).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("block", [None, 1, 3, 7, 100])
def test_pairwise_equals_the_double_sum(block):
    x = np.random.default_rng(0).normal(size=(10, 2))
    flow = solvers.pairwise(gaussian, block=block)
    bound = flow.prepare(x)
    v = bound.velocity(0.0, bound.pack(x), np.empty(20)).reshape(10, 2)
    direct = np.array([sum(gaussian(x[j] - x[i]) for j in range(10)) / 10 for i in range(10)])
    # ten terms in another order
    assert np.allclose(v, direct, rtol=0, atol=1e-15)
    check_flow(flow, x)


def test_linear_attraction_contracts_to_the_mean():
    x = np.random.default_rng(1).normal(size=(30, 3))
    run = solvers.integrate(solvers.pairwise(lambda r: r), x, 2.0)
    # x_i' = mean - x_i
    exact = x.mean(axis=0) + np.exp(-2.0) * (x - x.mean(axis=0))
    # rtol = 1e-6; measured 2e-11: 50 saves keep steps small
    assert np.allclose(run.final, exact, rtol=0, atol=1e-8)
    # odd kernels conserve the mean: measured 5e-17
    assert np.allclose(run.final.mean(axis=0), x.mean(axis=0), rtol=0, atol=1e-14)


def test_permuting_particles_permutes_the_run():
    x = np.random.default_rng(2).normal(size=(12, 2))
    order = np.random.default_rng(3).permutation(12)
    method = solvers.RK4(step=0.1)
    flow = solvers.pairwise(gaussian, external=lambda x: -(x**3))
    a = solvers.integrate(flow, x, 1.0, method=method).final[order]
    b = solvers.integrate(flow, x[order], 1.0, method=method).final
    # sums in another order, over ten steps
    assert np.allclose(a, b, rtol=0, atol=1e-13)


def test_singular_kernel_and_periodic_box():
    x = np.array([[0.1], [0.9]])
    coulomb = solvers.pairwise(
        lambda r: -np.sign(r) / np.maximum(r**2, 1e-300), exclude_self=True, period=1.0
    )
    bound = coulomb.prepare(x)
    v = bound.velocity(0.0, bound.pack(x), np.empty(2))
    # on the circle 0.9 is 0.2 to the left of 0.1: pushed right with 1/(2 * 0.2^2) = 12.5
    assert np.allclose(v, [12.5, -12.5], rtol=1e-12)


def test_memory_is_a_block_not_a_square():
    x = np.random.default_rng(4).normal(size=(3000, 2))
    flow = solvers.pairwise(lambda r: r, block=50)
    bound = flow.prepare(x)
    z, out = bound.pack(x), np.empty(6000)
    bound.velocity(0.0, z, out)
    tracemalloc.start()
    bound.velocity(0.0, z, out)
    _, top = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # one block is 50 x 3000 x 2 numbers, 2.4 MB; the square would be 144 MB
    assert top < 6e6


def test_pairwise_refusals():
    with pytest.raises(InputError, match="kernel must be callable"):
        solvers.pairwise(3)
    with pytest.raises(InputError, match="period must be positive"):
        solvers.pairwise(gaussian, period=0)
    with pytest.raises(InputError, match="block must be at least 1"):
        solvers.pairwise(gaussian, block=0)
    with pytest.raises(PluginError, match=r"shape \(particles, dim\), not \(3,\)"):
        solvers.integrate(solvers.pairwise(gaussian), np.ones(3), 1.0)
    with pytest.raises(PluginError, match="kernel must return the shape of the displacements"):
        solvers.integrate(solvers.pairwise(lambda r: r.sum(-1)), np.ones((3, 2)), 1.0)


# -- the package ----------------------------------------------------------------------------------------------


def test_importing_solvers_is_light():
    heavy = ["matplotlib", "ot", "tqdm", "scipy", "numba", "pandas", "xarray", "meanfield"]
    code = (
        "import sys, os, solvers\n"
        f"print([name for name in {heavy!r} if name in sys.modules])\n"
        "print(os.environ['OMP_WAIT_POLICY'])\n"
        "print(sorted(set(solvers.__all__) - set(dir(solvers))))\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert out.splitlines() == ["[]", "passive", "[]"]


def test_the_docstring_examples_run():
    import doctest

    import solvers._integrate
    import solvers.function_flow

    for module in (solvers._integrate, solvers.function_flow):
        found = doctest.testmod(module)
        assert found.failed == 0
        assert found.attempted > 0


def test_the_example_of_function_flow_runs():
    text = solvers.FunctionFlow.__doc__
    block = text.split("say more about it::")[1].split("Parameters")[0]
    scope = {}
    exec("\n".join(line[8:] for line in block.splitlines()), scope)
    assert scope["run"].final.shape == (300, 2)
