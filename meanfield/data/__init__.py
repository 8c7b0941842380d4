"""Data sets: teacher-student, published problems, points apart, hypercube, spikes, real data, the user's own files.

Generators return plain arrays, X of shape (n, d) and y of shape (n,), and take ``rng=``. Samplers,
``sampler(generator, size) -> X, y``, give fresh data to `meanfield.SGD`.
"""

from __future__ import annotations

from meanfield.data.bundled import real
from meanfield.data.classes import (
    GaussianSampler,
    cluster_labels,
    clusters,
    four_points,
    isotropic_gaussians,
)
from meanfield.data.dataset import Dataset
from meanfield.data.loading import load
from meanfield.data.monomials import HypercubeSampler, Merged, Monomials, hypercube, merged, staircase
from meanfield.data.separated_points import separated, separation, separation_bound, unit_inputs
from meanfield.data.spikes import deconvolution_truth, spikes
from meanfield.data.spin import ThreeSpin, three_spin
from meanfield.data.teachers import TeacherSampler, inputs, relu_teacher, sigmoid_teacher, teacher
from meanfield.data.torus import circle_distance, torus

__all__ = [
    "Dataset",
    "GaussianSampler",
    "HypercubeSampler",
    "Merged",
    "Monomials",
    "TeacherSampler",
    "ThreeSpin",
    "circle_distance",
    "cluster_labels",
    "clusters",
    "deconvolution_truth",
    "four_points",
    "hypercube",
    "inputs",
    "isotropic_gaussians",
    "load",
    "merged",
    "real",
    "relu_teacher",
    "separated",
    "separation",
    "separation_bound",
    "sigmoid_teacher",
    "spikes",
    "staircase",
    "teacher",
    "three_spin",
    "torus",
    "unit_inputs",
]
