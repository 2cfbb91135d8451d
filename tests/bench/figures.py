"""Figures: samples of a floor and of ours taken in the same rounds, and the table they make."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Figure:
    """One row. Sample n of the floor and of ours were measured in the same round."""

    section: str
    name: str
    unit: str
    better: str = "less"
    """Which ratio is better: `less` or `more`; empty where there is nothing to compare."""
    floor: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    def ratios(self) -> list[float]:
        """Ours as a multiple of the floor, round by round."""
        return [ours / floor for floor, ours in zip(self.floor, self.ours, strict=False) if floor]

    def record(self) -> dict[str, Any]:
        """The row as JSON, with every sample."""
        return asdict(self) | {
            "median_floor": _median(self.floor),
            "median_ours": _median(self.ours),
            "median_ratio": _median(self.ratios()),
        }


def _median(samples: Sequence[float]) -> float | None:
    return statistics.median(samples) if samples else None


def digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    for limit, places in ((100, 0), (10, 1), (1, 2)):
        if value >= limit:
            return f"{value:.{places}f}"
    return f"{value:.3f}"


def spread(samples: Sequence[float]) -> str:
    """Median and, from two samples on, the least and the most."""
    if not samples:
        return "–"
    middle = digits(statistics.median(samples))
    if len(samples) == 1:
        return middle
    return f"{middle} ({digits(min(samples))}–{digits(max(samples))})"


_HEADS = ("unit", "floor", "ours", "ours / floor", "better")


def table(figures: Sequence[Figure]) -> str:
    """The rows in columns, section by section."""
    lines: list[tuple[str, ...]] = []
    for figure in figures:
        if not lines or figure.section not in {line[0] for line in lines if len(line) == 1}:
            lines.append((figure.section,))
        lines.append(
            (
                f"  {figure.name}",
                figure.unit,
                spread(figure.floor),
                spread(figure.ours),
                spread(figure.ratios()),
                figure.better,
            )
        )
    rows = [("", *_HEADS), *lines]
    whole = [row for row in rows if len(row) > 1]
    widths = [max(len(row[place]) for row in whole) for place in range(len(_HEADS) + 1)]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: tuple[str, ...], widths: Sequence[int]) -> str:
    if len(row) == 1:
        return f"\n{row[0]}"
    cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
    cells += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join(cells).rstrip()
