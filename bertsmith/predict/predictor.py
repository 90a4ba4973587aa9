"""A model, opened to be asked about text: for `bertsmith.load` and the verbs that look at a model.

model = bertsmith.load("runs/bert-small")
model.fill("the cat [MASK] on the mat.")
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bertsmith.config.loading import check
from bertsmith.console.shell import quote
from bertsmith.console.terminal import say
from bertsmith.encoders.encoder import Encoder
from bertsmith.encoders.heads import HeadName
from bertsmith.errors import UserError, quoted
from bertsmith.evals.likelihood import measure_of, scoring_head, token_likelihoods
from bertsmith.evals.masks import Guesses, filled, guess_masks, replaced_probs
from bertsmith.hub.heads import HEADS
from bertsmith.predict.embedding import Embedder, open_embedder
from bertsmith.predict.evaluate import EvaluateSettings, Evaluation, evaluate_model
from bertsmith.tasks.answering.answerer import Answerer, SpanAnswer, open_answerer
from bertsmith.tasks.runs import open_trained
from bertsmith.tasks.texts.classifier import Classifier, MultiLabelPrediction, Prediction, open_classifier
from bertsmith.tasks.words.tagger import TaggedWords, Tagger, TagsWithProbs, open_tagger
from bertsmith.training.machine import MachineSettings, choose_machine
from bertsmith.training.models import Model

FinetunedModel = Classifier | Tagger | Answerer
_FINETUNED: dict[HeadName | None, tuple[Callable[[Model, MachineSettings], FinetunedModel], str]] = {
    "classification": (open_classifier, "classifies texts (`classify`)"),
    "tagging": (open_tagger, "tags words (`tag`)"),
    "answering": (open_answerer, "answers questions (`answer`)"),
}
"""The head of a fine-tuned model → the function that opens it, and its ability in a message."""

TokenValues = list[tuple[str, float]]
"""A text's tokens, in order, with a number each."""


class Filled(NamedTuple):
    """A text with filled masks."""

    text: str
    """With the likeliest token in the place of each [MASK]."""
    masks: list[Guesses]
    """For each [MASK], tokens with their probabilities, the likeliest first."""


def _one_or_many(method: Callable[..., tuple[list[Any], int]]) -> Callable[..., Any]:
    """Make a method that answers one text with one answer, and several with a list; with `count_cut` it returns, beside
    that, how many texts were cut."""

    @functools.wraps(method)
    def ask(
        self: "Predictor", texts: str | Sequence[str], *arguments: Any, count_cut: bool = False, **named: Any
    ) -> Any:
        answers, num_cut = method(self, [texts] if isinstance(texts, str) else list(texts), *arguments, **named)
        answer = answers[0] if isinstance(texts, str) else answers
        return (answer, num_cut) if count_cut else answer

    return ask


class Predictor:
    """A run of ours or a Hugging Face folder, on a machine. Its heads decide which methods answer; the others refuse.
    Texts are run in batches: hand over many at once.

    A text longer than the model is refused, unless `truncate` has it cut. With `count_cut=True`, a method of texts
    returns a pair, the answers and how many texts were cut.
    """

    def __init__(self, path: str | Path, device: str = "auto", task: str | None = None):
        """Open a model; `task` says which, of a run of several tasks. Raises UserError where `path` holds no model, or
        `device` is not there."""
        self.opened = open_trained(Path(path), task)
        self.path = self.opened.path
        # The same answers on all machines, or nearly: likelihoods need more, see `evals.rows.scoring_mode`.
        settings = MachineSettings(device=device, dtype="float32", compile=False)
        self._device = device
        self._networks: dict[HeadName, Any] = {}
        open_finetuned, _ = _FINETUNED.get(self.opened.network.head, (None, ""))
        self._finetuned = open_finetuned and open_finetuned(self.opened, settings)
        self._machine = choose_machine(settings, self.opened.tokenizer.pad_id)

    @property
    def was_finetuned(self) -> bool:
        """Whether it was trained on a labelled task."""
        return self._finetuned is not None

    @property
    def mask_token(self) -> str:
        """The mask as texts name it: [MASK], or what the model's tokenizer has in its place, as <mask>."""
        return self.opened.tokenizer.mask_token

    @property
    def detects_replaced(self) -> bool:
        """Whether it has a discriminator, for `replaced`."""
        return any(network.head == "replaced_tokens" for network in self.opened.networks)

    @_one_or_many
    def fill(self, texts: list[str], top_k: int = 5, truncate: bool = False) -> tuple[list[Filled], int]:
        """Return each text with every mask (`mask_token`) filled, and the `top_k` likeliest tokens for each. Of two
        networks the generator fills them.

        Raises:
            UserError: the model has no masked-token head; its tokenizer finds no mask in texts; a text has no [MASK],
                or is too long.
        """
        network, mask = self._network("masked_tokens", f"fill {self.mask_token}"), self.mask_token
        if self.opened.tokenizer.encode_each([mask]) != [[self.opened.tokenizer.mask_id]]:
            raise UserError(
                f"{self.path}: its tokenizer reads {mask} in a text as ordinary characters; make it a special token by "
                f'"mask_token": "{mask}" in tokenizer_config.json'
            )
        for text in texts:
            if mask not in text:
                raise UserError(f"no {mask} in {_shortened(text)}; write it where a word is wanted")
        ids, num_cut = self._encode(texts, truncate)
        tokenizer = self.opened.tokenizer
        guesses = guess_masks(network, ids, tokenizer, self._machine, top_k)
        return [Filled(filled(text, its, tokenizer), its) for text, its in zip(texts, guesses, strict=True)], num_cut

    @_one_or_many
    def replaced(self, texts: list[str], truncate: bool = False) -> tuple[list[TokenValues], int]:
        """Return each text's tokens, in order, with the probability that it was put in another's place. Raises
        UserError where the model is no discriminator; a text is too long."""
        network = self._network("replaced_tokens", "say which tokens were replaced")
        if network.is_energy_head:
            raise UserError(
                f"{self.path}: an Electric knows no probability of replacement; it scores texts (`bertsmith score`)"
            )
        ids, num_cut = self._encode(texts, truncate)
        return self._by_token(ids, replaced_probs(network, ids, self.opened.tokenizer, self._machine)), num_cut

    @_one_or_many
    def score(self, texts: list[str], truncate: bool = False) -> tuple[list[float], int]:
        """Return how likely each text is, in nats: the sum that `score_measure` names, a masked-token model's
        pseudo-log-likelihood; see `bertsmith.evals.likelihood`.

        Raises:
            UserError: the model has no head for it; a text is too long.
        """
        scored, num_cut = self.score_tokens(texts, truncate, count_cut=True)
        return [sum(value for _, value in tokens) for tokens in scored], num_cut

    @property
    def score_measure(self) -> str:
        """The name of the sum that `score` returns, a key of `bertsmith.evals.likelihood.MEASURES`. Raises UserError
        where the model cannot score texts."""
        return measure_of(self.pretrained("score texts"))

    @_one_or_many
    def score_tokens(self, texts: list[str], truncate: bool = False) -> tuple[list[TokenValues], int]:
        """Return each token's part of `score`, in nats, in order; [CLS] and [SEP] count for nothing."""
        network = self._network(scoring_head(self.pretrained("score texts")), "score texts")
        ids, num_cut = self._encode(texts, truncate)
        return self._by_token(ids, token_likelihoods(network, ids, self.opened.tokenizer, self._machine)), num_cut

    @_one_or_many
    def classify(
        self, texts: list[str], second: str | Sequence[str] | None = None, truncate: bool = False
    ) -> tuple[list[Prediction] | list[MultiLabelPrediction], int]:
        """Return the likeliest class of each text (of each text and its `second` one, in a task of pairs) with its
        probability; or the labels that a multi-label model gives it, or the number of a regression.

        Raises:
            UserError: the model was not fine-tuned; its task wants pairs, or wants none; a text is too long.
        """
        if not isinstance(self._finetuned, Classifier):
            _, ability = _FINETUNED.get(self.opened.network.head, (None, "not fine-tuned"))
            raise UserError(f"{self.path}: {ability}, so it knows no classes; `bertsmith finetune` makes one that does")
        return self._finetuned.ask(texts, [second] if isinstance(second, str) else second, truncate)

    @_one_or_many
    def tag(self, texts: list[str], truncate: bool = False) -> tuple[list[TaggedWords], int]:
        """Return each text's words, separated by white space, with their tags. Raises UserError where the model was not
        fine-tuned on tags, or a text is too long."""
        tagged, num_cut = self.tag_with_probs([text.split() for text in texts], truncate)
        return _without_probs(tagged), num_cut

    def tag_with_probs(
        self, sentences: Sequence[Sequence[str]], truncate: bool = False
    ) -> tuple[list[TagsWithProbs], int]:
        """Return the same as `tag_words`, with the probability of each tag; and how many sentences were cut. Raises
        UserError where the model was not fine-tuned on tags; a sentence is no list of words, or too long."""
        for sentence in [sentences] if isinstance(sentences, str) else sentences:
            if isinstance(sentence, str) or not all(isinstance(word, str) for word in sentence):
                raise UserError(f"{quoted(sentence, 60)}: a sentence is a list of words here; `tag` takes texts")
        if not isinstance(self._finetuned, Tagger):
            raise UserError(f"{self.path}: tags no words; `bertsmith finetune chunk` makes a model that does")
        return self._finetuned.ask(sentences, truncate)

    def tag_words(self, sentences: Sequence[Sequence[str]], truncate: bool = False) -> list[TaggedWords]:
        """Return the same as `tag`, of sentences that are lists of words."""
        return _without_probs(self.tag_with_probs(sentences, truncate)[0])

    @_one_or_many
    def answer(
        self, questions: list[str], contexts: str | Sequence[str], truncate: bool = False
    ) -> tuple[list[SpanAnswer], int]:
        """Return the answer to each question, a stretch of the context beside it, or none if the model may give none.

        Raises:
            UserError: the model was not fine-tuned on questions; there are not as many contexts; a question is empty or
                too long.
        """
        if not isinstance(self._finetuned, Answerer):
            raise UserError(
                f"{self.path}: answers no questions; `bertsmith finetune squad-v1.1` makes a model that does"
            )
        listed = [contexts] if isinstance(contexts, str) else list(contexts)
        return self._finetuned.answer(questions, listed, truncate), 0  # contexts are read in windows

    def embed(
        self,
        texts: str | Sequence[str],
        pooling: str | None = None,
        normalize: bool | None = None,
        prompt: str | None = None,
        *,
        count_cut: bool = False,
    ) -> Any:
        """Return a vector for each text, [N, D] float32, or [D] of one text; the settings are those of
        `open_embedder`. Longer texts are cut, which a line says unless `count_cut` has it returned beside the vectors.

        Raises:
            UserError: the model has no pooling of its own, or one that is not known here; or no such prompt.
        """
        embedder = self.embedder(pooling, normalize, prompt)
        vectors, num_cut = embedder.embed([texts] if isinstance(texts, str) else list(texts))
        if num_cut and not count_cut:
            say(f"{num_cut:,} of {len(vectors):,} texts were cut to {embedder.length} tokens", error=True)
        found = vectors[0] if isinstance(texts, str) else vectors
        return (found, num_cut) if count_cut else found

    def embedder(
        self, pooling: str | None = None, normalize: bool | None = None, prompt: str | None = None
    ) -> Embedder:
        """Return what `embed` asks, for many texts. Raises UserError as that does."""
        options: Any = {"pooling": pooling, "normalize": normalize, "prompt": prompt}
        return open_embedder(self.opened, self._encoder, self._machine, **options)

    @functools.cached_property
    def _encoder(self) -> Encoder:
        encoder = self.opened.network.build_encoder()
        self._machine.prepare_model(encoder)
        return encoder

    def evaluate(self, **settings: Any) -> Evaluation:
        """Measure the model as `bertsmith evaluate` does, with its settings: `data=`, `blimp=`, `pairs=`, …"""
        model = self.pretrained("be evaluated")
        machine = {"device": self._device, "compile": False}
        return evaluate_model(model, check(EvaluateSettings, {"machine": machine, **settings}))

    def pretrained(self, purpose: str) -> Model:
        """Return the pre-trained model. Raises UserError where it was fine-tuned and so cannot serve the `purpose`."""
        if self.was_finetuned:
            raise UserError(f"{self.path}: a fine-tuned model, which cannot {purpose}; name the pre-trained one")
        return self.opened

    def _network(self, head: HeadName, purpose: str) -> Any:
        """Return the network with the head, built once. Raises UserError where the model has no such head."""
        if head not in self._networks:
            networks = self.pretrained(purpose).networks
            network = next((network for network in networks if network.head == head), None)
            if network is None:
                remedy = ""
                if any(network.is_energy_head for network in networks):
                    remedy = "; an Electric scores texts (`bertsmith score`)"
                elif head == "masked_tokens":
                    next_command = f"`bertsmith pretrain continue {quote(f'init={self.path}')} data=… --out …`"
                    remedy = f"; {next_command} gives it one"
                raise UserError(f"{self.path}: has no {HEADS[head].title}, so it cannot {purpose}{remedy}")
            self._networks[head] = network.build()
            self._machine.prepare_model(self._networks[head])
        return self._networks[head]

    def _encode(self, texts: list[str], truncate: bool) -> tuple[list[list[int]], int]:
        """Return the ids of each text, at most as many as the model takes, and how many texts were cut."""
        ids, longest = self.opened.tokenizer.encode_each(texts), self.opened.length - 2
        for text, row in zip(texts, ids, strict=True):
            if len(row) > longest and not truncate:
                raise UserError(
                    f"{_shortened(text)} has {len(row)} tokens, the model takes {longest}; shorten it, or have it cut "
                    f"(--truncate, truncate=True)"
                )
        return [row[:longest] for row in ids], sum(len(row) > longest for row in ids)

    def _by_token(self, ids: list[list[int]], values: Sequence[Any]) -> list[TokenValues]:
        shown = self.opened.tokenizer.shown
        return [
            [(shown(id), float(value)) for id, value in zip(row, numbers, strict=True)]
            for row, numbers in zip(ids, values, strict=True)
        ]


def _without_probs(tagged: list[TagsWithProbs]) -> list[TaggedWords]:
    return [[(word, tag) for word, tag, prob in words if prob is not None] for words in tagged]


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
