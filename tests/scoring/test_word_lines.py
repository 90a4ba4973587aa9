"""Which lines of a word-per-line file are words: not comments, not -DOCSTART-, not what is blank to the eye."""

import pytest

from bertsmith.errors import UserError
from bertsmith.scoring.word_lines import read_words, refuse_numbers


def words(path, content: str | bytes) -> list[list[str]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [[word.columns[0] for word in sentence] for sentence in read_words(path)]


@pytest.mark.parametrize(
    "content",
    [
        "# id 3f\tdomain=de\nEva _ _ B-PER\nrief _ _ O\n\n# id 40\tdomain=de\nnein _ _ O\n",
        "#\thttp://example.org/a [2010-01-02]\nEva\tO\nrief\tO\n\n#\thttp://example.org/b\nnein\tO\n",
        "# sent_id = 1\n# text = Eva rief\nEva NOUN\nrief VERB\n\n# text = nein\n# newdoc id = 7\nnein INTJ\n",
        "# text = O\nEva x y B-PER\nrief x y O\n\n# text = nein\nnein x y O\n",  # four columns, the last one a tag
        "#begin document (x); part 000\nEva - O\nrief - O\n\nnein - O\n\n#end document\n",
        "# columns = FORM TAG\n\nEva NOUN\nrief VERB\n\n\nnein INTJ\n",
        "-DOCSTART- -X- O\n\nEva -X- _ B-PER\nrief -X- _ O\n\n-DOCSTART-\nnein -X- _ O\n",
        "-DOCSTART-\t-X-\t-X-\t-X-\tO\nEva O\nrief O\n-DOCSTART- (2 x)\n# next\nnein O\n",
        "Eva O\r\nrief O\r\n\r\nnein O",
        "Eva O\rrief O\r\rnein O\r",
        "Eva O\nrief O\n\u00a0\nnein O\n",
        "Eva\tO\nrief\tO\n \u3000\u2002\t\nnein\tO\n\u00a0",
        "Eva O\nrief O\n-X- - - O\nnein O\n",
    ],
)
def test_comments_document_lines_and_lines_of_spaces_are_no_words(tmp_path, content):
    assert words(tmp_path / "a.conll", content) == [["Eva", "rief"], ["nein"]]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("# NN\n5 CD\n\nthe DT\n# NN\n", [["#", "5"], ["the", "#"]]),
        ("#spring O\nin B-LOC\n\n#Rome B-PER\nx O\n", [["#spring", "in"], ["#Rome", "x"]]),  # B-PER only here
        ("a NN\n# SYM\n", [["a", "#"]]),  # behind a word nothing is a comment
        ("#a O\n#b O\n\n#c O\n", [["#a", "#b"], ["#c"]]),
        ("#a\nb\n", [["#a", "b"]]),  # a word alone
        ("x\u00a0y O\n\u3000 O\n", [["x\u00a0y", "\u3000"]]),
    ],
)
def test_a_word_that_begins_with_the_sign_of_comments_stays(tmp_path, content, found):
    assert words(tmp_path / "a.conll", content) == found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("#sent 1\nit PRON\nwas VERB\n", r"line 1: begins with '#sent' and ends with '1', a tag that no other line"),
        ("it PRON\n\n# sound\nwas VERB\n", r"line 3: begins with '#' and ends with 'sound'"),
        ("it PRON\n# of the text\nwas VERB\n", r"line 2: 4 columns where other lines have 2"),
        ("-DOCSTART- O\n", r"a.conll: no words in this file"),
    ],
)
def test_what_may_be_either_is_refused(tmp_path, content, message):
    path = tmp_path / "a.conll"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_words(path)


@pytest.mark.parametrize(
    "content",
    [
        "# text = Va al mar\n1\tVa\tVERB\n2-3\tal\t_\n2\ta\tADP\n3\tel\tDET\n4\tmar\tNOUN\n4.1\tx\tX\n\n1\tSi\tX\n",
        "1 Eva B-PER O\n2 rief O O\n",
    ],
)
def test_numbers_in_the_place_of_words_are_refused(tmp_path, content):
    path = tmp_path / "a.conllu.txt"
    path.write_text(content)
    with pytest.raises(UserError, match=r"the first column numbers the words, as in CoNLL-U; .* cut -f 2,4"):
        refuse_numbers(path, read_words(path))


def test_zero_bytes_are_no_part_of_a_word(tmp_path):
    for content in ("a O\nb\0 B-X\n", "a O\n\nb O\n\0\0\0\0", "a O\nb O\n".encode("utf-16-le").decode()):
        (tmp_path / "a.txt").write_text(content)
        with pytest.raises(UserError, match=r"a.txt, line [124]: zero bytes, as UTF-16 has them"):
            read_words(tmp_path / "a.txt")


@pytest.mark.parametrize("content", ["1 CD\n\n1 CD\n", "1 CD\n3 CD\n", "1\n2\n", "1 CD\n2 CD\n\nof IN\n"])
def test_words_that_are_numbers_stay(tmp_path, content):
    path = tmp_path / "a.txt"
    path.write_text(content)
    refuse_numbers(path, read_words(path))
