"""The reference's counter against what its own file printed."""

import pytest

from bertsmith.encoders.reference_flops import PRESETS, QUOTED, published_flops

PRINTED = {
    "bert_small": 1.4187399146496e18,
    "electra_small": 1.293743798272e18,
    "bert_base": 6.428335104e19,
    "electra_base": 6.424541834277683e19,
    "bert_large": 1.91720905883648e20,
    "electra_400k": 7.117606040895488e20,
    "electra_1.75M": 3.113952642891776e21,
    "gpt": 3.968752230785352e19,
    "roberta": 3.187221435776e21,
    "albert": 3.113923955392512e22,
    "t5_11b": 4.581900124212429e22,
    "elmo": 3.4114394716164127e18,
    "xlnet": 3.856582065028608e21,
}
"""By google-research/electra, flops_computation.py, at commit 8a46635."""


@pytest.mark.parametrize("name", PRINTED)
def test_every_model_of_its_table_has_its_count(name):
    assert published_flops()[name] == pytest.approx(PRINTED[name], rel=1e-9)


def test_eleven_are_counted_and_two_are_quoted():
    assert len(PRESETS) == 11
    assert QUOTED.keys() == {"elmo", "xlnet"}
    assert published_flops().keys() == PRINTED.keys()
