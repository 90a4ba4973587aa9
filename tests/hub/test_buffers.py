"""Tensors that were not learnt: what transformers would compute anew is dropped, anything else is refused by name."""

import pytest
import torch

from bertsmith.errors import UserError
from bertsmith.hub.huggingface import read_folder
from tests.hub.foreign import CONFIGS, ours, save, tensors_of, write

POSITIONS = torch.arange(20)


@pytest.fixture(params=["bert.", "", "module.bert."])
def bert(request, tmp_path):
    name = "BertModel" if request.param == "" else "BertForMaskedLM"
    return save(tmp_path, name, "bert"), request.param


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("position_ids", POSITIONS[None], POSITIONS[None] + 2),  # as RoBERTa's begin
        ("position_ids", POSITIONS, POSITIONS.flip(0)),
        ("position_ids", POSITIONS[None].half(), POSITIONS[None].half() / 2),
        ("token_type_ids", torch.zeros(1, 20, dtype=torch.int64), torch.ones(1, 20, dtype=torch.int64)),
        ("token_type_ids", torch.zeros(1, 20, dtype=torch.int32), (POSITIONS[None] == 19).int()),
    ],
)
def test_buffers_of_the_embeddings(name, right, wrong, bert):
    folder, prefix = bert
    tensors = {
        f"module.{key}" if prefix.startswith("module.") else key: value for key, value in tensors_of(folder).items()
    }
    expected = ours(folder)
    place = f"{prefix}embeddings.{name}"
    write(folder, tensors | {place: right})
    assert torch.equal(ours(folder), expected)
    assert list(read_folder(folder).dropped) == [f"bert.embeddings.{name}"]
    write(folder, tensors | {place: wrong})
    with pytest.raises(UserError, match=rf": {place.replace('.', '[.]')} is not (0, 1, 2, …|all 0), as"):
        read_folder(folder)


@pytest.mark.parametrize("name", ["position_ids", "token_type_ids"])
@pytest.mark.parametrize("family", CONFIGS)
def test_buffers_of_any_family_are_dropped_others_are_named(family, name, tmp_path):
    classes = {"bert": "Bert", "xlm-roberta": "XLMRoberta", "distilbert": "DistilBert", "deberta-v2": "DebertaV2",
               "modernbert": "ModernBert"}  # fmt: skip
    folder = save(tmp_path, f"{classes.get(family, family.capitalize())}ForMaskedLM", family)
    expected, tensors = ours(folder), tensors_of(folder)
    root = next(name for name in tensors if "embeddings." in name).partition("embeddings.")[0]
    values = POSITIONS[None] if name == "position_ids" else torch.zeros(1, 20, dtype=torch.int64)
    write(folder, tensors | {f"{root}embeddings.{name}": values})
    assert torch.equal(ours(folder), expected)
    assert read_folder(folder).dropped == {f"{root}embeddings.{name}": name}
    write(folder, tensors | {f"{root}embeddings.{name}s": values})
    with pytest.raises(UserError, match=rf"{root}embeddings\.{name}s: not of the class"):
        read_folder(folder)


def test_an_electra_is_looked_at_too(tmp_path):
    folder = save(tmp_path, "ElectraForPreTraining", "electra")
    name = "electra.embeddings.position_ids"
    write(folder, tensors_of(folder) | {name: POSITIONS[None].roll(1)})
    with pytest.raises(UserError, match=name):
        read_folder(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bare", [True, False])
def test_rotary_frequencies(bare, dtype, tmp_path):
    """By the names of transformers 5, and by those a layer of earlier versions."""
    folder = save(tmp_path, "ModernBertModel" if bare else "ModernBertForMaskedLM", "modernbert", num_hidden_layers=4)
    config, tensors, expected = CONFIGS["modernbert"](num_hidden_layers=4), tensors_of(folder), ours(folder)
    theta = {kind: config.rope_parameters[kind]["rope_theta"] for kind in ("full_attention", "sliding_attention")}
    assert config.layer_types == ["full_attention", *["sliding_attention"] * 2, "full_attention"]
    frequencies = {kind: (1 / base ** (torch.arange(0, 8, 2) / 8)).to(dtype) for kind, base in theta.items()}
    prefix = "" if bare else "model."
    kept = {f"{prefix}layers.{n}.attn.rotary_emb.inv_freq": frequencies[config.layer_types[n]] for n in range(4)}
    kept |= {f"{prefix}rotary_emb.{kind}_inv_freq": found for kind, found in frequencies.items()}
    kept |= {f"{prefix}rotary_emb.{kind}_original_inv_freq": found for kind, found in frequencies.items()}
    write(folder, tensors | kept)
    assert torch.equal(ours(folder), expected)
    assert len(read_folder(folder).dropped) == 8
    for name, found in kept.items():
        kind = next(kind for kind in frequencies if found is not frequencies[kind])
        for wrong in (frequencies[kind], found[:-1], found * 1.02):
            write(folder, tensors | kept | {name: wrong})
            with pytest.raises(UserError, match=rf"{name} is not that of (global|local)_rope_theta = \d+, as"):
                read_folder(folder)


def test_a_buffer_of_no_such_name_is_no_buffer(tmp_path):
    folder = save(tmp_path, "BertModel", "bert")
    for name in ("embeddings.position_ids_2", "encoder.layer.0.position_ids", "embeddings.inv_freq"):
        write(folder, tensors_of(folder) | {name: POSITIONS})
        with pytest.raises(UserError, match=r"not of the class that config\.json names"):
            read_folder(folder)
        write(folder, {key: value for key, value in tensors_of(folder).items() if key != name})
