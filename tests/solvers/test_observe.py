"""Stop rules, progress, checkpoints: who is asked when, and what it does to a run."""

from __future__ import annotations

import io
import os
import time

import numpy as np
import pytest

import solvers
from solvers import _files
from solvers.errors import FileFormatError, InputError, PluginError
from solvers.result import Status


def decay(x):
    return -x


class Gradient:
    """The gradient flow of |x|^2/2, with its objective."""

    kind = "ode"

    def pack(self, state):
        return np.array(state, dtype=np.float64)

    def unpack(self, z, like):
        return z.copy()

    def velocity(self, t, z, out):
        return np.negative(z, out=out)

    def default_record(self, t, z):
        return {"objective": 0.5 * float(z @ z)}

    def gap(self, state):
        return 0.5 * float(state @ state)


# -- stop rules -----------------------------------------------------------------------------------------------


def test_stop_on_a_recorded_value():
    run = solvers.integrate(
        Gradient(), [1.0], 20.0, until=solvers.stop_when("objective", below=1e-3), save=201
    )
    assert run.status is Status.stopped_by_rule
    assert run["objective"][-1] < 1e-3 <= run["objective"][-2]
    assert run.message.startswith("objective = ")
    assert "below 0.001" in run.message


def test_stop_on_a_function_of_the_state_at_saves_or_by_steps():
    method = solvers.Euler(step=0.01)
    rule = solvers.stop_when(np.max, below=0.5)
    coarse = solvers.integrate(decay, [1.0], 5.0, method=method, save=6, until=rule)
    fine = solvers.integrate(
        decay, [1.0], 5.0, method=method, save=6, until=solvers.stop_when(np.max, below=0.5, every=3)
    )
    assert coarse.t[-1] == 1.0
    # 0.99^k < 0.5 first at k = 69, which 3 divides
    assert fine.stats["steps"] == 69
    assert fine.t[-1] == 69 * 0.01
    assert fine.final[0] == pytest.approx(0.99**69, rel=1e-14)
    assert np.array_equal(fine.t, [0.0, 69 * 0.01])


def test_above_and_truth_values():
    grow = solvers.integrate(lambda x: x, [1.0], 9.0, until=solvers.stop_when(np.max, above=10.0), save=91)
    assert grow.t[-1] == pytest.approx(2.4)
    plain = solvers.integrate(decay, [1.0], 9.0, until=lambda x: bool(x[0] < 0.5), save=91)
    assert plain.t[-1] == pytest.approx(0.7)
    assert plain.status is Status.stopped_by_rule


def test_gradient_norm():
    run = solvers.integrate(decay, [3.0, 4.0], 50.0, until=solvers.gradient_norm_below(1e-2), save=501)
    rms = np.sqrt(np.mean(run.final**2))
    assert rms < 1e-2
    # one save earlier the norm was e^0.1 larger
    assert rms * np.exp(0.1) > 1e-2


def test_a_rule_that_needs_the_flow_finds_it_in_the_view():
    class GapBelow:
        def __init__(self, eps):
            self.eps = eps

        def observe(self, view):
            gap = view.flow.gap(view.state)
            return f"gap {gap:.2g}" if gap < self.eps else None

    run = solvers.integrate(Gradient(), [1.0], 50.0, until=GapBelow(1e-4), save=101)
    assert run.status is Status.stopped_by_rule
    assert run.message.startswith("gap")
    assert run["objective"][-1] < 1e-4


def test_several_rules_and_observers():
    seen = []

    class Look:
        def observe(self, view):
            seen.append(view.t)

    rules = [solvers.stop_when("objective", below=1e-9), solvers.stop_when(np.max, below=0.5)]
    run = solvers.integrate(Gradient(), [1.0], 5.0, until=rules, observers=[Look()], save=11)
    assert run.t[-1] == 1.0
    # an observer without `when` is asked at every save, the first and the stopping one included
    assert seen == [0.0, 0.5, 1.0]


def test_a_rule_that_holds_at_the_start_stops_there():
    run = solvers.integrate(Gradient(), [1e-9], 5.0, until=solvers.stop_when("objective", below=1e-3))
    assert run.stats["steps"] == 0
    assert run.status is Status.stopped_by_rule


def test_time_budget():
    start = time.perf_counter()
    run = solvers.integrate(
        decay,
        np.ones(10),
        1e9,
        method=solvers.Euler(step=1e-3),
        save=2,
        until=solvers.stop_at_time_budget(0.3),
    )
    elapsed = time.perf_counter() - start
    assert run.status is Status.stopped_by_rule
    assert "time budget" in run.message
    # a chunk lasts at most 0.2 s; the rest is room for a busy machine
    assert 0.3 <= elapsed < 2.0


def test_time_budget_within_chunks_of_the_flow():
    class Fast(Gradient):
        def advance(self, z, h, steps):
            for _ in range(steps):
                z += h * -z

    run = solvers.integrate(
        Fast(),
        np.ones(10),
        1e9,
        method=solvers.Euler(step=1e-3),
        save=2,
        until=solvers.stop_at_time_budget(0.3),
    )
    assert run.status is Status.stopped_by_rule
    assert 0.3 <= run.stats["seconds"] < 2.0


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: solvers.stop_when("objective"), "needs a bound"),
        (lambda: solvers.stop_when(3.0, below=1), "needs the name of a record or a function"),
        (lambda: solvers.stop_when("objective", below=1, every=3), "every needs a function"),
        (lambda: solvers.stop_when(np.max, below="low"), "below must be a number"),
        (lambda: solvers.stop_when(np.max, below=1, every=0), "every must be at least 1"),
        (lambda: solvers.gradient_norm_below(-1.0), "eps must be positive"),
        (lambda: solvers.stop_at_time_budget(0), "seconds must be positive"),
        (lambda: solvers.Checkpoint("x.npz", seconds=1, steps=1), "seconds or steps, not both"),
        (lambda: solvers.Checkpoint("x.npz", steps=0), "steps must be at least 1"),
        (lambda: solvers.Checkpoint("x.npz", seconds=-1), "seconds must be positive"),
        (lambda: solvers.Progress(every=0), "every must be positive"),
    ],
)
def test_refusals(build, sentence):
    with pytest.raises(InputError, match=sentence):
        build()


def test_rules_on_what_is_not_there():
    with pytest.raises(InputError, match=r"stop_when\('loss'\): this run records 'objective'"):
        solvers.integrate(Gradient(), [1.0], 1.0, until=solvers.stop_when("loss", below=1))
    with pytest.raises(InputError, match="needs a scalar, not an array of shape"):
        solvers.integrate(Gradient(), [1.0, 2.0], 1.0, until=solvers.stop_when(lambda x: x, below=1))

    class Map(Gradient):
        kind = "map"
        default_step = 0.1

        def step(self, z, h, k):
            z *= 0.9

    with pytest.raises(InputError, match="needs a flow of kind 'ode'"):
        solvers.integrate(Map(), [1.0], 1.0, until=solvers.gradient_norm_below(1e-3))


# -- progress -------------------------------------------------------------------------------------------------


def test_progress_shows_objective_and_time_left(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    run = solvers.integrate(
        Gradient(), [2.0], 4.0, observers=[solvers.Progress(every=1e-6, force=True)], save=11
    )
    text = screen.getvalue()
    assert "t = 4/4" in text
    assert "100%" in text
    assert f"objective {run['objective'][-1]:.5g}" in text
    assert "<" in text
    assert f"step {run.stats['steps']}" in text


def test_progress_is_silent_without_a_terminal(capsys):
    solvers.integrate(Gradient(), [2.0], 1.0, observers=[solvers.Progress()])
    assert capsys.readouterr().err == ""


def test_progress_does_not_alter_the_numbers(monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    a = solvers.integrate(Gradient(), [2.0], 3.0, observers=solvers.Progress(every=1e-6, force=True))
    b = solvers.integrate(Gradient(), [2.0], 3.0)
    assert np.array_equal(a.final, b.final)
    assert np.array_equal(a["objective"], b["objective"])


def test_the_bar_is_closed_when_the_run_fails(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    bar = solvers.Progress(every=1e-6, force=True)
    with pytest.raises(ZeroDivisionError):
        solvers.integrate(Gradient(), [2.0], 1.0, observers=[bar], record={"x": lambda x: 1 / 0})
    assert bar._bar is None


# -- checkpoints ----------------------------------------------------------------------------------------------


def checkpointed(path, **options):
    return solvers.integrate(
        decay,
        np.ones(100),
        1.0,
        method=solvers.Euler(step=0.1),
        observers=[solvers.Checkpoint(path, steps=3)],
        **options,
    )


def test_by_seconds_and_by_steps(tmp_path):
    written = []

    class Spy(solvers.Checkpoint):
        def _write(self, view):
            written.append(view.k)
            super()._write(view)

    solvers.integrate(
        decay,
        [1.0],
        1.0,
        method=solvers.Euler(step=0.1),
        observers=[Spy(tmp_path / "a.npz", steps=3)],
        save=2,
    )
    # also when the run ends, so that a finished run resumes to itself
    assert written == [0, 3, 6, 9, 10]
    written.clear()

    def slow(x):
        time.sleep(0.01)
        return -x

    solvers.integrate(
        slow,
        [1.0],
        1.0,
        method=solvers.Euler(step=0.01),
        observers=[Spy(tmp_path / "b.npz", seconds=0.1)],
        save=2,
    )
    # a second of sleeping, a look every 0.1 s, each at most a step late; a busy machine only makes it longer
    assert len(written) >= 5
    assert len(set(np.diff(written))) >= 1
    assert not [p.name for p in tmp_path.iterdir() if p.suffix != ".npz"]


def test_a_checkpoint_cut_in_half_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    checkpointed(path)
    whole = path.read_bytes()
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(FileFormatError) as caught:
            checkpointed(path, resume=True)
        assert "\n" not in str(caught.value)
        assert "run.npz" in str(caught.value)
        # the damaged file is not overwritten by the refused run
        assert path.read_bytes() == whole[:size]


def test_a_checkpoint_that_cannot_be_written_is_refused_at_once(tmp_path):
    with pytest.raises(InputError, match="folder of the checkpoint"):
        checkpointed(tmp_path / "nowhere" / "run.npz")


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    checkpointed(path)
    before = path.read_bytes()

    def full(*_args, **_kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpointed(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_a_trajectory_is_not_a_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    solvers.integrate(decay, [1.0], 1.0).save(path)
    with pytest.raises(
        FileFormatError, match="is a 'solvers-trajectory' file, not a 'solvers-checkpoint' file"
    ):
        checkpointed(path, resume=path)


def test_a_stop_rule_after_resuming_stops_at_the_same_place(tmp_path):
    path = tmp_path / "run.npz"
    options = {
        "method": solvers.Euler(step=0.01),
        "save": 6,
        "until": solvers.stop_when(np.max, below=0.1),
        "observers": [solvers.Checkpoint(path, steps=40)],
    }
    whole = solvers.integrate(decay, [1.0], 5.0, **options)
    again = solvers.integrate(decay, [1.0], 5.0, resume=True, **options)
    assert np.array_equal(whole.t, again.t)
    assert np.array_equal(whole.final, again.final)
    assert whole.message == again.message


def test_checkpoint_holds_no_pickle(tmp_path):
    path = tmp_path / "run.npz"
    checkpointed(path, record={"norm": np.linalg.norm})
    header, arrays = _files.read_arrays(path, "solvers-checkpoint", 1)
    assert header["k"] == 10
    assert header["configuration"]["flow"]["function"].endswith("decay")
    assert arrays["z"].shape == (100,)


# -- the rules of a flow --------------------------------------------------------------------------------------


def test_check_flow_accepts_good_flows():
    from solvers.testing import check_flow

    checked = check_flow(Gradient(), np.array([1.0, 2.0]))
    assert "velocity" in checked
    assert "default_record" in checked
    check_flow(solvers.FunctionFlow(decay, project=lambda x: x % 1.0), np.array([0.2, 0.4]))


class Stateful(Gradient):
    n = 0

    def velocity(self, t, z, out):
        self.n += 1
        np.negative(z, out=out)
        out[0] += 1e-16 * self.n
        return out


class Partial(Gradient):
    def velocity(self, t, z, out):
        out[:-1] = -z[:-1]
        return out


class Meddling(Gradient):
    def velocity(self, t, z, out):
        np.negative(z, out=out)
        z += 1e-9
        return out


class Viewing(Gradient):
    def unpack(self, z, like):
        return z


class Sharing(Gradient):
    def pack(self, state):
        return state


class Lossy(Gradient):
    def unpack(self, z, like):
        return z.astype(np.float32)


class Overshooting(Gradient):
    def project(self, z):
        z *= 0.5
        return True


class Silent(Gradient):
    def project(self, z):
        np.clip(z, 0.0, 0.5, out=z)
        return False


class Fused(Gradient):
    def advance(self, z, h, steps):
        # depends on how a run is cut: not in what it computes, but in its last digits
        z *= (1 - h) ** steps * (1 + 1e-14 * steps**2)


class Hasty(Gradient):
    def advance(self, z, h, steps):
        for _ in range(steps):
            z *= 1 - 1.01 * h


class Recording(Gradient):
    def default_record(self, t, z):
        return {"objective": z}


class Norming(Gradient):
    def error_norm(self, z, error, rtol, atol):
        return 1.0


class Walk(Gradient):
    kind = "map"
    default_step = 0.1

    def __init__(self):
        self.generator = np.random.default_rng(0)

    def step(self, z, h, k):
        z += self.generator.normal(size=z.size)


class Returning(Gradient):
    kind = "map"
    default_step = 0.1

    def step(self, z, h, k):
        return z * 0.9


class Describing(Gradient):
    n = 0

    def describe(self):
        self.n += 1
        return {"n": self.n}


@pytest.mark.parametrize(
    ("flow", "words"),
    [
        (Stateful, "velocity does not repeat"),
        (Partial, "leaves entries of `out` unfilled"),
        (Meddling, "velocity changes z"),
        (Viewing, "unpack returns a view"),
        (Sharing, "pack returns the same memory"),
        (Lossy, "not z to the last bit"),
        (Overshooting, "not idempotent"),
        (Silent, "does not tell truly"),
        (Fused, r"is not advance\(z, h, 2\) and advance\(z, h, 3\) to the last bit"),
        (Hasty, "is not so many Euler steps"),
        (Recording, "default_record must return a dict of names to finite numbers"),
        (Norming, "error_norm of no error is 1"),
        (Walk, "step does not repeat"),
        (Returning, "works in place and returns None"),
        (Describing, "describe changes"),
    ],
)
def test_check_flow_says_what_is_wrong(flow, words):
    from solvers.testing import check_flow

    with pytest.raises(PluginError, match=words) as caught:
        check_flow(flow(), np.array([0.1, 0.7, 1.3]))
    assert flow.__name__ in str(caught.value)


def test_slopes_and_their_intervals():
    from solvers.testing import check_slope, fit_slope

    x = np.array([1.0, 2.0, 4.0, 8.0])
    exact = fit_slope(x, 3 * x**-0.5)
    # a straight line up to rounding
    assert abs(exact.slope + 0.5) < 1e-14
    assert exact.high - exact.low < 1e-12
    assert check_slope(x, x**-0.5, -0.5, 0.01)
    assert not check_slope(x, x**-0.5, -1.0, 0.1)
    # the interval covers the truth in 95 % of noisy samples: 1000 samples, binomial deviation 0.7 %
    generator = np.random.default_rng(0)
    u = np.linspace(0, 1, 8)
    hits = 0
    for _ in range(1000):
        fit = fit_slope(u, 2 * u + generator.normal(size=8), log=False)
        hits += fit.low <= 2 <= fit.high
    assert abs(hits / 1000 - 0.95) < 0.03
    with pytest.raises(InputError, match="at least 3 points"):
        fit_slope([1, 2], [1, 2])
    with pytest.raises(InputError, match="must be positive for a logarithmic slope"):
        fit_slope([1, 2, 3], [1, 0, 3])
