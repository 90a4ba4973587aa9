"""Special tokens by their role, such as the mask's, whatever their text is."""

from collections.abc import Mapping
from typing import Any

import tokenizers

from bertsmith.errors import UserError, quoted

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""BERT's, in the order of `ROLES`."""

ROLES = {
    "pad_token": "padding token", "unk_token": "token for unknown text", "cls_token": "token before a row",
    "sep_token": "token after a text", "mask_token": "mask token",
}  # fmt: skip
"""Key of tokenizer_config.json → the role in words."""

SPECIAL_TOKENS_BY_KEY = dict(zip(ROLES, SPECIAL_TOKENS, strict=True))

_CUSTOMARY = {
    "pad_token": ("[PAD]", "<pad>", "<|padding|>"), "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<s>", "<cls>"), "sep_token": ("[SEP]", "</s>", "<sep>", "<eos>"),
    "mask_token": ("[MASK]", "<mask>", "<|mask|>"),
}  # fmt: skip
"""Texts of tokens whose role no file names."""


def conclude_special_tokens(
    fast: tokenizers.Tokenizer, definition: Mapping[str, Any], named: Mapping[str, str], source: str
) -> dict[str, str]:
    """Return the token of each of `ROLES` in `fast`, whose tokenizer.json has the content `definition`: as `named` by
    the files; else, of the tokens around a text, as the post-processor puts them there; else by its text.

    Raises:
        UserError: there is none for a role.
    """
    before, after = _surrounding(fast)
    candidates: dict[str, tuple[str | None, ...]] = {key: (named.get(key), *_CUSTOMARY[key]) for key in ROLES}
    candidates["cls_token"] = (named.get("cls_token"), before, named.get("bos_token"), *_CUSTOMARY["cls_token"])
    candidates["sep_token"] = (named.get("sep_token"), after, named.get("eos_token"), *_CUSTOMARY["sep_token"])
    candidates["unk_token"] += (unknown_of(definition["model"]),)
    known = {
        key: next((token for token in tokens if token is not None and fast.token_to_id(token) is not None), None)
        for key, tokens in candidates.items()
    }
    missing = [key for key, token in known.items() if token is None]
    if len(missing) == len(ROLES):
        raise UserError(
            f"{source}: no {', '.join(SPECIAL_TOKENS)} in this vocabulary, and no others in their places; BERT needs "
            f"them: name those that it has as {', '.join(ROLES)} in tokenizer_config.json, in a folder with it"
        )
    if missing:
        lines = " and ".join(f'"{key}": "{SPECIAL_TOKENS_BY_KEY[key]}"' for key in missing)
        one, it = ("one", "") if len(missing) == 1 else ("one of each", "each ")
        raise UserError(
            f"{source}: no {' and no '.join(f'{ROLES[key]} ({SPECIAL_TOKENS_BY_KEY[key]})' for key in missing)} in "
            f"this vocabulary; name {one} in tokenizer_config.json, in a folder with it, as {lines}: {it}a token that "
            f"it never uses, or a new one, which gets the id after the last, for which a trained model's table needs a "
            f"row"
        )
    found = {key: token for key, token in known.items() if token is not None}
    if shared := [key for key, token in found.items() if token == found["mask_token"] and key != "mask_token"]:
        raise UserError(
            f"{source}: mask_token = {quoted(found['mask_token'], 60)} is {shared[0]} too; the mask must be a token of "
            f"its own: name one in tokenizer_config.json"
        )
    return found


def _surrounding(fast: tokenizers.Tokenizer) -> tuple[str | None, str | None]:
    """Return the special tokens that the post-processor puts before and after a text."""
    encoding = fast.encode("a")
    if not encoding.tokens:
        return None, None
    before, after = encoding.special_tokens_mask[0], encoding.special_tokens_mask[-1]
    return encoding.tokens[0] if before else None, encoding.tokens[-1] if after and len(encoding.tokens) > 1 else None


def unknown_of(model: Mapping[str, Any]) -> str | None:
    """Return the token that the model itself gives for what it does not know."""
    if model["type"] != "Unigram":
        return model.get("unk_token")
    return None if model.get("unk_id") is None else str(model["vocab"][model["unk_id"]][0])
