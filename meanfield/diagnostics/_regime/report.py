"""What a comparison of the start and the end of training has found, and how it is shown."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from solvers.protocols import Array

# Attributes that are no numbers of the table.
_ARRAYS = ("eigenvalues_before", "eigenvalues_after")
_MEANINGS = {
    "relative_movement": "movement of the parameters, relative",
    "relative_distance": "movement of the inner weights, RD",
    "kernel_change": "change of the tangent kernel, relative",
    "activation_flips": "share of activations that flipped",
    "alignment_before": "alignment of the kernel with the labels, before",
    "alignment_after": "... after",
    "effective_rank_before": "effective rank of the kernel, before",
    "effective_rank_after": "... after",
    "train_error": "error on the data",
    "test_error": "error on test data",
    "kernel_distance": "distance to the kernel predictor, in rms of y",
    "kernel_error": "error of the kernel predictor on test data",
    "kernel_time": "time of the kernel predictor",
    "points": "points of the kernels",
    "scale": "scale",
}


@dataclass(frozen=True, eq=False, repr=False)
class RegimeReport(Mapping[str, float]):
    """Start against end of training, and against the kernel of the start; distances vanish in the lazy limit.

    It is a mapping of names to numbers, as cells of a study return them; what was not measured (NaN) is left out there.

    Attributes
    ----------
    relative_movement : float
        ``(int |theta_T - theta_0|^2 / int |theta_0|^2)^(1/2)`` over particles, or over all parameters of a model.
    relative_distance : float
        RD of Luo et al. (2020, 2007.07497): the same over the inner weights (w, b) alone; NaN where none are named.
    kernel_change : float
        ``|K_T - K_0| / |K_0|`` (Frobenius) of the tangent kernel on `points` data.
    activation_flips : float
        Share of (particle, datum) pairs whose preactivation changed sign, of deep networks over all hidden layers; NaN
        for other feature maps and models.
    alignment_before, alignment_after : float
        ``<K, yy'>/(|K| |yy'|)`` of the kernel at start and end with the labels; NaN where these are all 0.
    effective_rank_before, effective_rank_after : float
        ``exp`` of the entropy of the kernel's spectrum.
    train_error, test_error : float
        Mean of (f - y)^2, summed over outputs; for losses of classification the share of wrong labels. Test errors are
        NaN without test data.
    kernel_distance : float
        ``rms(f_T - f_K) / rms(y)`` on the test points, or on the data without any, f_K the kernel predictor: training
        of the network linearized at the start. NaN where it was not computed.
    kernel_error : float
        Of f_K, on the test data.
    kernel_time : float
        When f_K is taken: the time of the run, or inf for its limit (kernel regression); exact in time for the squared
        loss.
    points : int
        How many data the kernels were computed on.
    scale : float
        The network's factor alpha, which the kernels leave out.
    eigenvalues_before, eigenvalues_after : ndarray, (points k,)
        Of the kernels, descending.
    """

    relative_movement: float
    kernel_change: float
    activation_flips: float
    points: int
    scale: float
    relative_distance: float = math.nan
    alignment_before: float = math.nan
    alignment_after: float = math.nan
    effective_rank_before: float = math.nan
    effective_rank_after: float = math.nan
    train_error: float = math.nan
    test_error: float = math.nan
    kernel_distance: float = math.nan
    kernel_error: float = math.nan
    kernel_time: float = math.nan
    eigenvalues_before: Array = field(default_factory=lambda: np.empty(0))
    eigenvalues_after: Array = field(default_factory=lambda: np.empty(0))

    # -- as a mapping ---------------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, float]:
        """The numbers that were measured, by name."""
        found = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in _ARRAYS}
        return {name: value for name, value in found.items() if not math.isnan(value)}

    def __getitem__(self, name: str) -> float:
        return self.as_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.as_dict())

    def __len__(self) -> int:
        return len(self.as_dict())

    @property
    def rows(self) -> list[tuple[str, float]]:
        """What was measured, in words, and its number."""
        found = self.as_dict()
        return [(words, found[name]) for name, words in _MEANINGS.items() if name in found]

    # -- shown ----------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        text = (
            f"RegimeReport(scale {self.scale:g}: particles moved {self.relative_movement:.3g} of their size, tangent "
            f"kernel changed by {self.kernel_change:.3g}"
        )
        if not math.isnan(self.activation_flips):
            text += f", {self.activation_flips:.1%} of activations flipped"
        if not math.isnan(self.alignment_after):
            text += f", alignment with labels {self.alignment_before:.2f} -> {self.alignment_after:.2f}"
        if not math.isnan(self.kernel_distance):
            text += f", {self.kernel_distance:.3g} from the kernel predictor at t = {self.kernel_time:g}"
        if not math.isnan(self.test_error):
            text += f", test error {self.test_error:.3g}"
            text += "" if math.isnan(self.kernel_error) else f" (kernel {self.kernel_error:.3g})"
        return text + ")"

    def _repr_html_(self) -> str:
        from meanfield import plotting

        return plotting.html_table(self.rows, ("", "value"), "Regime: start against end of training")

    def plot(self, ax: Any = None, csv: Any = None) -> Any:
        """Eigenvalues of the tangent kernel at start and end, in shares of their sum; `csv` gets the numbers."""
        from meanfield import plotting
        from meanfield.plotting._style import axes

        index = np.arange(1, self.eigenvalues_before.size + 1)
        columns = {"index": index.astype(np.float64)}
        with axes(ax) as ax:
            for name, label, style in (
                ("before", "at the start", "o--"),
                ("after", "at the end", "o-"),
            ):
                values = getattr(self, f"eigenvalues_{name}")
                values = values if values.size else np.full(index.size, np.nan)  # of a run that diverged
                total = values.sum()
                share = values / total if total > 0 else np.full(values.size, np.nan)
                columns[name] = share
                # rounding has no place on a log axis
                ax.plot(index, np.where(share > 1e-16, share, np.nan), style, mfc="none", label=label)
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xlabel("eigenvalue of the tangent kernel")
            ax.set_ylabel("share of their sum")
            ax.set_title(f"kernel change {self.kernel_change:.2g}")
            ax.legend()
        if csv is not None:
            plotting.write_csv(csv, columns)
        return ax

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the numbers, one row each."""
        from meanfield import plotting

        found = self.as_dict()
        plotting.write_csv(path, {"name": list(found), "value": list(found.values())})
