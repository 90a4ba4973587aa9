"""Entities out of tags, those that break the rules too: by hand, and as seqeval and conlleval count them."""

import random
import warnings

import pytest

from bertsmith.scoring.entities import (
    EntityCounts,
    Tag,
    count_entities,
    find_entities,
    parse_tag,
    scheme_of,
    tag_accuracy,
    total,
)


def tags(text):
    return [parse_tag(tag) for tag in text.split()]


def spans(text, strict=None):
    return [tuple(entity) for entity in find_entities(tags(text), strict)]


@pytest.mark.parametrize(
    ("text", "lenient", "strict"),
    [
        ("B-X I-X O B-Y", [("X", 0, 2), ("Y", 3, 4)], [("X", 0, 2), ("Y", 3, 4)]),
        ("B-X B-X", [("X", 0, 1), ("X", 1, 2)], [("X", 0, 1), ("X", 1, 2)]),
        ("O I-X I-X", [("X", 1, 3)], []),
        ("B-X I-Y I-Y O", [("X", 0, 1), ("Y", 1, 3)], [("X", 0, 1)]),
        ("I-X B-X", [("X", 0, 1), ("X", 1, 2)], [("X", 1, 2)]),
        ("B I O I", [("_", 0, 2), ("_", 3, 4)], [("_", 0, 2)]),
        ("O O", [], []),
        ("", [], []),
    ],
)
def test_bio(text, lenient, strict):
    assert spans(text) == lenient
    assert spans(text, "IOB2") == strict


@pytest.mark.parametrize(
    ("text", "lenient", "strict"),
    [
        ("B-X I-X E-X S-Y", [("X", 0, 3), ("Y", 3, 4)], [("X", 0, 3), ("Y", 3, 4)]),
        ("B-X E-X B-X E-X", [("X", 0, 2), ("X", 2, 4)], [("X", 0, 2), ("X", 2, 4)]),
        ("S-X S-X", [("X", 0, 1), ("X", 1, 2)], [("X", 0, 1), ("X", 1, 2)]),
        ("B-X I-X O", [("X", 0, 2)], []),  # never ended
        ("O E-X", [("X", 1, 2)], []),
        ("B-X O", [("X", 0, 1)], []),
        ("S-X I-X E-X", [("X", 0, 1), ("X", 1, 3)], [("X", 0, 1)]),
        ("B-X E-Y", [("X", 0, 1), ("Y", 1, 2)], []),
        ("B-X E-X E-X", [("X", 0, 2), ("X", 2, 3)], [("X", 0, 2)]),
    ],
)
def test_bioes(text, lenient, strict):
    assert spans(text) == lenient
    assert spans(text, "IOBES") == strict


def test_tags():
    assert parse_tag("B-NP") == Tag("B", "NP")
    assert parse_tag("I-A-B") == Tag("I", "A-B")
    assert parse_tag("S") == parse_tag("S-") == Tag("S", "_")
    assert [parse_tag(text) for text in ("NP", "X-NP", "BI-NP", "b-NP", "O-NP", "", "-NP")] == [None] * 7
    assert scheme_of([tags("B-X I-X")], [tags("O O")]) == "IOB2"
    assert scheme_of([tags("B-X I-X")], [tags("O S-X")]) == "IOBES"


def test_counts_and_shares():
    gold, predicted = [tags("B-X I-X O B-Y"), tags("B-X")], [tags("B-X I-X B-Y O"), tags("O")]
    counts = count_entities(gold, predicted)
    assert counts == {"X": (2, 1, 1), "Y": (1, 1, 0)}
    assert total(counts.values()) == (3, 2, 1)
    assert (counts["X"].precision, counts["X"].recall) == (100.0, 50.0)
    assert counts["X"].f1 == pytest.approx(200 / 3)
    assert tag_accuracy(gold, predicted) == 40.0
    none = EntityCounts(0, 0, 0)
    assert total(()) == none and (none.precision, none.recall, none.f1) == (0.0, 0.0, 0.0)


def test_entities_do_not_cross_sentences():
    assert total(count_entities([tags("B-X"), tags("I-X")], [tags("B-X"), tags("I-X")]).values()) == (2, 2, 2)


def random_pairs(prefixes, seed):
    """1,000 pairs of taggings, of which most break the rules; some words are tagged alike."""
    rng = random.Random(seed)

    def tag():
        prefix = rng.choice(prefixes)
        return "O" if prefix == "O" else prefix + rng.choice(["-A", "-B", "-C-D", ""])

    for _ in range(1000):
        gold = [[tag() for _ in range(rng.randint(1, 9))] for _ in range(rng.randint(1, 3))]
        yield gold, [[word if rng.random() < 0.6 else tag() for word in sentence] for sentence in gold]


@pytest.mark.parametrize(("scheme", "prefixes"), [("IOB2", "BIIO"), ("IOBES", "BIEISO")])
@pytest.mark.parametrize("mode", [None, "strict"])
def test_a_thousand_random_taggings_as_seqeval(scheme, prefixes, mode):
    metrics = pytest.importorskip("seqeval.metrics")
    schemes = pytest.importorskip("seqeval.scheme")
    options = {"mode": mode, "scheme": getattr(schemes, scheme)} if mode else {}
    scored = 0
    for gold, predicted in random_pairs(prefixes, seed=f"{scheme} {mode}"):
        ours = [[[parse_tag(tag) for tag in sentence] for sentence in some] for some in (gold, predicted)]
        counts = count_entities(*ours, strict=scheme if mode else None)
        overall = total(counts.values())
        for name in ("precision", "recall", "f1"):
            score = getattr(metrics, f"{name}_score")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of shares of none, which are 0
                micro = score(gold, predicted, average="micro", **options)
                by_type = score(gold, predicted, average=None, **options)
            assert getattr(overall, name) == pytest.approx(100 * micro, abs=1e-9)
            assert [getattr(some, name) for some in counts.values()] == pytest.approx(list(100 * by_type), abs=1e-9)
        assert tag_accuracy(*ours) == pytest.approx(100 * metrics.accuracy_score(gold, predicted))
        scored += overall.correct > 0
    assert scored > 500, "too few taggings share an entity for this to say anything"
