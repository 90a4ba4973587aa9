"""`bertsmith.load` and the verbs that use it: answers held to transformers', journeys of the verbs, refusals."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from typer.testing import CliRunner

import bertsmith
from bertsmith.cli.app import app
from bertsmith.convert.export import export_run
from bertsmith.encoders.encoder import MaskedTokenModel, ReplacedTokenModel
from bertsmith.errors import UserError
from bertsmith.tasks.finetune import finetune
from bertsmith.training.pretrain import pretrain
from tests.evals.test_blimp import BAD, GOOD, write_paradigm
from tests.evals.toy_models import toy_network, toy_tokenizer, write_network
from tests.tasks.toy_task import make_model, toy_recipe, write_task
from tests.toys import make_data, tiny_recipe

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["ba be bi bo", "du", "ca ce ci co cu ca ."]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def filler(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filler")
    tokenizer = toy_tokenizer(folder)
    return write_network(folder / "model", toy_network(MaskedTokenModel, tokenizer), tokenizer)


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finder")
    tokenizer = toy_tokenizer(folder)
    return write_network(folder / "model", toy_network(ReplacedTokenModel, tokenizer), tokenizer)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Fine-tuning runs of three tasks, and their exports."""
    made = {}
    for name, task in {"classes": {}, "pairs": {"pairs": True}, "numbers": {"numbers": True}}.items():
        folder = tmp_path_factory.mktemp(name)
        settings = ["custom.second_text=second"] if name == "pairs" else []
        settings += ["custom.kind=regression"] if name == "numbers" else []
        finetune(toy_recipe(make_model(folder), write_task(folder, **task), "seeds=1", "epochs=1", *settings),
                 folder / "run")  # fmt: skip
        made[name] = (folder / "run", export_run(folder / "run", folder / "out"))
    return made


def run(*arguments, stdin=None):
    """Standard output of a verb that succeeds."""
    done = CliRunner().invoke(app, list(map(str, arguments)), input=stdin)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def refused(*arguments, stdin=None):
    done = CliRunner().invoke(app, list(map(str, arguments)), input=stdin)
    assert isinstance(done.exception, UserError), done
    assert len(str(done.exception).splitlines()) <= 2
    return str(done.exception)


def test_one_text_gives_one_answer_and_several_give_a_list(filler):
    model = bertsmith.load(filler, device="cpu")
    assert model.fill("ba [MASK]") == model.fill(["ba [MASK]"])[0]
    assert model.score(TEXTS) == pytest.approx([model.score(text) for text in TEXTS], abs=1e-4)
    assert model.score([]) == [] and not model.was_finetuned and not model.detects_replaced
    scores, num_cut = model.score([TEXTS[0], "ba " * 30], truncate=True, count_cut=True)
    assert num_cut == 1 and scores[0] == pytest.approx(model.score(TEXTS[0]))
    tokens = model.score_tokens(TEXTS[0])
    assert [token for token, _ in tokens] == TEXTS[0].split()
    assert math.fsum(value for _, value in tokens) == pytest.approx(model.score(TEXTS[0]))


@pytest.mark.parametrize("name", ["classes", "pairs", "numbers"])
def test_answers_are_those_of_transformers(runs, name):
    ours, folder = (bertsmith.load(path, device="cpu") for path in runs[name])
    second = ["ba be", "bo", "bum"] if name == "pairs" else None
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(runs[name][1]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(runs[name][1])
    with torch.no_grad():
        logits = theirs(**tokenizer(TEXTS, second, padding=True, return_tensors="pt")).logits
    for model in (ours, folder):
        answers = model.classify(TEXTS, second)
        if name == "numbers":
            assert [answer.value for answer in answers] == pytest.approx(logits[:, 0].tolist(), abs=1e-4)
            assert all(answer.label is None for answer in answers)
            continue
        labels = [theirs.config.id2label[id] for id in logits.argmax(1).tolist()]
        assert [answer.label for answer in answers] == labels
        assert [answer.probs["with"] for answer in answers] == pytest.approx(
            logits.softmax(1)[:, theirs.config.label2id["with"]].tolist(), abs=1e-5
        )


@pytest.mark.parametrize(
    ("texts", "second"),
    [
        ("ba", ["be", "bo"]),
        (["ba"], ["be", "bo"]),
        (["ba", "be", "bo"], ["be"]),
        (["ba"], []),
        ("ba", []),
        ([], ["be"]),
    ],
)
def test_each_text_of_a_pair_needs_its_own_second_one(runs, texts, second):
    for path in runs["pairs"]:
        with pytest.raises(UserError, match="second ones; each text needs its own"):
            bertsmith.load(path, device="cpu").classify(texts, second)


def test_tokens_are_judged_as_transformers_judges_them(finder):
    theirs = transformers.AutoModelForPreTraining.from_pretrained(finder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(finder)
    with torch.no_grad():
        expected = theirs(**tokenizer(TEXTS[2], return_tensors="pt")).logits[0, 1:-1].sigmoid()
    found = bertsmith.load(finder).replaced(TEXTS[2])
    assert [token for token, _ in found] == TEXTS[2].split()
    assert [prob for _, prob in found] == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_file_has_as_many_answers_as_lines_in_order(tmp_path, runs, filler, monkeypatch):
    monkeypatch.setattr("bertsmith.predict.rows.ROWS_AT_ONCE", 2)
    lines = ["ba be", "", "bo bi", "du du du", "  ", "ka"]
    (tmp_path / "texts.txt").write_text("\n".join(lines) + "\n")
    model = bertsmith.load(runs["classes"][0])
    answers = run("predict", runs["classes"][0], "--file", tmp_path / "texts.txt").splitlines()
    assert len(answers) == 6
    for line, answer in zip(lines, answers, strict=True):
        assert answer.partition("\t")[0] == (model.classify(line).label if line.strip() else "")
    contents = [json.loads(line) for line in run("score", filler, "-", "--json", stdin="\n".join(lines)).splitlines()]
    assert [content is None for content in contents] == [not line.strip() for line in lines]
    assert contents[3]["num_tokens"] == 3
    assert contents[3]["score"] == pytest.approx(bertsmith.load(filler).score(lines[3]), abs=1e-4)


def test_score_says_what_it_sums(tmp_path, filler, finder):
    tokenizer = toy_tokenizer(tmp_path)
    electric = toy_network(ReplacedTokenModel, tokenizer, is_energy_head=True)
    for folder, measure, words in (
        (filler, "log_prob_of_masked_token", "masked in turn"),
        (finder, "log_prob_of_not_replaced", "was not replaced, .* no likelihood of the text"),
        (write_network(tmp_path / "electric", electric, tokenizer), "negative_energy", "minus the energy"),
    ):
        done = CliRunner().invoke(app, ["score", str(folder), "-"], input="ba be\n")
        assert re.search(rf"^score: .*{words}", done.stderr) and len(done.stdout.splitlines()) == 1
        [content] = map(json.loads, run("score", folder, "-", "--json", stdin="ba be").splitlines())
        assert content["sum_of"] == measure == bertsmith.load(folder).score_measure


def test_what_predict_prints(filler, finder, runs):
    best = bertsmith.load(filler).fill("ba [MASK] bi")
    shown = run("predict", filler, "ba [MASK] bi", "--top", "2").splitlines()
    assert shown[0] == best.text and len(shown) == 2
    assert shown[1].split()[::2] == [token for token, _ in best.masks[0][:2]]
    content = json.loads(run("predict", filler, "ba [MASK] bi", "--json", "--top", "2"))
    assert content["text"] == best.text and len(content["masks"][0]) == 2

    marked = 0
    for text in TEXTS:
        judged = bertsmith.load(finder).replaced(text)
        stars = [f"*{token}*" if prob >= 0.5 else token for token, prob in judged]
        marked += sum(star.startswith("*") for star in stars)
        assert run("predict", finder, text).splitlines()[0] == " ".join(stars)
    assert marked > 0
    assert json.loads(run("predict", runs["pairs"][0], "ba\tbe", "--json"))["label"] in ("with", "without")
    assert 1 < float(run("predict", runs["numbers"][1], "ba")) < 3
    assert run("predict", runs["numbers"][1], "-", stdin="ba\n") == run("predict", runs["numbers"][1], "ba")


def test_an_electra_run_fills_with_its_generator_and_judges_with_its_discriminator(tmp_path):
    data = make_data(tmp_path).path
    recipe = tiny_recipe(data, "objective.kind=rtd", "objective.generator.hidden_fraction=0.5", "plan.steps=4")
    pretrain(recipe, tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "out")
    for path in (tmp_path / "run", tmp_path / "out"):
        lines = [json.loads(line) for line in run("predict", path, "ba [MASK]", "ba be", "--json").splitlines()]
        assert list(lines[0]) == ["text", "masks"] and list(lines[1]) == ["tokens"]
    alone = tmp_path / "out" / "discriminator"
    remedy = f"`bertsmith pretrain continue init={alone} data=… --out …` gives it one"
    assert f"has no masked-token head, so it cannot fill [MASK]; {remedy}" in refused("predict", alone, "[MASK]")
    write_paradigm(tmp_path / "blimp", "one", [(GOOD, BAD)] * 3)
    found = json.loads(run("evaluate", tmp_path / "run", f"blimp={tmp_path / 'blimp'}", "--json"))
    assert found["blimp"]["paradigms"]["one"]["pairs"] == 3 and "heldout" not in found
    shown = run("evaluate", tmp_path / "run", f"data={data}", f"blimp={tmp_path / 'blimp'}", "--paradigms",
                "--out", tmp_path / "found.json")  # fmt: skip
    assert "rtd loss" in shown and "islands" in shown and "overall" in shown and "one" in shown
    assert json.loads((tmp_path / "found.json").read_text())["blimp"] == found["blimp"]
    again = bertsmith.load(tmp_path / "run").evaluate(blimp=tmp_path / "blimp")
    assert again.blimp.to_json() == found["blimp"]


def test_a_text_longer_than_the_model_is_refused_or_cut(filler, runs):
    long = "ba [MASK] " * 40
    for verb in (["predict", filler, long], ["score", filler, "-"]):
        assert "has 80 tokens, the model takes 22; shorten it, or have it cut (--truncate" in refused(*verb, stdin=long)
    assert len(json.loads(run("predict", filler, long, "--truncate", "--json"))["masks"]) == 11
    assert json.loads(run("score", filler, "-", "--truncate", "--json", stdin=long))["num_tokens"] == 22
    with pytest.raises(UserError, match="longer than the model's 32"):
        bertsmith.load(runs["classes"][0], device="cpu").classify(long)
    assert run("predict", runs["classes"][0], long) == run("predict", runs["classes"][0], long, "--truncate")


def test_what_a_model_cannot_answer_is_refused_by_name(tmp_path, filler, finder, runs):
    with pytest.raises(UserError, match=r"no \[MASK\] in 'ba be'"):
        bertsmith.load(filler).fill("ba be")
    assert "cannot score texts" in refused("score", runs["classes"][1], "-", stdin="ba")
    assert "on pairs of texts" in refused("predict", runs["pairs"][0], "ba be")
    assert "on single texts" in refused("predict", runs["classes"][0], "ba\tbe")
    assert "2 tabs" in refused("predict", runs["pairs"][1], "ba\tbe\tbi")
    assert "one of the two" in refused("predict", filler)
    assert "none.txt" in refused("score", filler, tmp_path / "none.txt")
    assert str(tmp_path) in refused("score", filler, tmp_path)
    (tmp_path / "latin.txt").write_bytes(b"ba\nd\xe9j\xe0\n")
    assert "line 2: not UTF-8" in refused("score", filler, tmp_path / "latin.txt")
    assert "did you mean pairs" in refused("evaluate", filler, "pair=3")
    assert "no model" in refused("evaluate", tmp_path)
    for path in runs["classes"]:
        assert "a fine-tuned model, which cannot be evaluated" in refused("evaluate", path, "blimp=none")
    with pytest.raises(UserError, match="knows no classes"):
        bertsmith.load(filler).classify("ba")
    with pytest.raises(UserError, match="cannot say which tokens were replaced"):
        bertsmith.load(filler).replaced("ba")


def test_energies_are_scored_and_not_judged(tmp_path):
    tokenizer = toy_tokenizer(tmp_path)
    network = toy_network(ReplacedTokenModel, tokenizer, is_energy_head=True)
    model = bertsmith.load(write_network(tmp_path / "model", network, tokenizer))
    assert len(model.score(TEXTS)) == 3
    with pytest.raises(UserError, match="no probability of replacement"):
        model.replaced("ba be")


def test_classes_without_names_are_numbered_and_a_text_may_have_several(tmp_path, runs):
    folder = shutil.copytree(runs["classes"][1], tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    nameless = {key: value for key, value in config.items() if "label2" not in key and "2label" not in key}
    (folder / "config.json").write_text(json.dumps(nameless))
    assert list(bertsmith.load(folder).classify("ba").probs) == ["LABEL_0", "LABEL_1"]
    (folder / "config.json").write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))
    answer = bertsmith.load(folder).classify("ba")
    assert set(answer.labels) == {label for label, prob in answer.probs.items() if prob >= 0.5}
