"""A folder whose class is BERT's in, BERT's tokenizer over its vocabulary out, with the casing that its files say."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import tokenizers

from bertsmith.errors import UserError, quoted
from bertsmith.storage.json_files import member
from bertsmith.tokenizers import casing, wordpiece
from bertsmith.tokenizers.definition import guarded, model_type
from bertsmith.tokenizers.vocabulary_file import Vocabulary, read_vocabulary


class Read(NamedTuple):
    """A tokenizer that was read, and notes about its files."""

    fast: tokenizers.Tokenizer
    casing: str  # the reason why text is lower-cased or not
    notes: tuple[str, ...] = ()  # lines about the vocabulary
    all_different: bool = True  # as `Vocabulary.all_different`
    names: Mapping[str, str] = MappingProxyType({})
    """Key of tokenizer_config.json → the special token of that name, where files or class say it."""


class Casing(NamedTuple):
    """The caller's choice; None leaves it to the files."""

    lowercase: bool | None = None
    strip_accents: bool | None = None


def build_from_folder(folder: Path, config: dict[str, Any], definition: dict[str, Any], chosen: Casing) -> Read:
    """Return BERT's tokenizer over the folder's vocabulary."""
    path = folder / "tokenizer_config.json"
    if not definition:
        vocabulary = read_vocabulary(folder / "vocab.txt")
        switches, reason = bert_switches(path, config, {}, chosen, vocabulary)
        if not switches["lowercase"] and config.get("do_lower_case") is None:
            reason += "; transformers lower-cases it until tokenizer_config.json says do_lower_case"
        fast = wordpiece.build_bare(vocabulary.tokens, **switches)
        return Read(fast, reason, vocabulary.notes, vocabulary.all_different)
    normalizer = definition.get("normalizer")
    if model_type(definition) != "WordPiece":
        raise UserError(
            f"{folder / 'tokenizer.json'}: a {model_type(definition)} model, where the folder's tokenizer_class has "
            f"WordPiece; say tokenizer_class PreTrainedTokenizerFast in tokenizer_config.json"
        )
    _refuse_other_rules(folder, definition)
    switches, reason = bert_switches(path, config, normalizer or {}, chosen, None)
    fast = wordpiece.build_bare([], **switches)
    ids = definition["model"]["vocab"]
    fast.model = guarded(
        lambda: tokenizers.models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=wordpiece.WORD_LENGTH),
        f"{folder / 'tokenizer.json'}: no vocabulary",
    )
    return Read(fast, reason)


def _refuse_other_rules(folder: Path, definition: dict[str, Any]) -> None:
    """Raise UserError where a tokenizer.json has rules that transformers would ignore silently."""
    model = definition["model"]
    found = {
        name: value.get("type") if isinstance(value := definition.get(name), dict) else value
        for name in ("normalizer", "pre_tokenizer")
    } | {key: model.get(key, usual) for key, usual in _MODEL.items()}
    for key, usual in ({"normalizer": "BertNormalizer", "pre_tokenizer": "BertPreTokenizer"} | _MODEL).items():
        if found[key] != usual:
            raise UserError(
                f"{folder / 'tokenizer.json'}: {key} = {quoted(found[key], 60)}, where the folder's tokenizer_class "
                f"has {usual!r}; say tokenizer_class PreTrainedTokenizerFast in tokenizer_config.json if this counts"
            )


_MODEL = {"unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": wordpiece.WORD_LENGTH}


def bert_switches(
    path: Path, config: dict[str, Any], filed: dict[str, Any], chosen: Casing, vocabulary: Vocabulary | None
) -> tuple[dict[str, Any], str]:
    """Return the switches of `wordpiece.build`, and the reason for the casing.

    Args:
        path: of the tokenizer_config.json that holds `config`.
        filed: the normalizer of the tokenizer.json beside it, which transformers ignores; refused where it differs.
        vocabulary: decides the casing where neither file nor caller does; None where there is a tokenizer.json.
    """
    boolean = (bool, type(None))
    own = {key: member(config, key, boolean, str(path), None) for key in ("do_lower_case", "strip_accents")}
    chinese = member(config, "tokenize_chinese_chars", bool, str(path), True)
    lowercase, reason = own["do_lower_case"], f"{path.name} says do_lower_case={str(own['do_lower_case']).lower()}"
    if lowercase is not None:
        refuse_contradiction("lowercase", chosen.lowercase, lowercase, f"{path} says do_lower_case", lowercase)
    elif chosen.lowercase is not None:
        lowercase, reason = chosen.lowercase, f"lowercase={str(chosen.lowercase).lower()}"
    elif vocabulary is not None:
        lowercase, reason = casing.is_lowercase(vocabulary.tokens)
    else:
        lowercase, reason = True, "tokenizer.json says lowercase=true"
    accents = own["strip_accents"]
    if accents is not None:
        refuse_contradiction("strip_accents", chosen.strip_accents, accents, f"{path} says", lowercase)
    else:
        accents = chosen.strip_accents
    for key, name, taken, is_open in (
        ("do_lower_case", "lowercase", lowercase, own["do_lower_case"] is None and chosen.lowercase is None),
        ("strip_accents", "strip_accents", _accents(accents, lowercase), accents is None),
        ("tokenize_chinese_chars", "handle_chinese_chars", chinese, "tokenize_chinese_chars" not in config),
    ):
        value = filed.get(name)
        if is_open and value is not None and value != taken:
            raise UserError(
                f"{path.with_name('tokenizer.json')}: says {quoted(value, 20)} where transformers takes {key} = "
                f"{taken}, as tokenizer_config.json is silent; say {key} there"
            )
    return {"lowercase": lowercase, "strip_accents": accents, "split_chinese": chinese}, reason


def _accents(strip_accents: bool | None, lowercase: bool) -> bool:
    return lowercase if strip_accents is None else strip_accents


def refuse_contradiction(key: str, chosen: bool | None, own: bool | None, who: str, lowercase: bool) -> None:
    own = _accents(own, lowercase)
    if chosen is not None and chosen != own:
        raise UserError(f"{key} = {str(chosen).lower()}: {who} {str(own).lower()} itself; leave {key}=… away")
