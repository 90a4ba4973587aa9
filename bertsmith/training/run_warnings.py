"""Warnings of a run, each once: settings that rarely do well, and training that no longer learns."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bertsmith.objectives.objective import Batch, PretrainingObjective
from bertsmith.training.loop import State
from bertsmith.training.machine import evaluating
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.runner import Runner

LARGEST_RATE_OF_TRAINED_WEIGHTS = 1e-4
"""At 2e-4 without warm-up MiniLM's representations collapsed in 150 steps (docs/log.md); bert-small-512 takes 1e-4."""
EVALUATIONS = 4
"""As many in a row are looked at."""
ALIKE = 0.99
"""Mean cosine of the hidden vectors of different tokens in different rows, above which they tell nothing."""
ALIKE_ROWS = 32
REMEDY = "a lower schedule.learning_rate or a larger schedule.warmup_proportion may help"


class RunWarnings:
    """The warnings of one run, each shown once."""

    def __init__(self, recipe: PretrainRecipe, say: Callable[[int, str], None]):
        """Watch a run of `recipe`; `say` takes a step and a warning."""
        self.recipe = recipe
        self._say = say
        self._said: set[str] = set()
        self._scores: list[float] = []
        self._alike = 0
        self._baseline: float | None = None

    def before_training(self, state: State) -> None:
        """Look at the learning rate."""
        rate = self.recipe.schedule.learning_rate
        if self.recipe.init is not None and state.step == 0 and rate > LARGEST_RATE_OF_TRAINED_WEIGHTS:
            self._warn(
                "rate", state,
                f"schedule.learning_rate = {rate:g} is made for random weights and can undo what the model of init "
                f"has learnt; the recipe `continue` takes 5e-05",
            )  # fmt: skip

    def after_step(self, state: State) -> None:
        """Look at the warm-up, after the first step that was timed."""
        warmup, done = self.recipe.schedule.warmup_proportion, state.progress(self.recipe.plan)
        if "warm-up" not in self._said and state.step <= 2 and done > warmup * state.step * (1 + 1e-9):
            one = _rounded_up(done / state.step)
            usual = "; 0.06 to 0.1 is usual for a short plan" if one <= 0.1 else ""
            self._warn(
                "warm-up", state,
                f"schedule.warmup_proportion = {warmup:g} of this plan is less than one step, so training begins at "
                f"the full learning rate; {one:g} would be one step{usual}",
            )  # fmt: skip

    def after_evaluation(
        self, state: State, measures: dict[str, float], batches: Sequence[Batch], cosine: float
    ) -> None:
        """Look at what was measured on the held-out `batches`, and at the mean `cosine` of hidden vectors."""
        self._alike = self._alike + 1 if cosine > ALIKE else 0
        if self._alike >= (1 if self.recipe.init is not None else EVALUATIONS):
            self._warn(
                "alike", state,
                f"all outputs are alike: hidden vectors of different tokens have a mean cosine of {cosine:.3f}, so the "
                f"model no longer tells texts apart; {REMEDY}",
            )  # fmt: skip
        name = self.recipe.objective.headline
        schedule, done = self.recipe.schedule, state.progress(self.recipe.plan)
        if name not in measures or (done < schedule.warmup_proportion and self.recipe.init is None):
            return
        self._scores.append(measures[name])
        if self._baseline is None:
            self._baseline = self.recipe.objective.baseline(batches)
        why = standing_still(self._scores, self._baseline)
        moves = schedule.rate(done, done) >= 0.1 * schedule.learning_rate
        if why and moves:
            stands = f"held-out {name.replace('_', ' ')} has stood still at {self._scores[-1]:.3f}"
            self._warn("still", state, f"{stands} for {EVALUATIONS} evaluations{why}; {REMEDY}")

    def _warn(self, topic: str, state: State, text: str) -> None:
        if topic not in self._said:
            self._said.add(topic)
            self._say(state.step, text)


def _rounded_up(share: float) -> float:
    """Return a share of a plan, in (0, 1], with two digits and no less."""
    digit = 10.0 ** (math.floor(math.log10(share)) - 1)
    return min(1.0, math.ceil(share / digit - 1e-9) * digit)


def standing_still(scores: Sequence[float], baseline: float) -> str | None:
    """Return what is wrong with the last scores, all in [0, 1]; None where nothing is. Those of a model that has learnt
    and no longer gets better are right."""
    last = scores[-EVALUATIONS:]
    if len(last) < EVALUATIONS:
        return None
    highest, spread = max(last), max(last) - min(last)
    if highest <= baseline + 0.01 * (1 - baseline):
        return f", where always giving the commonest answer has {baseline:.3f}"
    if spread <= 0.002 and highest < max(scores) - 0.02:
        return f", after it had been at {max(scores):.3f}"
    if spread <= 1e-4 and highest < 0.95:
        return ""
    return None


def mean_cosine(runner: Runner[PretrainingObjective], batch: Batch, length: int) -> float:
    """Return the mean cosine of hidden vectors of different rows, one of each of the first rows, of tokens in different
    places."""
    with evaluating(runner.objective), runner.machine.inference():
        part = runner.micro_batches(next(batch.split(ALIKE_ROWS)), length)[0]
        tokens, rows = part.tokens, torch.arange(part.tokens.num_rows, device=part.tokens.ids.device)
        inner = (tokens.row_lengths - 2).clamp(min=1)  # neither [CLS] nor the last [SEP]
        vectors = runner.objective.hidden(tokens)[tokens.row_starts + 1 + rows * 17 % inner]
    return _mean_cosine(vectors.float())


def _mean_cosine(vectors: Tensor) -> float:
    """Return the mean cosine of all pairs of different rows of [N, D]; 0 for a single row."""
    num = len(vectors)
    unit_vectors = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return (
        float((unit_vectors.sum(dim=0).square().sum() - unit_vectors.square().sum()) / (num * (num - 1)))
        if num > 1
        else 0.0
    )
