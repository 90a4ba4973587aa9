"""Held-out rows, the same at each evaluation, and what is measured on them: over all text, and of each corpus."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bertsmith.console.terminal import say
from bertsmith.objectives.objective import Batch, Collator, PretrainingObjective
from bertsmith.storage.results import flat_names
from bertsmith.text.shards import Data
from bertsmith.training.batches import RowStream, masked_batch
from bertsmith.training.runner import Runner, held_out_losses, with_perplexities


@dataclass(frozen=True)
class HeldOutText:
    """Masked held-out rows of each corpus.

    Attributes:
        batches: by the corpus's name, "" where the data is of one; none where nothing was held out.
        tokens: how many are held out of each, of which the rows are a sample.
    """

    batches: Mapping[str, list[Batch]]
    tokens: Mapping[str, int]

    @property
    def all(self) -> list[Batch]:
        """All batches, corpus by corpus."""
        return [batch for batches in self.batches.values() for batch in batches]

    @property
    def num_rows(self) -> int:
        return sum(batch.tokens.num_rows for batch in self.all)

    def measure(self, runner: Runner[PretrainingObjective], length: int) -> dict[str, float]:
        """Return the means over all held-out text, see `held_out_losses`; of several corpora, each weighs as many
        tokens as are held out of it, and its own means are there as CORPUS.NAME, which are those of this corpus alone.
        """
        of_each = {name: held_out_losses(runner, batches, length) for name, batches in self.batches.items()}
        if len(of_each) == 1 and "" in of_each:
            return of_each[""]
        total = sum(self.tokens[name] for name in of_each)
        names = list(dict.fromkeys(measure for means in of_each.values() for measure in means))
        overall = {
            measure: sum(means[measure] * self.tokens[name] / total for name, means in of_each.items())
            for measure in names
        }
        return flat_names({"": with_perplexities(overall, runner.objective.settings), **of_each})


def held_out_text(data: Data, recipe: Any, collator: Collator) -> HeldOutText:
    """Return `evaluate_rows` held-out rows of each corpus, the same masked ones at every call; say of which there are
    none. `recipe` is one, or another object with its settings of rows."""
    parts = data.corpora or {"": data}
    tokens = {name: own.num_tokens("heldout") for name, own in parts.items()}
    if not any(tokens.values()):
        say(f"{data.address}: nothing was held out; there will be no evaluation", error=True)
    elif lacking := [name for name, number in tokens.items() if not number]:
        say(f"{data.address}: nothing is held out of {', '.join(lacking)}, which no held-out loss is about; more text, "
            f"or a larger heldout_fraction, would hold some out", error=True)  # fmt: skip
    return HeldOutText({name: _batches(parts[name], recipe, collator) for name in parts if tokens[name]}, tokens)


def _batches(data: Data, recipe: Any, collator: Collator) -> list[Batch]:
    stream = RowStream(data, "heldout", recipe.rows, recipe.seed, recipe.compat)
    rows = stream.first(recipe.evaluate_rows, recipe.batch_size)
    return [masked_batch(stream, collator, part, number, progress=1.0) for number, part in enumerate(rows)]
