"""DeBERTa's enhanced mask decoder held to the layers of transformers, which are its authors', run as its paper says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bertsmith.encoders.deberta import DebertaConfig
from bertsmith.encoders.encoder import MaskedTokenModel
from bertsmith.encoders.tokens import Tokens
from tests.families import check_gradients
from tests.hub.test_deberta import LENGTHS, SHAPES, export, load_theirs, offline, rows_of, scrambled, tokenizer

__all__ = ["offline", "tokenizer"]

DECODING = {
    name: replace(settings, enhanced_mask_decoder=True)
    for name, settings in SHAPES.items()
    if not settings.position_biased_input
}
ASKED = torch.tensor([3, 0, 22, 23, 24, 40, 40, 63, 70])  # of rows of 23, 1, 40 and 7; one is asked for twice


def their_decoded(theirs, positions, grid):
    """Section 3.2 of arXiv 2006.03654: two turns of the last layer, whose keys and values are the one before it's."""
    encoder, mask = theirs.deberta.encoder, grid["attention_mask"]
    hidden = theirs.deberta(**grid, output_hidden_states=True).hidden_states[-2]
    query = hidden + positions[: hidden.shape[1]]
    for _ in range(2):
        query, _ = encoder.layer[-1](
            hidden, encoder.get_attention_mask(mask), query_states=query,
            relative_pos=encoder.get_rel_pos(hidden), rel_embeddings=encoder.get_rel_embedding(),
        )  # fmt: skip
    return theirs.cls(query)[mask.bool()]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("shape", DECODING)
def test_scores_and_gradients_are_those_of_the_paper(shape, padded, tokenizer, tmp_path):
    settings, (tokens, grid) = DECODING[shape], rows_of(LENGTHS)
    if not settings.type_vocab_size:
        del grid["token_type_ids"]
    ours = scrambled(settings, "masked_tokens")
    positions = nn.Parameter(ours.head.position.weight.detach().clone())
    assert positions.shape == (settings.max_position_embeddings, settings.hidden_size)

    plain = MaskedTokenModel(SHAPES[shape], ours.encoder.vocab_size)
    weights = ours.state_dict()
    del weights["head.position.weight"]
    plain.load_state_dict(weights)
    theirs = load_theirs(export(tmp_path / "out", plain, SHAPES[shape], "masked_tokens", tokenizer), "masked_tokens")
    expected = their_decoded(theirs, positions, grid)[ASKED]

    places = ASKED
    if padded:
        tokens = tokens.padded(40, pad_id=0)
        places = tokens.valid_mask().nonzero()[ASKED, 0]
    found = ours.scores(tokens, places)
    assert (found - plain.scores(tokens, places)).abs().max() > 0.1  # the last layer's alone are others
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    check_gradients(ours, theirs, found, expected, tmp_path, 1.0, apart={"head.position.weight": positions})


def test_it_tells_places_apart_that_attention_cannot():
    settings = DebertaConfig(hidden_size=32, num_hidden_layers=2, pos_att_type=(), norm_rel_ebd="none")
    tokens = Tokens.pack(np.full(12, 7), np.zeros(12), np.array([12]))
    for decodes in (False, True):
        model = scrambled(replace(settings, enhanced_mask_decoder=decodes), "masked_tokens")
        scores = model.scores(tokens, torch.arange(12))
        nearest = (torch.cdist(scores, scores) + 9 * torch.eye(12)).min().item()
        assert nearest > 0.05 if decodes else nearest < 1e-4


@pytest.mark.parametrize("sizes", [{"num_hidden_layers": 1}, {"position_biased_input": True}])
def test_it_needs_two_layers_and_an_input_without_positions(sizes):
    with pytest.raises(ValueError, match=r"enhanced_mask_decoder needs .*two layers"):
        DebertaConfig(enhanced_mask_decoder=True, **sizes)
