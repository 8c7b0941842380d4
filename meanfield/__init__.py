"""meanfield: the mathematics of wide neural networks, as software.

A two-layer network of infinite width is a probability measure over neurons. The measure is a cloud of
particles, training is its Wasserstein gradient flow, and theorems about it can be run, drawn and checked.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from meanfield import _shadow

_shadow.check()

from meanfield import data, diagnostics, finite, kernels, norms, plotting, population  # noqa: E402
from meanfield._claims import Claim  # noqa: E402
from meanfield._study import study  # noqa: E402
from meanfield._train import train  # noqa: E402
from meanfield._version import __version__  # noqa: E402
from meanfield.activations import (  # noqa: E402
    Erf,
    Identity,
    LeakyReLU,
    PiecewiseLinear,
    Quadratic,
    ReLU,
    Sigmoid,
    Softplus,
    Tanh,
)
from meanfield.certificate import Certificate  # noqa: E402
from meanfield.diagnostics import (  # noqa: E402
    chaos,
    compare,
    elasticity,
    fluctuations,
    langevin_report,
    largest_stable_step,
    regime,
    villani,
)
from meanfield.flows import (  # noqa: E402
    SGD,
    AttentionFlow,
    BirthDeathFlow,
    Clusters,
    ConicFlow,
    DescentAscent,
    DescentAscentFlow,
    FictitiousPlayDensity,
    FictitiousPlayFlow,
    FisherRaoFlow,
    Game,
    LangevinDescentAscent,
    LangevinFlow,
    LinearizedFlow,
    MirrorProx,
    NikaidoIsoda,
    ProximalCertificate,
    WassersteinFlow,
    cluster_count,
    clusters,
    nikaido_isoda,
    time_average,
)
from meanfield.networks import (  # noqa: E402
    PointSets,
    SetNeuron,
    SignedSquareReLU,
    Spikes,
    SymmetricNet,
    SymmetricWeights,
    TwoLayer,
)
from meanfield.objective import Objective  # noqa: E402
from meanfield.population import GaussianPopulation  # noqa: E402
from meanfield.profiled import ProfiledObjective  # noqa: E402
from meanfield.regularizers import LayerRidge, NoRegularizer, PathNorm, Ridge, TotalVariation  # noqa: E402
from meanfield.run import Run, load  # noqa: E402
from meanfield.stop import gap_below  # noqa: E402
from meanfield.support import SupportReport, lift, support_report  # noqa: E402
from solvers.errors import DivergenceError, FileFormatError, InputError, PluginError  # noqa: E402
from solvers.losses import (  # noqa: E402
    AbsoluteLoss,
    CrossEntropy,
    ExponentialLoss,
    HingeLoss,
    HuberLoss,
    LogisticLoss,
    MaxLoss,
    SoftMinMargin,
    SquaredLoss,
)
from solvers.measure import ParticleMeasure  # noqa: E402

if TYPE_CHECKING:
    from meanfield.diagnostics import _landscape as landscape
    from meanfield.diagnostics import _overparametrization as overparametrization
    from meanfield.flows import resnet_mean_field

# Packages that are imported when they are first asked for: `import meanfield` stays light.
_LAZY = {
    "landscape": "meanfield.diagnostics._landscape",
    "overparametrization": "meanfield.diagnostics._overparametrization",
    "resnet_mean_field": "meanfield.flows.resnet_mean_field",
}

__all__ = [
    "SGD",
    "AbsoluteLoss",
    "AttentionFlow",
    "BirthDeathFlow",
    "Certificate",
    "Claim",
    "Clusters",
    "ConicFlow",
    "CrossEntropy",
    "DescentAscent",
    "DescentAscentFlow",
    "DivergenceError",
    "Erf",
    "ExponentialLoss",
    "FictitiousPlayDensity",
    "FictitiousPlayFlow",
    "FileFormatError",
    "Game",
    "FisherRaoFlow",
    "GaussianPopulation",
    "HingeLoss",
    "HuberLoss",
    "Identity",
    "InputError",
    "LangevinDescentAscent",
    "LangevinFlow",
    "LayerRidge",
    "LeakyReLU",
    "LinearizedFlow",
    "LogisticLoss",
    "MaxLoss",
    "MirrorProx",
    "NikaidoIsoda",
    "NoRegularizer",
    "Objective",
    "ParticleMeasure",
    "PathNorm",
    "PiecewiseLinear",
    "PluginError",
    "PointSets",
    "ProfiledObjective",
    "ProximalCertificate",
    "Quadratic",
    "ReLU",
    "Ridge",
    "Run",
    "SetNeuron",
    "Sigmoid",
    "SignedSquareReLU",
    "SoftMinMargin",
    "Softplus",
    "Spikes",
    "SquaredLoss",
    "SupportReport",
    "SymmetricNet",
    "SymmetricWeights",
    "Tanh",
    "TotalVariation",
    "TwoLayer",
    "WassersteinFlow",
    "__version__",
    "chaos",
    "cluster_count",
    "clusters",
    "compare",
    "data",
    "diagnostics",
    "elasticity",
    "finite",
    "fluctuations",
    "gap_below",
    "kernels",
    "landscape",
    "langevin_report",
    "largest_stable_step",
    "lift",
    "load",
    "nikaido_isoda",
    "norms",
    "overparametrization",
    "plotting",
    "population",
    "regime",
    "resnet_mean_field",
    "study",
    "support_report",
    "time_average",
    "train",
    "villani",
]


def __getattr__(name: str) -> Any:
    """One of the lazy packages."""
    if name in _LAZY:
        return import_module(_LAZY[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
