"""The data that one iteration of stochastic gradient descent sees: functions of the seed and of its number alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from solvers.errors import InputError
from solvers.noise import integers
from solvers.protocols import Array


def check_batches(
    batch: int | None, n: int, replace: bool, sample_weight: Array | None, sampler: Callable[..., Any] | None
) -> None:
    """One sentence where batches of `batch` out of n data cannot be drawn as asked."""
    if sampler is not None:
        if not callable(sampler):
            raise InputError(
                f"sampler must be a function (generator, size) -> X, y, not {type(sampler).__name__}"
            )
        if batch is None:
            raise InputError("sampler= draws fresh samples: say how many a step with batch=")
    elif not replace:
        if batch is not None and batch > n:
            raise InputError(f"batch={batch} without replacement needs at least as many data, not {n}")
        if sample_weight is not None:
            raise InputError(
                "replace=False would draw weighted data with a bias; leave out replace or sample_weight"
            )


def generator_at(words: Any, k: int) -> np.random.Generator:
    """The random numbers of iteration k."""
    return np.random.Generator(np.random.Philox(key=words, counter=[0, 0, 0, k]))


def rows_at(words: Any, k: int, batch: int, n: int, replace: bool, sample_weight: Array | None) -> Any:
    """Numbers of the `batch` data of iteration k out of n."""
    if sample_weight is not None:
        # Importance: data are drawn with their weights, then count alike.
        share = sample_weight / sample_weight.sum()
        return generator_at(words, k).choice(n, size=batch, replace=replace, p=share)
    if not replace:
        return generator_at(words, k).choice(n, size=batch, replace=False)
    return integers(words, k, batch, n)


def weights_of(loss: Any, n: int, sample_weight: Array | None, size: int) -> Array | None:
    """Weights of a batch of a summed loss: it stands for all data, scaled up so that the gradient is unbiased."""
    if getattr(loss, "reduction", "mean") != "sum":
        return None
    return np.full(size, (n if sample_weight is None else float(sample_weight.sum())) / size)


def named(sampler: Any) -> str:
    """A function's name; of an object what it shows of itself."""
    return str(sampler.__qualname__) if hasattr(sampler, "__qualname__") else repr(sampler)
