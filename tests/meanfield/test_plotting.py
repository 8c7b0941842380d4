"""Pictures: what is drawn is what was given, files are reproducible, and nothing is drawn that was not asked for."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from meanfield import plotting
from meanfield._claims import Claim
from meanfield.activations import ReLU
from meanfield.networks import Spikes, TwoLayer
from meanfield.objective import Objective
from meanfield.plotting._particles import merged
from meanfield.plotting._spheres import _flatten
from meanfield.regularizers import TotalVariation
from solvers.errors import InputError
from solvers.measure import ParticleMeasure

T = np.r_[0.0, np.geomspace(0.1, 100.0, 20)]
F = 1.0 + np.exp(-T / 10)


def read(path: Path) -> dict[str, list[str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    return {name: [row[k] for row in rows[1:]] for k, name in enumerate(rows[0])}


def numbers(path: Path, column: str) -> np.ndarray:
    return np.array([float(entry) for entry in read(path)[column]])


def cloud(m: int = 30, seed: int = 0, bias: bool = False) -> ParticleMeasure:
    rng = np.random.default_rng(seed)
    b = rng.standard_normal(m) if bias else None
    return ParticleMeasure.from_arrays(a=rng.standard_normal(m), w=rng.standard_normal((m, 2)), b=b)


def wave(points: np.ndarray) -> np.ndarray:
    return np.cos(points).prod(axis=1) - 0.2 * points.sum(axis=1)


def spikes(m: int, dim: int, seed: int = 0) -> ParticleMeasure:
    rng = np.random.default_rng(seed)
    return ParticleMeasure(rng.uniform(0, 2 * np.pi, (m, dim)), rng.random(m), rng.choice([-1.0, 1.0], m))


def claims() -> list[Claim]:
    return [
        Claim.within(
            "The slope is $-1$ & <exact>", -1.01, -1.0, relative=0.02, source="Rotskoff 2018, Figure 2"
        ),
        Claim.below("The gap is small", 2.0, 1e-8),
    ]


X = np.random.default_rng(3).standard_normal((25, 2))
PICTURES: dict[str, Callable[..., Any]] = {
    "objective": lambda **o: plotting.objective(T, F, optimum=1.0, certificate=2 * (F - 1), **o),
    "particles": lambda **o: plotting.particles(cloud(), teacher=cloud(3, 1), **o),
    "trajectories": lambda **o: plotting.trajectories([cloud(30, seed) for seed in range(4)], **o),
    "circle": lambda **o: plotting.sphere(cloud(), wave, level=0.1, teacher=cloud(3, 1), **o),
    "map": lambda **o: plotting.sphere(cloud(bias=True), wave, level=0.1, resolution=31, **o),
    "torus1": lambda **o: plotting.torus(spikes(9, 1), wave, teacher=spikes(3, 1, 1), **o),
    "torus2": lambda **o: plotting.torus(spikes(9, 2), wave, teacher=spikes(3, 2, 1), resolution=31, **o),
    "predictor1": lambda **o: plotting.predictor(wave, X[:, 0], X[:, 1], **o),
    "predictor2": lambda **o: plotting.predictor(wave, X, np.sign(X[:, 0]), truth=lambda z: z[:, 0], **o),
    "slope": lambda **o: plotting.slope([8, 16, 32], [[1.0, 1.2], [0.6, 0.5], [0.2, 0.3]], expected=-1, **o),
    "comparison": lambda **o: plotting.comparison(
        T, {"W2": F, "sup": 2 * F}, reference={"two samples": 1.5}, **o
    ),
    "claims": lambda **o: plotting.claims(claims(), **o),
}


# -- all of them ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PICTURES)
def test_axes_csv_and_style(name: str, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    _, own = pyplot.subplots()
    path = tmp_path / "numbers.csv"
    assert PICTURES[name](ax=own, csv=path) is own
    assert own.has_data() or own.texts
    count = len(pyplot.get_fignums())
    made = PICTURES[name]()
    assert made is not own
    assert len(pyplot.get_fignums()) == count + 1
    assert dict(matplotlib.rcParams) == before
    columns = read(path)
    assert len({len(column) for column in columns.values()}) == 1
    assert all(columns.values())
    # Axes that are axes say what they show.
    if made.axison:
        assert made.get_xlabel()
        assert made.get_ylabel() or name == "slope"


@pytest.mark.parametrize(
    ("name", "kind"),
    [*((name, "svg") for name in PICTURES), ("torus2", "png"), ("torus2", "pdf"), ("objective", "pdf")],
)
def test_same_picture_same_bytes_and_no_date(name: str, kind: str, tmp_path: Path) -> None:
    files = [plotting.save(PICTURES[name](), tmp_path / f"{k}.{kind}").read_bytes() for k in range(2)]
    assert files[0] == files[1]
    assert b"dc:date" not in files[0]
    assert b"CreationDate" not in files[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"0.{kind}", f"1.{kind}"]


def test_bytes_do_not_depend_on_the_process(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from meanfield import plotting\n"
        "t = np.geomspace(1, 9, 9)\n"
        "plotting.save(plotting.objective(t, 1 / t, certificate=.1 / t), sys.argv[1])\n"
    )
    for k in range(2):
        environment = {**os.environ, "PYTHONHASHSEED": str(k), "MPLBACKEND": "Agg"}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / f"{k}.svg")], env=environment, check=True)
    assert (tmp_path / "0.svg").read_bytes() == (tmp_path / "1.svg").read_bytes()


def test_import_is_light() -> None:
    code = "import sys, meanfield.plotting; print(any(name.startswith('matplotlib') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_save_refuses_other_endings_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the ending of path must be one of 'png', 'svg', 'pdf'"):
        plotting.save(PICTURES["objective"](), tmp_path / "a.gif")

    class Broken:
        def savefig(self, file: Any, **options: Any) -> None:
            file.write(b"half")
            raise RuntimeError("disk full")

    (tmp_path / "a.png").write_bytes(b"older")
    with pytest.raises(RuntimeError, match="disk full"):
        plotting.save(Broken(), tmp_path / "a.png")  # type: ignore[arg-type]
    assert (tmp_path / "a.png").read_bytes() == b"older"
    assert len(list(tmp_path.iterdir())) == 1


def test_csv_holds_every_digit_and_equal_lengths(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal(50) * 10.0 ** np.arange(-25, 25)
    path = plotting.write_csv(tmp_path / "v.csv", {"v": values, "k": np.arange(50)})
    assert np.array_equal(numbers(path, "v"), values)
    with pytest.raises(InputError, match="one length"):
        plotting.write_csv(tmp_path / "w.csv", {"a": [1, 2], "b": [1]})
    assert not (tmp_path / "w.csv").exists()


# -- the objective ----------------------------------------------------------------------------------------------


def test_objective_draws_the_excess_and_its_certificate(tmp_path: Path) -> None:
    gaps = 3 * (F - 1)
    ax = plotting.objective(T, F, optimum=1.0, certificate=gaps, csv=tmp_path / "o.csv")
    curve, start, gap = ax.lines
    assert np.array_equal(curve.get_xdata(), T[1:])
    assert np.array_equal(curve.get_ydata(), F[1:] - 1.0)
    assert gap.get_ydata() == pytest.approx(gaps[1:], rel=0)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    # t = 0 sits on the left edge, whatever the limits.
    assert start.get_ydata()[0] == F[0] - 1.0
    assert ax.transAxes.inverted().transform(start.get_transform().transform((0.0, 1.0)))[0] == pytest.approx(
        0.0
    )
    assert np.array_equal(numbers(tmp_path / "o.csv", "gap"), gaps)


def test_objective_reads_runs_and_their_certificates() -> None:
    class FakeRun:
        t = T
        certificate = SimpleNamespace(gap=0.25)

        def __getitem__(self, name: str) -> np.ndarray:
            return {"objective": F, "gap": 0.1 * F}[name]

    run = FakeRun()
    for certificate, low in ((True, F[-1] - 0.25), ("gap", None), (0.25, F[-1] - 0.25)):
        ax = plotting.objective(run, certificate=certificate)
        band = ax.patches[0] if low is not None else ax.collections[0]
        bottom = (
            band.get_extents().transformed(ax.transData.inverted()).y0 if low is not None else 0.9 * F.min()
        )
        assert bottom == pytest.approx(low if low is not None else 0.9 * F.min())
        assert "in this band" in ax.get_legend().get_texts()[0].get_text()


def test_objective_goes_logarithmic_over_decades_and_refuses_nonsense() -> None:
    assert plotting.objective(T[1:], 1 / T[1:] ** 2).get_yscale() == "log"
    assert plotting.objective(T, F).get_yscale() == "linear"
    with pytest.raises(InputError, match="values must have shape"):
        plotting.objective(T, F[1:])
    with pytest.raises(InputError, match="one gap or one per time"):
        plotting.objective(T, F, certificate=F[1:])
    with pytest.raises(InputError, match="no time is positive with F above the optimum"):
        plotting.objective(T, F, optimum=5.0)


# -- power laws -------------------------------------------------------------------------------------------------


def test_slope_of_an_exact_power_law() -> None:
    x = np.array([8.0, 16.0, 64.0, 200.0])
    fit = plotting.fit_slope(x, 3.0 * x**-0.5)
    # Rounding of logarithms.
    assert fit.slope == pytest.approx(-0.5, abs=1e-14)
    assert fit.half_width == pytest.approx(0.0, abs=1e-13)
    assert np.exp(fit.intercept) == pytest.approx(3.0, rel=1e-13)
    assert np.isnan(plotting.fit_slope(x[:2], x[:2]).half_width)


def test_slopes_of_what_is_not_a_mean_over_replicates() -> None:
    x, y = np.array([1.0, 2.0, 4.0, 8.0]), np.random.default_rng(1).uniform(0.5, 1.5, (4, 5))
    known = plotting.fit_slope(x, y)
    left_out = np.array([np.delete(y, s, axis=1).mean(axis=1) for s in range(5)]).T
    assert plotting.fit_slope(x, y.mean(axis=1), left_out) == pytest.approx(known, rel=1e-12)  # rounding
    # a replicate below zero, as unbiased squares may be; one without which nothing positive is left
    y[0, 0] = -0.1
    assert np.isfinite(plotting.fit_slope(x, y).half_width)
    y[0] = [9.0, -1.0, -1.0, -1.0, -1.0]
    assert plotting.fit_slope(x, y).half_width == np.inf
    with pytest.raises(InputError, match="positive"):
        plotting.fit_slope(x, -y)
    with pytest.raises(InputError, match=r"left_out must have shape \(4, replicates\)"):
        plotting.fit_slope(x, y.mean(axis=1), left_out[:, :2])


@pytest.mark.parametrize("replicates", [1, 12])
def test_confidence_intervals_cover(replicates: int) -> None:
    """95 % intervals hold the truth in 95 % of experiments: 1000 of them, so 95 +- 0.7 %."""
    rng = np.random.default_rng(5)
    x = np.geomspace(8, 512, 7)
    hits = 0
    for _ in range(1000):
        noise = rng.normal(0, 0.2, (7, replicates))
        # Replicates are averaged before the logarithm: lognormal noise shifts all points alike, the slope stays.
        y = (x[:, None] ** -1.0) * np.exp(noise)
        fit = plotting.fit_slope(x, y[:, 0] if replicates == 1 else y)
        hits += abs(fit.slope + 1.0) <= fit.half_width
    # Four standard errors of a count; the jackknife, which is approximate, measured 93.8 %.
    assert 0.92 < hits / 1000 < 0.98


def test_slope_draws_the_theory_beside_the_measurement(tmp_path: Path) -> None:
    x = np.array([8.0, 16.0, 32.0, 64.0])
    y = 2.0 * x**-0.9
    ax = plotting.slope(x, y, expected=-1, csv=tmp_path / "s.csv")
    dots, fitted, theory = ax.lines
    assert np.array_equal(dots.get_ydata(), y)

    def steepness(line: Any) -> float:
        a, b = np.log(line.get_xdata()), np.log(line.get_ydata())
        return float((b[1] - b[0]) / (a[1] - a[0]))

    assert steepness(fitted) == pytest.approx(-0.9, abs=1e-12)
    assert steepness(theory) == pytest.approx(-1.0, abs=1e-12)
    assert ax.get_legend().get_texts()[1].get_text() == "theory: slope $-1$"
    assert "-0.90" in ax.lines[0].get_label()
    assert numbers(tmp_path / "s.csv", "fit") == pytest.approx(y, rel=1e-12)
    exact = plotting.slope(x, y, expected=-1, constant=2.5).lines[2]
    assert exact.get_ydata() == pytest.approx(2.5 / np.array([8.0, 64.0]), rel=1e-14)


def test_slope_refuses_what_has_no_logarithm() -> None:
    with pytest.raises(InputError, match="positive"):
        plotting.slope([1, 2], [1, -1])
    with pytest.raises(InputError, match="two different"):
        plotting.slope([2, 2], [1, 1])
    with pytest.raises(InputError, match="one length"):
        plotting.slope([1, 2, 3], [1, 1])


# -- particles --------------------------------------------------------------------------------------------------


def test_particles_show_mass_and_sign(tmp_path: Path) -> None:
    mu = ParticleMeasure.from_arrays(
        a=[2.0, -1.0, 0.5], w=[[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]], weights=[1.0, 2.0, 1.0], signs=[1, 1, -1]
    )
    ax = plotting.particles(mu, csv=tmp_path / "p.csv")
    dots = ax.collections[0]
    masses = np.array([10.0, 2.0, 1.0])  # p |a| |w|
    assert numbers(tmp_path / "p.csv", "mass") == pytest.approx(masses)
    # Areas are proportional to mass above the least speck of 3 square points.
    sizes = dots.get_sizes() - 3.0
    assert sizes / sizes[0] == pytest.approx(masses / 10.0)
    shown = [to_hex(colour).upper() for colour in dots.get_facecolors()]
    assert shown == [plotting.POSITIVE, plotting.NEGATIVE, plotting.NEGATIVE]
    lifted = plotting.particles(mu, lift=True).collections[0].get_offsets()
    assert np.asarray(lifted) == pytest.approx(np.array([[6.0, 8.0], [1.0, 0.0], [0.0, 1.0]]))
    with pytest.raises(InputError, match="coordinates"):
        plotting.particles(mu, coordinates=(0, 2))


def test_merged_atoms_keep_the_mass_of_each_sign() -> None:
    rng = np.random.default_rng(1)
    points, masses = 0.1 * rng.standard_normal((200, 2)), rng.random(200)
    signs = rng.choice([-1.0, 1.0], 200)
    place, mass, sign = merged(points, masses, signs, radius=0.05)
    assert 2 < len(mass) < 200
    for s in (-1.0, 1.0):
        assert mass[sign == s].sum() == pytest.approx(masses[signs == s].sum(), rel=1e-13)
        distances = np.linalg.norm(place[sign == s][:, None] - place[sign == s][None], axis=-1)
        assert (distances[~np.eye(len(distances), dtype=bool)] > 0.05).all()
    assert (np.diff(mass) <= 0).all()


def test_trajectories_need_states_and_break_at_the_seam(tmp_path: Path) -> None:
    steps = np.linspace(0, 1, 30)
    around = [
        ParticleMeasure(
            np.mod(np.array([[6.0], [1.0]]) + [[s], [0.2 * s]], 2 * np.pi), [0.5, 0.2 + s], [1, -1]
        )
        for s in steps
    ]
    ax = plotting.trajectories(
        SimpleNamespace(t=steps, states=tuple(around)), period=2 * np.pi, csv=tmp_path / "t.csv"
    )
    (paths,) = [part for part in ax.collections if isinstance(part, LineCollection)]
    pieces = paths.get_segments()
    assert len(pieces) == 3  # one particle crosses the seam
    assert all(np.abs(np.diff(piece[:, 0])).max(initial=0) < 0.1 for piece in pieces)
    assert sum(len(piece) for piece in pieces) == 60
    # One coordinate: signed weights upwards.
    assert numbers(tmp_path / "t.csv", "y")[-2:] == pytest.approx([0.5, -1.2])
    assert numbers(tmp_path / "t.csv", "t") == pytest.approx(np.repeat(steps, 2))
    with pytest.raises(InputError, match="keep='all'"):
        plotting.trajectories(SimpleNamespace(states=(around[0], around[-1])))
    with pytest.raises(InputError, match="the same particles"):
        plotting.trajectories([cloud(4), cloud(5), cloud(4)])


# -- spheres, tori, predictors ----------------------------------------------------------------------------------


def test_mollweide_keeps_areas() -> None:
    known = _flatten(np.array([0.0, np.pi, 0.0, 0.0]), np.array([0.0, 0.0, np.pi / 2, -np.pi / 2]))
    expected = np.array([[0, 0], [2 * np.sqrt(2), 0], [0, np.sqrt(2)], [0, -np.sqrt(2)]])
    # At a pole sin(latitude) is flat in the angle to third order: bisection leaves eps^(2/3) = 4e-11.
    assert known == pytest.approx(expected, abs=1e-10)
    # The Jacobian times 1/cos(latitude) is the constant that makes 4 pi of the ellipse's area: 1.
    rng = np.random.default_rng(2)
    longitude, latitude = rng.uniform(-3, 3, 200), rng.uniform(-1.4, 1.4, 200)
    step = 1e-5
    east = (_flatten(longitude + step, latitude) - _flatten(longitude - step, latitude)) / (2 * step)
    north = (_flatten(longitude, latitude + step) - _flatten(longitude, latitude - step)) / (2 * step)
    area = east[:, 0] * north[:, 1] - east[:, 1] * north[:, 0]
    # Central differences of a map whose third derivatives reach 1e3 near the poles: 1e-10 * 1e3, measured 2e-10.
    assert area / np.cos(latitude) == pytest.approx(np.ones(200), abs=1e-7)


def test_sphere_shows_the_function_and_the_atoms(tmp_path: Path) -> None:
    mu = ParticleMeasure.from_arrays(a=[1.0, 2.0, -1.0], w=[[3.0, 0.0], [0.5, 0.0], [0.0, -2.0]])
    ax = plotting.sphere(mu, lambda u: u[:, 1], csv=tmp_path / "g.csv")
    dots = ax.collections[-1]
    # The first two neurons are one direction: masses (3 + 1)/3, and 2/3.
    assert np.asarray(dots.get_offsets()) == pytest.approx(np.array([[1.0, 0.0], [0.0, -1.0]]))
    sizes = dots.get_sizes() - 3.0
    assert sizes[1] / sizes[0] == pytest.approx(0.5)
    assert numbers(tmp_path / "g.csv", "value") == pytest.approx(numbers(tmp_path / "g.csv", "u2"), abs=0)
    with pytest.raises(InputError, match="dimension 5"):
        plotting.sphere(ParticleMeasure(np.ones((3, 5))), wave)
    with pytest.raises(InputError, match="shape"):
        plotting.sphere(mu, lambda u: u)


@pytest.mark.parametrize("dim", [1, 2])
def test_torus_takes_an_objective(dim: int, tmp_path: Path) -> None:
    network = Spikes(dim=dim, frequencies=2)
    truth = ParticleMeasure(np.random.default_rng(0).uniform(0, 2 * np.pi, (2, dim)), [1.0, 0.5])
    objective = Objective.deconvolution(network, truth.positions, truth.weights, TotalVariation(0.3))
    mu = spikes(5, dim)
    ax = plotting.torus(mu, objective, teacher=truth, resolution=21, csv=tmp_path / "f.csv")
    grid = np.column_stack([numbers(tmp_path / "f.csv", f"theta{k + 1}") for k in range(dim)])
    assert grid.max() == 2 * np.pi
    assert np.array_equal(numbers(tmp_path / "f.csv", "first_variation"), objective.first_variation(mu, grid))
    if dim == 1:
        # Masses and first variation have one zero.
        left, right = ax.figure.axes
        heights = [axis.transData.transform((0, 0))[1] for axis in (left, right)]
        assert heights[0] == pytest.approx(heights[1], abs=1e-6)
    with pytest.raises(InputError, match="dimension 1 or 2"):
        plotting.torus(ParticleMeasure(np.ones((2, 3))), wave)


def test_predictor_draws_the_boundary_where_f_vanishes() -> None:
    ax = plotting.predictor(lambda z: z[:, 0] - 0.25, X, np.sign(X[:, 0]))
    lines = [
        part for part in ax.collections if len(part.get_paths()) == 1 and part.get_linewidths()[0] == 1.4
    ]
    boundary = lines[0].get_paths()[0].vertices
    # Contours of a linear function are exact up to rounding.
    assert boundary[:, 0] == pytest.approx(np.full(len(boundary), 0.25), abs=1e-12)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["$f = 0$", "$y = +1$", "$y = -1$"]
    with pytest.raises(InputError, match="3 coordinates"):
        plotting.predictor(wave, np.ones((4, 3)))
    with pytest.raises(InputError, match="y must have shape"):
        plotting.predictor(wave, X, np.ones(3))


def test_predictor_curve_is_the_function() -> None:
    network = TwoLayer(ReLU(), d=1)
    mu = ParticleMeasure.gaussian(network, 20, rng=0)
    ax = plotting.predictor(lambda z: network.predict(mu, z), X[:, 0], X[:, 1])
    data, curve = ax.lines
    assert np.array_equal(data.get_xdata(), X[:, 0])
    assert curve.get_ydata() == pytest.approx(network.predict(mu, curve.get_xdata()[:, None]), rel=1e-14)


# -- tables -----------------------------------------------------------------------------------------------------


def test_claims_table_says_what_fails(tmp_path: Path) -> None:
    ax = plotting.claims(claims(), csv=tmp_path / "c.csv")
    texts = [text.get_text() for text in ax.texts]
    assert texts.count("\u2713") == texts.count("\u2717") == 1
    # Dollars in a claim are dollars, not formulas that might fail to parse.
    assert "The slope is $-1$ & <exact>" in texts
    assert read(tmp_path / "c.csv")["holds"] == ["True", "False"]
    with pytest.raises(InputError, match="no claims"):
        plotting.claims([])


def test_html_is_escaped() -> None:
    text = plotting.html_table([("<script>", 0.1234567)], head=("a & b", "c"), caption="x < y")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "a &amp; b" in text
    assert "x &lt; y" in text
    assert "0.12346" in text


def test_films_are_gif_or_mp4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import animation

    figure, ax = pyplot.subplots(figsize=(2, 2))
    (dot,) = ax.plot([0.0], [0.0], "o")
    film = animation.FuncAnimation(figure, lambda k: dot.set_data([k], [k]), frames=2, init_func=list)
    assert plotting.save(film, tmp_path / "film.gif").read_bytes()[:6] == b"GIF89a"
    with pytest.raises(InputError, match="ending of path"):
        plotting.save(film, tmp_path / "film.png")
    monkeypatch.setattr(animation.FFMpegWriter, "isAvailable", lambda: False)
    with pytest.raises(InputError, match=r"film\.mp4 needs ffmpeg"):
        plotting.save(film, tmp_path / "film.mp4")
    pyplot.close(figure)
