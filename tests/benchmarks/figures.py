"""What the benchmark measured: samples by measure and side, and the table that people read."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Sequence

OURS, THEIRS = "slipway", "script"


@dataclass(frozen=True)
class Measure:
    """One row: a short key for the JSON, and the text in the table."""

    key: str
    title: str


@dataclass
class Figures:
    """Seconds, one per round: the n-th samples of both sides were taken one after the other."""

    measures: Sequence[Measure]
    samples: Dict[str, Dict[str, List[float]]] = field(default_factory=dict)

    def add(self, key: str, side: str, seconds: float) -> None:
        self.samples.setdefault(key, {}).setdefault(side, []).append(seconds)

    def of(self, key: str, side: str) -> List[float]:
        return self.samples.get(key, {}).get(side, [])

    def ratios(self, key: str) -> List[float]:
        """Ours to theirs, pair by pair: what the machine did meanwhile cancels out best so."""
        return [
            ours / theirs
            for ours, theirs in zip(self.of(key, OURS), self.of(key, THEIRS))
            if theirs
        ]

    def table(self) -> str:
        lines = ["| | Slipway | script | ratio |", "|---|---|---|---|"]
        for measure in self.measures:
            if not self.of(measure.key, OURS):
                continue
            cells = [
                measure.title,
                _seconds(self.of(measure.key, OURS)),
                _seconds(self.of(measure.key, THEIRS)),
                _spread(self.ratios(measure.key), "{:.2f}"),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)

    def document(self) -> Dict[str, Any]:
        """The same as data, with every sample."""
        return {
            measure.key: {
                "title": measure.title,
                **self.samples.get(measure.key, {}),
                "ratio_median": _median(self.ratios(measure.key)),
            }
            for measure in self.measures
            if measure.key in self.samples
        }


def _median(values: Sequence[float]) -> Optional[float]:
    return round(statistics.median(values), 4) if values else None


def _seconds(values: Sequence[float]) -> str:
    digits = 2 if values and statistics.median(values) < 2 else 1
    return _spread(values, f"{{:.{digits}f}} s")


def _spread(values: Sequence[float], form: str) -> str:
    """The median, and from the least to the most."""
    if not values:
        return ""
    middle = form.format(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))} to {form.format(max(values))})".replace(
        " s ", " "
    )
