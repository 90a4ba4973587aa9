"""`grade` from files to what is printed: each kind of task, and what is said of files that lack something."""

import gzip
import json
import os

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from scipy.stats import pearsonr, spearmanr
from typer.testing import CliRunner

from bertsmith.cli.app import app
from bertsmith.errors import UserError
from bertsmith.tasks.grade import grade
from bertsmith.tasks.published.glue import read_glue

SQUAD = {"1": ["cat"], "2": ["black dog"], "3": []}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def write_squad(path, gold):
    questions = [{"id": id, "answers": [{"text": text} for text in answers]} for id, answers in gold.items()]
    return write(path, {"data": [{"paragraphs": [{"qas": questions}]}]})


def printed(*arguments):
    """What the verb prints, and what it says on standard error."""
    result = CliRunner().invoke(app, ["grade", *map(str, arguments)])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.stdout, result.stderr


def in_json(*arguments):
    return json.loads(printed(*arguments, "--json")[0])


def test_boolq(tmp_path):
    examples = [{"question": "is it", "passage": "It is.", "label": label} for label in (True, False, True, True)]
    gold = write(tmp_path / "val.jsonl", "".join(f"{json.dumps(example)}\n" for example in examples))
    predictions = write(tmp_path / "p.tsv", "index\tprediction\n3\ttrue\n1\ttrue\n0\ttrue\n2\tfalse\n")
    assert in_json("boolq", gold, predictions) == {"task": "boolq", "accuracy": 50.0, "total": 4}
    assert in_json("boolq", tmp_path, predictions) == in_json("boolq", gold, predictions)
    gold.write_text(gold.read_text().replace("false", '"no"'))
    with pytest.raises(UserError, match=r"line 2: label .*--skip-malformed"):
        grade("boolq", gold, predictions)


def test_squad_1(tmp_path):
    gold = write_squad(tmp_path / "dev.json", {"1": ["cat"], "2": ["black dog"]})
    predictions = write(tmp_path / "p.json", {"1": "Cat", "7": "x", "8": "y"})
    assert in_json("squad-v1.1", gold, predictions) == {
        "task": "squad-v1.1", "exact_match": 50.0, "f1": 50.0, "total": 2, "unanswered": 1, "unknown": 2,
    }  # fmt: skip
    table, notes = printed("squad-v1.1", gold, predictions)
    assert table.splitlines()[0] == "squad-v1.1: dev.json, 2 questions"
    assert "exact_match" in table and "50.00000" in table
    assert f"1 of 2 questions of {gold} are not in {predictions}, and count as wrong; the first is '2'" in notes
    assert f"2 of 3 ids of {predictions} are not in {gold}, and count for nothing; the first is '7'" in notes


def test_squad_2_with_odds_and_without(tmp_path):
    gold = write_squad(tmp_path / "dev.json", SQUAD)
    predictions = write(tmp_path / "p.json", {"1": "cat", "2": "dog", "3": "cow", "8": "of another split"})
    plain = in_json("squad-v2.0", gold, predictions)
    assert (plain["exact"], plain["HasAns_exact"], plain["NoAns_exact"]) == pytest.approx((100 / 3, 50, 0))
    assert "best_exact" not in plain
    odds = write(tmp_path / "odds.json", {"1": 0.1, "2": 0.2, "3": 1.5, "9": 0})
    with_odds = in_json("squad-v2.0", gold, predictions, "--null-odds", odds)
    assert with_odds["NoAns_exact"] == 100.0, "odds beyond 1 are no answer, the script's default"
    assert (with_odds["best_exact"], with_odds["best_exact_thresh"]) == (pytest.approx(200 / 3), 0.1)
    assert with_odds["best_f1_thresh"] == 0.2
    stricter = in_json("squad-v2.0", gold, predictions, "--null-odds", odds, "--null-threshold", "0.15")
    assert stricter["HasAns_f1"] == 50.0
    assert "1 of 4 ids of" in printed("squad-v2.0", gold, predictions, "--null-odds", odds)[1]


def test_mrqa(tmp_path):
    gold = tmp_path / "dev.jsonl.gz"
    lines = [{"header": {"dataset": "x"}}, {"qas": [{"qid": "1", "answers": ["the cat"], "detected_answers": []}]}]
    gold.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    found = in_json("mrqa", gold, write(tmp_path / "p.json", {"1": "cat"}))
    assert (found["exact_match"], found["f1"], found["total"]) == (100.0, 100.0, 1)


def test_ids_that_are_numbers_pair_whichever_way_they_are_written(tmp_path):
    gold = write_squad(tmp_path / "dev.json", {119640: ["Ann Lee"], 8.0: ["in May"], "x": ["no"]})
    predictions = write(tmp_path / "p.json", {"119640.0": "Ann Lee", "8": "May", "x": "no"})
    assert in_json("squad-v1.1", gold, predictions)["exact_match"] == pytest.approx(200 / 3)


def test_tags(tmp_path):
    gold = write(tmp_path / "gold.txt", "the B-NP\ncat I-NP\nsat B-VP\n\nits B-NP\n")
    tags = write(tmp_path / "tags.txt", "B-NP\nI-NP\nI-VP\n\nB-PP\n")
    found = in_json("conll2000", gold, tags)
    assert (found["accuracy"], found["words"], found["sentences"]) == (50.0, 4, 2)
    assert (found["gold"], found["predicted"], found["correct"]) == (3, 3, 2), "conlleval takes I-VP for a chunk"
    assert found["types"]["VP"]["f1"] == 100.0
    assert (found["strict"]["scheme"], found["strict"]["correct"], found["strict"]["predicted"]) == ("IOB2", 1, 2)
    table, notes = printed("conll2000", gold, tags)
    assert "all (conlleval)" in table and "66.67" in table and "all (strict IOB2)" in table
    assert "the first is 'PP'" in notes
    both = write(tmp_path / "both.txt", "the B-NP B-NP\ncat I-NP I-NP\nsat B-VP I-VP\n\nits B-NP B-PP\n")
    os.link(both, tmp_path / "again.txt")
    for arguments in ([both], [both, both], [both, tmp_path / "again.txt"], [gold, both]):
        assert in_json("conll2000", *arguments) == found


def test_tags_without_entities(tmp_path):
    notes = printed("conll2000", write(tmp_path / "a.txt", "x B-NP O\n"))[1]
    assert "there is no predicted entity; precision and F1 are 0 by definition" in notes


def write_dev(folder, name, header, rows):
    (folder / name).mkdir()
    return write(folder / name / "dev.tsv", "\n".join(["\t".join(header), *map("\t".join, rows)]) + "\n")


def test_classes(tmp_path):
    labels = ["entailment", "not_entailment", "entailment", "entailment"]
    gold = write_dev(tmp_path, "RTE", ("index", "label"), [(str(row), label) for row, label in enumerate(labels)])
    lines = "".join(f"{row}\t{label}\n" for row, label in enumerate(reversed(labels)))
    predictions = write(tmp_path / "RTE.tsv", "index\tprediction\n" + lines)
    assert in_json("rte", gold, predictions) == {"task": "rte", "accuracy": 50.0, "total": 4}
    assert in_json("rte", tmp_path, predictions) == in_json("rte", gold.parent, predictions)
    assert printed("rte", gold, predictions)[1] == ""


def test_a_gold_label_that_is_none_can_be_left_out_as_fine_tuning_leaves_it_out(tmp_path):
    """Then no index counts its line."""
    gold = tmp_path / "dev.tsv"
    gold.write_text("index\tsentence1\tsentence2\tlabel\n" + "".join(
        f"{n}\ta\tb\t{label}\n" for n, label in enumerate(["entailment", "perhaps", "not_entailment", "entailment"])
    ))  # fmt: skip
    predictions = tmp_path / "p.tsv"
    predictions.write_text("index\tprediction\n0\tentailment\n1\tnot_entailment\n2\tnot_entailment\n")
    with pytest.raises(
        UserError, match=r"dev.tsv, line 3: label is 'perhaps'; .* leave them out with --skip-malformed$"
    ):
        grade("rte", gold, predictions)
    found = in_json("rte", gold, predictions, "--skip-malformed")
    assert (found["accuracy"], found["total"]) == (pytest.approx(200 / 3), 3)
    assert (
        "dev.tsv: 1 malformed lines left out; the first is line 3"
        in printed("rte", gold, predictions, "--skip-malformed")[1]
    )


def test_numbers_out_of_range_and_texts_that_are_none_are_left_out_alike(tmp_path):
    columns = {"sentence1": ["a", None, "b", "c"], "sentence2": ["d"] * 4, "label": [1.5, 2.0, 9.0, 4.0]}
    for name in ("train", "validation"):
        (tmp_path / "STS-B").mkdir(exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / f"STS-B/{name}.parquet")
    learnt = read_glue("sts-b", tmp_path, check_counts=False, skip_malformed=True).dev
    assert learnt.targets.tolist() == [1.5, 4.0]
    predictions = tmp_path / "p.csv"
    predictions.write_text("index,prediction\n0,1.0\n1,2.0\n")
    assert in_json("sts-b", tmp_path, predictions, "--skip-malformed")["pearson"] == pytest.approx(100)
    with pytest.raises(UserError, match=r"line 3: label is 9; it must be 0 to 5; .*--skip-malformed"):
        grade("sts-b", tmp_path, predictions)


def test_malformed_questions_of_the_gold_file_can_be_left_out(tmp_path):
    gold = write_squad(tmp_path / "dev.json", {"1": ["cat"], "2": ["dog"], "3": ["owl"]})
    content = json.loads(gold.read_text())
    [questions] = [paragraph["qas"] for paragraph in content["data"][0]["paragraphs"]]
    questions[1]["answers"] = "dog"
    questions += [{"answers": []}, questions[0], {"id": "4", "question": 5, "answers": [{"text": "x"}]}]
    write(gold, content)
    predictions = write(tmp_path / "p.json", {"1": "cat", "3": "cow"})
    with pytest.raises(
        UserError, match=r"'2' has no list 'answers'.*\(--skip-malformed leaves such questions out, as a r"
    ):
        grade("squad-v1.1", gold, predictions)
    found = in_json("squad-v1.1", gold, predictions, "--skip-malformed")
    assert (found["exact_match"], found["total"], found["unanswered"]) == (50.0, 2, 0)
    assert (
        "4 malformed questions, left out; the first: "
        in printed("squad-v1.1", gold, predictions, "--skip-malformed")[1]
    )
    lines = [{"qas": [{"qid": "1", "answers": ["the cat"]}]}, {"qas": [{"qid": "2", "answers": [5]}]}, {"qas": 1}]
    mrqa = write(tmp_path / "dev.jsonl", "\n".join(map(json.dumps, lines)))
    assert in_json("mrqa", mrqa, write(tmp_path / "q.json", {"1": "cat"}), "--skip-malformed")["total"] == 1
    with pytest.raises(UserError, match=r"'2': its answers are not all texts.*--skip-malformed"):
        grade("mrqa", mrqa, tmp_path / "q.json")


def test_tags_are_scored_whole(tmp_path):
    gold = write(tmp_path / "gold.txt", "a O B-X\n")
    with pytest.raises(UserError, match="--skip-malformed: of use with GLUE's tasks and questions"):
        grade("conll2000", gold, None, skip_malformed=True)


def test_numbers_at_full_precision(tmp_path):
    rng = np.random.default_rng(0)
    answers = rng.uniform(0, 5, 40).round(3)
    predicted = answers + rng.normal(size=40)
    rows = [(str(row), str(answer)) for row, answer in enumerate(answers)]
    gold = write_dev(tmp_path, "STS-B", ("index", "score"), rows)
    lines = [f"{row}\t{number!r}\t{answers[row]:.6g}" for row, number in enumerate(predicted.tolist())]
    found = in_json("sts-b", gold, write(tmp_path / "p.tsv", "\n".join(["index\tprediction\tlabel", *lines])))
    assert found["pearson"] == pytest.approx(100 * pearsonr(predicted, answers)[0], abs=1e-10)
    assert found["spearman"] == pytest.approx(100 * spearmanr(predicted, answers)[0], abs=1e-10)


def test_one_class_is_a_zero_with_a_warning(tmp_path):
    gold = write(tmp_path / "dev.tsv", "".join(f"x\t{label}\t\ttext\n" for label in (0, 1, 1)))
    predictions = write(tmp_path / "p.tsv", "index\tprediction\n0\t1\n1\t1\n2\t1\n")
    assert in_json("cola", gold, predictions)["mcc"] == 0.0
    notes = printed("cola", gold, predictions)[1]
    assert notes.splitlines() == [
        "all predictions are 1", "mcc 0 by definition: not defined for these predictions and labels",
    ]  # fmt: skip
    broken = write(tmp_path / "broken.tsv", "x\t0\t\ttext\nx\n" + "x\t1\t\ttext\n" * 2)
    notes = printed("cola", broken, predictions)[1]
    assert f"{broken}: 1 malformed lines left out; the first is line 2: 1 columns where there should be 4" in notes


@pytest.mark.parametrize("task", ["squad-v1.1", "squad-v2.0", "mrqa", "rte", "conll2000"])
def test_files_that_are_missing(tmp_path, task):
    with pytest.raises(UserError, match=r"gold: no such file"):
        grade(task, tmp_path / "gold", tmp_path / "predictions")
    if task != "conll2000":
        with pytest.raises(UserError, match=rf"{task}: no file of predictions; give it after .*gold"):
            grade(task, tmp_path / "gold", None)


def test_what_does_not_belong_together(tmp_path):
    gold = write_squad(tmp_path / "dev.json", SQUAD)
    predictions = write(tmp_path / "p.json", {"1": "cat", "2": "dog"})
    odds = write(tmp_path / "odds.json", {"1": 0.5})
    with pytest.raises(UserError, match=r"'squad-v2' is no task \(did you mean squad-v2.0\?\); there are squad-v1.1, "):
        grade("squad-v2", gold, predictions)
    with pytest.raises(UserError, match=r"--null-odds .*odds.json: of use for squad-v2.0 only; leave it out for mrqa"):
        grade("mrqa", gold, predictions, odds)
    with pytest.raises(UserError, match=r"odds.json: no odds for 1 predicted questions, the first is '2'"):
        grade("squad-v2.0", gold, predictions, odds)
    with pytest.raises(UserError, match=r"other.json: no id of .*dev.json is in it, for example '1'"):
        grade("squad-v2.0", gold, write(tmp_path / "other.json", {"x": "cat"}))
    result = CliRunner().invoke(app, ["grade", "squad-v2.0", str(gold), str(predictions), "--null-threshold", "0.5"])
    assert "--null-threshold 0.5: of no use without --null-odds" in str(result.exception)


def test_squad_2_says_by_which_threshold_it_counts(tmp_path):
    gold = write_squad(tmp_path / "dev.json", SQUAD)
    answers = write(tmp_path / "preds.json", {"1": "cat", "2": "dog", "3": "cow"})
    odds = write(tmp_path / "null_odds.json", {"1": -4, "2": -3, "3": -1.5})
    assert "preds.json answers every question; where a run's null_odds.json" in printed("squad-v2.0", gold, answers)[1]
    official = printed("squad-v2.0", gold, answers, "--null-odds", odds)[1]
    assert "null odds above 1, the official script's threshold" in official and "--null-threshold -2.75" in official
    assert printed("squad-v2.0", gold, answers, "--null-odds", odds, "--null-threshold", "-2.75")[1] == ""
    decided = write(tmp_path / "answers.json", {"1": "cat", "2": "dog", "3": ""})
    assert printed("squad-v2.0", gold, decided)[1] == ""
