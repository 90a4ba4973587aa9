"""The quickstart as a miniature, and its parts: the labelled task, its marks, the verdict."""

import json
import math
from collections import Counter

import numpy as np
import pytest

from bertsmith.errors import UserError
from bertsmith.quickstart.run import Sizes, quickstart
from bertsmith.quickstart.summary import verdict
from bertsmith.quickstart.task import IN_ORDER, SHUFFLED, Example, read_task, sentences, split_texts, tfidf_accuracy
from bertsmith.text.docstrings import documents

NOUNS = ("matrix", "graph", "tensor", "module", "array", "signal", "vector")
VERBS = ("returns", "computes", "prints", "copies", "removes")
KINDS = ("sparse", "empty", "large", "dense", "whole", "sorted", "given")
SIZES = Sizes(
    vocabulary=200, heldout_fraction=0.2, train_examples=40, dev_examples=20, pairs=10,
    pretrain=(
        "model.hidden_size=16", "model.num_hidden_layers=1", "plan.steps=6", "plan.evaluate_steps=3", "batch_size=4",
        "plan.checkpoint_steps=3", "evaluate_rows=8", "log=[]",
    ),
    finetune=("seeds=2", "epochs=1"),
)  # fmt: skip


def toy_texts(count=200):
    rng = np.random.default_rng(0)

    def thing():
        return f"{rng.choice(KINDS)} {rng.choice(NOUNS)}"

    for number in range(count):
        package = ("numpy", "networkx")[number % 2]
        yield (
            package,
            " ".join(f"This {thing()} {rng.choice(VERBS)} the {thing()} of another {thing()}." for _ in range(3)),
        )


def test_the_whole_journey_and_again(tmp_path, capsys):
    out = tmp_path / "out"
    lines = []
    results = quickstart(out, lines.append, texts=toy_texts, sizes=SIZES)
    shown = "\n".join(lines)
    assert not capsys.readouterr().out, "only the command line prints results"
    for name in ("report.html", "results.json", "hf/config.json", "hf/model.safetensors", "bert/metrics.jsonl"):
        assert (out / name).stat().st_size > 0, name
    assert results["steps"] == 6
    assert results["before"]["mlm_loss"] == pytest.approx(math.log(200), rel=0.1)  # random weights know nothing
    assert json.loads((out / "hf/config.json").read_text())["classifier_pooling"] == "mean"
    assert f"{results['tfidf']:.3f}" in shown and all(guess in shown for guess in results["guesses"])
    assert f"→ {results['after']['mlm_loss']:.2f}; word order" in (out / "report.html").read_text()
    held_out = [json.loads(line) for line in (out / "bert/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in held_out if "word_order" in line] == [3, 6]
    trained_on = (out / "corpus.jsonl").read_text().lower()
    for example in read_task(out / "task", "train") + read_task(out / "task", "dev"):
        assert example.label == SHUFFLED or example.text.lower() not in trained_on

    parts = ("corpus.jsonl", "vocab", "data", "bert/checkpoints", "pretrained/trials", "random/trials")
    times = {path: path.stat().st_mtime_ns for name in parts for path in [out / name, *(out / name).rglob("*")]
             if path.name != ".lock"}  # fmt: skip
    assert quickstart(out, lines.append, texts=lambda: pytest.fail("read again"), sizes=SIZES) == results
    assert all(path.stat().st_mtime_ns == time for path, time in times.items() if path.is_file())


def test_somebody_elses_folder_is_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match="holds data"):
        quickstart(tmp_path, print, overwrite=True, texts=toy_texts, sizes=SIZES)
    assert (tmp_path / "data").is_dir()


def test_too_few_sentences_are_said_to_be_too_few(tmp_path):
    texts = [("numpy", f"There is one sentence about the {noun} of {kind} things.") for noun in NOUNS for kind in KINDS]
    with pytest.raises(UserError, match=r"49 sentences for the labelled task in 49 docstrings"):
        quickstart(tmp_path, print, texts=lambda: texts, sizes=SIZES)
    assert not (tmp_path / "task").exists()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Return the sum of all rows. See also this other place.", ["Return the sum of all rows"]),
        ("Five words are too few. The sixth makes all the difference.", ["The sixth makes all the difference"]),
        ("The sum (a formula) of these rows. The sum, a formula, of all rows.", []),
        ("The sum `x` of all these rows here. the lower case of a first word.", []),
        ("Title\n-----\n\nThe paragraph goes on\n  in the next line.", ["The paragraph goes on in the next line"]),
        ("A paragraph that ends with\n\nNothing else is in this sentence of words", []),
        ("Version two of it is 2.0 of those six.", []),
        ("A" + " word" * 18 + ".", []),
        ("A" + " word" * 17 + ".", ["A" + " word" * 17]),
    ],
)
def test_a_sentence_is_words_and_a_full_stop(text, found):
    assert [" ".join(words) for words in sentences(text)] == found


@pytest.fixture(scope="module", params=["toy", pytest.param("this machine's", marks=pytest.mark.slow)])
def texts(request):
    return list(toy_texts(400)) if request.param == "toy" else list(documents())


def bag(text):
    return tuple(sorted(text.lower().rstrip(".").split()))


def test_only_order_tells_the_classes_apart(texts):
    split = split_texts(texts, 300, 200)
    for part, size in ((split.train, 300), (split.dev, 200)):
        assert Counter(example.label for example in part) == {IN_ORDER: size // 2, SHUFFLED: size // 2}
        lengths = {label: [len(example.text.split()) for example in part if example.label == label]
                   for label in (IN_ORDER, SHUFFLED)}  # fmt: skip
        spread = np.hypot(*(np.std(found) / len(found) ** 0.5 for found in lengths.values()))
        assert abs(np.mean(lengths[IN_ORDER]) - np.mean(lengths[SHUFFLED])) <= 3 * spread
    written = {bag(" ".join(words)): " ".join(words) for _, text in texts for words in sentences(text)}
    for example in split.train + split.dev:
        sentence = written[bag(example.text)] + "."
        assert (example.text.lower() == sentence.lower()) == (example.label == IN_ORDER)
        assert (example.text.split()[0], example.text.split()[-1]) == (sentence.split()[0], sentence.split()[-1])


def test_no_sentence_comes_twice_nor_in_what_is_trained_on(texts):
    split = split_texts(texts, 300, 200)
    bags = [bag(example.text) for example in split.train + split.dev]
    assert len(set(bags)) == len(bags)
    rest = {bag(" ".join(words)) for _, text in split.rest for words in sentences(text)}
    assert not rest & set(bags)
    homes = {bag(" ".join(words)): number for number, (_, text) in enumerate(texts) for words in sentences(text)}
    assert not {homes[bag(one.text)] for one in split.train} & {homes[bag(one.text)] for one in split.dev}
    assert [pair for pair in texts if pair in set(split.rest)] == split.rest
    assert split_texts(texts, 300, 200) == split


def test_tfidf_sees_neighbours_and_nothing_else_of_order():
    """Pairs of neighbours that are telling are learnt; words that both classes have alike are not."""
    told = [Example(f"{word} red fox" if even else f"{word} fox red", (SHUFFLED, IN_ORDER)[even])
            for even in (0, 1) for word in ("a", "the", "one", "no", "this", "that", "my", "her")]  # fmt: skip
    assert tfidf_accuracy(told, told) == 1.0
    untold = [Example("red fox", (IN_ORDER, SHUFFLED)[number % 2]) for number in range(20)]
    assert tfidf_accuracy(untold, untold) == 0.5


def results(pretrained, random=0.5, tfidf=0.65, std=0.01):
    scores = {name: {"mean": mean, "std": std, "seeds": 3} for name, mean in
              (("random", random), ("pretrained", pretrained))}  # fmt: skip
    return {"classification": scores, "tfidf": tfidf, "examples": {"train": 1000, "dev": 1000}, "seconds": 180}


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (results(0.75), "lifted the classification: +0.250 ± 0.022 against random weights and +0.100 ± 0.021"),
        (results(0.66), "does not lift the classification over both marks"),
        (results(0.66, std=0.3), "does not lift the classification over both marks"),  # the seeds' own spread counts
        (results(0.58), "leaves the classification below a mark"),
        (results(0.75, random=0.82), "leaves the classification below a mark"),
    ],
)
def test_the_verdict_follows_the_figures(measured, said):
    assert said in verdict(measured)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bytes(40), "line 1: not JSON"),
        (b'{"text": "a b", "label": "kept"}\n{"text": "a', "line 2: not JSON"),
        (b'{"text": "a b"}\n', "rows\\[0\\]\\.label"),
        (b'{"text": "a b", "label": 1}\n', "rows\\[0\\]\\.label must be text"),
    ],
)
def test_a_damaged_task_is_named(content, said, tmp_path):
    (tmp_path / "dev.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=f"dev[.]jsonl.*{said}"):
        read_task(tmp_path, "dev")
