"""Whether a vocabulary is of lower-cased text, judged by its words; what a normalizer does to capitals and accents; and
warnings about pieces that no text gives."""

import re
import unicodedata
from collections.abc import Iterable

from tokenizers import normalizers

from bertsmith.errors import quoted

_MARKER = re.compile(r"[\[<{(].*[\]>})]", re.DOTALL)
"""[MASK], [unused1], <URL>, {NAME}: a token in brackets is no word."""

_BARE = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])

_LOWER = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=True)


def has_capital(token: str) -> bool:
    """Return whether lower-casing changes a word or piece, in whatever script; a marker in brackets has no capital."""
    return not _is_plain(token) and not _MARKER.fullmatch(token) and _LOWER.normalize_str(token) != token


def is_lowercase(tokens: Iterable[str]) -> tuple[bool, str]:
    """Return whether a vocabulary is of lower-cased text: if no word or piece of it has a capital; and the reason."""
    capitals = [token for token in tokens if has_capital(token)]
    if not capitals:
        return True, "no word of the vocabulary has a capital"
    return False, f"{len(capitals):,} of the vocabulary's words have capitals, as {_some(capitals)}"


def in_words(normalizer: normalizers.Normalizer | None) -> str:
    """Return what becomes of capitals and accents in a text, as a normalizer shows it on two letters. Accents are named
    where they are not taken off with the capitals, nor kept with them."""
    shown = "AÉ" if normalizer is None else unicodedata.normalize("NFC", normalizer.normalize_str("AÉ"))
    if "a" in shown:
        return "lower-cased, accents kept" if "é" in shown else "lower-cased"
    if "A" in shown:
        return "cased" if "É" in shown else "cased, accents taken off"
    return "normalized"  # neither letter is left


def warnings(tokens: Iterable[str], normalizer: normalizers.Normalizer | None) -> list[str]:
    """Return lines about pieces that no text gives, and text that no piece is for, by the setting that makes it so.

    Args:
        tokens: pieces; the mark of those inside of words, "##", is no part of a text.
        normalizer: of the tokenizer; None where it has none, and every piece may come.
    """
    if normalizer is None:
        return []
    if not isinstance(normalizer, normalizers.BertNormalizer):
        return _of_other_normalizer(tokens, normalizer)
    tokens = [token for token in tokens if not _MARKER.fullmatch(token)]
    kept = normalizers.BertNormalizer(
        normalizer.clean_text, normalizer.handle_chinese_chars, strip_accents=False, lowercase=False
    )
    bodies = {token: token.removeprefix("##") for token in tokens}
    changed = [
        token
        for token, body in bodies.items()
        if not _is_plain(token) and normalizer.normalize_str(body) != kept.normalize_str(body)
    ]
    capitals = [token for token in changed if normalizer.lowercase and has_capital(token)]
    accents = sorted(set(changed) - set(capitals), key=changed.index)
    lines = []
    for pieces, why in (
        (capitals, "text is lower-cased (lowercase=true, do_lower_case)"),
        (accents, "accents are taken off (strip_accents)"),
    ):
        if pieces:
            lines.append(
                f"warning: {len(pieces):,} of {len(tokens):,} pieces can never be produced, as {_some(pieces)}: {why}"
            )
    has_small = any(character.upper() != character for body in bodies.values() for character in body)
    if not normalizer.lowercase and has_small and not any(has_capital(token) for token in tokens):
        lines.append(
            "warning: no piece has a capital, and text is not lower-cased (lowercase=false, do_lower_case): words with "
            "capitals become [UNK]"
        )
    return lines


_WHY = {
    "capitals": "its normalizer lower-cases text", "accents": "its normalizer takes accents off",
    "others": "its normalizer writes them otherwise",
}  # fmt: skip


def _of_other_normalizer(tokens: Iterable[str], normalizer: normalizers.Normalizer) -> list[str]:
    """Return the lines about pieces that are not themselves any more when they are normalized, whatever spaces a
    normalizer puts around them or marks."""
    tokens = [token for token in tokens if "\ufffd" not in token and not _MARKER.fullmatch(token)]
    changed: dict[str, list[str]] = {kind: [] for kind in _WHY}
    for token in tokens:
        body = token.strip()
        normalized = normalizer.normalize_str(body).replace("\u2581", " ").strip()
        if normalized == body or not body:
            continue
        if has_capital(body) and _LOWER.normalize_str(normalized) == normalized:
            changed["capitals"].append(body)
        else:
            kind = "accents" if normalized == _BARE.normalize_str(body) else "others"
            changed[kind].append(body)
    return [
        f"warning: {len(pieces):,} of {len(tokens):,} pieces can never be produced, as {_some(pieces)}: {_WHY[kind]}"
        for kind, pieces in changed.items()
        if pieces
    ]


def _is_plain(token: str) -> bool:
    """Return whether neither lower-casing nor stripping accents can change it; most tokens are so."""
    return token.isascii() and token == token.lower()


def _some(tokens: list[str]) -> str:
    return ", ".join(quoted(token, 30) for token in tokens[:3])
