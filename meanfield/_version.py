"""The version, in one place; it needs no import of anything else."""

__version__ = "0.1.0"
