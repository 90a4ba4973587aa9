"""A Hugging Face folder in, the tokenizer out that transformers' AutoTokenizer makes of its files.

Five files matter: config.json and tokenizer_config.json name a class, by which either tokenizer.json is used as it is,
or the tokenizer is built again from its vocabulary, BERT's here and others in `rebuilt`; tokenizer_config.json,
special_tokens_map.json and added_tokens.json add tokens (`added_tokens`). A key that this file cannot follow is refused
by its name.

Source: transformers 5, models/auto/tokenization_auto.py and tokenization_utils_tokenizers.py.
"""

from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import normalizers

from bertsmith.errors import UserError, quoted
from bertsmith.storage.json_files import member, read_json, read_optional
from bertsmith.tokenizers import wordpiece
from bertsmith.tokenizers.added_tokens import AddedTokens, TokenSpec, read_added_tokens
from bertsmith.tokenizers.bert_folder import Casing, Read, bert_switches, build_from_folder, refuse_contradiction
from bertsmith.tokenizers.definition import check_definition, check_ids, from_definition, guarded
from bertsmith.tokenizers.rebuilt import (
    REBUILT_CLASSES,
    ignored_rules,
    read_vocabulary_and_merges,
    rebuild,
    surround_rebuilt,
)
from bertsmith.tokenizers.special_tokens import SPECIAL_TOKENS_BY_KEY
from bertsmith.tokenizers.templates import surround
from bertsmith.tokenizers.vocabulary_file import read_vocabulary

VOCABULARY_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")
"""Of which a folder with a tokenizer has one."""

BERT_CLASSES = ("BertTokenizer", "ElectraTokenizer", "DistilBertTokenizer", "MobileBertTokenizer", "LayoutLMTokenizer",
           "SqueezeBertTokenizer", "LxmertTokenizer")  # fmt: skip
"""Classes, without "Fast", for which transformers builds BERT's tokenizer from the vocabulary and
tokenizer_config.json, whatever other rules a tokenizer.json has."""

AS_FILED = ("PreTrainedTokenizer", "TokenizersBackend")
"""Classes for which tokenizer.json is used as it is."""

_MODEL_TYPES = {
    "bert": "BertTokenizer", "electra": "BertTokenizer", "distilbert": "BertTokenizer", "roberta": "RobertaTokenizer",
    "camembert": "CamembertTokenizer", "xlm-roberta": "XLMRobertaTokenizer", "albert": "AlbertTokenizer",
    "deberta": "DebertaTokenizer", "deberta-v2": "DebertaV2Tokenizer",
}  # fmt: skip
"""The class of a model whose folder names none."""

_FILED_MODELS = ("modernbert", "modernbert-decoder")
"""Models whose tokenizer.json is used, whatever class is named."""

_DEFAULTS = {
    "clean_text": True, "wordpieces_prefix": "##", "word_tokenizer_type": "basic",
    "subword_tokenizer_type": "wordpiece", "do_basic_tokenize": True,
}  # fmt: skip
"""Keys that other versions of transformers read, with the values that change nothing."""


def read_file(path: Path, chosen: Casing) -> Read:
    """Return the tokenizer of one file, a vocab.txt or a tokenizer.json; the casing of a vocab.txt comes from a
    tokenizer_config.json beside it, unless the caller chose it. Raises UserError where it is neither, or damaged."""
    if path.suffix == ".json":
        definition = read_json(path, dict)
        check_definition(definition, str(path))
        return _as_filed(from_definition(definition, str(path)), path, chosen)
    vocabulary = read_vocabulary(path)
    config_path = path.with_name("tokenizer_config.json")
    config = read_optional(config_path) if chosen.lowercase is None else {}
    config = {key: config[key] for key in ("do_lower_case", "strip_accents", "tokenize_chinese_chars") if key in config}
    switches, reason = bert_switches(config_path, config, {}, chosen, vocabulary)
    return Read(wordpiece.build(vocabulary.tokens, **switches), reason, vocabulary.notes)


def read_tokenizer_folder(folder: Path, chosen: Casing) -> Read:
    """Return the tokenizer of a folder with a tokenizer.json, a vocab.txt, or a vocab.json and a merges.txt.

    Raises:
        UserError: a file is damaged; a key or class cannot be honoured; the caller chose another casing than the folder
        has.
    """
    config, model = (read_optional(folder / name) for name in ("tokenizer_config.json", "config.json"))
    path = folder / "tokenizer.json"
    definition = read_optional(path)
    name = _class_of(folder, config, model, bool(definition))
    if name in REBUILT_CLASSES and not definition:
        path, definition = folder / "vocab.json", read_vocabulary_and_merges(folder)
    is_filed = name in AS_FILED
    _refuse_keys(folder / "tokenizer_config.json", config, is_filed)
    if definition:
        check_definition(definition, str(path))
    rebuilt = REBUILT_CLASSES.get(name)
    defaults: dict[str, TokenSpec] = dict(rebuilt.names if rebuilt else {} if is_filed else SPECIAL_TOKENS_BY_KEY)
    padding = definition.get("padding")
    if is_filed and isinstance(padding, dict) and isinstance(padding.get("pad_token"), str):
        defaults["pad_token"] = padding["pad_token"]
    extra = rebuilt.extra if rebuilt else ()
    added = read_added_tokens(folder, config, definition.get("added_tokens", []), defaults, extra)
    if rebuilt:
        read = _rebuilt(name, definition, path, config, chosen)
    elif is_filed:
        read = _as_filed(from_definition(definition, str(path)), path, chosen)
    else:
        read = build_from_folder(folder, config, definition, chosen)
    _add(read, added, folder)
    if rebuilt:
        surround_rebuilt(read.fast, name, added.names(), config)
    elif not is_filed:
        surround(read.fast, added.names())
    return read._replace(names=added.names())


def _class_of(folder: Path, config: dict[str, Any], model: dict[str, Any], has_definition: bool) -> str:
    """Return which class of `BERT_CLASSES`, of `REBUILT_CLASSES` or of `AS_FILED` transformers takes."""
    place, model_place = (str(folder / name) for name in ("tokenizer_config.json", "config.json"))
    model_name = member(model, "model_type", (str, type(None)), model_place, None)
    name = member(config, "tokenizer_class", (str, type(None)), place, None)
    if name is None:
        place, name = model_place, member(model, "tokenizer_class", (str, type(None)), model_place, None)
    name = name and name.removesuffix("Fast")
    if model_name in _FILED_MODELS:
        name = AS_FILED[0]
    elif name is None and model_name:
        if model_name not in _MODEL_TYPES:
            raise UserError(
                f"{model_place}: model_type = {quoted(model_name, 60)}, whose tokenizer bertsmith does not know; "
                f"say tokenizer_class in tokenizer_config.json: PreTrainedTokenizerFast takes tokenizer.json as it is"
            )
        name = _MODEL_TYPES[model_name]
    elif name is None:
        name = AS_FILED[0] if has_definition else BERT_CLASSES[0]
    elif name not in (*BERT_CLASSES, *REBUILT_CLASSES, *AS_FILED):
        remedy = "say PreTrainedTokenizerFast, which takes tokenizer.json as it is, if that has all of its rules"
        if not has_definition:
            remedy = (
                f'a fast one has a tokenizer.json: AutoTokenizer.from_pretrained("{folder}").save_pretrained('
                '"NEW_FOLDER") writes it; a slow one, in Python alone, has none'
            )
        raise UserError(f"{place}: tokenizer_class = {quoted(name, 60)}, which bertsmith does not read; {remedy}")
    has_files = has_definition or (name in REBUILT_CLASSES and (folder / "vocab.json").is_file())
    if name in (*AS_FILED, *REBUILT_CLASSES) and not has_files:
        raise UserError(
            f"{folder}: no tokenizer.json, which its tokenizer_class or model_type asks for; put it there, or say "
            f"tokenizer_class BertTokenizer in tokenizer_config.json if vocab.txt is BERT's"
        )
    return name


def _refuse_keys(path: Path, config: dict[str, Any], is_filed: bool) -> None:
    """Raise UserError for keys of tokenizer_config.json that change ids and are not supported."""
    unread = {key: config[key] for key in ("vocab", "init_inputs", "model_specific_special_tokens") if config.get(key)}
    if config.get("split_special_tokens"):
        unread["split_special_tokens"] = config["split_special_tokens"]
    if config.get("fast_tokenizer_files", []) not in ([], ["tokenizer.json"]):
        unread["fast_tokenizer_files"] = config["fast_tokenizer_files"]
    if "AutoTokenizer" in (config.get("auto_map") or ()) or isinstance(config.get("auto_map"), list):
        unread["auto_map"] = config["auto_map"]
    if not is_filed:
        unread |= {key: config[key] for key, usual in _DEFAULTS.items() if config.get(key, usual) != usual}
    for key, value in unread.items():
        raise UserError(
            f"{path}: {key} = {quoted(value, 80)}: bertsmith cannot do that, and ids may depend on it; take the key "
            f"away if they do not"
        )


def _as_filed(fast: tokenizers.Tokenizer, path: Path, chosen: Casing) -> Read:
    own = fast.normalizer
    if not isinstance(own, normalizers.BertNormalizer):
        has = "no normalizer" if own is None else f"a normalizer of its own, {type(own).__name__}"
        _refuse_casing(chosen, f"{path} has {has}")
        return Read(fast, f"{path.name} has {has}")
    for key in ("lowercase", "strip_accents"):
        refuse_contradiction(key, getattr(chosen, key), getattr(own, key), f"{path} says", own.lowercase)
    return Read(fast, f"{path.name} says lowercase={str(own.lowercase).lower()}")


def _rebuilt(name: str, definition: dict[str, Any], path: Path, config: dict[str, Any], chosen: Casing) -> Read:
    """Return the tokenizer of a class of `REBUILT_CLASSES`."""
    fast = rebuild(name, definition, config, str(path))
    _refuse_casing(chosen, f"{name} has a rule of its own for them")
    notes: tuple[str, ...] = ()
    if path.name == "tokenizer.json" and (ignored := ignored_rules(definition, fast)):
        notes = (
            f"{path}: its {' and '.join(ignored)} not used, as by transformers 5, whose {name} has its own; where this "
            f"matters, say tokenizer_class PreTrainedTokenizerFast in tokenizer_config.json",
        )
    return Read(fast, f"as {name}", notes)


def _refuse_casing(chosen: Casing, reason: str) -> None:
    """Raise UserError where the caller chose what the files decide."""
    if chosen.lowercase is not None or chosen.strip_accents is not None:
        raise UserError(f"lowercase, strip_accents: {reason}; leave them away")


def _add(read: Read, added: AddedTokens, folder: Path) -> None:
    """Add tokens in transformers' order, which decides the ids of new ones."""
    fast = read.fast
    size = fast.get_vocab_size(with_added_tokens=True)
    guarded(lambda: fast.add_tokens(added.tokens(fast)), f"{folder}: added tokens that cannot be added")
    check_ids(fast, {token.content: id for id, token in added.by_id.items()}, str(folder))
    if not read.all_different and fast.get_vocab_size(with_added_tokens=True) > size:
        raise UserError(
            f"{folder}: added tokens after a vocabulary with tokens that stand twice, or lines of nothing but white "
            f"space: transformers gives them ids that others have; put tokens such as [unused9999] into such lines"
        )
    added.check_never_split(fast, folder)
