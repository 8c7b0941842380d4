"""Rosenbrock methods on flows of networks and spikes: what an explicit method finds, for a fraction of the work."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import meanfield as mf
import solvers

X = np.random.default_rng(0).normal(size=(40, 2))
LABELS = np.where(X[:, 0] * X[:, 1] > 0, 1.0, -1.0)
TANH = mf.TwoLayer("tanh", d=2)
START = mf.ParticleMeasure.gaussian(TANH, 60, rng=1)


def _wasserstein(network, y, mu=START, t_end=30.0, time_unit="flow", **options):
    return mf.WassersteinFlow(mf.Objective(network, X, y, **options), time_unit), mu, t_end


def _conic(retraction):
    spikes = mf.Spikes(dim=1, frequencies=5)
    objective = mf.Objective.deconvolution(
        spikes,
        positions=np.array([[1.0], [3.0], [4.5]]),
        weights=np.array([1.0, 0.6, 0.8]),
        regularizer=mf.TotalVariation(0.5),
        loss=mf.SquaredLoss("sum"),
    )
    grid = np.arange(50)[:, None] * 2 * np.pi / 50
    nu = mf.ParticleMeasure(grid, np.full(50, 0.02))
    return mf.ConicFlow(objective, retraction=retraction), nu, 3.0


def _classes():
    network = mf.TwoLayer("tanh", d=2, outputs=3)
    mu = mf.ParticleMeasure.gaussian(network, 60, rng=1)
    return _wasserstein(network, np.arange(40) % 3, mu, loss=mf.CrossEntropy(), regularizer=mf.Ridge(1e-2))


FLOWS = {
    "ridge": lambda: _wasserstein(TANH, np.sin(X[:, 0]), regularizer=mf.Ridge(1e-2)),
    "lazy": lambda: _wasserstein(
        mf.TwoLayer("tanh", d=2, scale=20.0, centre=START), np.sin(X[:, 0]), time_unit="alpha"
    ),
    "frozen layer": lambda: _wasserstein(mf.TwoLayer("tanh", d=2, train=("w", "b")), np.sin(X[:, 0])),
    "logistic": lambda: _wasserstein(TANH, LABELS, loss=mf.LogisticLoss(), regularizer=mf.Ridge(1e-2)),
    "soft minimum": lambda: _wasserstein(TANH, LABELS, loss=mf.SoftMinMargin(), regularizer=mf.Ridge(1e-2)),
    "classes": _classes,
    "conic, log masses": lambda: _conic("mirror"),
    "conic, roots": lambda: _conic("canonical"),
}


@pytest.mark.parametrize("name", FLOWS)
def test_implicit_methods_follow_the_flow(name):
    flow, mu, t_end = FLOWS[name]()
    bound = flow.prepare(mu)

    def predictions(run):
        return bound.functional._predictions(bound.measure(bound.pack(run.final)))

    explicit = solvers.integrate(flow, mu, t_end, method=solvers.DormandPrince(rtol=1e-8, atol=1e-11), save=2)
    exact = predictions(explicit)
    methods = [solvers.RODAS4(rtol=1e-5, atol=1e-8), solvers.RODAS3(rtol=1e-4, atol=1e-7)]
    if not name.startswith("conic"):
        methods.append(solvers.RosenbrockW(rtol=1e-4, atol=1e-7))
    for method in methods:
        run = solvers.integrate(flow, mu, t_end, method=method, save=2)
        error = np.linalg.norm(predictions(run) - exact) / np.linalg.norm(exact)
        # measured: 2e-8 to 5e-7 with rtol = 1e-5, 2e-7 to 2e-4 with 1e-4, at 30 to 60 steps
        assert error < (1e-5 if method.order == 4 else 1e-3), method
        assert run.stats["steps"] < 100


@pytest.mark.parametrize("method", [solvers.RODAS4(rtol=1e-4), solvers.RosenbrockW(rtol=1e-4)])
def test_a_stopped_run_of_a_network_ends_in_the_same_bits(method, tmp_path):
    flow, mu, t_end = FLOWS["ridge"]()
    whole = solvers.integrate(flow, mu, t_end, method=method, save=3)
    path = tmp_path / "run.npz"
    solvers.integrate(
        flow, mu, t_end, method=method, save=3, observers=[solvers.Checkpoint(path, steps=1)], max_steps=14
    )
    resumed = solvers.integrate(flow, mu, t_end, method=method, save=3, resume=path)
    assert np.array_equal(whole.final.positions, resumed.final.positions)
    assert whole.stats["evaluations"] == resumed.stats["evaluations"]


PROGRAM = """
import numpy as np, meanfield as mf, solvers
X = np.random.default_rng(0).normal(size=(150, 2))
network = mf.TwoLayer("tanh", d=2)
flow = mf.WassersteinFlow(mf.Objective(network, X, np.sin(X[:, 0])))
mu = mf.ParticleMeasure.gaussian(network, 400, rng=1)
for method in (solvers.RODAS4(rtol=1e-3), solvers.RosenbrockW(rtol=1e-3)):
    run = solvers.integrate(flow, mu, 10.0, method=method, save=2)
    print(run.stats["steps"], run.final.positions.tobytes().hex())
"""


def test_the_number_of_threads_changes_no_bit():
    # 1600 coordinates and 150 predictions: large enough for BLAS to use its threads, if it were let
    found = set()
    for threads in ("1", "2"):
        names = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads)
        found.add(
            subprocess.run(
                [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True
            ).stdout
        )
    assert len(found) == 1
