"""The tokens that a Hugging Face folder adds to its vocabulary, in the order in which transformers adds them.

Source: transformers 5, `_from_pretrained` and `__init__` in tokenization_utils_base.py, and `__init__` in
tokenization_utils_tokenizers.py.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import AddedToken

from bertsmith.errors import UserError, quoted
from bertsmith.storage.json_files import member, read_optional
from bertsmith.tokenizers.definition import MAX_IDS

_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""In transformers' order."""
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")

TokenSpec = str | AddedToken


class AddedTokens(NamedTuple):
    """The added tokens of a folder's files.

    Attributes:
        by_id: with the ids in the files.
        named: by the keys of `_NAMED`, and others that end in "_token"; in order.
        extra: additional special tokens.
    """

    by_id: dict[int, AddedToken]
    named: dict[str, TokenSpec]
    extra: list[TokenSpec]
    never_split: list[str]

    def tokens(self, fast: tokenizers.Tokenizer) -> list[AddedToken]:
        """Return the tokens to add to `fast`: by id, then by name, then the extra ones."""
        found = [token for _, token in sorted(self.by_id.items())]
        known = {token.content for token in fast.get_added_tokens_decoder().values()} | {each.content for each in found}
        names = {_content(value) for value in self.named.values()}
        for value in (*self.named.values(), *self.extra):
            if _content(value) not in known:
                found.append(AddedToken(value, special=True) if isinstance(value, str) else value)
        for token in found:
            if token.content in names and not token.special:
                token.special = True
        return found

    def names(self) -> dict[str, str]:
        """Return the texts of the named tokens, by their keys."""
        return {key: _content(value) for key, value in self.named.items()}

    def check_never_split(self, fast: tokenizers.Tokenizer, folder: Path) -> None:
        """Raise UserError for a token of never_split that is not an added one, which alone are never split."""
        known = {token.content for token in fast.get_added_tokens_decoder().values()}
        for token in self.never_split:
            if token not in known:
                raise UserError(
                    f"{folder / 'tokenizer_config.json'}: never_split = {quoted(token, 60)}: transformers 5 splits it, "
                    f"earlier ones did not; name it in additional_special_tokens, or take it away"
                )


def read_added_tokens(
    folder: Path,
    config: dict[str, Any],
    filed: list[dict[str, Any]],
    defaults: Mapping[str, TokenSpec],
    extra: Sequence[TokenSpec] = (),
) -> AddedTokens:
    """Read the added tokens of tokenizer_config.json (`config`), and where it has no added_tokens_decoder also those of
    special_tokens_map.json, added_tokens.json and tokenizer.json (`filed`). Where no file names them, special tokens
    have the names of `defaults`, and additional ones are `extra`. Raises UserError where transformers could not read a
    value."""
    path = folder / "tokenizer_config.json"
    content = dict(config)
    if "additional_special_tokens" in content and not content.get("extra_special_tokens"):
        content["extra_special_tokens"] = content.pop("additional_special_tokens")
    explicit = {
        key: content.pop(key)
        for key, value in config.items()
        if key not in _NAMED and key.endswith("_token") and isinstance(value, str)
    }
    _take_out(content, explicit)
    by_id: dict[int, AddedToken] = {}
    if "added_tokens_decoder" in config:
        for id, token in member(config, "added_tokens_decoder", (dict,), str(path)).items():
            by_id[_id(id, path)] = _token(token, path, f"added_tokens_decoder.{id}")
    else:
        _read_map(folder / "special_tokens_map.json", content)
        _take_out(content, explicit)
        by_id = _read_legacy(folder / "added_tokens.json", content)
        for token in filed:
            where = folder / "tokenizer.json"
            by_id[_id(token.get("id"), where)] = _token(
                {key: token[key] for key in token if key != "id"}, where, "added_tokens"
            )
    if "additional_special_tokens" in content and "extra_special_tokens" not in content:
        content["extra_special_tokens"] = content.pop("additional_special_tokens")
    found = _extra(content, path) if "extra_special_tokens" in content else list(extra)
    return AddedTokens(by_id, _read_named(content, explicit, path, defaults), found, _never_split(content, path))


def _take_out(content: dict[str, Any], explicit: dict[str, Any]) -> None:
    """Move extra special tokens that have names to the others of such names."""
    if isinstance(content.get("extra_special_tokens"), dict):
        explicit.update(content.pop("extra_special_tokens"))


def _read_map(path: Path, content: dict[str, Any]) -> None:
    """Lay special_tokens_map.json over `content`."""
    for key, value in read_optional(path).items():
        if isinstance(value, dict) and key != "extra_special_tokens":
            content[key] = _token({**value, "special": True}, path, key)
        elif key == "extra_special_tokens" and isinstance(value, list):
            known = list(content.get(key) or [])
            new = [
                _token({**token, "special": True}, path, key) if isinstance(token, dict) else token for token in value
            ]
            content[key] = known + [token for token in new if token not in known]
        else:
            content[key] = value


def _read_legacy(path: Path, content: dict[str, Any]) -> dict[int, AddedToken]:
    """Return the tokens of an added_tokens.json, by id."""
    special = {_content(content[key]) for key in _NAMED if isinstance(content.get(key), TokenSpec)}
    special |= {_content(value) for value in _extra(content, path)}
    return {
        _id(id, path): AddedToken(token, normalized=token not in special, special=token in special)
        for token, id in read_optional(path).items()
    }


def _read_named(
    content: dict[str, Any], explicit: dict[str, Any], path: Path, defaults: Mapping[str, TokenSpec]
) -> dict[str, TokenSpec]:
    named: dict[str, TokenSpec] = {}
    for key in _NAMED:
        if (value := _value((dict(defaults) | content).get(key), path, key)) is not None:
            named[key] = value
    own = {key: content[key] for key in content if key.endswith("_token") and key not in _NAMED}
    for key, value in (own | explicit).items():
        if isinstance(value, bool):  # add_bos_token, which says what is around texts
            continue
        if (found := _value(value, path, key)) is not None:
            named[key] = found
    return named


def _extra(content: dict[str, Any], path: Path) -> list[TokenSpec]:
    values = content.get("extra_special_tokens")
    if values is None:
        return []
    if not isinstance(values, list):
        raise UserError(f"{path}: additional_special_tokens must be a list, not {quoted(values, 60)}")
    return [found for value in values if (found := _value(value, path, "additional_special_tokens")) is not None]


def _never_split(content: dict[str, Any], path: Path) -> list[str]:
    values = content.get("never_split")
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UserError(f"{path}: never_split must be a list of tokens, not {quoted(values, 60)}")
    return values


def _value(value: Any, path: Path, key: str) -> TokenSpec | None:
    """Return a token that is a text, or an object as transformers marks it."""
    if value is None or isinstance(value, TokenSpec):
        return value
    if isinstance(value, dict) and value.get("__type") == "AddedToken":
        return _token({flag: value[flag] for flag in value if flag != "__type"}, path, key)
    raise UserError(
        f"{path}: {shown(key)} = {quoted(value, 80)}: neither a token nor an AddedToken; write the token as text"
    )


def _token(value: Any, path: Path, key: str) -> AddedToken:
    if not isinstance(value, dict) or not isinstance(value.get("content"), str):
        raise UserError(
            f"{path}: {shown(key)} = {quoted(value, 80)}: no added token, which is an object with a content"
        )
    flags = {flag: value[flag] for flag in value if flag not in ("content", "__type")}
    if not all(flag in _FLAGS and isinstance(on, bool) for flag, on in flags.items()):
        raise UserError(
            f"{path}: {shown(key)} = {quoted(value, 80)}: an added token has {', '.join(_FLAGS)}, true or false"
        )
    return AddedToken(value["content"], **flags)


def shown(key: str) -> str:
    """Return a key of a file as a message names it."""
    return key if key.isascii() and key.isprintable() and len(key) < 60 else quoted(key, 60)


def _content(value: TokenSpec) -> str:
    return value if isinstance(value, str) else value.content


def _id(value: Any, path: Path) -> int:
    is_text = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 9
    number = int(value) if is_text else value
    if type(number) is not int or not 0 <= number < MAX_IDS:
        raise UserError(f"{path}: the id of an added token is {quoted(value, 40)}; ids are 0 to {MAX_IDS - 1:,}")
    return number
