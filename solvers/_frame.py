"""The arrays of a group of runs, as compiled code finds them that knows only an address (`solvers._march.decide`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvers._march import STAGES


class Frame:
    """What `decide` must know of a group of runs, as integers: sizes, then addresses of arrays that it keeps alive.

    Each thread has its own: the stages and predictions of the run at hand are in it. scheme = (a (s, s), b (s,),
    difference (s,), order of the error estimate); control = (adaptive, rtol, atol, kink_floor, first_step, longest,
    max_steps), kink_floor 0 where the velocity is smooth; grid = (t0, t_end, step, count, short) of fixed steps;
    runs = (targets (S,), save times or step indices at fixed steps; real (R, REALS) and whole (R, WHOLES), what runs
    remember; times (R, S), values (R, S) and kept (R, S or 0, N), what is recorded). `observed` is the number of
    predictions.
    """

    def __init__(
        self,
        scheme: Any,
        control: Any,
        grid: Any,
        runs: tuple[Any, ...],
        observed: int,
        budget: int,
    ) -> None:
        targets, real, whole, times, values, kept = runs
        a, b, difference, order = scheme
        adaptive, rtol, atol, kink_floor, first, longest, most = control
        t0, t_end, step, count, short = grid
        size = kept.shape[2]
        self.vectors = np.empty((STAGES + max(b.size, 2), size))
        self.predictions = np.empty((3, observed))
        numbers = np.array([rtol, atol, kink_floor, first, longest, t0, t_end, step])
        self._arrays = (
            *(numbers, a, b, difference, targets),
            *(real, whole, times, values, kept, self.vectors, self.predictions),
        )
        assert all(array.flags.c_contiguous and array.itemsize == 8 for array in self._arrays)
        sizes = (
            b.size,
            targets.size,
            kept.shape[1],
            size,
            observed,
            order,
            count,
            most,
            budget,
            adaptive,
            short,
        )
        self._frame = np.array([*sizes, *(array.ctypes.data for array in self._arrays)], dtype=np.int64)
        self.address = int(self._frame.ctypes.data)
