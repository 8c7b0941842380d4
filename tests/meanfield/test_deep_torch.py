"""Modules of PyTorch read into deep networks: predictions, kernels, training and regimes are those of autograd."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import meanfield as mf
import solvers
from meanfield.finite import deep
from solvers.errors import InputError


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="needs torch"):
        deep.from_torch(None)


def convolutions(nn: Any, axes: int, mode: str, pooled: bool, bias: bool) -> Any:
    conv, pool = (
        (nn.Conv1d, nn.AdaptiveAvgPool1d(1)) if axes == 1 else (nn.Conv2d, nn.AdaptiveAvgPool2d((1, 1)))
    )
    settings = {"padding_mode": mode, "bias": bias}
    places = 1 if pooled else 5 if axes == 1 else 20
    layers = [
        conv(2, 3, 3, padding=1, **settings),
        nn.ReLU(),
        conv(3, 4, 3, padding="same", **settings),
        nn.ReLU(),
    ]
    layers += [pool] if pooled else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * places, 2, bias=bias)).double()


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize(
    ("mode", "pooled", "bias"),
    [("zeros", False, True), ("circular", False, False), ("circular", True, True)],
)
def test_convolutions_are_read(axes: int, mode: str, pooled: bool, bias: bool) -> None:
    torch = pytest.importorskip("torch")
    module = convolutions(torch.nn, axes, mode, pooled, bias)
    shape = (5, 2) if axes == 1 else (5, 4, 2)
    X = np.random.default_rng(0).standard_normal((3, *shape))
    theirs = np.ascontiguousarray(np.moveaxis(X, -1, 1))
    for frozen in (False, True):
        if frozen:
            module[0].requires_grad_(False)
        net, weights = deep.from_torch(module, None if axes == 1 and not pooled else shape)
        model = mf.diagnostics.from_torch(module)
        # the promise is 1e-10
        np.testing.assert_allclose(net.predict(weights, X), model.values(theirs), rtol=0, atol=1e-13)
        np.testing.assert_allclose(net.tangent_kernel(weights, X), model.kernel(theirs), rtol=0, atol=1e-12)
        assert net.trained == ((1, 2) if frozen else (0, 1, 2))


def test_training_and_regime_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    nn, rng = torch.nn, np.random.default_rng(0)
    module = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    X = rng.standard_normal((7, 3))
    y = np.sin(X[:, 0])
    net, weights = deep.from_torch(module)
    before = mf.diagnostics.from_torch(module)
    updates = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(30):
        updates.zero_grad()
        (0.5 * torch.mean((module(torch.from_numpy(X))[:, 0] - torch.from_numpy(y)) ** 2)).backward()
        updates.step()
    run = solvers.integrate(deep.SGD(deep.Problem(net, X, y), 0.1), weights, 3.0, save=2)
    # thirty steps of sums in another order
    np.testing.assert_allclose(deep.from_torch(module)[1].flat, run.final.flat, rtol=0, atol=1e-13)
    theirs = mf.regime((before, mf.diagnostics.from_torch(module)), X=X, y=y, kernel_time=3.0)
    ours = run.regime()
    assert set(ours) - set(theirs) == {"activation_flips", "relative_distance"}
    for name in theirs:
        assert ours[name] == pytest.approx(theirs[name], rel=1e-10), name


def test_other_modules_are_refused() -> None:
    nn = pytest.importorskip("torch").nn

    def chain(*parts: Any) -> Any:
        return nn.Sequential(*parts, nn.ReLU(), nn.Flatten(), nn.Linear(8, 1))

    frozen = chain(nn.Linear(3, 8)).requires_grad_(False)
    half = chain(nn.Linear(3, 8))
    half[0].weight.requires_grad_(False)
    for module, message in (
        (nn.Linear(3, 1), "must be a torch.nn.Sequential, not Linear"),
        (nn.Sequential(nn.Linear(3, 1), nn.ReLU()), "two at least"),
        (chain(nn.Linear(3, 8), nn.Linear(8, 8)), "an activation must stand before layer 1"),
        (chain(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 8)), "layer 1, GELU"),
        (chain(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 8)), "activations must be one and the same"),
        (chain(nn.Linear(3, 8, bias=False)), "biases must be everywhere or nowhere"),
        (chain(nn.Conv1d(1, 2, 3, padding=1, stride=2)), "convolution 0 must have stride 1"),
        (chain(nn.Conv1d(1, 2, 3)), "padding that keeps the positions"),
        (chain(nn.Conv1d(1, 2, 3, padding=1, padding_mode="reflect")), "convolution 0"),
        (chain(nn.Conv2d(1, 2, 3, padding=1)), r"shape= must say what one input is"),
        (chain(nn.Conv1d(1, 8, 1), nn.ReLU(), nn.Linear(8, 8)), "layers but for the last must be Conv1d"),
        (chain(nn.Linear(3, 8), nn.ReLU(), nn.Conv1d(8, 8, 1)), "convolutions must come before"),
        (frozen, "no parameters with requires_grad"),
        (half, "frozen as a whole or not at all"),
    ):
        with pytest.raises(InputError, match=message):
            deep.from_torch(module)
    with pytest.raises(InputError, match=r"shape=\(3, 2, 1\) does not fit"):
        deep.from_torch(chain(nn.Conv2d(1, 2, 3, padding=1)), (3, 2, 1))
