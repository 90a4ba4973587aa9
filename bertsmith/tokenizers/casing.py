"""Whether a vocabulary is of lower-cased text, judged by its words; and warnings about pieces that no text can give."""

import re
from collections.abc import Iterable

from tokenizers import normalizers

from bertsmith.errors import quoted

_MARKER = re.compile(r"[\[<{(].*[\]>})]", re.DOTALL)
"""[MASK], [unused1], <URL>, {NAME}: a token in brackets is no word."""

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


def warnings(tokens: Iterable[str], normalizer: normalizers.Normalizer | None) -> list[str]:
    """Return lines about pieces that no text gives, and text that no piece is for, by the setting that makes it so.

    Args:
        normalizer: of the tokenizer; only of BERT's is anything known.
    """
    if not isinstance(normalizer, normalizers.BertNormalizer):
        return []
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


def _is_plain(token: str) -> bool:
    """Return whether neither lower-casing nor stripping accents can change it; most tokens are so."""
    return token.isascii() and token == token.lower()


def _some(tokens: list[str]) -> str:
    return ", ".join(quoted(token, 30) for token in tokens[:3])
