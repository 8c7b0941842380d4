"""Objectives with Gaussian inputs in closed form: the population risk of teacher and student, without data."""

from meanfield.population._functional import GaussianPopulation

__all__ = ["GaussianPopulation"]
