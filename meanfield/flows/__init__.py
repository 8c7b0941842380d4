"""Dynamics of particle measures, one a file."""

from __future__ import annotations

from meanfield.flows._clusters import Clusters, cluster_count, clusters
from meanfield.flows.attention import AttentionFlow
from meanfield.flows.birth_death import BirthDeathFlow
from meanfield.flows.conic import ConicFlow
from meanfield.flows.fictitious_play import FictitiousPlayDensity, FictitiousPlayFlow
from meanfield.flows.fisher_rao import FisherRaoFlow
from meanfield.flows.games import (
    DescentAscent,
    DescentAscentFlow,
    Game,
    LangevinDescentAscent,
    MirrorProx,
    NikaidoIsoda,
    nikaido_isoda,
    time_average,
)
from meanfield.flows.langevin import LangevinFlow, ProximalCertificate
from meanfield.flows.linearized import LinearizedFlow, LinearizedObjective
from meanfield.flows.sgd import SGD
from meanfield.flows.wasserstein import WassersteinFlow
from solvers._files import register_later

__all__ = [
    "SGD",
    "AttentionFlow",
    "BirthDeathFlow",
    "Clusters",
    "ConicFlow",
    "DescentAscent",
    "DescentAscentFlow",
    "FictitiousPlayDensity",
    "FictitiousPlayFlow",
    "Game",
    "LangevinDescentAscent",
    "FisherRaoFlow",
    "LangevinFlow",
    "LinearizedFlow",
    "LinearizedObjective",
    "MirrorProx",
    "NikaidoIsoda",
    "ProximalCertificate",
    "WassersteinFlow",
    "cluster_count",
    "clusters",
    "nikaido_isoda",
    "time_average",
]

# so that a file with such a state is read before anything of the package was used
register_later("mean-field ResNet", "meanfield.flows.resnet_mean_field.weights", "Weights")
