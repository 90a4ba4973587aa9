"""BERT's WordPiece tokenizer, of the `tokenizers` library."""

from collections.abc import Sequence

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from bertsmith.tokenizers.special_tokens import SPECIAL_TOKENS, SPECIAL_TOKENS_BY_KEY
from bertsmith.tokenizers.templates import surround

WORD_LENGTH = 100  # characters of the longest word that is cut into pieces; a longer one becomes [UNK]


def build(
    tokens: Sequence[str], *, lowercase: bool = True, strip_accents: bool | None = None, split_chinese: bool = True
) -> tokenizers.Tokenizer:
    """Return BERT's tokenizer over `tokens` (id = place in the list), equal to transformers' BertTokenizer."""
    fast = build_bare(tokens, lowercase=lowercase, strip_accents=strip_accents, split_chinese=split_chinese)
    ids = fast.get_vocab(with_added_tokens=False)
    fast.add_special_tokens([token for token in SPECIAL_TOKENS if token in ids])
    surround(fast, SPECIAL_TOKENS_BY_KEY)
    return fast


def build_bare(
    tokens: Sequence[str], *, lowercase: bool, strip_accents: bool | None, split_chinese: bool
) -> tokenizers.Tokenizer:
    """Return BERT's tokenizer without added tokens: "[MASK]" in a text is three words."""
    ids = {token: id for id, token in enumerate(tokens)}
    fast = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=WORD_LENGTH))
    fast.normalizer = normalizers.BertNormalizer(
        lowercase=lowercase, strip_accents=strip_accents, handle_chinese_chars=split_chinese
    )
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast.decoder = decoders.WordPiece(prefix="##")
    return fast


def has_plain_marks(fast: tokenizers.Tokenizer) -> bool:
    """Return whether " [SEP] " and " [CLS] " in any text are one token each, cut the text there, and come from nothing
    else.

    That is so of BERT's rules with special tokens that are found before the text is normalized, unless another added
    token holds white space: "] [" or "New York" could then take a part of a mark, or of two lines.
    """
    if not isinstance(fast.model, models.WordPiece) or not isinstance(fast.normalizer, normalizers.BertNormalizer):
        return False
    if not isinstance(fast.pre_tokenizer, pre_tokenizers.BertPreTokenizer):
        return False
    added = {token.content: token for token in fast.get_added_tokens_decoder().values()}
    if not {"[SEP]", "[CLS]"} <= added.keys():
        return False
    return all(
        not token.normalized and not token.single_word if content in SPECIAL_TOKENS else len(content.split()) == 1
        for content, token in added.items()
    )
