"""What people do with a model, for each family: trained, stopped, measured, fine-tuned, taken out, brought back."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
import transformers

import bertsmith
from bertsmith.config.loading import check, load
from bertsmith.convert.export import export_run
from bertsmith.convert.importing import ImportSettings, import_model
from bertsmith.encoders.deberta import DebertaConfig
from bertsmith.hub.heads import HEADS
from bertsmith.hub.huggingface import read_folder
from bertsmith.predict.evaluate import EvaluateSettings, evaluate_model
from bertsmith.storage.folders import checkpoint_folders
from bertsmith.tasks.finetune import finetune
from bertsmith.tasks.pretrained_encoder import open_pretrained_encoder
from bertsmith.text.learning import TokenizerRecipe, train_tokenizer
from bertsmith.text.prepare import PrepareRecipe, prepare
from bertsmith.training.initial import load_pretraining
from bertsmith.training.models import open_model
from bertsmith.training.pretrain import pretrain
from tests.evals.test_blimp import write_paradigm
from tests.families import FAMILIES, parameters
from tests.hub.test_families import as_theirs, load_theirs, logits_of, random_rows
from tests.tasks.answering.toy_questions import write_questions
from tests.tasks.toy_task import make_model, toy_recipe, write_task
from tests.tasks.words.toy_tagging import write_tagging
from tests.tokenizers import formats
from tests.toys import WORDS, make_data, tiny_recipe, write_corpus

SENTENCES = [(" ".join(WORDS[place : place + 4]), " ".join(WORDS[place + 4 : place : -1])) for place in range(8)]
TASKS = {
    "text": (lambda folder: write_task(folder, pairs=True), ("custom.text=sentence", "custom.second_text=second")),
    "tags": (write_tagging, ("custom.kind=tagging",)),
    "answers": (
        lambda folder: write_questions(folder, "custom"),
        ("custom.kind=answering", "answering.question_length=8", "answering.joint=false"),
    ),
}


@pytest.fixture(scope="module")
def data_of(tmp_path_factory) -> Callable[[str], Path]:
    """Return what makes a family's data folder: the toys' text by a tokenizer of its own kind."""

    @cache
    def make(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family)
        write_tokenizer = FAMILIES[family].tokenizer
        if write_tokenizer is None:
            return make_data(folder).path
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(formats, "TEXTS", [*formats.TEXTS, *[" ".join(WORDS)] * 20])
            vocabulary = write_tokenizer(folder / "vocabulary")
        return prepared(write_corpus(folder), vocabulary, folder / "data")

    return make


def prepared(corpus: Path, vocabulary: Path, out: Path) -> Path:
    given = [f"corpus={corpus}", f"vocab={vocabulary}", "workers=1", "heldout_fraction=0.1"]
    return prepare(load(PrepareRecipe, "prepare", "text", given).settings, out).path


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def trained(data: Path, run: Path, *overrides: str) -> Path:
    """A run that was stopped after its first checkpoint, and resumed: the same bits as one that was not."""
    recipe = tiny_recipe(data, "plan.steps=6", "plan.checkpoint_steps=3", "plan.keep_checkpoints=0", *overrides)
    pretrain(recipe, run)
    stopped = run.with_name(f"{run.name}-stopped")
    shutil.copytree(run, stopped)
    newest = list(checkpoint_folders(stopped).values())[-1]
    weights = (newest / "model.safetensors").read_bytes()
    shutil.rmtree(newest)
    pretrain(recipe, stopped)
    assert (newest / "model.safetensors").read_bytes() == weights
    return run


def go_on(data: Path, model: Path, run: Path, *overrides: str) -> None:
    """Continue the training of a folder's model, in its own architecture."""
    given = [f"init={model}", f"data={data}", "plan.steps=2", "batch_size=8", "evaluate_rows=16", "log=[]"]
    pretrain(load_pretraining("continue", [*given, *overrides]).settings, run)


def measured(path: Path, data: Path, blimp: Path) -> tuple:
    settings = {"data": str(data), "blimp": str(blimp), "evaluate_rows": 16, "machine": {"device": "cpu"}}
    found = evaluate_model(open_model(path), check(EvaluateSettings, settings))
    return found.heldout, found.blimp.to_json()


def check_theirs(folder: Path, automatic: type) -> str:
    """Compare transformers' logits with ours; return the name of its class."""
    network = read_folder(folder)
    theirs, tokens = load_theirs(folder), random_rows([7, 20, 1], network.vocab_size)
    tokens = tokens.with_ids(tokens.ids.clamp(min=5))  # no padding, from which a RoBERTa's positions count
    assert type(automatic.from_pretrained(folder)) is type(theirs)
    with torch.no_grad():
        found = HEADS[network.head].logits(network.build(), tokens)
        expected = logits_of(theirs, as_theirs(tokens, network.settings), HEADS[network.head].by_token)
    torch.testing.assert_close(found, expected.view(found.shape), rtol=0, atol=1e-4)
    encoded = transformers.AutoTokenizer.from_pretrained(folder)(WORDS[0], WORDS[1], return_tensors="pt")
    assert theirs(**encoded) is not None
    return type(theirs).__name__


def same_tensors(first: Path, second: Path) -> bool:
    return (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


@pytest.mark.parametrize("family", parameters(quick=("roberta", "distilbert")))
def test_masked_tokens(family, data_of, tmp_path, capsys):
    data = data_of(family)
    run = trained(data, tmp_path / "run", *FAMILIES[family].model)
    (blimp := tmp_path / "blimp").mkdir()
    write_paradigm(blimp, "order", SENTENCES)
    export_run(run, tmp_path / "out")
    assert measured(run, data, blimp) == measured(tmp_path / "out", data, blimp)
    assert "ForMaskedLM" in check_theirs(tmp_path / "out", transformers.AutoModelForMaskedLM)
    assert json.loads((tmp_path / "out/config.json").read_text())["model_type"] == family
    import_model(tmp_path / "out", tmp_path / "back", ImportSettings())
    assert same_tensors(tmp_path / "out", tmp_path / "back")

    capsys.readouterr()
    go_on(data, tmp_path / "back", tmp_path / "again")
    assert "new, with random weights: nothing" in capsys.readouterr().err
    export_run(tmp_path / "again", tmp_path / "again-out")
    assert read_folder(tmp_path / "again-out").family == family


@pytest.mark.parametrize("family", parameters(quick=("roberta",)))
def test_replaced_tokens(family, data_of, tmp_path, capsys):
    data = data_of(family)
    settings = ("objective.kind=rtd", *FAMILIES[family].generator, *FAMILIES[family].model)
    run = trained(data, tmp_path / "run", *settings)
    export_run(run, tmp_path / "out")
    discriminator, generator = tmp_path / "out/discriminator", tmp_path / "out/generator"
    check_theirs(generator, transformers.AutoModelForMaskedLM)
    electra = family in ("bert", "electra")
    check_theirs(
        discriminator, transformers.AutoModelForPreTraining if electra else transformers.AutoModelForTokenClassification
    )
    import_model(discriminator, tmp_path / "back", ImportSettings(generator=str(generator)))
    assert same_tensors(discriminator, tmp_path / "back/discriminator")
    assert same_tensors(generator, tmp_path / "back/generator")
    capsys.readouterr()
    go_on(data, tmp_path / "back", tmp_path / "again", "objective.kind=rtd")
    assert "new, with random weights: nothing" in capsys.readouterr().err
    disentangled = "gradient_disentangled" in " ".join(FAMILIES[family].generator)
    assert ("gradient_disentangled" in (tmp_path / "again/recipe.toml").read_text()) == disentangled


def test_a_mask_decoder(data, tmp_path, capsys):
    """It trains, resumes, fills and is measured as a run; what Hugging Face's classes hold of it goes out."""
    decoding = ("model.kind=deberta", "model.position_buckets=8", "model.enhanced_mask_decoder=true")
    run = trained(data, tmp_path / "run", *decoding)
    (blimp := tmp_path / "blimp").mkdir()
    write_paradigm(blimp, "order", SENTENCES)
    heldout, order = measured(run, data, blimp)
    assert heldout["mlm_loss"] > 0 and order
    (filled,) = bertsmith.load(run, device="cpu").fill([f"{WORDS[0]} [MASK] {WORDS[2]}"])
    assert len(filled.masks) == 1
    capsys.readouterr()
    export_run(run, tmp_path / "out")
    assert capsys.readouterr().err.splitlines() == [
        f"left out: the masked-token head, so what is written is the encoder, to be fine-tuned: no Hugging Face class "
        f"fills masks by its enhanced mask decoder; {run} keeps it"
    ]
    assert type(transformers.AutoModel.from_pretrained(tmp_path / "out")) is transformers.DebertaV2Model
    ours, out = (open_pretrained_encoder(path).weights for path in (run, tmp_path / "out"))
    assert out.keys() == ours.keys() and all(torch.equal(ours[name], tensor) for name, tensor in out.items())
    finetune(toy_recipe(run, write_task(tmp_path), "seeds=1", "epochs=0.5"), tmp_path / "tuned")
    export_run(tmp_path / "tuned", tmp_path / "classes")
    check_theirs(tmp_path / "classes", transformers.AutoModelForSequenceClassification)

    electra = trained(
        data, tmp_path / "electra", "objective.kind=rtd", *decoding, *FAMILIES["deberta-v2"].generator,
        "model.num_hidden_layers=4",
    )  # fmt: skip
    capsys.readouterr()
    export_run(electra, tmp_path / "electra-out")
    assert "left out: the generator: no Hugging Face class fills masks" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "electra-out").iterdir()] == ["discriminator"]
    check_theirs(tmp_path / "electra-out/discriminator", transformers.AutoModelForTokenClassification)
    go_on(data, electra, tmp_path / "again", "objective.kind=rtd")
    assert "new, with random weights: nothing" in capsys.readouterr().err


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("family", parameters(quick=("roberta",)))
def test_fine_tuning(family, task, data_of, tmp_path):
    pretrain(tiny_recipe(data_of(family), "plan.steps=2", *FAMILIES[family].model), tmp_path / "run")
    write, overrides = TASKS[task]
    recipe = toy_recipe(tmp_path / "run", write(tmp_path), "seeds=1", "epochs=0.5", *overrides)
    finetune(recipe, tmp_path / "tuned")
    export_run(tmp_path / "tuned", tmp_path / "out")
    automatic = {
        "text": transformers.AutoModelForSequenceClassification,
        "tags": transformers.AutoModelForTokenClassification,
        "answers": transformers.AutoModelForQuestionAnswering,
    }[task]
    check_theirs(tmp_path / "out", automatic)


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_a_roberta_answers_pairs_as_in_transformers_by_its_own_vocabulary_too(kind, tmp_path):
    """A byte-level vocabulary has padding's id 1, whereby positions begin at 2, and two separators in a pair."""
    corpus, size = write_corpus(tmp_path), {"bpe": 300, "wordpiece": 120}[kind]
    given = [f"corpus={corpus}", "workers=1", f"size={size}", f"kind={kind}"]
    train_tokenizer(load(TokenizerRecipe, "prepare", "text", given).settings, tmp_path / "vocabulary")
    data = prepared(corpus, tmp_path / "vocabulary", tmp_path / "data")
    pretrain(tiny_recipe(data, "plan.steps=2", *FAMILIES["roberta"].model), tmp_path / "run")
    columns = ("custom.text=sentence", "custom.second_text=second")
    recipe = toy_recipe(tmp_path / "run", write_task(tmp_path, pairs=True), "seeds=1", "epochs=1", *columns)
    finetune(recipe, tmp_path / "tuned")
    export_run(tmp_path / "tuned", tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    encoded = check_pairs(tmp_path / "tuned", tmp_path / "out")
    assert (
        load_theirs(tmp_path / "out").config.pad_token_id == tokenizer.pad_token_id == {"bpe": 1, "wordpiece": 0}[kind]
    )
    assert (encoded["input_ids"][0] == tokenizer.sep_token_id).sum() == {"bpe": 3, "wordpiece": 2}[kind]


def check_pairs(run: Path, out: Path) -> dict:
    """Hold our answers to pairs of texts, a run's and its export's, to transformers' with its own tokenizer; return
    what that one gave."""
    tokenizer, theirs = transformers.AutoTokenizer.from_pretrained(out), load_theirs(out)
    first, second = [" ".join(WORDS[:3]), WORDS[7]], [WORDS[50], " ".join(WORDS[50:55])]
    encoded = tokenizer(first, second, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**encoded).logits.softmax(dim=1)
    for model in (run, out):
        answers = bertsmith.load(model, device="cpu").classify(first, second)
        found = [[answer.probs[label] for label in theirs.config.label2id] for answer in answers]
        torch.testing.assert_close(torch.tensor(found), expected, rtol=0, atol=1e-5)
    return encoded


@pytest.mark.parametrize("settings", [{"type_vocab_size": 1}, {"type_vocab_size": 1, "embedding_size": 8}, None])
def test_a_model_of_one_segment_takes_pairs_and_questions_as_a_roberta_does(settings, tmp_path):
    """In transformers too, whose tokenizer gives none of a second one, though BERT's usual one would."""
    own = DebertaConfig(hidden_size=32, num_hidden_layers=1, max_position_embeddings=64, type_vocab_size=1)
    model = make_model(tmp_path, own) if settings is None else make_model(tmp_path, **settings)
    for task in ("text", "answers"):
        write, overrides = TASKS[task]
        recipe = toy_recipe(model, write(tmp_path), "seeds=1", "epochs=0.5", *overrides)
        finetune(recipe, tmp_path / task)
        export_run(tmp_path / task, tmp_path / f"{task}-out")
    assert "token_type_ids" not in check_pairs(tmp_path / "text", tmp_path / "text-out")
    check_theirs(tmp_path / "answers-out", transformers.AutoModelForQuestionAnswering)
    question, context = WORDS[0], " ".join(WORDS[10:30])
    answers = [
        bertsmith.load(tmp_path / name, device="cpu").answer([question], [context])[0].text
        for name in ("answers", "answers-out")
    ]
    assert answers[0] == answers[1]
