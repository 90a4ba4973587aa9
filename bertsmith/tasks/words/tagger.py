"""A fine-tuned model that tags words, opened, and its tags: a trial of ours, or a Hugging Face folder with its head."""

from collections.abc import Sequence
from typing import NamedTuple

from bertsmith.encoders.encoder import Encoder
from bertsmith.tasks.rows import refuse_truncated
from bertsmith.tasks.runs import Finetuned, load_on_machine
from bertsmith.tasks.words.sentences import encode_words
from bertsmith.tasks.words.tag_task import Tagging, build_tagging, predict_tags
from bertsmith.training.machine import Machine, MachineSettings
from bertsmith.training.models import Model

TaggedWords = list[tuple[str, str]]
"""A text's words, in order, with their tags."""

TagsWithProbs = list[tuple[str, str, float | None]]
"""The same with the probability of each tag; None where a word was not read."""

UNREAD_TAG = "O"
"""Of words that do not fit into a row, where the model has this tag."""


class Tagger(NamedTuple):
    """A tagging model on a machine."""

    model: Model
    objective: Tagging
    machine: Machine
    segment_id: int = 0

    def ask(self, sentences: Sequence[Sequence[str]], truncate: bool = False) -> tuple[list[TagsWithProbs], int]:
        """Return the words of each sentence with their tags, and how many sentences were cut; of their last words the
        tag is `UNREAD_TAG`, as in training, or a dash, and its probability None. Raises UserError where a sentence is
        longer than the model, unless `truncate` leaves out its last words."""
        if not any(sentences):
            return [[] for _ in sentences], 0
        length, labels = self.model.length, self.model.network.labels
        encoded = encode_words(sentences, self.model.tokenizer, length, self.segment_id)
        if not truncate:
            refuse_truncated(encoded.rows, length)
        predicted = predict_tags(self.objective, encoded.rows, self.machine)[:2]
        ids, probs = (grid[encoded.row_of, encoded.place_of] for grid in predicted)
        tags = iter(zip(ids.tolist(), probs.tolist(), strict=True))
        kept = iter(encoded.kept.tolist())
        unread = (UNREAD_TAG if UNREAD_TAG in labels else "-", None)

        def tag() -> tuple[str, float | None]:
            if not next(kept):
                return unread
            id, prob = next(tags)
            return labels[id], prob

        return [[(word, *tag()) for word in words] for words in sentences], encoded.rows.truncated


def open_tagger(model: Model, machine_settings: MachineSettings) -> Tagger:
    """Put a model on a machine whose head tags tokens. Raises UserError where a trial's weights are not its head's; the
    device is not there."""
    network, compat, segment = model.network, False, 0
    if isinstance(model, Finetuned):
        compat, segment = model.recipe.compat, model.recipe.segment_of_words(network.settings.num_segments)
    encoder = Encoder(network.settings, network.vocab_size)
    objective = build_tagging(encoder, network.family, len(network.labels), compat)
    machine = load_on_machine(objective, model, machine_settings)
    return Tagger(model, objective, machine, segment)
