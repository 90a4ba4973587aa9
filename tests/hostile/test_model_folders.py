"""A Hugging Face folder's config.json, index and weights, and a TensorFlow checkpoint, damaged: read with the values
that are in the files, or refused.
"""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from attack import attack, few_and_many, outcome
from hypothesis import strategies as st
from mutation import mutated, mutated_json

from bertsmith.encoders.encoder import MaskedTokenModel
from bertsmith.hub.huggingface import read_folder
from bertsmith.hub.tensorflow import find_checkpoint, read_checkpoint
from tests.evals.toy_models import toy_network, toy_tokenizer, write_network
from tests.hub.bundles import Google, write_bundle

TABLE, NAME = "electra.embeddings.word_embeddings.weight", "encoder.embeddings.token.weight"


@pytest.fixture
def original(tmp_path):
    (tmp_path / "made").mkdir()
    tokenizer = toy_tokenizer(tmp_path / "made")
    return write_network(tmp_path / "made" / "model", toy_network(MaskedTokenModel, tokenizer), tokenizer)


def read_whole(folder: Path) -> None:
    """What we read is what another reader finds in the files, finite, and of the sizes that we say."""
    found = read_folder(folder)
    tensors = {}
    for path in sorted(folder.glob("model*.safetensors")):
        tensors |= safetensors.torch.load_file(path)
    [table] = {name for name in tensors if name.endswith(TABLE)}
    assert torch.equal(found.weights[NAME], tensors[table].float())
    assert found.weights[NAME].shape == (found.vocab_size, found.settings.embedding)
    assert all(tensor.isfinite().all() and tensor.dtype == torch.float32 for tensor in found.weights.values())
    count = sum(tensor.numel() for tensor in found.weights.values())
    assert count <= sum(tensor.numel() for tensor in tensors.values())
    layers = {name.split(".")[2] for name in found.weights if name.startswith("encoder.layers.")}
    assert len(layers) == found.settings.num_hidden_layers


def read_bundle(folder: Path) -> None:
    """Checksums protect every byte that is read."""
    [network] = read_checkpoint(find_checkpoint(folder), heads=2)
    expected = np.load(folder / "table.npy")
    assert np.array_equal(network.weights[NAME].numpy(), expected) and network.settings.num_hidden_layers == 1


@few_and_many
def test_config_bytes(examples, original, tmp_path):
    content = (original / "config.json").read_bytes()
    attack(mutated(content), examples, original, "config.json", read_whole, tmp_path)


@few_and_many
def test_config_values(examples, original, tmp_path):
    content = json.loads((original / "config.json").read_text())
    attack(mutated_json(content), examples, original, "config.json", read_whole, tmp_path)


@few_and_many
def test_weights(examples, original, tmp_path):
    content = (original / "model.safetensors").read_bytes()
    attack(mutated(content), examples, original, "model.safetensors", read_whole, tmp_path)


@few_and_many
def test_the_header_of_weights(examples, original, tmp_path):
    """Offsets that overlap or leave the file, unknown types, shapes and names of any kind."""
    content = (original / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]

    def whole(text: bytes) -> bytes:
        return struct.pack("<Q", len(text)) + text + body

    first = min(header.keys() - {"__metadata__"})
    overlapping = header | {"twice": header[first]}
    unknown = header | {first: header[first] | {"dtype": "F1"}}
    longer = header | {first: header[first] | {"shape": [2**62, 2**62]}}
    chosen = st.sampled_from([json.dumps(one).encode() for one in (overlapping, unknown, longer)])
    sizes = st.sampled_from([0, 1, 2**40, 2**63, 2**64 - 1, 99_999_999]).map(lambda size: struct.pack("<Q", size))
    damaged = st.one_of(mutated_json(header).map(whole), chosen.map(whole), sizes.map(lambda size: size + content[8:]))
    attack(damaged, examples, original, "model.safetensors", read_whole, tmp_path)


@pytest.fixture
def sharded(original):
    tensors = safetensors.torch.load_file(original / "model.safetensors")
    names, places = sorted(tensors), {}
    for number in range(3):
        part = {name: tensors[name] for name in names[number::3]}
        safetensors.torch.save_file(part, original / f"model-{number}.safetensors", metadata={"format": "pt"})
        places |= dict.fromkeys(part, f"model-{number}.safetensors")
    (original / "model.safetensors").unlink()
    (original / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return original


@few_and_many
def test_index_bytes(examples, sharded, tmp_path):
    content = (sharded / "model.safetensors.index.json").read_bytes()
    attack(mutated(content), examples, sharded, "model.safetensors.index.json", read_whole, tmp_path)


@few_and_many
def test_index_values(examples, sharded, tmp_path):
    content = json.loads((sharded / "model.safetensors.index.json").read_text())
    attack(mutated_json(content), examples, sharded, "model.safetensors.index.json", read_whole, tmp_path)


def test_an_index_leads_nowhere_else(sharded, tmp_path):
    index = sharded / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    name = min(content["weight_map"])
    outside = sharded.parent / "elsewhere.safetensors"
    outside.write_bytes((sharded / content["weight_map"][name]).read_bytes())
    for place in ("../elsewhere.safetensors", str(outside), "..", ".", "", "a/../model-0.safetensors", None, 7, ["x"]):
        index.write_text(json.dumps({"weight_map": content["weight_map"] | {name: place}}))
        assert "is no file of this folder" in outcome(read_whole, sharded), place
    for changed, message in (
        ({**content["weight_map"], name: "model-9.safetensors"}, "model-9.safetensors: no such file"),
        ({**content["weight_map"], "more": "model-0.safetensors"}, "is in none of its files"),
        ({**content["weight_map"], name: "model-1.safetensors"}, "not there by its index"),
    ):
        index.write_text(json.dumps({"weight_map": changed}))
        assert message in outcome(read_whole, sharded)


@pytest.fixture
def checkpoint(tmp_path):
    google = Google()
    google.add_embeddings("electra", 20, 8, positions=6)
    google.add_layers("electra", 8, 8, 1)
    google.add_slots()
    folder = tmp_path / "google"
    write_bundle(folder / "model.ckpt", google.variables, block_size=400)
    np.save(folder / "table.npy", google.variables["electra/embeddings/word_embeddings"])
    return folder


@few_and_many
@pytest.mark.parametrize("name", ["model.ckpt.index", "model.ckpt.data-00000-of-00001"])
def test_a_tensorflow_checkpoint(examples, name, checkpoint, tmp_path):
    attack(mutated((checkpoint / name).read_bytes()), examples, checkpoint, name, read_bundle, tmp_path)


@few_and_many
def test_a_tensorflow_index_whose_checksums_are_right(examples, tmp_path, checkpoint):
    """What is wrong with it is what it says: sizes, offsets, types and shards of any value."""
    from tests.hub.bundles import crc32c, field, masked, table

    google = Google()
    google.add_embeddings("electra", 20, 8, positions=6)
    google.add_layers("electra", 8, 8, 1)
    names = sorted(google.variables)
    numbers = st.sampled_from([0, 1, 2, 7, 2**31, 2**62, 2**63, 2**64 - 1])

    @st.composite
    def index(draw: st.DrawFn) -> bytes:
        rows, at = [(b"", field(1, draw(numbers)) + field(3, field(1, 1)))], 0
        odd = draw(st.sampled_from(names))
        for name in names:
            raw = google.variables[name].astype("f4").tobytes()
            shape, dtype, shard, offset, size = list(google.variables[name].shape), 1, 0, at, len(raw)
            at += len(raw)
            if name == odd:
                shape = draw(st.just(shape) | st.lists(numbers, max_size=4))
                dtype, shard = draw(st.just(1) | numbers), draw(st.just(0) | numbers)
                offset, size = draw(st.just(offset) | numbers), draw(st.just(size) | numbers)
            dims = b"".join(field(2, field(1, axis)) for axis in shape)
            entry = field(1, dtype) + field(2, draw(st.just(dims) | st.binary(max_size=9))) + field(3, shard)
            checked = bytes([6 << 3 | 5]) + struct.pack("<I", masked(crc32c(raw)))
            rows.append((name.encode(), entry + field(4, offset) + field(5, size) + checked))
        return table(rows, 400)

    attack(index(), examples, checkpoint, "model.ckpt.index", read_any_bundle, tmp_path)


def read_any_bundle(folder: Path) -> None:
    """A variable that is read has the bytes that its checksum was made of."""
    for network in read_checkpoint(find_checkpoint(folder), heads=2):
        assert all(tensor.isfinite().all() for tensor in network.weights.values())
