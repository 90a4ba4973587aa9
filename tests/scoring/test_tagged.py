"""Word-per-line files: one for both taggings, one for each, and those that are not about the same words."""

import collections

import pytest

from bertsmith.errors import UserError
from bertsmith.scoring.entities import count_entities, tag_accuracy, total
from bertsmith.scoring.word_lines import read_tagging, read_words

GOLD = "the DT B-NP\ncat NN I-NP\n\nsat VBD B-VP\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def plain(tagging):
    return [[["-".join(tag).strip("-") for tag in sentence] for sentence in some] for some in tagging]


EXPECTED = [[["B-NP", "I-NP"], ["B-VP"]], [["B-NP", "O"], ["B-VP"]]]


def test_one_file_for_both(tmp_path):
    both = write(tmp_path / "both.txt", "the DT B-NP B-NP\ncat NN I-NP O\n\nsat VBD B-VP B-VP\n")
    assert plain(read_tagging(both)) == EXPECTED


@pytest.mark.parametrize(
    "predicted",
    [
        "B-NP\nO\n\nB-VP\n",
        "\n\nB-NP \r\nO\r\n \r\n\r\nB-VP",  # other line ends, more blank lines, none at the end
        "the B-NP\ncat O\n\nsat B-VP\n",
        "the\tDT\tB-NP\tB-NP\ncat\tNN\tI-NP\tO\n\nsat\tVBD\tB-VP\tB-VP\n",
    ],
)
def test_a_file_of_predictions(tmp_path, predicted):
    gold = write(tmp_path / "gold.txt", GOLD)
    assert plain(read_tagging(gold, write(tmp_path / "tags.txt", predicted))) == EXPECTED


def test_a_boundary_ends_a_sentence_as_a_blank_line_does(tmp_path):
    marked = write(tmp_path / "marked.txt", GOLD.replace("\n\n", "\n-X- -X- O\n"))
    assert [len(sentence) for sentence in read_words(marked)] == [2, 1]
    assert plain(read_tagging(marked, write(tmp_path / "tags.txt", "B-NP\nO\n\nB-VP\n"))) == EXPECTED


def test_a_document_line_is_no_word_for_the_grader(tmp_path):
    """For conlleval -X- alone ends a sentence, and -DOCSTART- is a word that all taggers get right."""
    both = write(tmp_path / "both.txt", "-DOCSTART- -X- O\n\nthe DT B-NP B-NP\ncat NN I-NP O\n-DOCSTART-\nit PRP O O\n")
    gold, predicted = read_tagging(both)
    assert [len(sentence) for sentence in gold] == [2, 1]
    assert tag_accuracy(gold, predicted) == pytest.approx(100 * 2 / 3)


@pytest.mark.parametrize(
    "predicted",
    [
        "the B-NP\ncat O\n\nsat B-VP\n",
        "B-NP\nO\n\nB-VP\n",
        "-DOCSTART- O\n\nthe B-NP\ncat O\n\nsat B-VP\n",
        "-DOCSTART-\nthe B-NP\ncat O\n\nsat B-VP\n",
        "O\n\nB-NP\nO\n\nB-VP\n",
        "# of a tagger\nB-NP\nO\n\nB-VP\n",
    ],
)
def test_predictions_may_leave_document_lines_out(tmp_path, predicted):
    gold = write(tmp_path / "gold.txt", f"-DOCSTART- -X- O\n\n{GOLD}")
    found = read_tagging(gold, write(tmp_path / "tags.txt", predicted))
    assert plain(found) == EXPECTED


def test_other_spaces_of_unicode_are_of_the_word(tmp_path):
    assert read_words(write(tmp_path / "a.txt", "1\u00a0000\u2028 CD\n"))[0][0].columns == ["1\u00a0000\u2028", "CD"]


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        ("", r"tags.txt: no words"),
        ("B-NP\n\nO\nB-VP\n", r"tags.txt, line 1: a sentence of 1 words, which has 2 in .*gold.txt, line 1"),
        ("B-NP\nO\n\nB-VP\nO\n", r"tags.txt, line 4: a sentence of 2 words, which has 1 in .*gold.txt, line 4"),
        ("B-NP\nO\n", r"tags.txt: 1 sentences, of which .*gold.txt has 2; one blank line ends each"),
        ("B-NP\nO\n\nB-VP\n\nO\n", r"tags.txt: 3 sentences, of which .*gold.txt has 2"),
        ("the B-NP\ndog O\n\nsat B-VP\n", r"tags.txt, line 2: the word 'dog', which is 'cat' in .*gold.txt, line 2"),
        ("B-NP\nNP\n\nB-VP\n", r"tags.txt, line 2: 'NP' is no tag; tags are O and B-, I-"),
        ("the B-NP\nO\n\nsat B-VP\n", r"tags.txt, line 2: 1 columns where other lines have 2"),
    ],
)
def test_faults(tmp_path, predicted, message):
    gold = write(tmp_path / "gold.txt", GOLD)
    with pytest.raises(UserError, match=message):
        read_tagging(gold, write(tmp_path / "tags.txt", predicted))


def test_a_gold_file_alone_is_told_what_it_lacks(tmp_path):
    with pytest.raises(UserError, match=r"gold.txt, line 1: 'DT' is no tag; .*without a file of predictions"):
        read_tagging(write(tmp_path / "gold.txt", GOLD))
    with pytest.raises(UserError, match=r"two.txt, line 2: 2 columns; without a file of predictions"):
        read_tagging(write(tmp_path / "two.txt", "\nthe B-NP\n"))
    with pytest.raises(UserError, match=r"none.txt: no such file"):
        read_tagging(tmp_path / "none.txt")


def test_the_baseline_of_the_shared_task(shared_data, tmp_path):
    """The tag that a part of speech has most often in training: precision 72.58, recall 82.14, F 77.07 by conlleval,
    published with the task (Tjong Kim Sang and Buchholz 2000, table 2). 26 % of its chunks begin with I-."""
    frequent = collections.defaultdict(collections.Counter)
    for sentence in read_words(shared_data / "conll2000" / "train.txt"):
        for word in sentence:
            frequent[word.columns[1]][word.columns[2]] += 1
    gold = shared_data / "conll2000" / "test.txt"
    lines = []
    for sentence in read_words(gold):
        lines += [frequent[word.columns[1]].most_common(1)[0][0] for word in sentence] + [""]
    tagging = read_tagging(gold, write(tmp_path / "tags.txt", "\n".join(lines)))
    assert (len(tagging[0]), sum(map(len, tagging[0]))) == (2012, 47377)
    counts = total(count_entities(*tagging).values())
    assert (round(counts.precision, 2), round(counts.recall, 2), round(counts.f1, 2)) == (72.58, 82.14, 77.07)
    assert tag_accuracy(*tagging) == pytest.approx(77.29, abs=0.005)
