"""Texts in, a trained Unigram tokenizer out: the same text gives the same vocabulary.

SentencePiece trains it: `tokenizers` has a trainer of its own, which reads its words in the order of a randomly seeded
hash table, so that two runs over the same text differ.
"""

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from bertsmith.errors import UserError
from bertsmith.tokenizers.families import SpecialFamily, UnicodeForm, add_specials, unicode_normalizer
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.tokenizers.vocabulary import check_size, count_runs

MAX_WORD_BYTES = 1000  # longer runs are no words

COVERAGE = 0.9995  # share of the characters that are in the alphabet, as SentencePiece's default; others become unknown


def train_unigram(texts: Iterable[str], size: int, specials: SpecialFamily, form: UnicodeForm) -> Tokenizer:
    """Train a Unigram with a vocabulary of `size` tokens on `texts`, read once and one at a time: words are what is
    between white space, as XLM-R has it.

    The ids: special tokens, then pieces, the likeliest first. The order of the texts does not matter (while there are
    fewer than `vocabulary.MAX_DISTINCT` words). The vocabulary is smaller than `size` where the text has not as many
    pieces. Raises UserError where `size` is too small, there is no word, or SentencePiece is not installed.
    """
    check_size(size)
    library = _sentencepiece()
    normalizer = unicode_normalizer(form)
    words: Counter[str] = Counter()
    for run, count in count_runs(texts).items():
        for word in (run if normalizer is None else normalizer.normalize_str(run)).split():
            words[word] += count
    if not words:
        raise UserError("no text to train a vocabulary on; every document is empty")
    processor = _train(library, words, size - len(specials.tokens) + 1)
    left_out = {processor.id_to_piece(processor.unk_id()), *specials.tokens}
    pieces = [
        (piece, processor.get_score(id))
        for id in range(len(processor))
        if (piece := processor.id_to_piece(id)) not in left_out
    ]
    vocabulary = [(token, 0.0) for token in specials.tokens] + pieces
    unk_id = specials.tokens.index(specials.by_key["unk_token"])
    fast = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=unk_id, byte_fallback=False))
    if normalizer is not None:
        fast.normalizer = normalizer
    fast.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    fast.decoder = decoders.Metaspace()
    add_specials(fast, specials)
    return Tokenizer(fast, special_tokens=specials.by_key)


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise UserError(
            "kind = unigram: SentencePiece, which trains it, is not installed; pip install 'bertsmith[sentencepiece]'"
        ) from None
    return sentencepiece


def _train(library: Any, words: Counter[str], size: int) -> Any:
    """Return SentencePiece's processor of a vocabulary with `size` pieces, the unknown one among them."""
    content = io.BytesIO()
    try:
        library.SentencePieceTrainer.train(
            sentence_iterator=_lines(words), model_writer=content, input_format="tsv", model_type="unigram",
            vocab_size=size, hard_vocab_limit=False, normalization_rule_name="identity", character_coverage=COVERAGE,
            max_sentence_length=2 * MAX_WORD_BYTES, num_threads=1, bos_id=-1, eos_id=-1, pad_id=-1, minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        raise UserError(
            f"SentencePiece trains no vocabulary of {size:,} tokens on this text ({error}); choose another size"
        ) from None
    return library.SentencePieceProcessor(model_proto=content.getvalue())


def _lines(words: Counter[str]) -> Iterator[str]:
    """Yield words with their counts, in an order that depends on nothing else."""
    for word in sorted(words):
        if len(word.encode()) <= MAX_WORD_BYTES and "\u2581" not in word:
            yield f"{word}\t{words[word]}"
