"""How held-out text is measured: what of a recipe decides the number, so that a run and its export have the same."""

from bertsmith.config.fields import setting, settings
from bertsmith.objectives.generator import GeneratorSettings
from bertsmith.objectives.masking import MaskingSettings
from bertsmith.text.segments import RowSettings
from bertsmith.training.recipe import PretrainRecipe


@settings
class Measuring:
    """What an export keeps in config.json of the way in which its run was measured."""

    seed: int = setting(0, "of rows, masks and replacements", ge=0)
    batch_size: int = setting(128, "rows whose masks are drawn together", ge=1)
    evaluate_rows: int = setting(1024, "held-out rows; all there are if fewer", ge=1)
    compat: bool = setting(False, "as the reference also where that is odd")
    rows: RowSettings = setting(RowSettings(), "how documents become rows")
    masking: MaskingSettings = setting(MaskingSettings(), "which tokens are predicted")
    temperature: float = setting(1.0, "of a generator: divides the scores before a token is drawn", gt=0)
    disallow_correct: bool = setting(False, "of a generator: never draw the original token")

    def describe(self, rows: int) -> str:
        """Return a line that says how `rows` rows were measured."""
        kind = {"two_segments": "of two segments", "windows": "of one segment"}[self.rows.kind]
        share = self.masking.final_prob or self.masking.prob
        return (
            f"measured on {rows:,} held-out rows {kind}, of up to {self.rows.length} tokens, with {share:.0%} of them "
            f"predicted ({self.masking.mask_token_prob:.0%} as [MASK], {self.masking.random_token_prob:.0%} at random"
            f"), seed {self.seed}, batches of {self.batch_size}"
        )


def measuring_of(recipe: PretrainRecipe) -> Measuring:
    """Return how a run of `recipe` measures."""
    generator = recipe.objective.generator or GeneratorSettings()
    return Measuring(
        seed=recipe.seed, batch_size=recipe.batch_size, evaluate_rows=recipe.evaluate_rows, compat=recipe.compat,
        rows=recipe.rows, masking=recipe.objective.masking, temperature=generator.temperature,
        disallow_correct=generator.disallow_correct,
    )  # fmt: skip
