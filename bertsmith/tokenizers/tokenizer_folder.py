"""A Hugging Face folder in, the tokenizer out that transformers' AutoTokenizer makes of its files.

Five files matter: config.json and tokenizer_config.json name a class, by which either tokenizer.json is used as it is,
or BERT's tokenizer is built again from the vocabulary; tokenizer_config.json, special_tokens_map.json and
added_tokens.json add tokens (`added_tokens`). A key that this file cannot follow is refused by its name.

Source: transformers 5, models/auto/tokenization_auto.py and tokenization_utils_tokenizers.py.
"""

from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import normalizers

from bertsmith.errors import UserError, quoted
from bertsmith.storage.json_files import member, read_json, read_optional
from bertsmith.tokenizers import casing, wordpiece
from bertsmith.tokenizers.added_tokens import AddedTokens, read_added_tokens
from bertsmith.tokenizers.vocabulary_file import Vocabulary, read_vocabulary

REBUILT = ("BertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", "LayoutLMTokenizer", "SqueezeBertTokenizer",
           "LxmertTokenizer")  # fmt: skip
"""Classes, without "Fast", for which transformers builds BERT's tokenizer from the vocabulary and
tokenizer_config.json, whatever other rules a tokenizer.json has."""

AS_FILED = ("PreTrainedTokenizer", "TokenizersBackend")
"""Classes for which tokenizer.json is used as it is."""

EITHER = ("DistilBertTokenizer",)
"""Classes for which it is used where there is one."""

_MODEL_TYPES = {"bert": "BertTokenizer", "electra": "BertTokenizer", "distilbert": "BertTokenizer"}
"""The class of a model whose folder names none."""

_FILED_MODELS = ("modernbert", "modernbert-decoder")
"""Models whose tokenizer.json is used, whatever class is named."""

_DEFAULTS = {
    "clean_text": True, "wordpieces_prefix": "##", "word_tokenizer_type": "basic",
    "subword_tokenizer_type": "wordpiece", "do_basic_tokenize": True,
}  # fmt: skip
"""Keys that other versions of transformers read, with the values that change nothing."""


class Read(NamedTuple):
    """A tokenizer that was read, and notes about its files."""

    fast: tokenizers.Tokenizer
    casing: str  # the reason why text is lower-cased or not
    notes: tuple[str, ...] = ()  # lines about the vocabulary
    all_different: bool = True  # as `Vocabulary.all_different`


class Casing(NamedTuple):
    """The caller's choice; None leaves it to the files."""

    lowercase: bool | None = None
    strip_accents: bool | None = None


def read_file(path: Path, chosen: Casing) -> Read:
    """Return the tokenizer of one file, a vocab.txt or a tokenizer.json; the casing of a vocab.txt comes from a
    tokenizer_config.json beside it, unless the caller chose it. Raises UserError where it is neither, or damaged."""
    if path.suffix == ".json":
        return _as_filed(wordpiece.from_definition(read_json(path, dict), str(path)), path, chosen)
    vocabulary = read_vocabulary(path)
    config_path = path.with_name("tokenizer_config.json")
    config = read_optional(config_path) if chosen.lowercase is None else {}
    config = {key: config[key] for key in ("do_lower_case", "strip_accents", "tokenize_chinese_chars") if key in config}
    switches, reason = _switches(config_path, config, {}, chosen, vocabulary)
    return Read(wordpiece.build(vocabulary.tokens, **switches), reason, vocabulary.notes)


def read_tokenizer_folder(folder: Path, chosen: Casing) -> Read:
    """Return the tokenizer of a folder with a tokenizer.json or a vocab.txt.

    Raises:
        UserError: a file is damaged; a key or class cannot be honoured; the caller chose another casing than the folder
        has.
    """
    config, model = (read_optional(folder / name) for name in ("tokenizer_config.json", "config.json"))
    path = folder / "tokenizer.json"
    definition = read_optional(path)
    is_filed, names = _is_filed(folder, config, model, bool(definition))
    _refuse_keys(folder / "tokenizer_config.json", config, is_filed)
    if definition:
        wordpiece.check_definition(definition, str(path))
    added = read_added_tokens(folder, config, definition.get("added_tokens", []), names)
    if is_filed:
        read = _as_filed(wordpiece.from_definition(definition, str(path)), path, chosen)
    else:
        read = _rebuilt(folder, config, definition, chosen)
    _add(read, added, folder)
    if not is_filed:
        wordpiece.surround(read.fast)
    return read


def _is_filed(folder: Path, config: dict[str, Any], model: dict[str, Any], has_definition: bool) -> tuple[bool, bool]:
    """Return whether tokenizer.json is used as it is, and whether the class names BERT's special tokens by itself."""
    place, model_place = (str(folder / name) for name in ("tokenizer_config.json", "config.json"))
    model_type = member(model, "model_type", (str, type(None)), model_place, None)
    name = member(config, "tokenizer_class", (str, type(None)), place, None)
    if name is None:
        place, name = model_place, member(model, "tokenizer_class", (str, type(None)), model_place, None)
    name = name and name.removesuffix("Fast")
    if model_type in _FILED_MODELS:
        filed = True
    elif name is None and model_type:
        if model_type not in _MODEL_TYPES:
            raise UserError(
                f"{model_place}: model_type = {quoted(model_type, 60)}, whose tokenizer bertsmith does not know; "
                f"say tokenizer_class in tokenizer_config.json if it is BertTokenizer"
            )
        filed = False
    elif name is None or name in EITHER:
        filed = has_definition
    elif name in REBUILT or name in AS_FILED:
        filed = name in AS_FILED
    else:
        raise UserError(
            f"{place}: tokenizer_class = {quoted(name, 60)}, which bertsmith does not read; it reads "
            f"{', '.join((*REBUILT, *EITHER))} and PreTrainedTokenizerFast"
        )
    if filed and not has_definition:
        raise UserError(
            f"{folder}: no tokenizer.json, which its tokenizer_class or model_type asks for; put it there, or say "
            f"tokenizer_class BertTokenizer in tokenizer_config.json if vocab.txt is BERT's"
        )
    return filed, not filed or name in EITHER


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
        if chosen.lowercase is not None or chosen.strip_accents is not None:
            raise UserError(
                f"lowercase, strip_accents: {path} has a normalizer of its own, {type(own).__name__}; leave them away"
            )
        return Read(fast, f"{path.name} has a normalizer of its own")
    for key in ("lowercase", "strip_accents"):
        _refuse_contradiction(key, getattr(chosen, key), getattr(own, key), f"{path} says", own.lowercase)
    return Read(fast, f"{path.name} says lowercase={str(own.lowercase).lower()}")


def _rebuilt(folder: Path, config: dict[str, Any], definition: dict[str, Any], chosen: Casing) -> Read:
    path = folder / "tokenizer_config.json"
    if not definition:
        vocabulary = read_vocabulary(folder / "vocab.txt")
        switches, reason = _switches(path, config, {}, chosen, vocabulary)
        if not switches["lowercase"] and config.get("do_lower_case") is None:
            reason += "; transformers lower-cases it until tokenizer_config.json says do_lower_case"
        fast = wordpiece.build_bare(vocabulary.tokens, **switches)
        return Read(fast, reason, vocabulary.notes, vocabulary.all_different)
    normalizer = definition.get("normalizer")
    _refuse_other_rules(folder, definition)
    switches, reason = _switches(path, config, normalizer or {}, chosen, None)
    fast = wordpiece.build_bare([], **switches)
    ids = definition["model"]["vocab"]
    fast.model = wordpiece.guarded(
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


def _switches(
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
        _refuse_contradiction("lowercase", chosen.lowercase, lowercase, f"{path} says do_lower_case", lowercase)
    elif chosen.lowercase is not None:
        lowercase, reason = chosen.lowercase, f"lowercase={str(chosen.lowercase).lower()}"
    elif vocabulary is not None:
        lowercase, reason = casing.is_lowercase(vocabulary.tokens)
    else:
        lowercase, reason = True, "tokenizer.json says lowercase=true"
    accents = own["strip_accents"]
    if accents is not None:
        _refuse_contradiction("strip_accents", chosen.strip_accents, accents, f"{path} says", lowercase)
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


def _refuse_contradiction(key: str, chosen: bool | None, own: bool | None, who: str, lowercase: bool) -> None:
    own = _accents(own, lowercase)
    if chosen is not None and chosen != own:
        raise UserError(f"{key} = {str(chosen).lower()}: {who} {str(own).lower()} itself; leave {key}=… away")


def _add(read: Read, added: AddedTokens, folder: Path) -> None:
    """Add tokens in transformers' order, which decides the ids of new ones."""
    fast = read.fast
    size = fast.get_vocab_size(with_added_tokens=True)
    wordpiece.guarded(lambda: fast.add_tokens(added.tokens(fast)), f"{folder}: added tokens that cannot be added")
    wordpiece.check_ids(fast, {token.content: id for id, token in added.by_id.items()}, str(folder))
    if not read.all_different and fast.get_vocab_size(with_added_tokens=True) > size:
        raise UserError(
            f"{folder}: added tokens after a vocabulary with tokens that stand twice, or lines of nothing but white "
            f"space: transformers gives them ids that others have; put tokens such as [unused9999] into such lines"
        )
    added.check_never_split(fast, folder)
