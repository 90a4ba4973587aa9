"""How held-out text is measured: what of a recipe decides the number, so that a run and its export have the same."""

from dataclasses import asdict
from typing import Any

from bertsmith.config.fields import setting, settings
from bertsmith.objectives.measuring import MaskMeasuring
from bertsmith.text.segments import RowSettings
from bertsmith.training.recipe import PretrainRecipe


@settings
class Measuring(MaskMeasuring):
    """What an export keeps in config.json of the way in which its run was measured."""

    seed: int = setting(0, "of rows, masks and replacements", ge=0)
    batch_size: int = setting(128, "rows whose masks are drawn together", ge=1)
    evaluate_rows: int = setting(1024, "held-out rows; all there are if fewer", ge=1)
    compat: bool = setting(False, "as the reference also where that is odd")
    rows: RowSettings = setting(RowSettings(), "how documents become rows")

    def describe(self, rows: int) -> str:
        """Return a line that says how `rows` rows were measured."""
        kind = {"two_segments": "of two segments", "windows": "of one segment"}[self.rows.kind]
        return (
            f"measured on {rows:,} held-out rows {kind}, of up to {self.rows.length} tokens, with "
            f"{self.describe_masks()}, seed {self.seed}, batches of {self.batch_size}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values, those of the objective last."""
        values = asdict(self)
        return {name: values.pop(name) for name in Measuring.__annotations__} | values


def measuring_of(recipe: PretrainRecipe) -> Measuring:
    """Return how a run of `recipe` measures."""
    return Measuring(
        seed=recipe.seed, batch_size=recipe.batch_size, evaluate_rows=recipe.evaluate_rows, compat=recipe.compat,
        rows=recipe.rows, **recipe.objective.measured_by(),
    )  # fmt: skip
