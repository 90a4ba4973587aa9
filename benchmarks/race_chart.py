"""Charts of the race: a picture for each rung, with every arm that was run, the losers too, and the base's noise.

    python -m benchmarks.race_chart                   # benchmarks/race.json → docs/images/race-a.svg, …
    python -m benchmarks.race_chart OTHER.json --out FOLDER

Left the pinned loss by tokens, right the same by CPU seconds; lower is better. The band is the base's mean at each
point ± 2 σ, σ being the standard deviation of its seeds' last losses: an arm that ends below it is better, above it
worse, in it a tie (docs/race.md). A seed is a line. Where a curve has no CPU seconds, an arm's are spread over its
tokens.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.race_noise import Noise

HERE = Path(__file__).parent
PALETTE = ("#2468c8", "#c8561e", "#1f8a5f", "#9a45b8", "#a37a00", "#c23a68", "#147f94", "#7a5c44", "#3d3d8f", "#6b8e23")
FEW = 10
"""Arms that can be told apart by colours, all of them."""
TIE, WORSE = "#6b7280", "#b4a79a"
BAR = 2
"""Standard deviations from the base's mean within which an arm is a tie."""
PANEL, TOP, BOTTOM, LEFT, GAP, LIST = (330, 380), 64, 46, 52, 58, 354
LINE_HEIGHT = 17


class ArmCurves(NamedTuple):
    """An arm of the race, with a curve for each seed."""

    title: str
    curves: list[list[tuple[float, float, float]]]
    """Points of tokens, CPU seconds and pinned loss."""
    loss: float
    """The mean of the seeds' last."""
    is_base: bool

    @property
    def label(self) -> str:
        several = f", {len(self.curves)} seeds" if len(self.curves) > 1 else ""
        return f"{self.title}{several}"


class Rung(NamedTuple):
    """A rung's arms, the best first, and the noise of its base."""

    name: str
    arms: list[ArmCurves]
    noise: Noise

    @property
    def base(self) -> ArmCurves | None:
        return next((arm for arm in self.arms if arm.is_base), None)

    @property
    def sigma(self) -> float | None:
        return self.noise.sigma

    def deviations(self, arm: ArmCurves) -> float | None:
        """How many σ an arm ends from the base."""
        return self.noise.deviations(arm.loss)


def read_rungs(content: dict[str, Any]) -> list[Rung]:
    """Return the rungs of a race.json; a trial that has no curve is left out."""
    found: dict[str, dict[tuple[str, str], list[dict[str, Any]]]] = {}
    for trial in content["trials"]:
        if trial.get("curve"):
            name, _, question = trial["what"].partition(", ")
            found.setdefault(name, {}).setdefault((question, trial["who"]), []).append(trial)
    return [_rung(name, arms) for name, arms in sorted(found.items())]


def _rung(name: str, trials: dict[tuple[str, str], list[dict[str, Any]]]) -> Rung:
    arms, noise = [], Noise(())
    for (question, who), seeds in trials.items():
        losses = [trial["pinned_loss"] for trial in seeds]
        is_base = (question, who) == ("noise", "base")
        if is_base:
            noise = Noise(losses)
        title = who if is_base or question.endswith("rate") or not question else f"{question}: {who}"
        arms.append(ArmCurves(title, [_points(trial) for trial in seeds], statistics.mean(losses), is_base))
    return Rung(name, sorted(arms, key=lambda arm: arm.loss), noise)


def _points(trial: dict[str, Any]) -> list[tuple[float, float, float]]:
    total_tokens, total_seconds = trial["curve"][-1][1], trial["cpu_seconds"]
    points = []
    for _, tokens, loss, *seconds in trial["curve"]:
        spent = seconds[0] if seconds and seconds[0] is not None else total_seconds * tokens / total_tokens
        points.append((float(tokens), float(spent), float(loss)))
    return points


def draw(rung: Rung) -> str:
    """Return the picture of a rung, as SVG on white that needs nothing else."""
    points = [point for arm in rung.arms for curve in arm.curves for point in curve]
    lowest, highest = _losses_shown(rung)
    height = max(TOP + PANEL[1] + BOTTOM, TOP + LINE_HEIGHT * (len(rung.arms) + 2))
    width = LEFT + 2 * PANEL[0] + GAP + LIST
    colors = _colors(rung)
    sigma = "" if rung.sigma is None else f"; the band is the base ± {BAR} σ, σ = {rung.sigma:.3f}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="12" role="img">',
        f"<title>The race, rung {escape(rung.name)}: pinned loss of {len(rung.arms)} arms</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="16" font-weight="600" fill="#14161a">The race, rung '
        f"{escape(rung.name)}</text>",
        f'<text x="{LEFT}" y="44" fill="#4b5563">pinned loss, nats a masked token; lower is better{sigma}</text>',
    ]
    for number, (title, axis) in enumerate((("million tokens", 0), ("CPU seconds", 1))):
        left = LEFT + number * (PANEL[0] + GAP)
        most = max(point[axis] for point in points)
        parts += _panel(rung, axis, colors, _Scale(left, most, lowest, highest), title)
    parts += _list(rung, colors, LEFT + 2 * (PANEL[0] + GAP) - GAP + 24)
    return "\n".join([*parts, "</svg>", ""])


class _Scale(NamedTuple):
    """Where a point of a panel is in the picture."""

    left: float
    most: float
    lowest: float
    highest: float

    def x(self, value: float) -> float:
        return self.left + PANEL[0] * value / self.most

    def y(self, loss: float) -> float:
        return TOP + PANEL[1] * (self.highest - loss) / (self.highest - self.lowest)


def _losses_shown(rung: Rung) -> tuple[float, float]:
    """Return the range of the vertical axis: the steep beginning would leave a few pixels to the differences."""
    last = [curve[-1][2] for arm in rung.arms for curve in arm.curves]
    at_third = [
        next(loss for tokens, _, loss in curve if tokens >= curve[-1][0] / 3)
        for arm in rung.arms
        for curve in arm.curves
    ]
    lowest, highest = min(last), max(max(last), statistics.median(at_third))
    margin = 0.05 * (highest - lowest) or 0.1
    return lowest - margin, highest + margin


def _colors(rung: Rung) -> list[str]:
    """Return a colour for each arm: one of its own where it is better than the bar, or where there is one for each;
    else a grey."""
    colors, own = [], 0
    for arm in rung.arms:
        away = rung.deviations(arm)
        if arm.is_base:
            colors.append("#14161a")
        elif away is None or away < -BAR or len(rung.arms) <= FEW:
            colors.append(PALETTE[own % len(PALETTE)])
            own += 1
        else:
            colors.append(TIE if away <= BAR else WORSE)
    return colors


def _dash(rung: Rung, arm: ArmCurves) -> str:
    """Return the attribute that makes the line of an arm that is worse than the bar a dashed one."""
    return ' stroke-dasharray="5 3"' if (rung.deviations(arm) or 0) > BAR else ""


def _panel(rung: Rung, axis: int, colors: Sequence[str], scale: _Scale, title: str) -> list[str]:
    right, bottom = scale.left + PANEL[0], TOP + PANEL[1]
    parts = []
    for tick in _ticks(scale.lowest, scale.highest):
        y = scale.y(tick)
        parts.append(f'<path d="M{scale.left:.0f} {y:.1f}H{right:.0f}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{scale.left - 8:.0f}" y="{y + 4:.1f}" text-anchor="end" fill="#4b5563">{tick:g}</text>')
    for tick in _ticks(0, scale.most):
        shown = tick / 1e6 if axis == 0 else tick
        parts.append(
            f'<text x="{scale.x(tick):.1f}" y="{bottom + 18}" text-anchor="middle" fill="#4b5563">{shown:g}</text>'
        )
    parts.append(f'<path d="M{scale.left:.0f} {bottom}H{right:.0f}" stroke="#9ca3af"/>')
    middle = scale.left + PANEL[0] / 2
    parts.append(f'<text x="{middle:.0f}" y="{bottom + 36}" text-anchor="middle" fill="#14161a">{title}</text>')
    clip = f"panel{axis}"
    parts.append(
        f'<clipPath id="{clip}"><rect x="{scale.left:.0f}" y="{TOP}" width="{PANEL[0] + 4}" height="{PANEL[1]}"/>'
        f'</clipPath><g clip-path="url(#{clip})" fill="none">'
    )
    if (band := _band(rung, axis)) and rung.sigma is not None:
        above = [f"{scale.x(x):.1f} {scale.y(loss + BAR * rung.sigma):.1f}" for x, loss in band]
        below = [f"{scale.x(x):.1f} {scale.y(loss - BAR * rung.sigma):.1f}" for x, loss in reversed(band)]
        parts.append(f'<path d="M{" L".join([*above, *below])}Z" fill="#14161a" fill-opacity="0.12"/>')
    for arm, color in reversed(list(zip(rung.arms, colors, strict=True))):  # the best on top
        dash = _dash(rung, arm)
        line_width = 1.2 if len(arm.curves) > 1 else 2
        for curve in arm.curves:
            places = " L".join(f"{scale.x(point[axis]):.1f} {scale.y(point[2]):.1f}" for point in curve)
            x, y = scale.x(curve[-1][axis]), scale.y(curve[-1][2])
            parts.append(f'<path d="M{places}" stroke="{color}" stroke-width="{line_width}"{dash}/>')
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{color}"/>')
    return [*parts, "</g>"]


def _band(rung: Rung, axis: int) -> list[tuple[float, float]]:
    """Return the base's mean curve: of as many points as all its seeds have."""
    curves = rung.base.curves if rung.base else []
    return [
        (statistics.mean(point[axis] for point in points), statistics.mean(point[2] for point in points))
        for points in zip(*curves, strict=False)
    ]


def _list(rung: Rung, colors: Sequence[str], left: float) -> list[str]:
    """List the arms, the best first, with their last loss and how many σ that is from the base."""
    parts = [
        f'<text x="{left + 266}" y="{TOP}" text-anchor="end" fill="#4b5563">loss</text>',
        f'<text x="{left + 314}" y="{TOP}" text-anchor="end" fill="#4b5563">σ</text>',
    ]
    for number, (arm, color) in enumerate(zip(rung.arms, colors, strict=True), start=1):
        y, away = TOP + LINE_HEIGHT * number, rung.deviations(arm)
        weight = ' font-weight="600"' if arm.is_base else ""
        dash = _dash(rung, arm)
        parts += [
            f'<path d="M{left} {y - 4}h14" stroke="{color}" stroke-width="2.5"{dash}/>',
            f'<text x="{left + 20}" y="{y}" fill="#14161a"{weight}>{escape(_cut(arm.label, 34))}</text>',
            f'<text x="{left + 266}" y="{y}" text-anchor="end" fill="#14161a"{weight}>{arm.loss:.3f}</text>',
        ]
        if away is not None and not arm.is_base:
            parts.append(f'<text x="{left + 314}" y="{y}" text-anchor="end" fill="#4b5563">{away:+.1f}</text>')
    return parts


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _ticks(lowest: float, highest: float) -> list[float]:
    """Return about five round numbers of a range."""
    rough = (highest - lowest) / 5
    power = 10.0 ** (len(f"{int(rough)}") - 1 if rough >= 1 else -next(n for n in range(1, 20) if rough * 10**n >= 1))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = -(-lowest // step)
    return [round(step * (first + number), 10) for number in range(12) if step * (first + number) <= highest]


def main() -> None:
    """Draw the rungs of a race.json, a file each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("race", nargs="?", type=Path, default=HERE / "race.json")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs/images")
    asked = parser.parse_args()
    for rung in read_rungs(json.loads(asked.race.read_text(encoding="utf-8"))):
        path = asked.out / f"race-{rung.name.lower().replace(' ', '-')}.svg"
        path.write_text(draw(rung), encoding="utf-8")
        print(f"wrote {path}: {len(rung.arms)} arms")


if __name__ == "__main__":
    main()
