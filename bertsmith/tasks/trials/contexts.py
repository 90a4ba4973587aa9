"""A recipe of fine-tuning in; what its trials need out, read and checked once and kept from one trial to the next."""

import contextlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.config.loading import check, identity, to_dict
from bertsmith.console.terminal import say
from bertsmith.errors import UserError
from bertsmith.storage.folders import differences
from bertsmith.tasks.loading import check_rows, load_task
from bertsmith.tasks.multi_task import MultiTask
from bertsmith.tasks.pretrained_encoder import PretrainedEncoder, open_pretrained_encoder
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.tasks.task import Task
from bertsmith.tasks.trial import TrialContext
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.machine import Machine, choose_machine
from bertsmith.training.models import say_once


class RunSource(NamedTuple):
    """What a run's trials are made of."""

    name: str
    """Of the run among others, for messages; empty where it is alone."""
    recipe: FinetuneRecipe
    identity: dict[str, Any]
    """The recipe's, with fingerprints of the model and of the task's files."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values, which `from_json` reads back."""
        return {"name": self.name, "recipe": to_dict(self.recipe), "identity": self.identity}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "RunSource":
        return cls(content["name"], check(FinetuneRecipe, content["recipe"]), content["identity"])


class RunPlan(NamedTuple):
    """A run whose recipe, model and files were looked at; it holds neither weights nor examples."""

    source: RunSource
    about: dict[str, Any]
    """What its manifest says of the task and the model."""
    metrics: tuple[str, ...]
    """The headline first."""
    num_characters: dict[str, int]
    """Of "train" and of "dev"."""
    finetuned_on: tuple[str, ...]
    """Tasks that the model had learnt before."""
    tokenizer: Tokenizer
    machine: Machine

    @property
    def files(self) -> dict[str, Any]:
        """The part of the identity that is not of settings: fingerprints of the model and of the task's files."""
        of_settings = identity(self.source.recipe)
        return {key: value for key, value in self.source.identity.items() if key not in of_settings}

    def with_settings(self, recipe: FinetuneRecipe, name: str) -> "RunPlan":
        """Return the plan of a recipe that differs in how it trains alone: the model, the examples and their rows are
        the same."""
        return self._replace(source=RunSource(name, recipe, identity(recipe) | self.files))


class Contexts:
    """What is read for trials. Of models, of tasks and of encoded examples the last of each is kept."""

    def __init__(self, pretrained: PretrainedEncoder | None = None):
        """Read what recipes name; with `pretrained` that is the model of all recipes."""
        self._pretrained = pretrained
        self._model: tuple[str, PretrainedEncoder, str] | None = None  # its path, and its fingerprint
        self._task: tuple[FinetuneRecipe, Task | MultiTask] | None = None
        self._context: tuple[RunSource, TrialContext] | None = None

    def plan(self, recipe: FinetuneRecipe, name: str = "") -> RunPlan:
        """Read the model and the files of `recipe`, and say on standard error what there is to say of them.

        Raises:
            UserError: the model, a file or the device cannot be used; the model cannot have such rows.
        """
        pretrained, fingerprint, task = self._read(recipe)
        seen = pretrained.trained_length
        if seen is not None and recipe.sequence_length > seen and not recipe.random_weights:
            say_once(
                f"{recipe.model}: has seen no row of more than {seen} tokens; what lies behind them in one of "
                f"{recipe.sequence_length} (sequence_length) is new to it"
            )
        about = task.to_json() | {
            "encoder": to_dict(pretrained.settings), "family": pretrained.family, "vocab_size": pretrained.vocab_size,
            "trained_length": pretrained.trained_length, "learnt_before": pretrained.finetuned_on,
            "tokenizer": pretrained.tokenizer.fingerprint,
        }  # fmt: skip
        return RunPlan(
            RunSource(name, recipe, _identity(recipe, fingerprint, task)), about, task.metrics,
            task.num_characters, pretrained.finetuned_on, pretrained.tokenizer, _machine(recipe, pretrained),
        )  # fmt: skip

    def of(self, source: RunSource) -> TrialContext:
        """Return what the trials of a planned run need.

        Raises:
            UserError: as `plan`; the model or a file is another one than when the run was planned.
        """
        if self._context is not None and self._context[0] == source:
            return self._context[1]
        self._context, recipe = None, source.recipe
        with contextlib.redirect_stderr(io.StringIO()):  # `plan` has said it
            pretrained, fingerprint, task = self._read(recipe)
        if changed := differences(source.identity, _identity(recipe, fingerprint, task)):
            keys = ", ".join(line.partition(":")[0] for line in changed)
            raise UserError(f"{recipe.model}, {recipe.data}: changed while the command ran ({keys}); run it again")
        datasets = task.encode(pretrained)
        context = TrialContext(recipe, task, pretrained, _machine(recipe, pretrained), datasets, source.name)
        assert bool(datasets.held_out) == (recipe.early_stopping.share > 0), "tasks hold it out"
        if datasets.held_out:
            say(
                f"{datasets.num_held_out:,} of {task.num_examples['train']:,} training examples are held out for "
                f"early stopping",
                error=True,
            )
        self._context = (source, context)
        return context

    def clear(self) -> None:
        """Forget what was read."""
        self._model = self._task = self._context = None

    def _read(self, recipe: FinetuneRecipe) -> tuple[PretrainedEncoder, str, Task | MultiTask]:
        """Return the encoder as the recipe takes it, its fingerprint, and the task."""
        if self._model is None or self._model[0] != recipe.model:
            self._model = None
            opened = self._pretrained or open_pretrained_encoder(Path(recipe.model))
            self._model = (recipe.model, opened, opened.fingerprint())
        _, pretrained, fingerprint = self._model
        if recipe.random_weights:
            pretrained = replace(pretrained, finetuned_on=())
        if pooling := "cls" if recipe.compat else recipe.classifier_pooling:
            pretrained = pretrained.pooled_by(pooling)
        if self._task is None or self._task[0] != recipe:
            self._task = self._context = None
            task = load_task(recipe)
            check_rows(recipe, pretrained, task)
            self._task = (recipe, task)
        return pretrained, fingerprint, self._task[1]


def _identity(recipe: FinetuneRecipe, fingerprint: str, task: Task | MultiTask) -> dict[str, Any]:
    return identity(recipe) | {"model": fingerprint} | task.identity()


def _machine(recipe: FinetuneRecipe, pretrained: PretrainedEncoder) -> Machine:
    return choose_machine(recipe.machine, pretrained.tokenizer.pad_id, compile_on_gpu=False)
