"""Checkpoints of Google's code, written with random weights: what we make of them answers as they do."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

import bertsmith
from bertsmith.config.loading import apply_overrides
from bertsmith.convert.export import export_run
from bertsmith.convert.importing import ImportSettings, import_model
from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import UserError
from bertsmith.hub.huggingface import read_folder
from bertsmith.tasks.pretrained_encoder import open_pretrained_encoder
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.models import open_model, say_once
from bertsmith.training.pretrain import pretrain
from tests.hub.bundles import Google, gelu, write_bundle
from tests.toys import make_data, tiny_recipe, write_vocabulary

IDS = np.random.default_rng(5).integers(5, 86, 17)
SEGMENTS = np.repeat([0, 1], [9, 8])
VOCAB_SIZE = 86
CLOSE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def write(google: Google, folder: Path, name: str = "model.ckpt-7", **config) -> Path:
    prefix = write_bundle(folder / name, google.variables)
    write_vocabulary(folder)
    if config:
        (folder / "bert_config.json").write_text(json.dumps(config))
    return prefix


def bert(head: bool = True) -> Google:
    google = Google()
    google.add_embeddings("bert", VOCAB_SIZE, 128)
    google.add_layers("bert", 128, 128, 2)
    google.add_dense("bert/pooler/dense", 128, 128)
    if head:
        google.add_dense("cls/predictions/transform/dense", 128, 128)
        google.add_norm("cls/predictions/transform", 128)
        google.add("cls/predictions/output_bias", VOCAB_SIZE)
        google.add("cls/seq_relationship/output_weights", 2, 128)
        google.add("cls/seq_relationship/output_bias", 2)
    google.add_slots()
    return google


def electra(own_embeddings: bool = False, own_layers: bool = True, finds: bool = True) -> Google:
    google = Google(1)
    google.add_embeddings("electra", VOCAB_SIZE, 32)
    google.add_layers("electra", 32, 128, 2)
    if finds:
        google.add_dense("discriminator_predictions/dense", 128, 128)
        google.add_dense("discriminator_predictions/dense_1", 128, 1)
    width = 64 if own_layers else 128
    if own_embeddings:
        google.add_embeddings("generator", VOCAB_SIZE, width)
    if own_layers:
        google.add_layers("generator", width if own_embeddings else 32, width, 2)
    size = width if own_embeddings else 32
    google.add_dense("generator_predictions/dense", width, size)
    google.add_norm("generator_predictions", size)
    google.add("generator_predictions/output_bias", VOCAB_SIZE)
    google.variables["generator_predictions/temperature"] = np.array(1, np.float32)
    google.add_slots()
    return google


def fill(google: Google, x: np.ndarray, head: str, table: str, bias: str) -> np.ndarray:
    inner = google.norm(head, gelu(google.dense(f"{head}/dense", x)))
    return inner @ google.variables[f"{table}/embeddings/word_embeddings"].T + google.variables[bias]


def find(google: Google, x: np.ndarray) -> np.ndarray:
    return google.dense("discriminator_predictions/dense_1", gelu(google.dense("discriminator_predictions/dense", x)))[
        :, 0
    ]


def import_(path: Path, out: Path, *overrides: str) -> list[str]:
    return import_model(path, out, apply_overrides(ImportSettings, {}, overrides).settings)


def ours(folder: Path, name: str = "") -> np.ndarray:
    """Logits of one network of an imported model."""
    model = open_model(folder)
    network = next(network for network in model.networks if network.name == name)
    module = network.build()
    tokens = Tokens.pack(IDS, SEGMENTS, np.array([len(IDS)]))
    with torch.no_grad():
        if network.head == "masked_tokens":
            return module.scores(tokens, torch.arange(len(IDS))).numpy()
        return (module.logits(tokens) if network.head else module.encoder(tokens)).numpy()


def theirs(folder: Path, auto_class: type) -> np.ndarray:
    """The same of transformers."""
    model, report = auto_class.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"]
    assert all("pooler" in name for name in report["unexpected_keys"])
    inputs = {"input_ids": torch.tensor(IDS)[None], "token_type_ids": torch.tensor(SEGMENTS)[None]}
    with torch.no_grad():
        return model.eval()(**inputs).logits[0].numpy()


def check_all(expected: np.ndarray, folder: Path, name: str, auto_class: type) -> None:
    assert expected.std() > 0.2  # not a model that says the same everywhere
    np.testing.assert_allclose(ours(folder, name), expected, **CLOSE)
    np.testing.assert_allclose(theirs(folder / name, auto_class), expected, **CLOSE)


# Reference: Google's variables, run in plain NumPy, our import, and transformers on our import, agree.


def test_a_bert(tmp_path):
    google = bert()
    write(google, tmp_path / "google", num_attention_heads=4, hidden_size=128, vocab_size=VOCAB_SIZE)
    lines = import_(tmp_path / "google", tmp_path / "out")
    encoded = google.encode("bert", IDS, SEGMENTS, heads=4)
    expected = fill(google, encoded, "cls/predictions/transform", "bert", "cls/predictions/output_bias")
    check_all(expected, tmp_path / "out", "", transformers.AutoModelForMaskedLM)
    assert lines[0] == ("bert: 2 layers of 128, attention heads of 32, embeddings of 128, masked-token head, pooler")
    slots = sum("/adam_" in name for name in google.variables)
    assert lines[1:] == [
        "vocabulary: 86 tokens, lower-cased (no word of the vocabulary has a capital)",
        f"dropped: global_step (1), next-sentence head (2), optimizer slots ({slots})",
    ]
    kernel = google.variables["bert/pooler/dense/kernel"]
    assert np.array_equal(read_folder(tmp_path / "out").pooler["head.dense.weight"].numpy(), kernel.T)


def test_a_bert_without_heads(tmp_path):
    google = bert(head=False)
    assert import_(write(google, tmp_path / "google"), tmp_path / "out")[0].endswith("no head, pooler")
    expected = google.encode("bert", IDS, SEGMENTS, heads=2)  # 128 / 64
    np.testing.assert_allclose(ours(tmp_path / "out"), expected, **CLOSE)


@pytest.mark.parametrize(("own_embeddings", "own_layers"), [(False, True), (True, True), (False, False)])
def test_an_electra_with_its_generator(own_embeddings, own_layers, tmp_path):
    google = electra(own_embeddings, own_layers)
    lines = import_(write(google, tmp_path / "google", "electra_small"), tmp_path / "out")
    assert [line.partition(":")[0] for line in lines] == ["discriminator", "generator", "vocabulary", "dropped"]
    encoded = google.encode("electra", IDS, SEGMENTS, heads=2)
    check_all(find(google, encoded), tmp_path / "out", "discriminator", transformers.AutoModelForPreTraining)
    table = "generator" if own_embeddings else "electra"
    if own_layers:
        encoded = google.encode("generator", IDS, SEGMENTS, heads=1, embeddings=table)
    expected = fill(google, encoded, "generator_predictions", table, "generator_predictions/output_bias")
    check_all(expected, tmp_path / "out", "generator", transformers.AutoModelForMaskedLM)


def test_what_the_reference_trains_without_its_objective(tmp_path):
    """electra_objective=false: ELECTRA's names, and a masked-token head on the only encoder."""
    google = electra(own_layers=False, finds=False)
    import_(write(google, tmp_path / "google"), tmp_path / "out")
    encoded = google.encode("electra", IDS, SEGMENTS, heads=2)
    expected = fill(google, encoded, "generator_predictions", "electra", "generator_predictions/output_bias")
    check_all(expected, tmp_path / "out", "", transformers.AutoModelForMaskedLM)


# What is named, and where it is found.


def test_the_newest_of_several_is_taken_and_no_path_in_a_file_is_followed(tmp_path):
    old, new = bert(), bert()
    new.variables["bert/embeddings/LayerNorm/beta"] += 1
    write(old, tmp_path / "google", "model.ckpt-5")
    write(new, tmp_path / "google", "model.ckpt-7")
    with pytest.raises(UserError, match=r"holds 2 checkpoints; name one, as .*model\.ckpt-7"):
        import_(tmp_path / "google", tmp_path / "out")
    (tmp_path / "google" / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/model.ckpt-7"\n')
    import_(tmp_path / "google", tmp_path / "out")
    beta = read_folder(tmp_path / "out").weights["encoder.embeddings.norm.bias"].numpy()
    assert np.array_equal(beta, new.variables["bert/embeddings/LayerNorm/beta"])
    import_(tmp_path / "google" / "model.ckpt-5.index", tmp_path / "out")
    beta = read_folder(tmp_path / "out").weights["encoder.embeddings.norm.bias"].numpy()
    assert np.array_equal(beta, old.variables["bert/embeddings/LayerNorm/beta"])


@pytest.mark.parametrize(
    ("word", "overrides", "lowercase"),
    [
        ("ba", [], True),
        ("[Ba]", [], True),
        ("Ba", [], False),
        ("Βήτα", [], False),
        ("ba", ["lowercase=false"], False),
        ("Ba", ["lowercase=true"], True),
    ],
)
def test_casing_follows_from_the_vocabulary(word, overrides, lowercase, tmp_path):
    prefix = write(bert(), tmp_path / "google")
    path = tmp_path / "google" / "vocab.txt"
    path.write_text(path.read_text().replace("ba\n", f"{word}\n", 1))
    import_(prefix, tmp_path / "out", *overrides)
    assert Tokenizer.load(tmp_path / "out").lowercase is lowercase
    silent = tmp_path / "out"  # as a Hugging Face folder from before tokenizer.json, which does not say it either
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (silent / name).unlink()
    lines = import_(silent, tmp_path / "again", *overrides)
    assert Tokenizer.load(tmp_path / "again").lowercase is lowercase
    reason = "lowercase=" if overrides else "no word of the vocabulary" if lowercase else "1 of the vocabulary's words"
    assert f"tokens, {'lower-' if lowercase else ''}cased ({reason}" in lines[1]


def test_a_folder_that_says_its_casing_is_not_contradicted(pair, tmp_path):
    with pytest.raises(
        UserError, match=r"lowercase = false: .*tokenizer\.json says true itself; leave lowercase=… away"
    ):
        import_(pair / "discriminator", tmp_path / "out", "lowercase=false")
    import_(pair / "discriminator", tmp_path / "out", "lowercase=true")


def remove(name):
    return lambda google, folder: google.variables.pop(name)


def put(name, array):
    return lambda google, folder: google.variables.update({name: array})


def config(**content):
    return lambda google, folder: (folder / "bert_config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "overrides", "message"),
    [
        (remove("bert/encoder/layer_1/output/dense/bias"), [], r"layer_1/output/dense/bias is missing"),
        (remove("bert/embeddings/word_embeddings"), [], r"embeddings/word_embeddings is missing"),
        (remove("cls/predictions/output_bias"), [], r"cls/predictions/output_bias is missing"),
        (remove("bert/pooler/dense/bias"), [], r"bert/pooler/dense/bias is missing"),
        (put("output_weights", np.zeros((3, 128), "f4")), [], r"output_weights: not of BERT's or ELECTRA's encoder"),
        (put("bert/encoder/layer_0/attention/self/key/kernel", np.zeros((128, 64), "f4")), [],
         r"self/key/kernel is \[128, 64\] where the other variables ask for \[128, 128\]"),
        (put("bert/embeddings/word_embeddings", np.zeros((80, 128), "f4")), [], r"output_bias is \[86\]"),
        (put("cls/predictions/output_bias", np.zeros(86, "i4")), [], r"output_bias is of TensorFlow's type 3"),
        (config(hidden_size=256), [], r"bert_config\.json: hidden_size = 256 where the tensors have 128"),
        (config(hidden_act="relu"), [], r"hidden_act = 'relu'"),
        (config(num_attention_heads=3), [], r"num_attention_heads 3; heads=N"),
        (lambda google, folder: None, ["heads=5"], r"num_attention_heads 5; heads=N"),
        (lambda google, folder: None, ["generator=x"], r"generator = x: .* is a TensorFlow checkpoint"),
        (lambda google, folder: None, ["head=5"], r"did you mean heads\?"),
        (lambda google, folder: None, ["vocab=none.txt"], r"none\.txt: no such file"),
    ],
)  # fmt: skip
def test_a_faulty_checkpoint_is_refused_by_name(change, overrides, message, tmp_path):
    google = bert()
    (tmp_path / "google").mkdir()
    change(google, tmp_path / "google")
    prefix = write(google, tmp_path / "google")
    with pytest.raises(UserError, match=message) as caught:
        import_(prefix, tmp_path / "out", *overrides)
    assert len(str(caught.value).splitlines()) <= 2
    assert not (tmp_path / "out").exists()


def test_an_electra_without_all_of_its_generator(tmp_path):
    google = electra()
    for name in list(google.variables):
        if name.startswith("generator_predictions"):
            del google.variables[name]
    with pytest.raises(UserError, match=r"generator_predictions/dense/kernel is missing"):
        import_(write(google, tmp_path / "google"), tmp_path / "out")


def test_a_vocabulary_of_another_size_or_none(tmp_path):
    prefix = write(bert(), tmp_path / "google")
    path = tmp_path / "google" / "vocab.txt"
    path.write_text(path.read_text() + "more\n")
    with pytest.raises(UserError, match=r"87 tokens where model\.ckpt-7 has 86; vocab=PATH"):
        import_(prefix, tmp_path / "out")
    path.unlink()
    with pytest.raises(UserError, match=r"no vocab\.txt beside the checkpoint; .*vocab=PATH"):
        import_(prefix, tmp_path / "out")


def test_what_is_no_checkpoint_of_these(tmp_path):
    (tmp_path / "old.ckpt").write_bytes(b"x" * 100)
    with pytest.raises(UserError, match=r"first format \(V1\)"):
        import_(tmp_path / "old.ckpt", tmp_path / "out")
    with pytest.raises(UserError, match=r"nothing: no such folder; a model is"):
        import_(tmp_path / "nothing", tmp_path / "out")
    keras = {"_CHECKPOINTABLE_OBJECT_GRAPH": np.zeros(1, "f4"), "a/.ATTRIBUTES/VARIABLE_VALUE": np.zeros(1, "f4")}
    prefix = write_bundle(
        tmp_path / "keras" / "ckpt-1", {"a/.ATTRIBUTES/VARIABLE_VALUE": keras["_CHECKPOINTABLE_OBJECT_GRAPH"]}
    )
    with pytest.raises(UserError, match="Keras"):
        import_(prefix, tmp_path / "out")
    with pytest.raises(UserError, match=r"holds gpt/x; bertsmith reads"):
        import_(write_bundle(tmp_path / "gpt" / "ckpt", {"gpt/x": np.zeros(1, "f4")}), tmp_path / "out")


# Hugging Face's folders.


@pytest.fixture
def pair(tmp_path) -> Path:
    write(electra(), tmp_path / "google")
    import_(tmp_path / "google", tmp_path / "pair")
    return tmp_path / "pair"


def test_two_folders_become_one_model(pair, tmp_path):
    import_(pair / "discriminator", tmp_path / "out", f"generator={pair / 'generator'}")
    for name in ("discriminator", "generator"):
        np.testing.assert_array_equal(ours(tmp_path / "out", name), ours(pair, name))
    import_(pair / "discriminator", tmp_path / "alone")
    np.testing.assert_array_equal(ours(tmp_path / "alone"), ours(pair, "discriminator"))
    with pytest.raises(UserError, match=r"holds another model \(.*alone/config\.json\)"):
        import_(pair / "discriminator", tmp_path / "alone", f"generator={pair / 'generator'}")
    with pytest.raises(UserError, match=r"holds another model \(.*discriminator/config\.json\)"):
        import_(tmp_path / "alone", pair)


def test_a_model_is_not_brought_in_over_itself(pair, tmp_path):
    before = sorted((path, path.stat().st_mtime_ns) for path in pair.rglob("*"))
    generator = f"generator={pair / 'generator'}"
    for out, overrides in ((pair / "discriminator", []), (pair, [generator]), (pair / "generator" / "..", [generator])):
        with pytest.raises(UserError, match="there lies what is to be brought in"):
            import_(pair / "discriminator", out, *overrides)
    transformers.AutoModelForMaskedLM.from_pretrained(pair / "generator").save_pretrained(tmp_path / "theirs")
    with pytest.raises(UserError, match=r"theirs: holds model\.safetensors, and no sign that an export"):
        import_(pair / "discriminator", tmp_path / "theirs")
    assert sorted((path, path.stat().st_mtime_ns) for path in pair.rglob("*")) == before


def test_a_pair_that_is_none(pair, tmp_path):
    write(bert(), tmp_path / "bert")
    import_(tmp_path / "bert", tmp_path / "other")
    for path, generator, message in (
        (pair / "discriminator", pair / "discriminator", "no masked-token model of the same kind"),
        (pair / "discriminator", tmp_path / "other", "no masked-token model of the same kind"),
        (tmp_path / "other", pair / "generator", "no discriminator of an ELECTRA"),
        (pair / "discriminator", tmp_path / "none", "none/config.json: no such file"),
    ):
        with pytest.raises(UserError, match=message):
            import_(path, tmp_path / "out", f"generator={generator}")
    smaller = json.loads((pair / "generator" / "config.json").read_text()) | {"vocab_size": 80}
    (pair / "generator" / "config.json").write_text(json.dumps(smaller))
    weights = safetensors.torch.load_file(pair / "generator" / "model.safetensors")
    cut = {name: tensor[:80] if len(tensor) == VOCAB_SIZE else tensor for name, tensor in weights.items()}
    safetensors.torch.save_file(cut, pair / "generator" / "model.safetensors")
    with pytest.raises(UserError, match=r"a vocabulary of 80 where .* has 86"):
        import_(pair / "discriminator", tmp_path / "out", f"generator={pair / 'generator'}")
    with pytest.raises(UserError, match=r"heads = 4: .* which says it itself"):
        import_(pair / "discriminator", tmp_path / "out", "heads=4")


def test_two_vocabularies_of_one_size_are_no_pair(pair, tmp_path):
    tokens = (pair / "generator" / "vocab.txt").read_text().splitlines()
    (pair / "generator" / "tokenizer.json").unlink()
    (pair / "generator" / "tokenizer_config.json").unlink()
    (pair / "generator" / "vocab.txt").write_text("\n".join([*tokens[:6], *reversed(tokens[6:])]) + "\n")
    for open_it in (
        lambda: open_model(pair),
        lambda: import_(pair / "discriminator", tmp_path / "out", f"generator={pair / 'generator'}"),
    ):
        with pytest.raises(UserError, match=r"generator: other tokens than those of .*discriminator; take the two"):
            open_it()
    (pair / "generator" / "vocab.txt").unlink()
    assert open_model(pair).vocab_size == VOCAB_SIZE, "a folder of weights alone reads the other's"


def test_rows_of_the_table_without_a_token_are_said(pair, tmp_path, capsys):
    folder = pair / "discriminator"
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": 96}))
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    padded = {
        name: torch.cat([tensor, torch.zeros(10, *tensor.shape[1:])]) if len(tensor) == VOCAB_SIZE else tensor
        for name, tensor in weights.items()
    }
    safetensors.torch.save_file(padded, folder / "model.safetensors")
    lines = import_(folder, tmp_path / "out")
    assert lines[1].startswith("vocabulary: 86 tokens, lower-cased (tokenizer.json says lowercase=true); 10 rows of")
    warning = "its token table has 10 more rows than there are tokens: padding does that; if it was not padded, its"
    assert f"warning: {folder}: {warning}" in capsys.readouterr().err
    for open_it in (open_model, open_pretrained_encoder, bertsmith.load):
        say_once.cache_clear()
        open_it(tmp_path / "out")
        open_it(tmp_path / "out")
        assert capsys.readouterr().err.count(f"warning: {tmp_path / 'out'}: {warning}") == 1
    assert open_model(tmp_path / "out").vocab_size == 96
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()  # ids are the numbers of vocab.txt's lines now
    open_model(folder)
    assert "but where a line was taken out of vocab.txt, each token after it has" in capsys.readouterr().err


def test_weights_in_several_files_are_read_and_none_outside_the_folder(pair, tmp_path):
    folder = pair / "discriminator"
    expected = read_folder(folder).weights
    model = transformers.AutoModelForPreTraining.from_pretrained(folder)
    model.save_pretrained(folder, max_shard_size="200KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    assert len(set(content["weight_map"].values())) > 2
    found = read_folder(folder).weights
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    name, place = next(iter(content["weight_map"].items()))
    for wrong in ("../generator/model.safetensors", "/etc/passwd", 3):
        index.write_text(json.dumps({"weight_map": content["weight_map"] | {name: wrong}}))
        with pytest.raises(UserError, match=r"index\.json: (names .* no file of this folder|cannot be read)"):
            read_folder(folder)
    index.write_text(
        json.dumps({"weight_map": {key: value for key, value in content["weight_map"].items() if key != name}})
    )
    with pytest.raises(UserError, match="is not there by its index"):
        read_folder(folder)
    (folder / place).unlink()
    index.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"no such file, and .* names it"):
        read_folder(folder)


def test_an_electric_stays_one(tmp_path):
    data = make_data(tmp_path)
    recipe = tiny_recipe(
        data.path, "objective.kind=electric", "objective.generator.hidden_fraction=0.5", "plan.steps=2"
    )
    pretrain(recipe, tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "exported")
    import_model(tmp_path / "exported" / "discriminator", tmp_path / "imported", ImportSettings())
    assert open_model(tmp_path / "imported").network.is_energy_head


def test_two_networks_of_a_modern_electra_come_in_together(tmp_path):
    data = make_data(tmp_path)
    modern = (
        "model.kind=modern",
        "model.local_attention=4",
        "objective.kind=rtd",
        "objective.generator.hidden_fraction=0.5",
    )
    pretrain(tiny_recipe(data.path, *modern, "plan.steps=2"), tmp_path / "run")
    out = export_run(tmp_path / "run", tmp_path / "out")
    with pytest.raises(UserError, match=r"two models.*name .*discriminator and generator="):
        import_model(out, tmp_path / "in", ImportSettings())
    import_model(out / "discriminator", tmp_path / "in", ImportSettings(generator=str(out / "generator")))
    assert [network.head for network in open_model(tmp_path / "in").networks] == ["replaced_tokens", "masked_tokens"]
