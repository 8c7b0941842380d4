"""ResNets of depth L, width M and dimension D: errors 1/L, sqrt(D/(L M)) and 1/sqrt(D), each measured by itself.

Source: Chaintron, Chizat, Maass (2026), ResNets of All Shapes and Sizes, arXiv:2603.18168, with Chizat (2025),
arXiv:2509.10167; settings as in the published code. That the limits live in d_in + d_out dimensions, the references,
the parts of the error and all confidence bounds are this project's.

Quick preset: about 5 s. Paper preset: about 170 s (processor time on one core).

tanh, 5 inputs and outputs, 10 normal points, 15 steps of eta = 1 on the loss 1/2 mean over points and outputs, L = 50.
Errors are root mean squares over coordinates and points of h after the last block. The published ones are against the
largest net of the grid, of L = 50 as well; those here are against the limit itself, `mf.resnet_mean_field.MeanODE`: at
the embeddings of a net (L and M infinite), or at infinite D with the net's rows of the embeddings (all infinite). Each
reference is computed twice, with independent samples, and a squared error is the mean of the product of the two
differences: noise of the references drops out, what both are off by (of orders 1/nodes^2 and 1/(nodes points)) does
not. Intervals are 95 %, by the jackknife over seeds, which draw embeddings and weights; data are the same.

What is seen: (error)^2 = (error of finite L M)^2 + (error of finite D)^2 for all shapes, width 1 included; the second
about 6/D, the first about 0.55 D/(L M) from D = 20 up to D/(L M) = 1/2. So at fixed L M the error is least at a finite
D. Elsewhere the first has another factor (paper preset): up to 1.0 at D/(L M) = 40; 0.3 to 0.4 at D = 10 and below 0.1
at D = 1 and 3 for M up to 30, where training puts right most of the few directions that there are. Fits leave these
out, claims say so, and one claim is that they are not above. Exponents in D lie a little above 1/2 where they start at
D = 20, for the same reason. The error 1/L, 0.13/L for these data, shows when the mean over seeds of wide nets is taken
(with embeddings of infinite D); with the data of other seeds the quick preset may miss it (-0.73 +- 0.16 at seed 3,
-0.90 +- 0.09 with four times the units and ten seeds), as what is left of order D/(L M) is of its size.

In outputs the error of finite L M is 0.8/sqrt(L M) whatever D, the bound is tight in h only; beyond D/(L M) = 1/20,
though, a part of outputs that grows like D/(L M) comes in (paper preset, L = 50, M = 100: exponent 0.36 +- 0.09 in D
from 30 to 2000).

Affordable: the published grid goes to M = D = 2000 (5000 s stated there); the paper preset has both up to 2000 but no
M D above 200 000, and 5 seeds as published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import meanfield as mf
from figures._chizat_2026 import LINEAR_DIMS, Data, deep, limits, linear, nets
from meanfield.gallery import Claim, check_sizes
from meanfield.plotting import fit_slope
from solvers.errors import InputError
from solvers.protocols import Array

Mask = NDArray[np.bool_]

PAPER = "Chaintron, Chizat, Maass 2026, arXiv:2603.18168"
OWN = "derived and measured for this project"
#: exponents are fitted from this many times the span of the embeddings on, whose coordinates have smaller errors
SPANS = 2
#: exponents of the error of depth, and of limits in D, are fitted from these on
LEAST_DEPTH, LEAST_DIM = 4, 100
#: outputs are looked at up to this D/(L M)
FEW = 0.05


@dataclass(frozen=True)
class Config:
    """Sizes of nets, of the references, and how many seeds."""

    n: int = 10
    d: int = 5  # inputs, and outputs
    steps: int = 15
    eta: float = 1.0
    depth: int = 50
    widths: tuple[int, ...] = (1, 8, 64)
    dims: tuple[int, ...] = (20, 60, 180)
    largest: int = 4_000  # of M D
    narrow: tuple[int, ...] = (40, 80, 160)  # depths of nets of width 1
    seeds: int = 4
    depths: tuple[int, ...] = (4, 8, 16)
    units: int = 16_000  # L M of these
    deep_seeds: int = 6
    limit_dims: tuple[int, ...] = (10, 100, 1000, 10_000)
    limit_seeds: int = 6
    nodes: int = 33
    points: int = 256  # of a reference, at each node
    common_points: int = 512  # of the reference of infinite D
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self)
        for name, least in (("seeds", 3), ("limit_seeds", 3), ("deep_seeds", 3), ("nodes", 3)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.eta <= 0:
            raise InputError(f"eta must be positive, not {self.eta:g}")
        for name in ("widths", "dims", "narrow", "depths", "limit_dims"):
            if len(getattr(self, name)) < 3:
                raise InputError(f"{name} must hold at least three values, for a slope")
            if np.diff(getattr(self, name)).min() <= 0:
                raise InputError(f"{name} must increase")
        for name, least in (("depths", LEAST_DEPTH), ("limit_dims", LEAST_DIM)):
            if sum(value >= least for value in getattr(self, name)) < 2:
                raise InputError(
                    f"{name} must hold two values of at least {least}, from which on slopes are fitted"
                )
        if self.widths[-1] * self.dims[0] > self.largest or self.widths[0] * self.dims[-1] > self.largest:
            raise InputError(f"largest={self.largest} leaves out the ends of widths and dims; raise it")
        if min(self.points, self.common_points) < 8 * self.d:
            raise InputError(f"points and common_points must be at least {8 * self.d}, 8 d")
        if self.units < max(self.depths):
            raise InputError(f"units must be at least the largest of depths, {max(self.depths)}")
        cells = {"shapes": np.array(self.shapes), "y": np.empty(self.d)}
        grid = many(cells) & select(cells, L=self.depth)
        if not grid.any() or min(mask.sum() for mask in families(cells).values()) < 2:
            raise InputError(
                "widths, dims, narrow and depth must leave two shapes for each slope, with D of at least "
                f"{least_dim(cells)} and D/(L M) at most 1/2; take larger ones"
            )
        if not (grid & (fractions(cells) <= FEW)).any():
            raise InputError(
                f"widths and dims must leave a shape with D/(L M) at most {FEW:g}; take larger widths"
            )

    @classmethod
    def quick(cls) -> Config:
        return cls()

    @classmethod
    def paper(cls) -> Config:
        return cls(
            widths=(1, 3, 10, 30, 100, 300, 1000, 2000),
            dims=(1, 3, 10, 30, 100, 300, 1000, 2000),
            largest=200_000,
            narrow=(40, 200, 800, 2000),
            seeds=5,
            depths=(1, 2, 4, 8, 16, 32),
            units=64_000,
            deep_seeds=16,
            limit_dims=(10, 30, 100, 300, 1000, 10_000, 100_000),
            limit_seeds=16,
            nodes=65,
            points=1024,
            common_points=4096,
        )

    def net(self, depth: int, width: int, dim: int) -> Any:
        return mf.resnet_mean_field.ResNet(self.d, self.d, depth, width, dim)

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """(L, M, D) of the grid, then of the nets of width 1."""
        grid = [(self.depth, m, d) for d in self.dims for m in self.widths if m * d <= self.largest]
        return grid + [(depth, 1, SPANS * 2 * self.d) for depth in self.narrow]


def compute(config: Config, rng: np.random.Generator) -> dict[str, Any]:
    """Squared errors of nets of all shapes, of limits of finite D, of depth alone; linear nets beside closed forms."""
    words = [int(word) for word in rng.integers(2**31, size=2 + config.seeds)]
    # their loss is a mean over outputs too
    data = Data(
        rng.standard_normal((config.n, config.d)),
        rng.standard_normal((config.n, config.d)),
        config.eta / config.d,
        config.steps * config.eta / config.d,
    )
    common = data.reference(config, config.common_points, (words[0], words[1]))
    return {
        **nets(config, data, common, words[2:]),
        **limits(config, data, rng),
        **deep(config, data, common, words[-1]),
        **linear(config, data, rng),
    }


# Slopes -----------------------------------------------------------------------------------------------------


def power(x: Any, squares: Any, left_out: Any = None) -> Any:
    """The `fit_slope` of roots of mean squares (k, seeds), or of squares (k,) and those without each seed in turn."""
    if not (np.asarray(squares).reshape(len(squares), -1).mean(axis=1) > 0).all():
        raise InputError("squared errors must be positive for a slope; take more seeds or larger references")
    fit = fit_slope(x, squares, left_out)
    return fit._replace(slope=fit.slope / 2, half_width=fit.half_width / 2, intercept=fit.intercept / 2)


def along(fit: Any, x: Array) -> Array:
    """The fitted power law at x."""
    return np.asarray(np.exp(fit.intercept) * x**fit.slope)


def biases(products: Array) -> tuple[Array, Array]:
    """Squared error of the mean over seeds, (depths,), and without each seed in turn, (depths, seeds)."""
    count = products.shape[1]
    apart = products - np.einsum("dss->ds", products)[:, :, None] * np.eye(count)
    whole, share = apart.sum(axis=(1, 2)), apart.sum(axis=1) + apart.sum(axis=2)
    return whole / (count * (count - 1)), (whole[:, None] - share) / ((count - 1) * (count - 2))


def select(arrays: dict[str, Any], **fixed: int) -> Mask:
    """Cells of the grid with given L, M or D."""
    mask = np.ones(len(arrays["shapes"]), dtype=bool)
    for name, value in fixed.items():
        mask &= arrays["shapes"][:, "LMD".index(name)] == value
    return mask


def fractions(arrays: dict[str, Any]) -> Array:
    """D/(L M)."""
    L, M, D = arrays["shapes"].T
    return np.asarray(D / (L * M))


def least_dim(arrays: dict[str, Any]) -> int:
    """D from which on exponents are fitted."""
    return SPANS * 2 * len(arrays["y"])


def many(arrays: dict[str, Any]) -> Mask:
    """Cells of the fits: D/(L M) at most 1/2, beyond which errors grow faster, and D beyond the embeddings' span."""
    return np.asarray((fractions(arrays) <= 0.5) & (arrays["shapes"][:, 2] >= least_dim(arrays)))


def families(arrays: dict[str, Any]) -> dict[str, Mask]:
    """Cells over which each exponent is fitted, by the variable that changes."""
    depth = int(arrays["shapes"][0, 0])
    good = many(arrays)
    grid = good & select(arrays, L=depth)
    D = max(set(arrays["shapes"][grid, 2]), key=lambda d: ((grid & select(arrays, D=d)).sum(), d))
    M = max(set(arrays["shapes"][grid, 1]), key=lambda m: ((grid & select(arrays, M=m)).sum(), m))
    narrow = select(arrays, M=1, D=least_dim(arrays)) & good
    return {"M": grid & select(arrays, D=D), "D": grid & select(arrays, M=M), "L": narrow}


def exponent(arrays: dict[str, Any], variable: str, key: str = "own") -> Any:
    """Of the error over L, M or D, on its family of cells."""
    mask = families(arrays)[variable]
    return power(arrays["shapes"][mask, "LMD".index(variable)], arrays[key][mask])


# The picture ------------------------------------------------------------------------------------------------


def draw(arrays: dict[str, Any]) -> Any:
    """Errors over M, D, D/(L M); of the limit of finite D; of depth; linear nets."""
    with mf.plotting.style():
        figure, panels = mf.plotting.figure(2, 3, size=(14.0, 7.8))
        _widths(panels[0, 0], arrays)
        _dims(panels[0, 1], arrays)
        _all(panels[0, 2], arrays)
        _limit(panels[1, 0], arrays)
        _depth(panels[1, 1], arrays)
        _linear(panels[1, 2], arrays)
    return figure


def _shown(values: list[int], most: int = 4) -> list[int]:
    """Some of many values, the ends among them."""
    places = np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int))
    return [values[i] for i in places]


def _root(squares: Array) -> Array:
    return np.asarray(np.sqrt(np.maximum(squares.mean(axis=-1), 0.0)))


def _text(fit: Any) -> str:
    return rf"${fit.slope:.2f} \pm {fit.half_width:.2f}$"


def _ticks(ax: Any, values: Any, most: int = 6) -> None:
    """Ticks at some of the values that were computed."""
    shown = _shown([int(v) for v in values], most)
    ax.minorticks_off()
    ax.set_xticks(shown, [f"{v}" for v in shown])


def _axes(ax: Any, x: str, title: str, y: str = "error in $h$, root mean square") -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.set_title(title)


def _widths(ax: Any, arrays: dict[str, Any]) -> None:
    grid = select(arrays, L=int(arrays["shapes"][0, 0]))
    span = 2 * len(arrays["y"])
    dims = _shown(sorted({int(d) for d in arrays["shapes"][grid, 2] if d >= span}))
    for c, D in enumerate(dims):
        mask = grid & select(arrays, D=D)
        M = arrays["shapes"][mask, 1]
        colour = mf.plotting.COLOURS[c]
        ax.plot(M, _root(arrays["own"][mask]), "o-", color=colour, ms=4, label=f"D = {D}")
        ax.plot(M, _root(arrays["total"][mask]), ":", color=colour, lw=1.2)
    M = np.array(sorted({int(m) for m in arrays["shapes"][grid, 1]}))
    last = _root(arrays["own"][grid & select(arrays, D=dims[-1])]).max()
    ax.plot(M, 1.8 * last * M**-0.5, "--", color="#777777", lw=1.0, label="slope -1/2")
    _axes(ax, "width $M$", f"L = {int(arrays['shapes'][0, 0])}: against L, M infinite (dotted: all infinite)")
    ax.legend(loc="lower left", fontsize=7.5)


def _dims(ax: Any, arrays: dict[str, Any]) -> None:
    grid = select(arrays, L=int(arrays["shapes"][0, 0]))
    for c, M in enumerate(_shown(sorted({int(m) for m in arrays["shapes"][grid, 1]}))):
        mask = grid & select(arrays, M=M)
        D = arrays["shapes"][mask, 2]
        colour = mf.plotting.COLOURS[c]
        ax.plot(D, _root(arrays["total"][mask]), "o-", color=colour, ms=4, label=f"M = {M}")
        ax.plot(D, _root(arrays["own"][mask]), ":", color=colour, lw=1.2)
    ax.plot(
        arrays["limit_dims"],
        _root(arrays["limit_error"]),
        "--",
        color="#333333",
        lw=1.0,
        label=r"$L, M = \infty$",
    )
    _axes(ax, "dimension $D$", "Against all infinite (dotted: the part of finite L, M)")
    dims = arrays["shapes"][grid, 2]
    _ticks(ax, sorted(set(dims)), 5)
    ax.set_xlim(0.8 * dims.min(), 1.3 * dims.max())
    ax.legend(loc="lower right", fontsize=7.5)


def _all(ax: Any, arrays: dict[str, Any]) -> None:
    x, good = fractions(arrays), many(arrays)
    narrow = np.arange(len(x)) >= np.flatnonzero(select(arrays, L=int(arrays["shapes"][0, 0]))).max() + 1
    wide = arrays["shapes"][:, 2] >= least_dim(arrays)
    for mask, mark, label in (
        (wide & ~narrow, "o", f"L = {int(arrays['shapes'][0, 0])}"),
        (narrow, "s", "M = 1, deep"),
    ):
        colour = mf.plotting.COLOURS["os".index(mark)]
        ax.plot(x[mask], _root(arrays["own"][mask]), mark, color=colour, ms=4.5, label=label)
    fit = power(x[good], arrays["own"][good])
    few = ~wide & ~narrow
    if few.any():
        label = f"D < {least_dim(arrays)}"
        ax.plot(x[few], _root(arrays["own"][few]), "x", color="#999999", ms=4, label=label)
    ends = np.array([x[wide].min(), x[wide].max()])
    ax.plot(ends, along(fit, ends), color="#333333", lw=1.0, label=f"fit up to 1/2: {_text(fit)}")
    ax.plot(
        ends,
        1.7 * np.exp(fit.intercept) * ends**0.5,
        "--",
        color="#777777",
        lw=1.0,
        label=r"theory: $\sqrt{D/(L M)}$",
    )
    _axes(ax, "$D/(L M)$", "All shapes, against L, M infinite")
    ax.legend(loc="upper left", fontsize=7.5)


def _limit(ax: Any, arrays: dict[str, Any]) -> None:
    D = arrays["limit_dims"]
    for key, colour, label in (
        ("limit_error", mf.plotting.COLOURS[0], "h after training"),
        ("first_output", mf.plotting.COLOURS[1], "outputs at the start"),
    ):
        fit = power(D[D >= LEAST_DIM], arrays[key][D >= LEAST_DIM])
        ax.plot(D, _root(arrays[key]), "o", color=colour, ms=4.5, label=f"{label}: {_text(fit)}")
        ends = np.array([LEAST_DIM, D.max()])
        ax.plot(ends, along(fit, ends), color=colour, lw=1.0)
    ax.plot(
        D,
        1.8 * _root(arrays["limit_error"])[-1] * np.sqrt(D[-1] / D),
        "--",
        color="#777777",
        lw=1.0,
        label="slope -1/2",
    )
    _axes(
        ax,
        "dimension $D$",
        "L, M infinite: the limit of finite D against infinite D",
        "root mean square difference",
    )
    ax.legend(loc="lower left", fontsize=7.5)


def depth_fit(arrays: dict[str, Any]) -> Any:
    """Exponent of the error of depth, from L = 4 on."""
    L = arrays["depths"]
    whole, left_out = biases(arrays["products"])
    return power(L[L >= LEAST_DEPTH], whole[L >= LEAST_DEPTH], left_out[L >= LEAST_DEPTH])


def _depth(ax: Any, arrays: dict[str, Any]) -> None:
    L, errors = arrays["depths"], np.sqrt(np.maximum(biases(arrays["products"])[0], 0.0))
    fit = depth_fit(arrays)
    ax.plot(L, errors, "o", color=mf.plotting.COLOURS[0], ms=5, label=f"mean of seeds, L >= 4: {_text(fit)}")
    ends = np.array([LEAST_DEPTH, L.max()])
    ax.plot(ends, along(fit, ends), color=mf.plotting.COLOURS[0], lw=1.0)
    single = np.sqrt(np.maximum(np.array([np.diag(one).mean() for one in arrays["products"]]), 0.0))
    ax.plot(L, single, "x", color=mf.plotting.COLOURS[1], ms=5, label="one net")
    ax.plot(L, 1.5 * errors[-1] * L[-1] / L, "--", color="#777777", lw=1.0, label="slope -1")
    _axes(ax, "depth $L$ at fixed $L M$", "Error of depth: L M fixed, embeddings of infinite D")
    _ticks(ax, L)
    ax.legend(loc="lower left", fontsize=7.5)


def _linear(ax: Any, arrays: dict[str, Any]) -> None:
    y = arrays["y"]
    k = np.arange(len(arrays["linear"]))
    ax.plot(k, arrays["linear"] @ y / (y @ y), color="#333333", lw=1.6, label=r"$D = \infty$, exact")
    for c, D in enumerate(LINEAR_DIMS):
        colour = mf.plotting.COLOURS[c]
        ax.plot(k, arrays["linear_finite"][c] @ y / (y @ y), color=colour, lw=1.0)
        ax.plot(k, arrays["linear_nets"][c] @ y / (y @ y), "o", color=colour, ms=3.5, label=f"(20, 100, {D})")
    ax.plot(k[:4], 0.128 * k[:4], color="#999999", lw=0.8, ls=":", label="0.128 a step")
    ax.set_xlabel("step")
    ax.set_ylabel(r"$f \cdot y / |y|^2$")
    ax.set_title(r"Linear, $|x| = 0.8$, $\eta = 0.1$: nets, and L, M infinite (lines)")
    ax.legend(loc="lower right", fontsize=7.5, title="net (L, M, D)", title_fontsize=7.5)


# The claims -------------------------------------------------------------------------------------------------


def told(fit: Any) -> str:
    """An exponent's 95 % interval in words."""
    return f"exponent (95 %: {fit.slope - fit.half_width:.2f} to {fit.slope + fit.half_width:.2f})"


def claims(arrays: dict[str, Any]) -> list[Claim]:
    """Exponents in M, D, L; the parts of the error; features that move; linear nets."""
    good = many(arrays)
    x = fractions(arrays)
    over_M, over_D, over_L = (exponent(arrays, variable) for variable in "MDL")
    together = power(x[good], arrays["own"][good])
    D = arrays["limit_dims"]
    finite = power(D[D >= LEAST_DIM], arrays["limit_error"][D >= LEAST_DIM])
    first = power(D[D >= LEAST_DIM], arrays["first_output"][D >= LEAST_DIM])
    deep_fit = depth_fit(arrays)
    total = arrays["total"].mean(axis=1)
    grid = select(arrays, L=int(arrays["shapes"][0, 0]))
    narrowest = grid & select(arrays, M=int(arrays["shapes"][grid, 1].min()))
    parts = (arrays["own"] + arrays["finite"]).mean(axis=1) / total
    shares = arrays["own"].mean(axis=1) / x
    moved = np.sqrt(arrays["travelled"].mean(axis=1)[x <= 0.5])
    few = good & (x <= FEW)
    constants = np.sqrt(np.prod(arrays["shapes"][few, :2], axis=1) * arrays["own_output"][few].mean(axis=1))
    y, least = arrays["y"], least_dim(arrays)
    nodes = fit_slope(arrays["nodes"], arrays["node_errors"])
    return [
        Claim.within(f"At fixed L and D the error in h falls like M^(-1/2): {told(over_M)}", over_M.slope, -0.5,
                     absolute=0.05, source=PAPER),
        Claim.within(f"at fixed L M it grows like D^(1/2), from D = {least} on (against L, M infinite): {told(over_D)}",
                     over_D.slope, 0.5, absolute=0.1, source=PAPER),
        Claim.within(f"nets of width 1 fall like L^(-1/2): depth makes width: {told(over_L)}", over_L.slope, -0.5,
                     absolute=0.1, source=PAPER),
        Claim.within(f"all shapes with D/(L M) <= 1/2 and D >= {least} on one line: {told(together)} in D/(L M)",
                     together.slope, 0.5, absolute=0.05, source=PAPER),
        Claim.below("whose 95 % interval lies between 0.4 and 0.6: its end farthest from 1/2, distance",
                    np.abs(together.slope - 0.5) + np.abs(together.half_width), 0.1, source=OWN),
        Claim.below("Shapes that the fits leave out are not above: largest (error)^2 L M/D of all over that of the "
                    "fitted", shares.max() / np.abs(shares[good].max()), 2.0, source=OWN),
        Claim.within("L, M infinite: the limit of finite D tends to that of infinite D like D^(-1/2): "
                     f"{told(finite)}", finite.slope, -0.5, absolute=0.1, source=PAPER),
        Claim.within(f"With the mean over seeds taken, the error is of order 1/L: {told(deep_fit)} from L = 4 on",
                     deep_fit.slope, -1.0, absolute=0.2, source=PAPER),
        Claim.below("which its 95 % interval tells from L^(-1/2): upper end",
                    deep_fit.slope + np.abs(deep_fit.half_width), -0.5, source=OWN),
        Claim.below("Squares of the errors of finite L, M and of finite D add up: largest relative deviation",
                    np.abs(parts - 1).max(), 0.15, source=OWN),
        Claim.above("At fixed L M there is a best D: error at the largest D over the least, narrowest nets",
                    np.sqrt(total[narrowest][-1] / total[narrowest].min()), 1.3, source=OWN),
        Claim.below(f"In outputs the error of finite L, M is c/sqrt(L M) whatever D, from D = {least} up to D/(L M) = "
                    "1/20: largest c over least", constants.max() / np.abs(constants.min()), 2.0, source=OWN),
        Claim.above("Features move by order one whatever L, M, D with D/(L M) <= 1/2: least root mean square",
                    moved.min(), 0.5, source=PAPER),
        Claim.below("and the largest over the least", moved.max() / np.abs(moved.min()), 2.0, source=PAPER),
        Claim.within("Linear nets, infinite, |x| = 0.8, eta = 0.1: f_1 = 0.128 y to rounding: f_1.y/|y|^2",
                     arrays["linear"][1] @ y / (y @ y), 0.128, absolute=1e-13, source=PAPER),
        Claim.below("and at finite D, in closed form: largest distance",
                    np.abs(arrays["linear_finite"][:, 1] - arrays["linear_closed"]).max(), 1e-12, source=OWN),
        Claim.within("where f_0 is not 0 but of order D^(-1/2): exponent", first.slope, -0.5, absolute=0.1, source=OWN),
        Claim.within("The Mean ODE by nodes and samples finds the limit at second order: exponent in nodes",
                     nodes.slope, -2.0, absolute=0.2, source=OWN),
    ]  # fmt: skip
