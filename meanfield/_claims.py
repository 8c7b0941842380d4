"""Claims: what a paper states, what was measured, and the rule that compares the two."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from solvers.errors import InputError

Rule = Literal["within", "below", "above", "between", "true"]


@dataclass(frozen=True)
class Claim:
    r"""One statement of a paper, checked: ``measured`` is compared with ``expected`` by ``rule``.

    Made by the constructors, which say what they compare:

    ===========  ==========================================  ====================================
    rule         holds when                                  constructor
    ===========  ==========================================  ====================================
    ``within``   \|measured - expected\| <= tolerance         ``Claim.within(..., relative=.02)``
    ``below``    measured < expected                         ``Claim.below(statement, x, limit)``
    ``above``    measured > expected                         ``Claim.above(statement, x, limit)``
    ``between``  low <= measured <= high                     ``Claim.between(statement, x, lo, hi)``
    ``true``     the condition is true                       ``Claim.true(statement, condition)``
    ===========  ==========================================  ====================================

    A measured value that is NaN or infinite never holds.

    Attributes
    ----------
    statement : str
        What the paper states, in one sentence.
    measured : float or str
        The measured number; a short text for the rule "true".
    expected : float, (float, float) or bool
        The number, the limit, the interval, or True.
    rule : {"within", "below", "above", "between", "true"}
    source : str
        Where it is stated (paper, figure or equation).
    tolerance : float or None
        Half-width for "within": absolute, or a fraction of ``|expected|`` if `relative`.
    relative : bool
    condition : bool or None
        The outcome, for the rule "true".
    """

    statement: str
    measured: float | str
    expected: float | tuple[float, float] | bool
    rule: Rule
    source: str = ""
    tolerance: float | None = None
    relative: bool = False
    condition: bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.statement, str) or not self.statement.strip():
            raise InputError("statement must be a sentence that says what the paper states")
        if self.rule not in ("within", "below", "above", "between", "true"):
            raise InputError(f"rule must be within, below, above, between or true, not {self.rule!r}")
        if self.rule == "true":
            if not isinstance(self.condition, bool):
                raise InputError("condition must be True or False for the rule 'true'")
            return
        limits = self.expected if isinstance(self.expected, tuple) else (self.expected,)
        if not all(math.isfinite(value) for value in limits):
            raise InputError(f"expected must be finite, not {self.expected!r}: the claim could not fail")
        if self.rule == "within" and not (self.tolerance is not None and 0 <= self.tolerance < math.inf):
            raise InputError(f"tolerance must be finite and non-negative, not {self.tolerance!r}")
        if self.rule == "between" and not (len(limits) == 2 and limits[0] <= limits[1]):
            raise InputError(f"expected must be an interval (low, high), not {self.expected!r}")

    # Constructors ---------------------------------------------------------------------------------------

    @classmethod
    def within(
        cls,
        statement: str,
        measured: Any,
        expected: float,
        *,
        relative: float | None = None,
        absolute: float | None = None,
        source: str = "",
    ) -> Claim:
        """``|measured - expected| <= absolute``, or ``<= relative * |expected|``; give exactly one of the two.

        Like its sisters it takes the `statement` in one sentence and the `source` of what is expected.
        """
        if (relative is None) == (absolute is None):
            raise InputError("give exactly one of relative= and absolute=")
        tolerance = _scalar(relative if relative is not None else absolute, "tolerance")
        if relative is not None and _scalar(expected, "expected") == 0:
            raise InputError("relative= needs an expected value other than 0; use absolute=")
        value = _scalar(measured, "measured")
        return cls(
            statement, value, _scalar(expected, "expected"), "within", source, tolerance, relative is not None
        )

    @classmethod
    def below(cls, statement: str, measured: Any, limit: float, *, source: str = "") -> Claim:
        """``measured < limit``."""
        return cls(statement, _scalar(measured, "measured"), _scalar(limit, "limit"), "below", source)

    @classmethod
    def above(cls, statement: str, measured: Any, limit: float, *, source: str = "") -> Claim:
        """``measured > limit``."""
        return cls(statement, _scalar(measured, "measured"), _scalar(limit, "limit"), "above", source)

    @classmethod
    def between(cls, statement: str, measured: Any, low: float, high: float, *, source: str = "") -> Claim:
        """``low <= measured <= high``."""
        interval = (_scalar(low, "low"), _scalar(high, "high"))
        return cls(statement, _scalar(measured, "measured"), interval, "between", source)

    @classmethod
    def true(cls, statement: str, condition: Any, *, measured: str = "", source: str = "") -> Claim:
        """The condition is true; `measured` says in a few words what was seen."""
        outcome = bool(condition)
        return cls(statement, measured or str(outcome).lower(), True, "true", source, condition=outcome)

    # The verdict ----------------------------------------------------------------------------------------

    @property
    def holds(self) -> bool:
        """Whether the claim holds; never for a measured NaN or infinity."""
        if self.rule == "true":
            return bool(self.condition)
        if not math.isfinite(self._value):
            return False
        if self.rule == "within":
            return abs(self._value - self._limit) <= self._allowed
        if self.rule == "below":
            return self._value < self._limit
        if self.rule == "above":
            return self._value > self._limit
        low, high = self._interval
        return low <= self._value <= high

    @property
    def margin(self) -> float:
        """What is left of the allowance, as a fraction: 1 on target, 0 at the edge, negative when it fails.

        The allowance is the tolerance (within), the half-width (between) or the size of the limit (below, above).
        """
        if self.rule == "true":
            return 1.0 if self.condition else -1.0
        value = self._value
        if not math.isfinite(value):
            return math.nan
        if self.rule == "within":
            distance = abs(value - self._limit)
            return 1.0 - distance / self._allowed if self._allowed > 0 else float(distance == 0) - distance
        if self.rule == "between":
            low, high = self._interval
            room = min(value - low, high - value)
            return room / (0.5 * (high - low)) if high > low else room
        room = self._limit - value if self.rule == "below" else value - self._limit
        return room / abs(self._limit) if self._limit != 0 else room

    @property
    def expectation(self) -> str:
        """What was expected, as text with its tolerance."""
        if self.rule == "true":
            return "true"
        if self.rule == "within":
            assert self.tolerance is not None
            width = f"{100 * self.tolerance:.3g} %" if self.relative else f"{self.tolerance:.2g}"
            return f"{self._limit:.{self._digits}g} ± {width}"
        if self.rule == "between":
            low, high = self._interval
            return f"{low:.5g} to {high:.5g}"
        return f"{'<' if self.rule == 'below' else '>'} {self._limit:.6g}"

    @property
    def measurement(self) -> str:
        """The measured value as text, with the digits that the rule needs."""
        if isinstance(self.measured, str):
            return self.measured
        return f"{self.measured:.{self._digits}g}"

    def to_dict(self) -> dict[str, Any]:
        """The claim as plain values for a JSON file (non-finite numbers as they are)."""
        expected = list(self.expected) if isinstance(self.expected, tuple) else self.expected
        return {
            "statement": self.statement,
            "measured": self.measured,
            "expected": expected,
            "rule": self.rule,
            "tolerance": self.tolerance,
            "relative": self.relative,
            "holds": self.holds,
            "margin": self.margin,
            "source": self.source,
        }

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "FAILS"
        return f"{verdict}: {self.statement} (measured {self.measurement}, expected {self.expectation})"

    def _repr_html_(self) -> str:
        return Claims([self])._repr_html_()

    @property
    def _digits(self) -> int:
        """Significant digits to print: two more than the tolerance resolves."""
        if self.rule != "within" or self._limit == 0:
            return 5
        fraction = self._allowed / abs(self._limit)
        return min(max(4, 2 - math.floor(math.log10(fraction))), 15) if fraction > 0 else 15

    @property
    def _value(self) -> float:
        return float(self.measured)

    @property
    def _limit(self) -> float:
        assert not isinstance(self.expected, tuple)
        return float(self.expected)

    @property
    def _interval(self) -> tuple[float, float]:
        assert isinstance(self.expected, tuple)
        return self.expected

    @property
    def _allowed(self) -> float:
        assert self.tolerance is not None
        return self.tolerance * abs(self._limit) if self.relative else self.tolerance


class Claims(tuple[Claim, ...]):
    """A tuple of claims, in the order in which they were made; prints as a table, `hold` says if all of them do."""

    def __new__(cls, claims: Iterable[Claim] = ()) -> Claims:
        collected = tuple(claims)
        for entry in collected:
            if not isinstance(entry, Claim):
                raise InputError(f"claims must hold Claim objects, not {type(entry).__name__}")
        return super().__new__(cls, collected)

    @property
    def hold(self) -> bool:
        """Whether there is at least one claim and all of them hold."""
        return len(self) > 0 and all(claim.holds for claim in self)

    @property
    def failed(self) -> Claims:
        """The claims that do not hold."""
        return Claims(claim for claim in self if not claim.holds)

    @property
    def summary(self) -> str:
        """One line: how many hold."""
        if not self:
            return "no claims were made"
        held = len(self) - len(self.failed)
        if held == len(self):
            return f"all {held} claims hold" if held > 1 else "the claim holds"
        return f"{held} of {len(self)} claims hold, {len(self) - held} FAIL"

    def __str__(self) -> str:
        return claims_table(self)

    def _repr_html_(self) -> str:
        rows = []
        for claim in self:
            mark, colour = ("✓", "#2a7f3f") if claim.holds else ("✗", "#b3261e")
            cells = [claim.statement, claim.measurement, claim.expectation, _margin_text(claim), claim.source]
            rows.append(
                f'<tr><td style="color:{colour};font-weight:bold">{mark}</td>'
                + "".join(f'<td style="text-align:left">{html.escape(cell)}</td>' for cell in cells)
                + "</tr>"
            )
        heads = "".join(
            f'<th style="text-align:left">{head}</th>'
            for head in ("", "claim", "measured", "expected", "margin", "source")
        )
        return (
            f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
            f"<p>{html.escape(self.summary)}</p>"
        )


def claims_table(claims: Iterable[Claim], width: int = 100) -> str:
    """The claims as text of at most `width` columns: mark, statement, measured, expected, margin, source."""
    collected = claims if isinstance(claims, Claims) else Claims(claims)
    if not collected:
        return collected.summary
    measured = _column((claim.measurement for claim in collected), "measured", 14)
    expected = _column((claim.expectation for claim in collected), "expected", 24)
    margin = _column((_margin_text(claim) for claim in collected), "margin", 8)
    room = max(24, width - 2 - sum(2 + size for size in (measured, expected, margin)))

    def line(mark: str, *cells: str) -> str:
        sizes = (room, measured, expected, margin)
        body = "  ".join(f"{cell:<{size}}" for cell, size in zip(cells, sizes, strict=True))
        return f"{mark} {body}".rstrip()

    lines = [line(" ", "claim", "measured", "expected", "margin"), "-" * width]
    source = ""
    for claim in collected:
        if claim.source and claim.source != source:
            source = claim.source
            lines += [
                f"  [{part}" if k == 0 else f"   {part}" for k, part in _wrapped(source + "]", width - 4)
            ]
        columns = [
            [text for _, text in _wrapped(cell, size)]
            for cell, size in (
                (claim.statement, room),
                (claim.measurement, measured),
                (claim.expectation, expected),
                (_margin_text(claim), margin),
            )
        ]
        for k in range(max(len(column) for column in columns)):
            mark = ("✓" if claim.holds else "✗") if k == 0 else " "
            lines.append(line(mark, *(column[k] if k < len(column) else "" for column in columns)))
    lines += ["-" * width, collected.summary]
    return "\n".join(lines)


def _column(cells: Iterable[str], head: str, most: int) -> int:
    return min(most, max(len(head), *(len(cell) for cell in cells)))


def _wrapped(text: str, width: int) -> list[tuple[int, str]]:
    return list(enumerate(textwrap.wrap(text, width) or [""]))


def _margin_text(claim: Claim) -> str:
    if claim.rule == "true":
        return ""
    margin = claim.margin
    if math.isnan(margin):
        return "-"
    return f"{100 * margin:.0f} %" if abs(margin) < 100 else f"{100 * margin:.0e} %"


def _scalar(value: Any, name: str) -> float:
    """A float from a number or a one-element array; NaN and infinity pass (they never hold)."""
    try:
        if getattr(value, "size", 1) != 1 or isinstance(value, str):
            raise TypeError
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be one number, not {type(value).__name__}") from None
