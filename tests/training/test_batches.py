import itertools
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.errors import UserError
from bertsmith.text.segments import RowSettings
from bertsmith.training.batches import DataStart, RowStream, by_length, masked_batches, prefetch
from bertsmith.training.staged_rows import build_collator
from tests.toys import make_data, tiny_recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 100))
def test_batches_by_length_hold_every_row_once_and_no_more_than_asked(lengths, most):
    lengths = np.array(lengths, dtype=np.int64)
    found = list(by_length(lengths, most))
    assert sorted(itertools.chain(*found)) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= most for batch in found)
    assert all(lengths[one].max() <= lengths[other].min() for one, other in itertools.pairwise(found))
    # One row more would have been too many.
    assert all((len(one) + 1) * lengths[other[0]] > most for one, other in itertools.pairwise(found))


def test_an_epoch_holds_every_token_once(data):
    stream = RowStream(data, "train", RowSettings(length=32), seed=0)
    special = set(stream.specials)
    seen = []
    for rows, (epoch, _, row) in stream.batches(1):
        if epoch == 1 and row == 1:
            break
        seen.append(rows.ids)
    ids = np.concatenate(seen)
    kept = ids[~np.isin(ids, list(special))]
    assert len(kept) == data.num_tokens("train")
    assert np.array_equal(np.sort(kept), np.sort(data.read("train", 0).tokens))


def test_epochs_differ_and_seeds_differ(data):
    def first(seed: int, epoch: int) -> np.ndarray:
        stream = RowStream(data, "train", RowSettings(length=32), seed)
        return next(stream.batches(16, (epoch, 0, 0)))[0].ids

    assert np.array_equal(first(0, 0), first(0, 0))
    assert not np.array_equal(first(0, 0), first(0, 1))
    assert not np.array_equal(first(0, 0), first(1, 0))


@pytest.mark.parametrize("cut", [1, 7, 60])
def test_a_stream_entered_in_its_middle_goes_on_the_same(data, cut):
    collator = build_collator(tiny_recipe(data.path), data.tokenizer)
    stream = RowStream(data, "train", RowSettings(length=32), seed=0)
    whole = list(itertools.islice(masked_batches(stream, collator, 24), cut + 5))
    position = whole[cut - 1][1]
    rest = list(itertools.islice(masked_batches(stream, collator, 24, DataStart(cut, 0, position)), 5))
    for (one, there), (two, here) in zip(whole[cut:], rest, strict=True):
        assert there == here
        assert one.tokens.ids.equal(two.tokens.ids)
        assert all(one.targets[name].equal(two.targets[name]) for name in one.targets)


def test_batches_made_ahead_are_the_same_and_errors_come_through():
    assert list(itertools.islice(prefetch(itertools.count()), 50)) == list(range(50))

    def failing():
        yield 1
        raise UserError("broken")

    made = prefetch(failing())
    assert next(made) == 1
    with pytest.raises(UserError, match="broken"):
        next(made)


def test_a_split_without_text_is_refused(data):
    with pytest.raises(KeyError):
        RowStream(data, "none", RowSettings(), 0)


def test_whoever_leaves_waits_for_the_thread_that_makes_batches(data):
    """An interpreter that ends while a thread is inside of torch may abort."""
    collator = build_collator(tiny_recipe(data.path), data.tokenizer)
    made = prefetch(masked_batches(RowStream(data, "train", RowSettings(length=32), seed=0), collator, 8))
    next(made)
    assert any(thread.name == "batches" for thread in threading.enumerate())
    made.close()
    assert not any(thread.name == "batches" for thread in threading.enumerate())
