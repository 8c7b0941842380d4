"""How much memory the machine has, for refusals before anything is allocated."""

from __future__ import annotations

import os

from solvers.errors import InputError

# Of the machine's memory: what one array may take.
SHARE = 0.8


def machine_bytes() -> float:
    """The memory of the machine; where the system does not tell, more than any machine has."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return 2.0**40


def fits(needed: float) -> bool:
    """Whether so many bytes leave room for the rest."""
    return needed <= SHARE * machine_bytes()


def require_memory(needed: float, what: str, instead: str = "fewer points at a time") -> None:
    """Refuse what does not fit into the memory of the machine."""
    if not fits(needed):
        raise InputError(
            f"{what} would take {needed / 2**30:,.1f} GiB, and this machine has {machine_bytes() / 2**30:,.1f}; "
            f"take {instead}"
        )
