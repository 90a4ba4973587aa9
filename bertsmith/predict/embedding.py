"""Texts in, a vector for each out: a model's encoder with a way of pooling, on a machine."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, get_args

import numpy as np
import tokenizers
from tokenizers import normalizers

from bertsmith.encoders.encoder import Encoder
from bertsmith.errors import UserError, quoted
from bertsmith.evals.rows import batches, scoring_mode, to_device, with_special_tokens
from bertsmith.hub.pooling import Pooler, PoolingName, pooler_of
from bertsmith.hub.replaceable import ENCODER, LIBRARY
from bertsmith.hub.sentence import SentenceModules
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.machine import Machine
from bertsmith.training.models import Model, sentence_modules

TEXTS_AT_ONCE = 8192
"""Texts that are put into batches together, by their lengths."""


class Embedder(NamedTuple):
    """A model that makes vectors of texts."""

    encoder: Encoder
    """On the machine."""
    tokenizer: Tokenizer
    machine: Machine
    pooler: Pooler
    length: int
    """Tokens at which a text is cut, special ones included."""
    prompt: str = ""
    """Put before each text."""

    @property
    def description(self) -> str:
        """How vectors are made, for people."""
        prompt = f", after the prompt {quoted(self.prompt, 40)}" if self.prompt else ""
        return f"{self.pooler.description}{prompt}"

    def vectors(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, int]]:
        """Yield the vectors of texts in their order, some thousand at a time: [N, width] float32, and how many of these
        texts were cut."""
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            yield self._of_some(texts[start : start + TEXTS_AT_ONCE])

    def embed(self, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        """Return a vector for each text, [N, width] float32, and how many texts were cut."""
        parts = list(self.vectors(texts))
        found = [part for part, _ in parts] or [np.zeros((0, self.pooler.width), np.float32)]
        return np.concatenate(found), sum(num_cut for _, num_cut in parts)

    def _of_some(self, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        ids = self.tokenizer.encode_each([self.prompt + text for text in texts])
        longest = self.length - len(with_special_tokens([], self.tokenizer))
        rows = [with_special_tokens(row[:longest], self.tokenizer) for row in ids]
        prompt_length = 1 + len(self.tokenizer.encode_each([self.prompt])[0]) if self.prompt else 0
        vectors = np.empty((len(rows), self.pooler.width), np.float32)
        with scoring_mode(self.encoder, self.machine):
            for chosen in batches(np.array([len(row) for row in rows], dtype=np.int64), self.machine):
                tokens = to_device([rows[number] for number in chosen], self.machine)
                pooled = self.pooler(self.encoder(tokens), tokens, prompt_length)
                vectors[chosen] = pooled.float().cpu().numpy()
        return vectors, sum(len(row) > longest for row in ids)


def open_embedder(
    model: Model,
    encoder: Encoder,
    machine: Machine,
    *,
    pooling: str | None = None,
    normalize: bool | None = None,
    prompt: str | None = None,
) -> Embedder:
    """Return what makes vectors of texts.

    Args:
        encoder: the model's, on the machine.
        pooling: by default the model's own, by sentence-transformers' files; where it has none, the mean.
        normalize: whether vectors have length 1; by default as the model's own pooling does, and otherwise not.
        prompt: the name of one of the prompts in the model's own files, for its own pooling; by default the one that
            they name, if they do.

    Raises:
        UserError: there is no such pooling; the model has none of its own, or one that is not known here; it has no
            such prompt.
    """
    if pooling not in (None, *get_args(PoolingName)):
        raise UserError(f"pooling = {quoted(pooling, 40)}: it must be one of {', '.join(get_args(PoolingName))}")
    own, left_out = sentence_modules(model) if pooling in (None, "own") else (None, None)
    if left_out is not None:
        raise UserError(f"{model.path}: its own pooling is not known here ({left_out}); choose pooling=mean or cls")
    if own is None and pooling == "own":
        raise UserError(f"{model.path}: has no pooling of its own (modules.json); choose pooling=mean or cls")
    text = _prompt(model, own, prompt)
    hidden_size, tokenizer = model.network.settings.hidden_size, model.tokenizer
    if own is None:
        pooler, length = Pooler(hidden_size, [pooling or "mean"]), model.length
    else:
        own = own.cut_at(model.network.trained_length)
        pooler, length = pooler_of(own, hidden_size), own.max_length
        if own.contents[ENCODER]["do_lower_case"] and tokenizer.lowercase is not True:
            tokenizer = _lower_casing(tokenizer)
    pooler = pooler.normalized(normalize).to(machine.device).eval()
    return Embedder(encoder, tokenizer, machine, pooler, length, text)


def _lower_casing(tokenizer: Tokenizer) -> Tokenizer:
    """Return a tokenizer that lower-cases all but special tokens first, as sentence-transformers makes it."""
    fast = tokenizers.Tokenizer.from_str(tokenizer.fast.to_str())
    own = [] if fast.normalizer is None else [fast.normalizer]
    fast.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    return Tokenizer(fast, special_tokens=tokenizer.special_tokens)


def _prompt(model: Model, own: SentenceModules | None, name: str | None) -> str:
    """Return the text that is put before each."""
    library = {} if own is None else own.contents[LIBRARY]
    prompts = library.get("prompts") or {}
    name = library.get("default_prompt_name") if name is None else name
    if name is None:
        return ""
    if name not in prompts:
        there = ", ".join(quoted(known, 40) for known in prompts) or "none"
        raise UserError(f"{model.path}: no prompt is named {quoted(name, 60)} beside its own pooling; there is {there}")
    return prompts[name] or ""
