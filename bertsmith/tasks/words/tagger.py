"""A fine-tuned model that tags words, opened, and its tags: a trial of ours, or a Hugging Face folder with its head."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bertsmith.encoders.encoder import Encoder
from bertsmith.errors import UserError
from bertsmith.tasks.inference import placed, scored
from bertsmith.tasks.rows import Rows
from bertsmith.tasks.runs import Finetuned, load_weights
from bertsmith.tasks.words.encode_words import encode_words
from bertsmith.tasks.words.tagging import Tagging, build_tagging
from bertsmith.tokenizers.tokenizer import Tokenizer
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

    objective: Tagging
    tokenizer: Tokenizer
    machine: Machine
    length: int
    """Longest row, in tokens."""
    labels: tuple[str, ...]
    segment: int = 0
    """Of all tokens."""

    def ask(self, sentences: Sequence[Sequence[str]], truncate: bool = False) -> tuple[list[TagsWithProbs], int]:
        """Return the words of each sentence with their tags, and how many sentences were cut; of their last words the
        tag is `UNREAD_TAG`, as in training, or a dash, and its probability None.

        Raises:
            UserError: a sentence is longer than the model, unless `truncate` leaves out its last words.
        """
        if not any(sentences):
            return [[] for _ in sentences], 0
        encoded = encode_words(sentences, self.tokenizer, self.length, self.segment)
        if encoded.rows.truncated and not truncate:
            raise UserError(
                f"{encoded.rows.truncated} of {len(sentences)} texts are longer than the model's {self.length} tokens; "
                f"shorten them, or have them cut (truncate=True)"
            )
        ids, probs = (grid[encoded.row_of, encoded.place_of] for grid in self._likeliest(encoded.rows))
        tags = iter(zip(ids.tolist(), probs.tolist(), strict=True))
        kept = iter(encoded.kept.tolist())
        unread = (UNREAD_TAG if UNREAD_TAG in self.labels else "-", None)

        def tag() -> tuple[str, float | None]:
            if not next(kept):
                return unread
            id, prob = next(tags)
            return self.labels[id], prob

        return [[(word, *tag()) for word in words] for words in sentences], encoded.rows.truncated

    def _likeliest(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Return the id of each token's likeliest tag, [N, L] int16, and its probability, [N, L] float32."""
        shape = (len(rows.lengths), int(rows.lengths.max()))
        ids, probs = np.zeros(shape, dtype=np.int16), np.zeros(shape, dtype=np.float32)
        for chosen, tokens, scores in scored(self.objective, rows, self.machine):
            best = scores.float().softmax(dim=1).max(dim=1)
            ids[chosen, : tokens.max_seqlen] = tokens.to_padded(best.indices).cpu().numpy()
            probs[chosen, : tokens.max_seqlen] = tokens.to_padded(best.values).cpu().numpy()
        return ids, probs


def open_tagger(model: Model, machine_settings: MachineSettings) -> Tagger:
    """Put a model on a machine whose head tags tokens.

    Raises:
        UserError: a trial's weights are not its head's; the device is not there.
    """
    network, compat, segment = model.network, False, 0
    if isinstance(model, Finetuned):
        compat, segment = model.recipe.compat, model.recipe.segment_of_words(network.settings.num_segments)
    encoder = Encoder(network.settings, network.vocab_size)
    objective = build_tagging(encoder, network.family, len(network.labels), compat)
    load_weights(objective, model)
    machine = placed(objective, model.tokenizer, machine_settings)
    return Tagger(objective, model.tokenizer, machine, model.length, network.labels, segment)
