"""Runs of particle flows: a `Trajectory` that knows its objective, and so can certify, compare and draw itself."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from solvers.errors import InputError
from solvers.protocols import Array
from solvers.result import Trajectory
from solvers.result import load as load_trajectory

if TYPE_CHECKING:
    from meanfield.certificate import Certificate
    from meanfield.diagnostics._regime import RegimeReport

BIBTEX = {
    "WassersteinFlow": """@inproceedings{chizat2018global,
  title = {On the Global Convergence of Gradient Descent for Over-parameterized Models using Optimal Transport},
  author = {Chizat, L{\\'e}na{\\"i}c and Bach, Francis}, booktitle = {NeurIPS}, year = {2018}, eprint = {1805.09545}}

@article{mei2018mean,
  title = {A Mean Field View of the Landscape of Two-layer Neural Networks},
  author = {Mei, Song and Montanari, Andrea and Nguyen, Phan-Minh}, journal = {PNAS}, year = {2018},
  eprint = {1804.06561}}

@inproceedings{rotskoff2018parameters,
  title = {Parameters as Interacting Particles: Long Time Convergence and Asymptotic Error Scaling of Neural Networks},
  author = {Rotskoff, Grant and Vanden-Eijnden, Eric}, booktitle = {NeurIPS}, year = {2018}, eprint = {1805.00915}}
""",
    "ConicFlow": """@article{chizat2022sparse,
  title = {Sparse Optimization on Measures with Over-parameterized Gradient Descent},
  author = {Chizat, L{\\'e}na{\\"i}c}, journal = {Mathematical Programming}, year = {2022}, eprint = {1907.10300}}
""",
}
BIBTEX["LinearizedFlow"] = """@inproceedings{chizat2019lazy,
  title = {On Lazy Training in Differentiable Programming},
  author = {Chizat, L{\\'e}na{\\"i}c and Oyallon, Edouard and Bach, Francis}, booktitle = {NeurIPS}, year = {2019},
  eprint = {1812.07956}}

@inproceedings{jacot2018neural,
  title = {Neural Tangent Kernel: Convergence and Generalization in Neural Networks},
  author = {Jacot, Arthur and Gabriel, Franck and Hongler, Cl{\\'e}ment}, booktitle = {NeurIPS}, year = {2018},
  eprint = {1806.07572}}
"""
BIBTEX["BirthDeathFlow"] = BIBTEX["FisherRaoFlow"] = """@inproceedings{rotskoff2019birth,
  title = {Global Convergence of Neuron Birth-Death Dynamics},
  author = {Rotskoff, Grant and Jelassi, Samy and Bruna, Joan and Vanden-Eijnden, Eric}, booktitle = {ICML},
  year = {2019}, eprint = {1902.01843}}
"""
BIBTEX["FictitiousPlayFlow"] = """@article{chen2022entropic,
  title = {Entropic Fictitious Play for Mean Field Optimization Problem},
  author = {Chen, Fan and Ren, Zhenjie and Wang, Songbo}, journal = {arXiv preprint}, year = {2022},
  eprint = {2202.05841}}
"""
BIBTEX["deep.SGD"] = BIBTEX["deep.GradientFlow"] = """@inproceedings{allenzhu2019convergence,
  title = {A Convergence Theory for Deep Learning via Over-Parameterization},
  author = {Allen-Zhu, Zeyuan and Li, Yuanzhi and Song, Zhao}, booktitle = {ICML}, year = {2019},
  eprint = {1811.03962}}

@inproceedings{jacot2018neural,
  title = {Neural Tangent Kernel: Convergence and Generalization in Neural Networks},
  author = {Jacot, Arthur and Gabriel, Franck and Hongler, Cl{\\'e}ment}, booktitle = {NeurIPS}, year = {2018},
  eprint = {1806.07572}}

@inproceedings{yang2021tensor,
  title = {Tensor Programs IV: Feature Learning in Infinite-Width Neural Networks},
  author = {Yang, Greg and Hu, Edward J.}, booktitle = {ICML}, year = {2021}, eprint = {2011.14522}}
"""
BIBTEX["resnet_mean_field.GradientDescent"] = BIBTEX[
    "resnet_mean_field.GradientFlow"
] = """@article{chaintron2026resnets,
  title = {{ResNets} of All Shapes and Sizes: Convergence of Training Dynamics in the Large-scale Limit},
  author = {Chaintron, Louis-Pierre and Chizat, L{\\'e}na{\\"i}c and Maass, Javier}, journal = {arXiv preprint},
  year = {2026}, eprint = {2603.18168}}

@article{chizat2025hidden,
  title = {The Hidden Width of Deep {ResNets}: Tight Error Bounds and Phase Diagrams},
  author = {Chizat, L{\\'e}na{\\"i}c}, journal = {arXiv preprint}, year = {2025}, eprint = {2509.10167}}
"""
BIBTEX["SGD"] = BIBTEX["LangevinFlow"] = BIBTEX["WassersteinFlow"]


class Run(Trajectory):
    """A run of a particle flow: what `Trajectory` has, and what its objective makes possible."""

    def attach(self, flow: Any) -> Run:
        """The same run with its flow, for a run that was loaded from a file."""
        return dataclasses.replace(self, flow=flow)

    @property
    def objective(self) -> Any:
        """The objective (or functional) that the flow descends."""
        objective = getattr(self.flow, "objective", None)
        if objective is None:
            raise InputError(
                "this run was loaded from a file, which does not hold the objective; use run.attach(flow) first"
            )
        return objective

    @property
    def certificate(self) -> Certificate:
        """The duality gap at the end of the run (computed once)."""
        cached = self.__dict__.get("_certificate")
        if cached is None:
            objective = self.objective
            if not hasattr(objective, "certificate"):
                raise InputError(
                    f"{type(objective).__name__} has no certificate; it is made for Objective on data"
                )
            cached = objective.certificate(self.final)
            self.__dict__["_certificate"] = cached
        return cached  # type: ignore[no-any-return]

    def predict(self, X: Any = None) -> Array:
        """The final network on the data, or on other inputs."""
        predictions: Array = self.objective.predict(self.final, X)
        return predictions

    def regime(self, X_test: Any = None, y_test: Any = None, **options: Any) -> RegimeReport:
        """How lazy or rich the run was: movement, kernel change, alignment, distance to the kernel predictor, errors.

        Parameters
        ----------
        X_test, y_test : array_like, optional
            For test errors.
        **options
            As of `meanfield.regime`.
        """
        from meanfield.diagnostics._regime import regime

        return regime(self, X_test, y_test, **options)

    def sgd(
        self,
        step: float,
        batch: int | None = None,
        rng: Any = 0,
        width: int | None = None,
        sampler: Any = None,
        observers: Any = (),
    ) -> Run:
        """SGD from the same start to the same time, saved at the same times.

        Parameters
        ----------
        step : float
            In the time unit of the flow.
        batch : int, optional
            None: full batch.
        rng : int, SeedSequence or Generator
        width : int, optional
            Train so many of the start's particles, chosen by `subsample`; all of them by default.
        sampler : callable, optional
            Fresh samples; see `SGD`.
        observers : sequence
            As of `solvers.integrate`: `solvers.Progress`, `solvers.Checkpoint`, ...
        """
        from meanfield.flows import SGD

        if hasattr(self.flow, "beside"):
            if width is not None:
                raise InputError(
                    "width= chooses particles; a deep network keeps the widths that it was made with"
                )
            return self._beside(self.flow.beside(step, batch, rng, sampler), self.initial, observers)
        start = self.initial if width is None else self.initial.subsample(width, rng)
        unit = getattr(self.flow, "time_unit", "flow")
        flow = SGD(self.objective, step, batch=batch, rng=rng, sampler=sampler, time_unit=unit)
        return self._beside(flow, start, observers)

    def _beside(self, flow: Any, start: Any, observers: Any) -> Run:
        """Another flow over the same time, saved at the same times."""
        from solvers import integrate

        keep = "all" if len(self.states) == len(self.t) else "ends"
        run: Run = integrate(
            flow, start, float(self.t[-1]), t0=float(self.t[0]), save=self.t, keep=keep, observers=observers
        )
        return run

    def linearized(self, observers: Any = ()) -> Run:
        """The kernel regime beside the run: its network linearized at its start, trained over the same time.

        Saved at the same times; see `LinearizedFlow`.

        Parameters
        ----------
        observers : sequence
            As of `solvers.integrate`.
        """
        from meanfield.flows import SGD, LinearizedFlow, WassersteinFlow

        if hasattr(self.flow, "beside"):
            raise InputError(
                "linearized() goes beside runs of particles; run.regime() compares a deep network with what its kernel "
                "predicts"
            )
        if self.flow is not None and not isinstance(self.flow, (SGD, WassersteinFlow)):
            raise InputError(
                f"linearized() goes beside a WassersteinFlow or SGD, not {type(self.flow).__name__}"
            )
        flow = LinearizedFlow(self.objective, self.initial, getattr(self.flow, "time_unit", "flow"))
        return self._beside(flow, self.initial, observers)

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """The objective against time; `ax` and other options as of `meanfield.plotting.objective`."""
        from meanfield import plotting

        symbol = getattr(self.final, "symbol", None)  # what states that are no measures call their objective
        if symbol is not None:
            options.setdefault("symbol", symbol)
        return plotting.objective(self, ax=ax, **options)

    def cite(self) -> str:
        """BibTeX of the papers behind the flow."""
        described = str(_described_flow(self))
        name = described if self.flow is None or described in BIBTEX else type(self.flow).__name__
        return BIBTEX.get(name, "")


def _described_flow(run: Trajectory) -> Any:
    """The name of the flow that a saved run's provenance holds."""
    described = run.provenance.get("configuration", {}).get("flow", {})
    return described.get("flow") if isinstance(described, dict) else described


def load(path: Any) -> Run:
    """Read a run that ``run.save(path)`` wrote. Never unpickles; ``run.attach(flow)`` gives it its objective again."""
    plain: Trajectory = load_trajectory(path)
    return Run(**{field.name: getattr(plain, field.name) for field in dataclasses.fields(Trajectory)})
