"""The content of a tokenizer.json in, a tokenizer of the `tokenizers` library out, whatever its model."""

import json
from collections import Counter
from collections.abc import Callable, Container
from typing import Any

import tokenizers

from bertsmith.errors import UserError, quoted

MODELS = ("WordPiece", "BPE", "Unigram", "WordLevel")
"""The types of `model` in a tokenizer.json."""

MAX_IDS = 1_000_000  # about 0.8 GB in memory; the largest vocabulary of an encoder has nine tenths of it

_REMEDY = "name one of a model, or a vocab.txt"


def from_definition(definition: dict[str, Any], source: str) -> tokenizers.Tokenizer:
    """Return the tokenizer of a tokenizer.json's content that `check_definition` has passed. Dropout of a BPE's merges,
    which would draw other ids at each call, is off.

    Raises:
        UserError: it is no tokenizer; the ids of added tokens are not what the library gives them.
    """
    fast: tokenizers.Tokenizer = guarded(
        lambda: tokenizers.Tokenizer.from_str(json.dumps(definition)), f"{source}: not a tokenizer.json"
    )
    if definition["model"].get("dropout"):
        fast.model.dropout = None
    check_ids(fast, {token["content"]: token["id"] for token in definition.get("added_tokens", [])}, source)
    return fast


def model_type(definition: dict[str, Any]) -> str:
    """Return which of `MODELS` a checked definition has; old files do not say it."""
    model = definition["model"]
    inferred = "Unigram" if isinstance(model.get("vocab"), list) else "BPE" if "merges" in model else "WordPiece"
    return str(model.get("type", inferred))


def steps_of(part: Any) -> list[dict[str, Any]]:
    """Return a normalizer, pre-tokenizer or decoder of a tokenizer.json as those that are applied one after another."""
    if not isinstance(part, dict):
        return []
    inner = next((part[key] for key in ("normalizers", "pretokenizers", "decoders") if key in part), None)
    return [part] if inner is None else [found for each in inner for found in steps_of(each)]


def check_definition(definition: dict[str, Any], source: str) -> None:
    """Raise UserError for a definition that is no tokenizer's, or whose ids no library should be given."""
    model = definition.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(vocabulary, dict | list):
        raise UserError(f"{source}: not a tokenizer.json (no vocabulary); {_REMEDY}")
    name = model_type(definition)
    if name not in MODELS or isinstance(vocabulary, list) != (name == "Unigram"):
        raise UserError(
            f"{source}: model.type = {quoted(model.get('type'), 60)} with such a vocabulary; bertsmith reads "
            f"{', '.join(MODELS)}, as `tokenizers` writes them"
        )
    length = model.get("max_input_chars_per_word", 1)
    if type(length) is not int or not 0 < length < 1 << 32:
        raise UserError(f"{source}: max_input_chars_per_word = {quoted(length, 40)}: not a number of characters")
    added = definition.get("added_tokens", [])
    if not isinstance(added, list) or not all(
        isinstance(token, dict) and isinstance(token.get("content"), str) for token in added
    ):
        raise UserError(f"{source}: added_tokens must be a list of objects with a content; write the file again")
    _check_ids_in_range(vocabulary, added, source)


def _check_ids_in_range(vocabulary: dict[str, Any] | list[Any], added: list[dict[str, Any]], source: str) -> None:
    pairs = [(token["content"], token.get("id")) for token in added]
    if isinstance(vocabulary, dict):
        pairs = [*vocabulary.items(), *pairs]
    elif len(vocabulary) > MAX_IDS:
        raise UserError(f"{source}: {len(vocabulary):,} tokens; a vocabulary has at most {MAX_IDS:,}")
    for token, id in pairs:
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


def check_added_tokens(fast: tokenizers.Tokenizer, source: str, is_wordpiece: bool) -> None:
    """Raise UserError for added tokens at which `tokenizers` stops, and in a WordPiece for those on which the two
    libraries differ."""
    seen: dict[str, str] = {}
    for token in fast.get_added_tokens_decoder().values():
        content = token.content
        found = fast.normalizer.normalize_str(content) if token.normalized and fast.normalizer else content
        if not is_wordpiece and content and not found:
            raise UserError(
                f"{source}: the added token {quoted(content, 60)} vanishes when it is normalized; take it away, or say "
                f"normalized: false with it"
            )
        if is_wordpiece and (content != content.strip() or not found.strip()):
            raise UserError(
                f"{source}: the added token {quoted(content, 60)} is empty, begins or ends with white space, or "
                f"vanishes when it is normalized; take it away"
            )
        if is_wordpiece and token.normalized and seen.setdefault(found, content) != content:
            raise UserError(
                f"{source}: the added tokens {quoted(seen[found], 60)} and {quoted(content, 60)} are one when they are "
                f"normalized; take one of them away"
            )


def check_unknown(fast: tokenizers.Tokenizer, unknown: str, source: str) -> None:
    """Raise UserError where a WordPiece model gives another token for unknown words, or one that it does not have."""
    if fast.model.unk_token != unknown or fast.model.token_to_id(unknown) is None:
        raise UserError(
            f"{source}: unknown words become {quoted(fast.model.unk_token, 60)}; they must become {unknown} of the "
            f"vocabulary"
        )


def guarded(call: Callable[[], Any], what: str, remedy: str = _REMEDY) -> Any:
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
    if isinstance(definition["model"]["vocab"], list):  # of a piece that stands twice, the first place is such an id
        holes = [id for id in holes if fast.id_to_token(id) is None]
        if holes:
            raise UserError(f"{source}: no token has the id {holes[0]}; give added tokens the ids after the others")
        return fast
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
