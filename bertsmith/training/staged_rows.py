"""The training rows of a run as masked batches, stage by stage; whether a run can have stood where a State says."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bertsmith.errors import UserError
from bertsmith.objectives.masking import MaskingVocabulary
from bertsmith.objectives.objective import Batch, Collator
from bertsmith.text.shards import Data
from bertsmith.text.weights import training_shares
from bertsmith.training.batches import DataStart, masked_batches
from bertsmith.training.epochs import planned_epochs
from bertsmith.training.loop import State
from bertsmith.training.mixing import MixedRows, data_identity, open_rows
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.stages import stage_at

if TYPE_CHECKING:  # the room imports with torch and numpy alone
    from bertsmith.tokenizers.tokenizer import Tokenizer


def build_collator(recipe: PretrainRecipe, tokenizer: "Tokenizer", length: int | None = None) -> Collator:
    """Return what makes the objective's batches, of rows of at most `length` tokens; None: of the last stage's."""
    return recipe.objective.collator(
        MaskingVocabulary.of(tokenizer), recipe.rows.length if length is None else length, recipe.compat
    )


class StagedRows:
    """The training rows of a run, stage by stage.

    In a run of several stages a position in the data is that of a `RowStream` or of `MixedRows` with the number of the
    stage whose rows it counts at its end, as (epoch, group, row, stage). A stage of other rows than the one before
    begins with the next group of shards: rows of another length are another cut of the text, and so none is seen twice
    in an epoch. Where all shards are one group, it begins with the next epoch.
    """

    def __init__(self, data: Data, recipe: PretrainRecipe):
        """Open the data's training rows for each stage of `recipe`; `shares` are those of several corpora in them.
        Raises UserError as `training_shares`."""
        self.data, self.recipe, self.stages = data, recipe, recipe.all_stages
        self.shares = training_shares(data, recipe.weights)
        self.streams = {
            stage.rows: open_rows(data, self.shares, stage.rows, recipe.seed, recipe.compat) for stage in self.stages
        }

    @property
    def identity(self) -> dict[str, Any]:
        """See `data_identity`."""
        return data_identity(self.data, self.shares)

    @property
    def epochs(self) -> dict[str, float] | None:
        """See `planned_epochs`."""
        return planned_epochs(self.data, self.shares, self.stages, self.recipe.plan, self.recipe.compat)

    def check(self, state: State) -> None:
        """Raises UserError where a run of this recipe on these rows cannot have been in this state."""
        plan, number = self.recipe.plan, stage_at(self.stages, state.tokens)
        if plan.steps is not None and state.step > plan.steps:
            raise UserError(f"step {state.step:,} of a plan of {plan.steps:,}")
        begun = self.stages[: number + 1]
        num_rows = state.step * max(stage.batch_size for stage in begun)
        length = max(stage.rows.length for stage in begun)
        if state.tokens > num_rows * length:
            raise UserError(f"{state.tokens:,} tokens in {num_rows:,} rows of {length}")
        position, of = self._split(state.position)
        if of > number:
            raise UserError(f"position {list(state.position)} of stage {of}, in stage {number}")
        rows = self.streams[self.stages[of].rows]
        rows.check(position, num_rows)
        if isinstance(rows, MixedRows) and rows.tokens_at(position) > state.tokens:
            raise UserError(f"position {list(state.position)} after {state.tokens:,} tokens")

    def batches(self, number: int, state: State) -> Iterator[tuple[Batch, tuple[int, ...]]]:
        """Return the masked batches of stage `number`, without end, from `state` on, each with the position after it.
        Masks follow from how much of the plan is done: in hours that is `state.seconds` when a batch is made."""
        stage, recipe = self.stages[number], self.recipe
        start = DataStart(state.step, state.tokens, self._entered(number, state.position))
        made = masked_batches(
            self.streams[stage.rows],
            build_collator(recipe, self.data.tokenizer, stage.rows.length),
            stage.batch_size,
            start,
            lambda step, tokens: recipe.progress(step, tokens, state.seconds),
        )
        return made if len(self.stages) == 1 else ((batch, (*position, number)) for batch, position in made)

    def _entered(self, number: int, position: tuple[int, ...]) -> tuple[int, ...]:
        """Return the position in rows from which stage `number` goes on after `position`."""
        position, before = self._split(position)
        if not position or self.stages[before].rows == self.stages[number].rows:
            return position
        return self.streams[self.stages[number].rows].next_group(position)

    def _split(self, position: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
        """Return a position in rows of one length, and the number of its stage."""
        return (position[:-1], position[-1]) if position and len(self.stages) > 1 else (position, 0)
