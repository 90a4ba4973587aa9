"""A model, opened to be asked about text: what `bertsmith.load` gives, and what the verbs that look at a model use.

model = bertsmith.load("runs/bert-small")
model.fill("the cat [MASK] on the mat.")
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.config.loading import check
from bertsmith.errors import UserError
from bertsmith.evals.evaluate import EvaluateSettings, Evaluation, evaluate_model
from bertsmith.evals.likelihood import measure_of, scoring_head, token_likelihoods
from bertsmith.evals.masks import Guesses, filled, guess_masks
from bertsmith.evals.replaced import replaced_probs
from bertsmith.hub.names import Head
from bertsmith.storage.manifests import kind_of
from bertsmith.tasks.answering.answerer import Answerer, FoundAnswer, open_answering_trial, open_exported_answerer
from bertsmith.tasks.runs import chosen_run, read_run_recipe
from bertsmith.tasks.texts.classifier import Classifier, Labels, Prediction, open_exported, open_trial
from bertsmith.tasks.words.tagger import TaggedWords, Tagger, TagsWithProbs, open_exported_tagger, open_tagging_trial
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.models import Model, open_model

_HEADS = {"masked_tokens": "masked-token head", "replaced_tokens": "discriminator head"}

TokenValues = list[tuple[str, float]]
"""A text's tokens, in order, with a number each."""


class Filled(NamedTuple):
    """A text whose masks were filled."""

    text: str
    """With the likeliest token in the place of each [MASK]."""
    masks: list[Guesses]
    """For each [MASK], tokens with their probabilities, the likeliest first."""


def _one_or_many(method: Callable[..., list[Any]]) -> Callable[..., Any]:
    """One text gives one answer, several give a list."""

    @functools.wraps(method)
    def ask(self: "Predictor", texts: str | Sequence[str], *arguments: Any, **named: Any) -> Any:
        if isinstance(texts, str):
            return method(self, [texts], *arguments, **named)[0]
        return method(self, list(texts), *arguments, **named)

    return ask


class Predictor:
    """A run of ours or a Hugging Face folder, on a machine. What it can be asked depends on its heads; what it cannot
    be asked is refused by name. Texts are run in batches: hand over many at once.

    A text longer than the model is refused, unless `truncate` has it cut.
    """

    def __init__(self, path: str | Path, device: str = "auto", task: str | None = None):
        """`task` says which, of a run of several tasks. Raises UserError where `path` holds no model, or `device` is
        not there."""
        self.path = chosen_run(Path(path))
        # The same answers on all machines, or nearly: likelihoods need more, see `probes.rows.asking`.
        self._machine_settings = MachineSettings(device=device, dtype="float32", compile=False)
        self._networks: dict[str, Any] = {}
        self._model: Model | None = None
        self._classifier: Classifier | None = None
        self._tagger: Tagger | None = None
        self._answerer: Answerer | None = None
        self.text_columns: list[tuple[str, ...]] = [("text",)]
        """What the columns of a table that hold its texts are called; several where they go by several names."""
        self.num_cut = 0
        """Texts that `truncate` has cut, since the model was opened."""
        if kind_of(self.path) == "glue":
            raise UserError(f"{self.path}: a GLUE run of many models; name one of its tasks, as {self.path}/tasks/rte")
        if kind_of(self.path) == "finetune":
            recipe = read_run_recipe(self.path, task)
            self.text_columns = recipe.columns
            if recipe.kind == "questions":
                self._answerer = open_answering_trial(self.path, self._machine_settings, task=task)
            elif recipe.kind == "words":
                self._tagger = open_tagging_trial(self.path, self._machine_settings, task=task)
            else:
                self._classifier = open_trial(self.path, self._machine_settings, task=task)
            return
        if task is not None:
            raise UserError(f"{self.path}: --task {task} is of use with a fine-tuning run of several tasks alone")
        self._model = open_model(self.path)
        self._machine = choose_machine(self._machine_settings, self._model.tokenizer.pad_id)
        if self._model.network.head == "classification":
            self._classifier = open_exported(self._model, self._machine_settings)
        elif self._model.network.head == "tagging":
            self._tagger = open_exported_tagger(self._model, self._machine_settings)
        elif self._model.network.head == "answering":
            self._answerer = open_exported_answerer(self._model, self._machine_settings)
            self.text_columns = [("question", "context")]

    @property
    def classifies(self) -> bool:
        """Whether it was fine-tuned to tell texts apart, for `classify`."""
        return self._classifier is not None

    @property
    def tags_words(self) -> bool:
        """Whether it was fine-tuned to tag words, for `tag`."""
        return self._tagger is not None

    @property
    def answers_questions(self) -> bool:
        """Whether it was fine-tuned to find answers in a text, for `answer`."""
        return self._answerer is not None

    @property
    def was_finetuned(self) -> bool:
        """Whether it learnt a labelled task."""
        return self.classifies or self.tags_words or self.answers_questions

    @property
    def length(self) -> int:
        """Longest row, in tokens."""
        finetuned = self._classifier or self._tagger or self._answerer
        return self._model.length if finetuned is None else finetuned.length

    @property
    def judges(self) -> bool:
        """Whether it has a discriminator, for `replaced`."""
        return self._model is not None and any(network.head == "replaced_tokens" for network in self._model.networks)

    @_one_or_many
    def fill(self, texts: list[str], most: int = 5, truncate: bool = False) -> list[Filled]:
        """Each text with every [MASK] filled, and `most` guesses for each. Of two networks the generator answers.

        Raises:
            UserError: the model has no masked-token head; a text has no [MASK], or is too long.
        """
        network = self._network("masked_tokens", "fill [MASK]")
        for text in texts:
            if "[MASK]" not in text:
                raise UserError(f"no [MASK] in {_shortened(text)}; write it where a word is wanted")
        found = guess_masks(network, self._encode(texts, truncate), self._model.tokenizer, self._machine, most)
        return [Filled(filled(text, masks), masks) for text, masks in zip(texts, found, strict=True)]

    @_one_or_many
    def replaced(self, texts: list[str], truncate: bool = False) -> list[TokenValues]:
        """Each text's tokens, in order, with the probability that it was put in another's place.

        Raises:
            UserError: the model is no discriminator; a text is too long.
        """
        network = self._network("replaced_tokens", "say which tokens were replaced")
        if network.is_energy_head:
            raise UserError(
                f"{self.path}: an Electric knows no probability of replacement; it scores texts (`bertsmith score`)"
            )
        ids = self._encode(texts, truncate)
        return self._by_token(ids, replaced_probs(network, ids, self._model.tokenizer, self._machine))

    @_one_or_many
    def score(self, texts: list[str], truncate: bool = False) -> list[float]:
        """How likely each text is, in nats: the sum that `score_measure` names, a masked-token model's
        pseudo-log-likelihood; see `bertsmith.evals.likelihood`.

        Raises:
            UserError: the model cannot say; a text is too long.
        """
        return [sum(value for _, value in tokens) for tokens in self.score_tokens(texts, truncate)]

    @property
    def score_measure(self) -> str:
        """What `score` adds up, one of `bertsmith.evals.likelihood.MEASURES`.

        Raises:
            UserError: the model cannot score texts.
        """
        return measure_of(self.pretrained("score texts"))

    @_one_or_many
    def score_tokens(self, texts: list[str], truncate: bool = False) -> list[TokenValues]:
        """What each token contributes to `score`, in nats, in order; [CLS] and [SEP] count for nothing."""
        network = self._network(scoring_head(self.pretrained("score texts")), "score texts")
        ids = self._encode(texts, truncate)
        return self._by_token(ids, token_likelihoods(network, ids, self._model.tokenizer, self._machine))

    @_one_or_many
    def classify(
        self, texts: list[str], second: str | Sequence[str] | None = None, truncate: bool = False
    ) -> list[Prediction] | list[Labels]:
        """The likeliest class of each text (of each text and its `second` one, in a task of pairs) with its
        probability; or the labels that a multi-label model gives it, or the number of a regression.

        Raises:
            UserError: the model was not fine-tuned; its task wants pairs, or wants none; a text is too long.
        """
        if self._classifier is None:
            why = "tags words (`tag`)" if self.tags_words else "not fine-tuned"
            why = "answers questions (`answer`)" if self.answers_questions else why
            raise UserError(f"{self.path}: {why}, so it knows no classes; `bertsmith finetune` makes one that does")
        second = [second] if isinstance(second, str) else second
        if not truncate:
            return self._classifier.classify(texts, second)
        answers, num_cut = self._classifier.ask(texts, second)
        self.num_cut += num_cut
        return answers

    @_one_or_many
    def tag(self, texts: list[str], truncate: bool = False) -> list[TaggedWords]:
        """Each text's words, as white space parts them, with their tags.

        Raises:
            UserError: the model was not fine-tuned on tags; a text is too long.
        """
        return self._word_tagger().tag(texts, truncate)

    def tag_with_probs(self, sentences: Sequence[Sequence[str]], truncate: bool = False) -> list[TagsWithProbs]:
        """As `tag_words`, with the probability of each tag."""
        found, num_cut = self._word_tagger().ask(sentences, truncate)
        self.num_cut += num_cut
        return found

    def tag_words(self, sentences: Sequence[Sequence[str]], truncate: bool = False) -> list[TaggedWords]:
        """As `tag`, of sentences that are cut into words already."""
        return self._word_tagger().tag_words(sentences, truncate)

    @_one_or_many
    def answer(self, questions: list[str], contexts: str | Sequence[str], truncate: bool = False) -> list[FoundAnswer]:
        """The answer to each question, a stretch of the context beside it; of a model that learnt to say so, none.

        Raises:
            UserError: the model was not fine-tuned on questions; there are not as many contexts; a question is empty or
                too long.
        """
        if self._answerer is None:
            raise UserError(
                f"{self.path}: answers no questions; `bertsmith finetune squad-v1.1` makes a model that does"
            )
        return self._answerer.answer(questions, [contexts] if isinstance(contexts, str) else list(contexts), truncate)

    def evaluate(self, **asked: Any) -> Evaluation:
        """What `bertsmith evaluate` measures: `data=`, `blimp=`, `pairs=`, as there.

        Raises:
            UserError: as there.
        """
        model = self.pretrained("be evaluated")
        machine = {"device": self._machine_settings.device, "compile": False}
        return evaluate_model(model, check(EvaluateSettings, {"machine": machine, **asked}))

    def pretrained(self, purpose: str) -> Model:
        """The model as it was pre-trained; `purpose` is what an error says that a fine-tuned one cannot do."""
        if self.was_finetuned:
            raise UserError(f"{self.path}: a fine-tuned model, which cannot {purpose}; name the pre-trained one")
        return self._model

    def _word_tagger(self) -> Tagger:
        if self._tagger is None:
            raise UserError(f"{self.path}: tags no words; `bertsmith finetune chunk` makes a model that does")
        return self._tagger

    def _network(self, head: Head, purpose: str) -> Any:
        if head not in self._networks:
            model = self.pretrained(purpose)
            found = [network for network in model.networks if network.head == head]
            if not found:
                energies = any(network.is_energy_head for network in model.networks)
                raise UserError(
                    f"{self.path}: has no {_HEADS[head]}, so it cannot {purpose}"
                    f"{'; an Electric scores texts (`bertsmith score`)' if energies else ''}"
                )
            self._networks[head] = found[0].build()
            self._machine.prepare_model(self._networks[head])
        return self._networks[head]

    def _encode(self, texts: list[str], truncate: bool) -> list[list[int]]:
        ids, most = self._model.tokenizer.encode_each(texts), self._model.length - 2
        for text, row in zip(texts, ids, strict=True):
            if len(row) > most and not truncate:
                raise UserError(
                    f"{_shortened(text)} has {len(row)} tokens, the model takes {most}; shorten it, or have it cut "
                    f"(--truncate, truncate=True)"
                )
            self.num_cut += len(row) > most
        return [row[:most] for row in ids]

    def _by_token(self, ids: list[list[int]], values: Sequence[Any]) -> list[TokenValues]:
        token = self._model.tokenizer.token
        return [
            [(token(id), float(value)) for id, value in zip(row, found, strict=True)]
            for row, found in zip(ids, values, strict=True)
        ]


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
