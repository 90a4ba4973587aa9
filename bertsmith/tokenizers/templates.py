"""The special tokens that a post-processor puts around texts: read, and made those that rows have here.

A row is [CLS] text [SEP], or [CLS] text [SEP] text [SEP] with as many [SEP] in between as the files say. Whoever opens
what is saved with transformers gets such rows too, whatever the files had.
"""

from collections.abc import Mapping

import tokenizers
from tokenizers import Encoding, processors

from bertsmith.errors import quoted


def surround(
    fast: tokenizers.Tokenizer, specials: Mapping[str, str], num_separators: int = 1, *, segment: int = 1
) -> None:
    """Make `fast` put the tokens of the keys "cls_token" and "sep_token", if it has them, around texts, and as many of
    the latter as `num_separators` between two, of which the second one's tokens are of `segment`."""
    first, last = (specials.get(key) for key in ("cls_token", "sep_token"))
    if first is None or last is None or None in (ids := [fast.token_to_id(first), fast.token_to_id(last)]):
        return
    fast.post_processor = processors.TemplateProcessing(
        single=[first, "$A", last],
        pair=[first, "$A", *[last] * num_separators, f"$B:{segment}", f"{last}:{segment}"],
        special_tokens=list(dict(zip((first, last), ids, strict=True)).items()),
    )


def fit_template(fast: tokenizers.Tokenizer, specials: Mapping[str, str]) -> str:
    """Make `fast` put around texts what rows have, if it does not; return in words what it had instead, else nothing.

    Args:
        specials: the token of each role, by key.
    """
    first, last = ([fast.token_to_id(specials[key])] for key in ("cls_token", "sep_token"))
    one, other = (fast.encode(text, add_special_tokens=False).ids for text in ("a", "b"))
    between = num_separators(fast)
    single, pair = fast.encode("a"), fast.encode("a", "b")
    if [*first, *one, *last] == single.ids and [*first, *one, *last * between, *other, *last] == pair.ids:
        return ""
    surround(fast, specials, between)
    had, have = (quoted(_shown(encoding), 200) for encoding in (pair, fast.encode("a", "b")))
    return f"{had}; rows here, and what is saved, have {have}"


def num_separators(fast: tokenizers.Tokenizer) -> int:
    """Return how many special tokens the post-processor puts between two texts; 1 where it puts none."""
    encoding = fast.encode("a", "b")
    between = [place for place, special in enumerate(encoding.special_tokens_mask) if special]
    kinds = encoding.sequence_ids
    inner = [place for place in between if 0 in kinds[:place] and 1 in kinds[place:]]
    return max(1, len(inner))


def with_segments(fast: tokenizers.Tokenizer, specials: Mapping[str, str]) -> tokenizers.Tokenizer:
    """Return `fast`, or a copy, in which the tokens of a second text are of segment 1, as rows have them here."""
    encoding = fast.encode("a", "b")
    if encoding.type_ids[-1] == 1 and all(
        (segment == 1) == (place == 1)
        for segment, place in zip(encoding.type_ids, encoding.sequence_ids, strict=True)
        if place is not None
    ):
        return fast
    copy: tokenizers.Tokenizer = tokenizers.Tokenizer.from_str(fast.to_str())
    surround(copy, specials, num_separators(fast))
    return copy


def _shown(encoding: Encoding) -> str:
    """Return the tokens of two texts, "$A" and "$B" in place of each one's own."""
    shown: list[str] = []
    for token, special, text in zip(
        encoding.tokens, encoding.special_tokens_mask, encoding.sequence_ids, strict=True
    ):  # fmt: skip
        word = token if special else "$B" if text else "$A"
        if special or word not in shown:
            shown.append(word)
    return " ".join(shown)
