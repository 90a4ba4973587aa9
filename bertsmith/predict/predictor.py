"""A model, opened to be asked about text: what `bertsmith.load` gives, and what the verbs that look at a model use.

model = bertsmith.load("runs/bert-small")
model.fill("the cat [MASK] on the mat.")
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.config.loading import check
from bertsmith.console.shell import quote
from bertsmith.errors import UserError, quoted
from bertsmith.evals.evaluate import EvaluateSettings, Evaluation, evaluate_model
from bertsmith.evals.likelihood import measure_of, scoring_head, token_likelihoods
from bertsmith.evals.masks import Guesses, filled, guess_masks
from bertsmith.evals.replaced import replaced_probs
from bertsmith.hub.names import Head
from bertsmith.tasks.answering.answerer import Answerer, FoundAnswer, open_answerer
from bertsmith.tasks.runs import open_trained
from bertsmith.tasks.texts.classifier import Classifier, Labels, Prediction, open_classifier
from bertsmith.tasks.words.tagger import TaggedWords, Tagger, TagsWithProbs, open_tagger
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.models import Model

_HEADS = {"masked_tokens": "masked-token head", "replaced_tokens": "discriminator head"}

OPENERS: dict[Head, Callable[[Model, MachineSettings], Classifier | Tagger | Answerer]] = {
    "classification": open_classifier, "tagging": open_tagger, "answering": open_answerer,
}  # fmt: skip
"""Of fine-tuned models, by their heads."""

_CANNOT_CLASSIFY: dict[Head | None, str] = {
    "tagging": "tags words (`tag`)", "answering": "answers questions (`answer`)",
}  # fmt: skip

TokenValues = list[tuple[str, float]]
"""A text's tokens, in order, with a number each."""


class Filled(NamedTuple):
    """A text whose masks were filled."""

    text: str
    """With the likeliest token in the place of each [MASK]."""
    masks: list[Guesses]
    """For each [MASK], tokens with their probabilities, the likeliest first."""


def _one_or_many(method: Callable[..., list[Any]]) -> Callable[..., Any]:
    """Make a method that answers one text with one answer, and several with a list."""

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
        """Open a model; `task` says which, of a run of several tasks. Raises UserError where `path` holds no model, or
        `device` is not there."""
        self.opened = open_trained(Path(path), task)
        self.path = self.opened.path
        self.num_cut = 0
        """Texts that `truncate` has cut, since the model was opened."""
        # The same answers on all machines, or nearly: likelihoods need more, see `evals.rows.asking`.
        settings = MachineSettings(device=device, dtype="float32", compile=False)
        self._device = device
        self._networks: dict[Head, Any] = {}
        head = self.opened.network.head
        self._finetuned = OPENERS[head](self.opened, settings) if head in OPENERS else None
        if self._finetuned is None:
            self._machine = choose_machine(settings, self.opened.tokenizer.pad_id)

    @property
    def classifies(self) -> bool:
        """Whether it was fine-tuned to tell texts apart, for `classify`."""
        return isinstance(self._finetuned, Classifier)

    @property
    def tags_words(self) -> bool:
        """Whether it was fine-tuned to tag words, for `tag`."""
        return isinstance(self._finetuned, Tagger)

    @property
    def answers_questions(self) -> bool:
        """Whether it was fine-tuned to find answers in a text, for `answer`."""
        return isinstance(self._finetuned, Answerer)

    @property
    def was_finetuned(self) -> bool:
        """Whether it learnt a labelled task."""
        return self._finetuned is not None

    @property
    def length(self) -> int:
        """Longest row, in tokens."""
        return (self._finetuned or self.opened).length

    @property
    def judges(self) -> bool:
        """Whether it has a discriminator, for `replaced`."""
        return any(network.head == "replaced_tokens" for network in self.opened.networks)

    @_one_or_many
    def fill(self, texts: list[str], most: int = 5, truncate: bool = False) -> list[Filled]:
        """Return each text with every [MASK] filled, and `most` guesses for each. Of two networks the generator does.

        Raises:
            UserError: the model has no masked-token head; a text has no [MASK], or is too long.
        """
        network = self._network("masked_tokens", "fill [MASK]")
        for text in texts:
            if "[MASK]" not in text:
                raise UserError(f"no [MASK] in {_shortened(text)}; write it where a word is wanted")
        guesses = guess_masks(network, self._encode(texts, truncate), self.opened.tokenizer, self._machine, most)
        return [Filled(filled(text, masks), masks) for text, masks in zip(texts, guesses, strict=True)]

    @_one_or_many
    def replaced(self, texts: list[str], truncate: bool = False) -> list[TokenValues]:
        """Return each text's tokens, in order, with the probability that it was put in another's place.

        Raises:
            UserError: the model is no discriminator; a text is too long.
        """
        network = self._network("replaced_tokens", "say which tokens were replaced")
        if network.is_energy_head:
            raise UserError(
                f"{self.path}: an Electric knows no probability of replacement; it scores texts (`bertsmith score`)"
            )
        ids = self._encode(texts, truncate)
        return self._by_token(ids, replaced_probs(network, ids, self.opened.tokenizer, self._machine))

    @_one_or_many
    def score(self, texts: list[str], truncate: bool = False) -> list[float]:
        """Return how likely each text is, in nats: the sum that `score_measure` names, a masked-token model's
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
        """Return what each token contributes to `score`, in nats, in order; [CLS] and [SEP] count for nothing."""
        network = self._network(scoring_head(self.pretrained("score texts")), "score texts")
        ids = self._encode(texts, truncate)
        return self._by_token(ids, token_likelihoods(network, ids, self.opened.tokenizer, self._machine))

    @_one_or_many
    def classify(
        self, texts: list[str], second: str | Sequence[str] | None = None, truncate: bool = False
    ) -> list[Prediction] | list[Labels]:
        """Return the likeliest class of each text (of each text and its `second` one, in a task of pairs) with its
        probability; or the labels that a multi-label model gives it, or the number of a regression.

        Raises:
            UserError: the model was not fine-tuned; its task wants pairs, or wants none; a text is too long.
        """
        if not isinstance(self._finetuned, Classifier):
            why = _CANNOT_CLASSIFY.get(self.opened.network.head, "not fine-tuned")
            raise UserError(f"{self.path}: {why}, so it knows no classes; `bertsmith finetune` makes one that does")
        second = [second] if isinstance(second, str) else second
        answers, num_cut = self._finetuned.ask(texts, second, truncate)
        self.num_cut += num_cut
        return answers

    @_one_or_many
    def tag(self, texts: list[str], truncate: bool = False) -> list[TaggedWords]:
        """Return each text's words, as white space parts them, with their tags.

        Raises:
            UserError: the model was not fine-tuned on tags; a text is too long.
        """
        return self.tag_words([text.split() for text in texts], truncate)

    def tag_with_probs(self, sentences: Sequence[Sequence[str]], truncate: bool = False) -> list[TagsWithProbs]:
        """Return the same as `tag_words`, with the probability of each tag.

        Raises:
            UserError: the model was not fine-tuned on tags; a sentence is no list of words, or too long.
        """
        for sentence in [sentences] if isinstance(sentences, str) else sentences:
            if isinstance(sentence, str) or not all(isinstance(word, str) for word in sentence):
                raise UserError(f"{quoted(sentence, 60)}: a sentence is a list of words here; `tag` takes texts")
        tagged, num_cut = self._tagger.ask(sentences, truncate)
        self.num_cut += num_cut
        return tagged

    def tag_words(self, sentences: Sequence[Sequence[str]], truncate: bool = False) -> list[TaggedWords]:
        """Return the same as `tag`, of sentences that are cut into words already."""
        tagged = self.tag_with_probs(sentences, truncate)
        return [[(word, tag) for word, tag, prob in words if prob is not None] for words in tagged]

    @_one_or_many
    def answer(self, questions: list[str], contexts: str | Sequence[str], truncate: bool = False) -> list[FoundAnswer]:
        """Return the answer to each question, a stretch of the context beside it, or none if the model learnt that.

        Raises:
            UserError: the model was not fine-tuned on questions; there are not as many contexts; a question is empty or
                too long.
        """
        if not isinstance(self._finetuned, Answerer):
            raise UserError(
                f"{self.path}: answers no questions; `bertsmith finetune squad-v1.1` makes a model that does"
            )
        return self._finetuned.answer(questions, [contexts] if isinstance(contexts, str) else list(contexts), truncate)

    def evaluate(self, **asked: Any) -> Evaluation:
        """Return what `bertsmith evaluate` measures: `data=`, `blimp=`, `pairs=`, as there.

        Raises:
            UserError: as there.
        """
        model = self.pretrained("be evaluated")
        machine = {"device": self._device, "compile": False}
        return evaluate_model(model, check(EvaluateSettings, {"machine": machine, **asked}))

    def pretrained(self, purpose: str) -> Model:
        """Return the model as it was pre-trained; `purpose` is what an error says that a fine-tuned one cannot do."""
        if self.was_finetuned:
            raise UserError(f"{self.path}: a fine-tuned model, which cannot {purpose}; name the pre-trained one")
        return self.opened

    @property
    def _tagger(self) -> Tagger:
        if not isinstance(self._finetuned, Tagger):
            raise UserError(f"{self.path}: tags no words; `bertsmith finetune chunk` makes a model that does")
        return self._finetuned

    def _network(self, head: Head, purpose: str) -> Any:
        if head not in self._networks:
            networks = self.pretrained(purpose).networks
            network = next((network for network in networks if network.head == head), None)
            if network is None:
                energies = any(network.is_energy_head for network in networks)
                raise UserError(
                    f"{self.path}: has no {_HEADS[head]}, so it cannot {purpose}"
                    f"{'; an Electric scores texts (`bertsmith score`)' if energies else self._remedy(head)}"
                )
            self._networks[head] = network.build()
            self._machine.prepare_model(self._networks[head])
        return self._networks[head]

    def _remedy(self, head: Head) -> str:
        """Return how the model gets the head, as the end of a message."""
        if head != "masked_tokens":
            return ""
        return f"; `bertsmith pretrain continue {quote(f'init={self.path}')} data=… --out …` gives it one"

    def _encode(self, texts: list[str], truncate: bool) -> list[list[int]]:
        ids, longest = self.opened.tokenizer.encode_each(texts), self.opened.length - 2
        for text, row in zip(texts, ids, strict=True):
            if len(row) > longest and not truncate:
                raise UserError(
                    f"{_shortened(text)} has {len(row)} tokens, the model takes {longest}; shorten it, or have it cut "
                    f"(--truncate, truncate=True)"
                )
            self.num_cut += len(row) > longest
        return [row[:longest] for row in ids]

    def _by_token(self, ids: list[list[int]], values: Sequence[Any]) -> list[TokenValues]:
        token = self.opened.tokenizer.token
        return [
            [(token(id), float(value)) for id, value in zip(row, numbers, strict=True)]
            for row, numbers in zip(ids, values, strict=True)
        ]


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
