"""What a newly trained vocabulary has besides its pieces: a family's special tokens, and how text is normalized."""

from typing import NamedTuple

import tokenizers
from tokenizers import AddedToken, normalizers

from bertsmith.tokenizers.special_tokens import SPECIAL_TOKENS, SPECIAL_TOKENS_BY_KEY
from bertsmith.tokenizers.templates import surround


class SpecialFamily(NamedTuple):
    """The special tokens of a family of models."""

    tokens: tuple[str, ...]
    """In the order of their ids, which are the first."""
    by_key: dict[str, str]
    num_separators: int
    """Between two texts."""


SPECIAL_FAMILIES = {
    "bert": SpecialFamily(SPECIAL_TOKENS, SPECIAL_TOKENS_BY_KEY, 1),
    "roberta": SpecialFamily(
        ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
        dict(zip(SPECIAL_TOKENS_BY_KEY, ("<pad>", "<unk>", "<s>", "</s>", "<mask>"), strict=True)), 2,
    ),
}  # fmt: skip
"""Setting → special tokens."""


class UnicodeForm(NamedTuple):
    """How text is normalized before it is cut."""

    form: str
    """none, nfc or nfkc."""
    lowercase: bool
    strip_accents: bool


def unicode_normalizer(form: UnicodeForm) -> normalizers.Normalizer | None:
    """Return the normalizer, or None where text stays as it is."""
    steps: list[normalizers.Normalizer] = []
    if form.strip_accents:
        steps += [normalizers.NFKD() if form.form == "nfkc" else normalizers.NFD(), normalizers.StripAccents()]
    if form.form != "none":
        steps.append({"nfc": normalizers.NFC, "nfkc": normalizers.NFKC}[form.form]())
    if form.lowercase:
        steps.append(normalizers.Lowercase())
    return normalizers.Sequence(steps) if len(steps) > 1 else steps[0] if steps else None


def add_specials(fast: tokenizers.Tokenizer, specials: SpecialFamily) -> None:
    """Make the tokens special in texts, the mask with the space before it, and put them around texts."""
    mask = specials.by_key["mask_token"]
    fast.add_special_tokens([
        AddedToken(token, special=True, normalized=False, lstrip=token == mask) for token in specials.tokens
    ])  # fmt: skip
    surround(fast, specials.by_key, specials.num_separators, segment=int(specials.num_separators == 1))
