"""Tokenizers that transformers builds again from a vocabulary, by rules that a class has and not the file.

Source: transformers 5, `__init__` of the class in models/…/tokenization_….py.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from bertsmith.errors import UserError, quoted
from bertsmith.storage.json_files import member, read_json
from bertsmith.tokenizers.definition import check_definition, guarded, model_type
from bertsmith.tokenizers.special_tokens import SPECIAL_TOKENS_BY_KEY
from bertsmith.tokenizers.templates import surround

ROBERTA_NAMES = {
    "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>", "pad_token": "<pad>",
    "cls_token": "<s>", "mask_token": "<mask>",
}  # fmt: skip
"""RoBERTa's special tokens, and those of what came after it."""

DEBERTA_NAMES = SPECIAL_TOKENS_BY_KEY | {"bos_token": "[CLS]", "eos_token": "[SEP]"}

_Build = Callable[[dict[str, Any], Mapping[str, Any], Any], tokenizers.Tokenizer]
"""(model of a tokenizer.json, tokenizer_config.json, its precompiled map of characters) → tokenizer."""


class RebuiltClass(NamedTuple):
    """A class of transformers."""

    model: str
    """The type of its model."""
    build: _Build
    names: Mapping[str, str | AddedToken]
    """Its special tokens where no file names them."""
    num_separators: int
    """Tokens between two texts."""
    extra: tuple[str, ...] = ()
    """Its additional special tokens, likewise."""


def rebuild(name: str, definition: dict[str, Any], config: Mapping[str, Any], source: str) -> tokenizers.Tokenizer:
    """Return the tokenizer that the class `name` of `REBUILT_CLASSES` makes of a checked definition's vocabulary,
    before its special tokens are added. Raises UserError where the definition is of another model."""
    found, wanted = model_type(definition), REBUILT_CLASSES[name].model
    if found != wanted:
        raise UserError(
            f"{source}: a {quoted(found, 40)} model, where the folder's tokenizer_class, {name}, has {wanted}; say "
            f"tokenizer_class PreTrainedTokenizerFast in tokenizer_config.json, which takes the file as it is"
        )
    fast: tokenizers.Tokenizer = guarded(
        lambda: REBUILT_CLASSES[name].build(definition["model"], config, _precompiled(definition.get("normalizer"))),
        f"{source}: no vocabulary of {name}",
        "fetch it again",
    )
    return fast


def read_vocabulary_and_merges(folder: Path) -> dict[str, Any]:
    """Return vocab.json and merges.txt as the definition of a BPE. Raises UserError where one is missing or damaged."""
    vocabulary = read_json(folder / "vocab.json", dict)
    path = folder / "merges.txt"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not read ({error}); vocab.json has its merges in this file") from None
    merges = [line.split() for line in map(str.strip, lines) if line and not line.startswith("#version")]
    if wrong := next((merge for merge in merges if len(merge) != 2), None):
        raise UserError(f"{path}: {quoted(' '.join(wrong), 60)}; a line of merges is two pieces")
    definition = {"model": {"type": "BPE", "vocab": vocabulary, "merges": merges}}
    check_definition(definition, str(folder / "vocab.json"))
    return definition


def surround_rebuilt(
    fast: tokenizers.Tokenizer, name: str, names: Mapping[str, str], config: Mapping[str, Any]
) -> None:
    """Make `fast`, whose special tokens are `names`, put them around texts as the class does."""
    rebuilt, (first, last) = REBUILT_CLASSES[name], (names.get("cls_token"), names.get("sep_token"))
    if name == "RobertaTokenizer" and first is not None and last is not None:
        trim, add = _switch(config, "trim_offsets", True), _switch(config, "add_prefix_space", False)
        ends: list[Any] = [(token, fast.token_to_id(token)) for token in (last, first)]
        fast.post_processor = processors.RobertaProcessing(ends[0], ends[1], trim, add)
        return
    is_bert = rebuilt.names["cls_token"] == "[CLS]" and rebuilt.num_separators == 1
    surround(fast, names, rebuilt.num_separators, segment=int(is_bert))


def ignored_rules(definition: dict[str, Any], fast: tokenizers.Tokenizer) -> list[str]:
    """Return which rules of a definition are not those of the rebuilt tokenizer `fast`."""
    empty = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
    rules = {key: definition.get(key) for key in ("normalizer", "pre_tokenizer")}
    filed = guarded(lambda: tokenizers.Tokenizer.from_str(json.dumps({**rules, "model": empty})), "rules", "see it")
    ours, theirs = (tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a")) for _ in range(2))
    ours.normalizer, ours.pre_tokenizer = fast.normalizer, fast.pre_tokenizer
    theirs.normalizer, theirs.pre_tokenizer = filed.normalizer, filed.pre_tokenizer
    one, other = json.loads(ours.to_str()), json.loads(theirs.to_str())
    return [key for key in rules if one[key] != other[key]]


def _precompiled(normalizer: Any) -> normalizers.Normalizer | None:
    """Return the precompiled map of characters in a definition's normalizer, of several the first."""
    for part in _parts(normalizer):
        if part.get("type") == "Precompiled" and part.get("precompiled_charsmap"):
            return normalizers.Precompiled(base64.b64decode(part["precompiled_charsmap"]))
    return None


def _parts(normalizer: Any) -> Iterator[dict[str, Any]]:
    if isinstance(normalizer, dict):
        inner = normalizer.get("normalizers") if normalizer.get("type") == "Sequence" else [normalizer]
        yield from (part for part in inner or [] if isinstance(part, dict))


def _byte_level(model: dict[str, Any], config: Mapping[str, Any], _: Any) -> tokenizers.Tokenizer:
    merges: Any = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    fast = tokenizers.Tokenizer(
        models.BPE(
            vocab=model["vocab"], merges=merges, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False
        )
    )
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=_switch(config, "add_prefix_space", False))
    fast.decoder = decoders.ByteLevel()
    return fast


def _unigram(model: dict[str, Any], unk_id: int) -> tokenizers.Tokenizer:
    pieces = [(piece, score) for piece, score in model["vocab"]]
    return tokenizers.Tokenizer(models.Unigram(vocab=pieces, unk_id=unk_id, byte_fallback=False))


def _with_metaspace(fast: tokenizers.Tokenizer, config: Mapping[str, Any]) -> tokenizers.Tokenizer:
    scheme = "always" if _switch(config, "add_prefix_space", True) else "never"
    fast.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme)]
    )
    fast.decoder = decoders.Metaspace(replacement="▁", prepend_scheme=scheme)
    return fast


def _xlm_roberta(model: dict[str, Any], config: Mapping[str, Any], characters: Any) -> tokenizers.Tokenizer:
    fast = _unigram(model, 3)
    if characters is not None:
        fast.normalizer = characters
    return _with_metaspace(fast, config)


def _camembert(model: dict[str, Any], config: Mapping[str, Any], characters: Any) -> tokenizers.Tokenizer:
    unknown = _text(config, "unk_token", "<unk>")
    fast = _unigram(model, next((id for id, (piece, _) in enumerate(model["vocab"]) if piece == unknown), 0))
    if characters is not None:
        fast.normalizer = characters
    return _with_metaspace(fast, config)


def _albert(model: dict[str, Any], config: Mapping[str, Any], characters: Any) -> tokenizers.Tokenizer:
    steps: list[normalizers.Normalizer] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not _switch(config, "keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if _switch(config, "do_lower_case", True):
        steps.append(normalizers.Lowercase())
    fast = _unigram(model, 1)
    fast.normalizer = normalizers.Sequence([*steps, *([] if characters is None else [characters])])
    return _with_metaspace(fast, config)


def _deberta_v2(model: dict[str, Any], config: Mapping[str, Any], _: Any) -> tokenizers.Tokenizer:
    unknown = _text(config, "unk_token", "[UNK]")
    places = [id for id, (piece, score) in enumerate(model["vocab"]) if piece == unknown and score == 0.0]
    fast = _unigram(model, places[0] if places else member(dict(config), "unk_id", int, "tokenizer_config.json", 1))
    fast.normalizer = normalizers.Sequence([
        *([normalizers.Lowercase()] if _switch(config, "do_lower_case", False) else []),
        normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "), normalizers.NFC(),
        normalizers.Strip(left=False, right=True),
    ])  # fmt: skip
    scheme = "always" if _switch(config, "add_prefix_space", True) else "first"
    punctuation = [pre_tokenizers.Punctuation(behavior="isolated")] if _switch(config, "split_by_punct", False) else []
    fast.pre_tokenizer = pre_tokenizers.Sequence(
        [*punctuation, pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme)]
    )
    fast.decoder = decoders.Metaspace(replacement="▁", prepend_scheme=scheme)
    return fast


def _switch(config: Mapping[str, Any], key: str, default: bool) -> bool:
    value = member(dict(config), key, (bool, type(None)), "tokenizer_config.json", default)
    return bool(value)


def _text(config: Mapping[str, Any], key: str, default: str) -> str:
    value = config.get(key, default)
    return str(value["content"] if isinstance(value, dict) and isinstance(value.get("content"), str) else value)


REBUILT_CLASSES = {
    "RobertaTokenizer": RebuiltClass("BPE", _byte_level, ROBERTA_NAMES, 2),
    "DebertaTokenizer": RebuiltClass(
        "BPE", _byte_level, DEBERTA_NAMES | {"mask_token": AddedToken("[MASK]", lstrip=True)}, 2
    ),
    "XLMRobertaTokenizer": RebuiltClass("Unigram", _xlm_roberta, ROBERTA_NAMES, 2),
    "CamembertTokenizer": RebuiltClass(
        "Unigram", _camembert, ROBERTA_NAMES | {"mask_token": AddedToken("<mask>", lstrip=True, special=True)}, 2,
        extra=("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"),
    ),
    "AlbertTokenizer": RebuiltClass(
        "Unigram", _albert, DEBERTA_NAMES | {"unk_token": "<unk>", "pad_token": "<pad>"}, 1
    ),
    "DebertaV2Tokenizer": RebuiltClass("Unigram", _deberta_v2, DEBERTA_NAMES, 1),
}  # fmt: skip
"""The classes of transformers, by their names without "Fast"."""
