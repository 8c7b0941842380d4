"""Networks as feature maps Phi(theta; x): two-layer nets, spikes on the torus, and any that a user writes."""

from __future__ import annotations

from meanfield.networks.feature_map import FeatureMap, FeaturesOnData, bind, predict
from meanfield.networks.signed_square import SignedSquareReLU
from meanfield.networks.spikes import Spikes
from meanfield.networks.two_layer import TwoLayer

__all__ = ["FeatureMap", "FeaturesOnData", "SignedSquareReLU", "Spikes", "TwoLayer", "bind", "predict"]
