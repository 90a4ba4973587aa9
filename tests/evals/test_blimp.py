"""BLiMP on toy folders, by a model that is right by construction, and on the real files."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bertsmith.encoders.encoder import MaskedTokenModel, ReplacedTokenModel
from bertsmith.errors import UserError
from bertsmith.evals.blimp import Paradigm, blimp_probes, collect, read_blimp, score_blimp
from bertsmith.evals.likelihood import standard_error
from bertsmith.training.metrics import read_metrics
from bertsmith.training.pretrain import pretrain
from bertsmith.training.ranks import Ranks
from tests.evals.toy_models import SETTINGS, cpu, toy_network, toy_tokenizer
from tests.toys import make_data, tiny_recipe
from tests.training.ranks_at_work import fork_ranks

GOOD, BAD, LONG = "ba be bi .", "ba bo bi .", "ba " * 30


class Strict(ReplacedTokenModel):
    """Dislikes one word."""

    def __init__(self, tokenizer, word):
        super().__init__(SETTINGS, tokenizer.vocab_size)
        self.disliked = tokenizer.id(word)

    def token_likelihoods(self, tokens):
        return -(tokens.ids == self.disliked).float()


def write_paradigm(folder, name, pairs, phenomenon="islands"):
    folder.mkdir(exist_ok=True)
    lines = [
        json.dumps({"sentence_good": good, "sentence_bad": bad, "UID": name, "linguistics_term": phenomenon})
        for good, bad in pairs
    ]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def test_accuracies_of_a_model_whose_answers_are_known(tmp_path):
    folder, tokenizer = tmp_path / "blimp", toy_tokenizer(tmp_path)
    write_paradigm(folder, "right", [(GOOD, BAD)] * 8)
    write_paradigm(folder, "mixed", [(GOOD, BAD)] * 2 + [(BAD, GOOD)] * 1 + [(GOOD, GOOD)] * 1)
    write_paradigm(folder, "wrong", [(BAD, GOOD)] * 3, "s-selection")
    write_paradigm(folder, "even", [(GOOD, "ba be .")] * 5, "argument_structure")
    done = []
    found = score_blimp(Strict(tokenizer, "bo"), read_blimp(folder, 200), tokenizer, cpu(), done.append)
    assert {name: share.accuracy for name, share in found.paradigms.items()} == {
        "right": 1.0, "mixed": 0.625, "wrong": 0.0, "even": 0.5,
    }  # fmt: skip
    assert {name: share.accuracy for name, share in found.phenomena.items()} == {
        "argument_structure": 0.25, "islands": 0.8125,
    }  # fmt: skip
    assert found.overall.accuracy == pytest.approx((1 + 0.625 + 0 + 0.5) / 4) and found.overall.pairs == 20
    assert found.paradigms["mixed"].standard_error == pytest.approx(standard_error(0.625, 4))
    own = [share.standard_error for share in found.paradigms.values()]
    assert found.overall.standard_error == pytest.approx(math.sqrt(sum(error**2 for error in own)) / 4)
    assert done == [20] and json.loads(json.dumps(found.to_json()))["overall"]["pairs"] == 20


def test_ranks_share_the_pairs_and_find_what_one_process_does(tmp_path):
    folder, tokenizer = tmp_path / "blimp", toy_tokenizer(tmp_path)
    write_paradigm(folder, "mixed", [(GOOD, BAD)] * 4 + [(BAD, GOOD)] * 2 + [(GOOD, GOOD)] * 1)
    write_paradigm(folder, "wrong", [(BAD, GOOD)] * 3)
    network, paradigms = Strict(tokenizer, "bo"), read_blimp(folder, 200)
    alone = score_blimp(network, paradigms, tokenizer, cpu()).to_json()

    def score(ranks: Ranks) -> None:
        found = score_blimp(network, paradigms, tokenizer, replace(cpu(), ranks=ranks))
        (tmp_path / f"rank-{ranks.rank}.json").write_text(json.dumps(found.to_json()))

    assert [ended.status for ended in fork_ranks(2, score, tmp_path)] == [0, 0]
    for rank in range(2):
        assert json.loads((tmp_path / f"rank-{rank}.json").read_text()) == alone


def test_paradigms_that_are_all_right_or_all_wrong_have_an_error_too():
    paradigms = [Paradigm(f"{number}", "filler_gap_dependency", [(GOOD, BAD)] * 3) for number in range(7)]
    found = collect(paradigms, np.repeat([1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0], 3)).phenomena["filler_gap_dependency"]
    assert found.accuracy == pytest.approx(5 / 7) and found.pairs == 21
    assert found.standard_error == pytest.approx(math.sqrt(7 * 0.8 * 0.2 / 3) / 7)


def test_a_sample_is_the_same_whenever_asked_part_of_a_larger_one_and_not_the_first(tmp_path):
    folder = tmp_path / "blimp"
    write_paradigm(folder, "one", [(f"ba {number}", f"be {number}") for number in range(100)])
    few, again, more = (read_blimp(folder, size)[0].pairs for size in (5, 5, 40))
    assert few == again == more[:5] and len(set(more)) == 40
    assert few != [(f"ba {number}", f"be {number}") for number in range(5)]
    assert len(read_blimp(folder, 1000)[0].pairs) == 100


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_endings_line_ends_and_blank_lines_do_not_matter(tmp_path, end):
    for name in ("one", "two"):
        write_paradigm(tmp_path / "blimp", name, [(GOOD, BAD), (f"{GOOD} again", BAD)])
    expected, path = read_blimp(tmp_path / "blimp", 9), tmp_path / "blimp/two.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", end * 2) + end)
    path.rename(path.with_name("two.JSONL"))
    assert read_blimp(tmp_path / "blimp", 9) == expected and len(expected) == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: needs the texts"),
        ('{"sentence_good": "a", "UID": "one", "linguistics_term": "x"}', "line 2: needs the texts sentence_good"),
        ('{"sentence_good": "a", "sentence_bad": " ", "UID": "one", "linguistics_term": "x"}', "line 2: needs"),
        ('{"sentence_good": "a", "sentence_bad": "b", "UID": "two", "linguistics_term": "x"}', "not one paradigm"),
    ],
)  # fmt: skip
def test_a_malformed_line_is_named(tmp_path, line, says):
    write_paradigm(tmp_path / "blimp", "one", [(GOOD, BAD)])
    with open(tmp_path / "blimp" / "one.jsonl", "a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=rf"one\.jsonl.*{says}"):
        read_blimp(tmp_path / "blimp", 5)


def test_a_folder_without_the_files_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match=r"no \.jsonl file"):
            read_blimp(folder, 5)


def test_a_sentence_longer_than_the_model_is_refused(tmp_path):
    tokenizer = toy_tokenizer(tmp_path)
    write_paradigm(tmp_path / "blimp", "one", [(LONG, GOOD)])
    with pytest.raises(UserError, match="32 tokens, and the model has 24"):
        score_blimp(toy_network(MaskedTokenModel, tokenizer), read_blimp(tmp_path / "blimp", 5), tokenizer, cpu())
    recipe = tiny_recipe(make_data(tmp_path).path, "rows.length=16", "model.max_position_embeddings=16",
                         f"blimp={tmp_path / 'blimp'}")  # fmt: skip
    with pytest.raises(UserError, match="32 tokens, and the model has 16"):
        blimp_probes(recipe)


def test_pretraining_logs_it_and_ends_with_the_same_weights(tmp_path):
    data = make_data(tmp_path).path
    write_paradigm(tmp_path / "blimp", "one", [(GOOD, BAD)] * 3)
    plain, asked = tiny_recipe(data), tiny_recipe(data, f"blimp={tmp_path / 'blimp'}", "blimp_pairs=2")
    assert blimp_probes(plain) == []
    pretrain(plain, tmp_path / "plain")
    measured = pretrain(asked, tmp_path / "asked", probes=blimp_probes(asked))["measures"]
    lines = [line for line in read_metrics(tmp_path / "asked" / "metrics.jsonl") if line["split"] == "heldout"]
    assert [line["step"] for line in lines] == [6, 12] and all(0 <= line["blimp"] <= 1 for line in lines)
    assert measured["blimp"] == lines[-1]["blimp"]
    from bertsmith.training import checkpoints

    ends = [checkpoints.load_newest(tmp_path / name).model for name in ("plain", "asked")]
    assert all(torch.equal(ends[0][name], tensor) for name, tensor in ends[1].items())


def test_the_real_files_are_67_paradigms_in_12_phenomena(shared_data):
    if not (shared_data / "blimp").is_dir():
        pytest.skip("no BLiMP in the shared data")
    paradigms = read_blimp(shared_data / "blimp", 1000)
    assert len(paradigms) == 67 and all(len(paradigm.pairs) == 1000 for paradigm in paradigms)
    assert len({paradigm.phenomenon for paradigm in paradigms}) == 12
