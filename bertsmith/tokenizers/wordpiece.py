"""WordPiece tokenizers of the `tokenizers` library: BERT's own, and those of a JSON definition."""

import json
from collections import Counter
from collections.abc import Callable, Container, Sequence
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from bertsmith.errors import UserError, quoted

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Tokens that every vocabulary must have."""

SPECIAL_TOKENS_BY_KEY = dict(
    zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL_TOKENS, strict=True)
)
"""Key of tokenizer_config.json → token."""

WORD_LENGTH = 100  # characters of the longest word that is cut into pieces; a longer one becomes [UNK]

MAX_IDS = 1_000_000  # about 0.8 GB in memory; the largest WordPiece vocabulary in use has half a million


def build(
    tokens: Sequence[str], *, lowercase: bool = True, strip_accents: bool | None = None, split_chinese: bool = True
) -> tokenizers.Tokenizer:
    """Return BERT's tokenizer over `tokens` (id = place in the list), equal to transformers' BertTokenizer."""
    fast = build_bare(tokens, lowercase=lowercase, strip_accents=strip_accents, split_chinese=split_chinese)
    ids = fast.get_vocab(with_added_tokens=False)
    fast.add_special_tokens([token for token in SPECIAL_TOKENS if token in ids])
    surround(fast)
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


def surround(fast: tokenizers.Tokenizer) -> None:
    """Make `fast` put [CLS] and [SEP] around texts, if it has them."""
    ids = {token: fast.token_to_id(token) for token in ("[CLS]", "[SEP]")}
    if None not in ids.values():
        fast.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=list(ids.items())
        )


def from_definition(definition: dict[str, Any], source: str) -> tokenizers.Tokenizer:
    """Return the tokenizer of a tokenizer.json's content.

    Raises:
        UserError: it is no WordPiece tokenizer; ids are not whole numbers in range, or those of added tokens are not
            what the library gives them.
    """
    check_definition(definition, source)
    fast: tokenizers.Tokenizer = guarded(
        lambda: tokenizers.Tokenizer.from_str(json.dumps(definition)), f"{source}: not a tokenizer.json"
    )
    if not isinstance(fast.model, models.WordPiece):
        raise UserError(not_wordpiece(source, type(fast.model).__name__))
    check_ids(fast, {token["content"]: token["id"] for token in definition.get("added_tokens", [])}, source)
    return fast


def check_definition(definition: dict[str, Any], source: str) -> None:
    """Raise UserError for a definition that is not WordPiece's, or whose ids no library should be given."""
    model = definition.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    model_type = model.get("type", "WordPiece") if isinstance(model, dict) else None
    if isinstance(model_type, str) and model_type != "WordPiece":
        raise UserError(not_wordpiece(source, model_type))
    if not isinstance(model, dict) or not isinstance(model_type, str) or not isinstance(vocabulary, dict):
        raise UserError(f"{source}: not a tokenizer.json (no vocabulary); name one of a BERT model, or a vocab.txt")
    length = model.get("max_input_chars_per_word", WORD_LENGTH)
    if type(length) is not int or not 0 < length < 1 << 32:
        raise UserError(f"{source}: max_input_chars_per_word = {quoted(length, 40)}: not a number of characters")
    added = definition.get("added_tokens", [])
    if not isinstance(added, list) or not all(
        isinstance(token, dict) and isinstance(token.get("content"), str) for token in added
    ):
        raise UserError(f"{source}: added_tokens must be a list of objects with a content; write the file again")
    for token, id in [*vocabulary.items(), *((token["content"], token.get("id")) for token in added)]:
        if type(id) is not int or not 0 <= id < MAX_IDS:
            raise UserError(
                f"{source}: the id of {quoted(token, 60)} is {quoted(id, 40)}; ids are 0 to {MAX_IDS - 1:,}"
            )


def check_ids(fast: tokenizers.Tokenizer, said: dict[str, int], source: str) -> None:
    """Raise UserError where an added token has another id than in the file: the library counts on from its model."""
    for token, id in said.items():
        if fast.token_to_id(token) != id:
            raise UserError(
                f"{source}: the added token {quoted(token, 60)} is said to have id {id}, and gets "
                f"{fast.token_to_id(token)} here and in transformers; give added tokens the ids after the vocabulary's"
            )


def not_wordpiece(source: str, model_type: str) -> str:
    """Return the message of a refusal."""
    return (
        f"{source}: a {model_type[:60]} tokenizer; bertsmith reads WordPiece alone, so take a model with "
        f"such a vocabulary, as BERT's and ELECTRA's are"
    )


def guarded(call: Callable[[], Any], what: str, remedy: str = "name one of a BERT model, or a vocab.txt") -> Any:
    """Return what `call`, of a library in Rust, returns.

    Raises:
        UserError: `what`, with the library's error: an exception, or a panic, which is no `Exception` in Python.
    """
    try:
        return call()
    except Exception as error:  # the libraries raise nothing narrower
        raise UserError(f"{what} ({quoted(str(error))[1:-1]}); {remedy}") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise UserError(f"{what} (the library stopped: {quoted(str(error))[1:-1]}); {remedy}") from None


def has_plain_marks(fast: tokenizers.Tokenizer) -> bool:
    """Return whether " [SEP] " and " [CLS] " in any text are one token each, cut the text there, and come from nothing
    else.

    That is so of BERT's rules with special tokens that are found before the text is normalized, unless another added
    token holds white space: "] [" or "New York" could then take a part of a mark, or of two lines.
    """
    if not isinstance(fast.normalizer, normalizers.BertNormalizer):
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


def fill_holes(fast: tokenizers.Tokenizer, source: str) -> tokenizers.Tokenizer:
    """Return `fast` with a placeholder for each id below its highest that no token has.

    A vocabulary in which a token stood twice has such ids. A placeholder holds a space, so that no word of a text is
    one; the ids of all other tokens stay what they are.
    """
    tokens = fast.get_vocab(with_added_tokens=True)
    if len(set(tokens.values())) < len(tokens):
        times = Counter(tokens.values())
        token = min((token for token, id in tokens.items() if times[id] > 1), key=lambda token: (tokens[token], token))
        raise UserError(
            f"{source}: {quoted(token, 60)} shares id {tokens[token]} with another token; give each an id of its own"
        )
    holes = sorted(set(range(max(tokens.values(), default=-1) + 1)) - set(tokens.values()))
    if not holes:
        return fast
    if len(holes) > len(tokens) + 1000:
        raise UserError(
            f"{source}: {len(tokens):,} tokens and {len(holes):,} ids that no token has; not one vocabulary"
        )
    definition = json.loads(fast.to_str())
    definition["model"]["vocab"] |= {placeholder(id, tokens): id for id in holes}
    filled = tokenizers.Tokenizer.from_str(json.dumps(definition))
    check_ids(filled, {token: id for token, id in tokens.items() if id != filled.token_to_id(token)}, source)
    return filled


def placeholder(id: int, taken: Container[str]) -> str:
    """Return the token that stands for an id without one."""
    token = f"[no token {id}]"
    while token in taken:
        token = f"[{token}]"
    return token
