"""Parts of a study for the jobs of an array: each cell is in one of them, whoever asks."""

from __future__ import annotations

from meanfield._study.definition import Definition


def part(asked: Definition, number: int, count: int) -> set[str]:
    """Hashes of the cells in part `number` (1, ..., count).

    Cells are dealt out in the order of their hashes, not of the axes: else one job could get all the wide ones. The
    seeds of a cell that takes them all at once stay together.
    """
    groups: list[tuple[str, ...]] = []
    for entry in asked.entries:
        groups += [entry.keys] if asked.cell["takes"] == "rngs" else [(key,) for key in entry.keys]
    groups.sort()
    return {key for group in groups[number - 1 :: count] for key in group}
