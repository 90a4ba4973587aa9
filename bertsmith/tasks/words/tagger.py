"""A fine-tuned model that tags words, opened, and its tags: a trial of ours, or a Hugging Face folder with its head."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bertsmith.errors import UserError
from bertsmith.model.encoder import Encoder, num_segments
from bertsmith.tasks.inference import placed
from bertsmith.tasks.runs import load_trial
from bertsmith.tasks.words.encode_words import encode_words
from bertsmith.tasks.words.tagging import Tagging, build_tagging
from bertsmith.tasks.words.word_lesson import predict_tags
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.machine import Machine, MachineSettings
from bertsmith.training.models import Model

TaggedWords = list[tuple[str, str]]
"""A text's words, in order, with their tags."""


class Tagger(NamedTuple):
    """A tagging model on a machine."""

    objective: Tagging
    tokenizer: Tokenizer
    machine: Machine
    length: int
    """Longest row, in tokens."""
    labels: tuple[str, ...]
    segment: int = 0
    """Of all tokens."""

    def tag(self, texts: Sequence[str], truncate: bool = False) -> list[TaggedWords]:
        """The words of each text, which are what white space parts, with their tags.

        Raises:
            UserError: as `tag_words`.
        """
        return self.tag_words([text.split() for text in texts], truncate)

    def tag_words(self, sentences: Sequence[Sequence[str]], truncate: bool = False) -> list[TaggedWords]:
        """The words of each sentence with their tags.

        Raises:
            UserError: a sentence is longer than the model, unless `truncate` leaves out its last words.
        """
        if not any(sentences):
            return [[] for _ in sentences]
        encoded = encode_words(sentences, self.tokenizer, self.length, self.segment)
        if encoded.rows.truncated and not truncate:
            raise UserError(
                f"{encoded.rows.truncated} of {len(sentences)} texts are longer than the model's {self.length} tokens; "
                f"shorten them, or have them cut (--truncate, truncate=True)"
            )
        ids = encoded.gather(predict_tags(self.objective, encoded.rows, self.machine), -1)
        tags = iter(ids.tolist())
        pairs = [[(word, next(tags)) for word in words] for words in sentences]
        return [[(word, self.labels[id]) for word, id in words if id >= 0] for words in pairs]


def open_tagging_trial(
    run: Path, machine_settings: MachineSettings, seed: int | None = None, task: str | None = None
) -> Tagger:
    """The trial of a fine-tuning run with this seed; without one, the trial that did best on dev. Of several tasks
    `task` is asked.

    Raises:
        UserError: as `load_trial`.
    """
    found, tokenizer = load_trial(run, seed, task), Tokenizer.load(run)
    encoder = Encoder(found.encoder, found.vocab_size)
    objective = build_tagging(encoder, found.family, len(found.labels), found.recipe.compat)
    objective.load_state_dict(found.weights)
    machine = placed(objective, tokenizer, machine_settings)
    segment = found.recipe.segment_of_words(num_segments(found.encoder))
    return Tagger(objective, tokenizer, machine, found.recipe.sequence_length, found.labels, segment)


def open_exported_tagger(model: Model, machine_settings: MachineSettings) -> Tagger:
    """A Hugging Face folder whose head tags tokens."""
    network = model.networks[0]
    objective = build_tagging(Encoder(network.settings, model.vocab_size), network.family, len(network.labels))
    objective.load_state_dict(network.weights)
    machine = placed(objective, model.tokenizer, machine_settings)
    return Tagger(objective, model.tokenizer, machine, model.length, network.labels)
