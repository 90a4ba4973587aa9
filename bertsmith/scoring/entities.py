"""Tags of words in, entities (chunks, names) out, and how many of them two taggings share.

Two readings of tags that break the rules of their scheme, an I- after O for example:

- as `conlleval` reads them, the script of the CoNLL shared tasks (version 2004-01-26), and `seqeval` by default: such a
  tag opens an entity. This is the headline: what published CoNLL figures are counted by.
- strictly, as `seqeval` does under mode="strict": what is not written as the scheme wants it is no entity.

`conlleval` does not know S- tags, and does not part two entities of one type where the second follows the first's E-;
for BIOES files this is `seqeval`'s reading, which does. Of files with B-, I- and O the two read alike.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

PREFIXES = "BIESO"


class Tag(NamedTuple):
    """A word's tag, such as "B-NP": its place in an entity, and that entity's type."""

    prefix: str
    """One of `PREFIXES`: begin, inside, end, single, outside."""
    type: str
    """Empty outside; "_" for a tag that is a letter alone."""


OUTSIDE = Tag("O", "")

Entity = tuple[str, int, int]
"""Type, first word and the word after the last, in a sentence."""


class EntityCounts(NamedTuple):
    """Counts of entities, and shares in percent; a share of none is 0."""

    gold: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float:
        return 100.0 * self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return 100.0 * self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        return 200.0 * self.correct / (self.gold + self.predicted) if self.correct else 0.0


def parse_tag(text: str) -> Tag | None:
    """Return the tag; None where it is none of BIO or BIOES."""
    prefix, _, type = text.partition("-")
    if text == "O":
        return OUTSIDE
    return Tag(prefix, type or "_") if prefix in ("B", "I", "E", "S") else None


def scheme_of(*taggings: Iterable[Sequence[Tag]]) -> str:
    """Return seqeval's name of what they are written in: "IOBES" where any tag is E- or S-, else "IOB2"."""
    ends = any(tag.prefix in "ES" for tagging in taggings for sentence in tagging for tag in sentence)
    return "IOBES" if ends else "IOB2"


def find_entities(tags: Sequence[Tag], strict: str | None = None) -> list[Entity]:
    """Return the entities of one sentence, in order.

    An entity goes on where I or E follows B or I of its own type, and ends before anything else; whatever is not O
    begins one where none goes on.

    Args:
        strict: a scheme, "IOB2" or "IOBES", to keep those entities only that are written as it wants them: B I…, or
            S, or B I… E.
    """
    entities = []
    begin, previous = 0, OUTSIDE
    for place, tag in enumerate([*tags, OUTSIDE]):
        if not (tag.prefix in "IE" and previous.prefix in "BI" and tag.type == previous.type):
            if previous.prefix != "O" and _is_allowed(tags[begin].prefix, previous.prefix, place - begin, strict):
                entities.append((previous.type, begin, place))
            begin = place
        previous = tag
    return entities


def _is_allowed(first: str, last: str, num_words: int, strict: str | None) -> bool:
    if strict is None:
        return True
    if strict == "IOB2":
        return first == "B"
    return first == "S" if num_words == 1 else first == "B" and last == "E"


def count_entities(
    gold: Sequence[Sequence[Tag]], predicted: Sequence[Sequence[Tag]], strict: str | None = None
) -> dict[str, EntityCounts]:
    """Return counts by type, in alphabetical order; an entity is correct where type, begin and end are a gold one's.

    Args:
        gold, predicted: the tags of the same words, a sequence a sentence.
        strict: see `find_entities`.
    """
    counters = [Counter[str]() for _ in EntityCounts._fields]
    for wanted, given in zip(gold, predicted, strict=True):
        assert len(wanted) == len(given)
        both = [set(find_entities(tags, strict)) for tags in (wanted, given)]
        for counter, entities in zip(counters, (*both, both[0] & both[1]), strict=True):
            counter.update(type for type, _, _ in entities)
    types = sorted(set().union(*counters))
    return {type: EntityCounts(*(counter[type] for counter in counters)) for type in types}


def total(counts: Iterable[EntityCounts]) -> EntityCounts:
    """Return the counts of all types together: what `conlleval` prints first, seqeval's micro average."""
    return EntityCounts(*map(sum, zip((0, 0, 0), *counts, strict=True)))


def tag_accuracy(gold: Sequence[Sequence[Tag]], predicted: Sequence[Sequence[Tag]]) -> float:
    """Return the percentage of words that have their gold tag, O included."""
    same = [a == b for both in zip(gold, predicted, strict=True) for a, b in zip(*both, strict=True)]
    return 100.0 * sum(same) / len(same)
