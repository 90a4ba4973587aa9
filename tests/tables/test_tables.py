"""Each layout gives the same table; each fault is named with its file and line."""

import contextlib
import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bertsmith.errors import UserError
from bertsmith.tables.cells import class_id_of, given_text, label_set, number, tags, text, whole_number, words
from bertsmith.tables.files import column_names, read_table
from bertsmith.tables.labels import class_names, label_of

ROWS = [("a plain text", 1), ('some "quotes" and , commas', 0), ("other\u2028separators\x85of lines", 1)]


def write(folder, layout):
    path = folder / f"data.{layout}"
    if layout == "tsv":
        path.write_text(
            "id\ttext\tlabel\n" + "".join(f"7\t{text}\t{label}\n" for text, label in ROWS), encoding="utf-8"
        )
    elif layout == "csv":
        quoted = [text.replace('"', '""') for text, _ in ROWS]
        lines = [f'7,"{text}",{label}\r\n' for text, (_, label) in zip(quoted, ROWS, strict=True)]
        path.write_bytes(("\ufeffid,text,label\r\n" + "".join(lines)).encode())
    elif layout == "jsonl":
        objects = [{"label": label, "id": 7, "text": text} for text, label in ROWS]
        path.write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in objects), encoding="utf-8")
    else:
        columns = {"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS], "id": [7] * 3}
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


LAYOUTS = ["tsv", "csv", "jsonl", "parquet"]


def raw(value):
    return value


def column(path, cell=raw, name="label", **options):
    return read_table(path, {name: cell}, **options).columns[name]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_agree(tmp_path, layout):
    path = write(tmp_path, layout)
    table = read_table(path, {"text": text, "label": class_id_of(("1", "0"))})
    assert table.columns == {"text": [text for text, _ in ROWS], "label": [0, 1, 0]}
    assert column(path, number) == [1, 0, 1]
    with pytest.raises(UserError, match=r"no column 'answer'|no 'answer'"):
        read_table(path, {"text": text, "answer": text})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_ending_in_capitals_is_the_same(tmp_path, layout):
    path = write(tmp_path, layout)
    shouted = path.rename(path.with_suffix(f".{layout.upper()}"))
    assert column(shouted, text, "text") == [text for text, _ in ROWS]
    assert sorted(column_names(shouted)) == ["id", "label", "text"]


def test_a_quoted_line_break(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text('text,label\n"two\nlines",1\none,x\n')
    assert column(path, text, "text") == ["two\nlines", "one"]
    with pytest.raises(UserError, match=r"data.csv, line 4: label is 'x'"):
        column(path, number)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", "{end}", "{end}{end}{end}", "{end}  {end}"])
@pytest.mark.parametrize("between", ["", "{end}"])
def test_line_ends_and_blank_lines_do_not_matter(tmp_path, end, last, between):
    last, between = last.format(end=end), between.format(end=end)
    for layout, lines in (
        ("tsv", ["text\tlabel", "one\t1", f"{between}two\t2"]),
        ("csv", ["text,label", "one,1", f'{between}"two",2']),
        ("jsonl", ['{"text": "one", "label": 1}', f'{between}{{"text": "two", "label": 2}}']),
    ):
        (tmp_path / f"a.{layout}").write_bytes(("\ufeff" + end.join(lines) + last).encode())
        table = read_table(tmp_path / f"a.{layout}", {"text": text, "label": whole_number})
        assert table.columns == {"text": ["one", "two"], "label": [1, 2]}, layout


def test_mixed_line_ends_and_those_in_quotes(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'text,label\r\n"a\r\nb",1\rc,2\n"d\re\nf",3')
    assert column(tmp_path / "a.csv", text, "text") == ["a\r\nb", "c", "d\re\nf"]
    (tmp_path / "a.tsv").write_bytes(b"text\tlabel\ra\t1\nb\t2\r\nc\t3\r")
    assert column(tmp_path / "a.tsv", whole_number) == [1, 2, 3]


def test_an_empty_line_of_one_column_is_a_row_of_a_tsv(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"text\na\n\nb\n\n")
    assert column(tmp_path / "a.tsv", text, "text") == ["a", "", "b"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", b"text\tlabel\ngood\t1\nbad\n", r"a.tsv, line 3: 1 columns where there should be 2"),
        ("a.tsv", b"text\tlabel\ngood\t1\t1\n", r"a.tsv, line 2: 3 columns"),
        ("a.tsv", b"text\tlabel\ngood\t1\n\xff\t1\n", r"a.tsv, line 3: not UTF-8"),
        ("a.tsv", b"text\tlabel\n", r"a.tsv: no examples"),
        ("a.tsv", b"", r"a.tsv: no examples in this file"),
        ("a.tsv", b"text\tlabel\tlabel\ngood\t1\t0\n", r"a.tsv, line 1: 2 columns are named 'label'"),
        ("a.csv", b'text,label\n"open,1\n', r"a.csv, line 2: not CSV"),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"text": \n', r"a.jsonl, line 2: not a JSON object"),
        ("a.jsonl", b"[1]\n", r"a.jsonl, line 1: not a JSON object"),
        ("a.parquet", b"PAR1 or not", r"a.parquet: damaged or not Parquet"),
    ],
)
def test_faults(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_table(tmp_path / name, {"text": raw, "label": raw})


def test_a_column_that_is_there_twice_and_not_wanted_is_nobodys_concern(tmp_path):
    (tmp_path / "a.tsv").write_text("id\tid\ttext\tlabel\n1\t2\tgood\t1\n")
    assert column(tmp_path / "a.tsv", text, "text") == ["good"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_columns_have_their_names_in_every_layout(tmp_path, layout):
    assert sorted(column_names(write(tmp_path, layout))) == ["id", "label", "text"]


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
def test_an_empty_file_has_no_columns(tmp_path, name):
    (tmp_path / name).write_text("")
    assert column_names(tmp_path / name) == []


def test_a_folder_in_the_place_of_a_file_is_said(tmp_path):
    (tmp_path / "a.tsv").mkdir()
    for reader in (column_names, lambda path: column(path, text, "text")):
        with pytest.raises(UserError, match=r"a.tsv: a folder"):
            reader(tmp_path / "a.tsv")
        with pytest.raises(UserError, match=r"b.tsv: no such file"):
            reader(tmp_path / "b.tsv")


def test_malformed_lines_can_be_left_out(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"text\tlabel\ngood\t1\nbad\nfine\t0\n\xff\t1\nnone\t\n\t1\n")
    wanted = {"text": given_text, "label": label_of}
    table = read_table(path, wanted, skip_malformed=True)
    assert table.lines == [2, 4, 7] and table.columns["text"] == ["good", "fine", ""]
    first = "line 3: 1 columns where there should be 2"
    assert table.notes == (f"{path}: 3 malformed lines left out; the first is {first}",)
    for end in (b"\0" * 9, b"5\0"):
        (tmp_path / "b.csv").write_bytes(b"text,label\na,1\nb,1" + end)
        with pytest.raises(UserError, match=r"b.csv, line 3: zero bytes"):
            column(tmp_path / "b.csv", number)
    for line, fault in ((5, "not UTF-8"), (6, "label is ''; each example needs one label")):
        lines = path.read_bytes().split(b"\n")
        (tmp_path / "b.tsv").write_bytes(b"\n".join([lines[0], lines[line - 1]]))
        with pytest.raises(UserError, match=rf"b.tsv, line 2: {fault}.*; fix the line, or set skip_malformed=true"):
            read_table(tmp_path / "b.tsv", wanted)


def test_values_of_a_wrong_kind(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": null, "label": true}\n')
    with pytest.raises(UserError, match=r"line 1: text is None; it must be text"):
        column(path, given_text, "text")
    with pytest.raises(UserError, match=r"line 1: label is True; the task's labels are 0, 1"):
        column(path, class_id_of(("0", "1")))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(content=st.binary(max_size=80), name=st.sampled_from(["a.tsv", "a.csv", "a.jsonl", "a.parquet"]))
def test_any_bytes_are_read_or_refused(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(b"text\tlabel\n" + content if name == "a.tsv" else content)
    try:
        table = read_table(path, {"text": raw, "label": raw})
        assert len(table.columns["text"]) == len(table.lines) > 0
    except UserError as error:
        assert str(path) in str(error)


def test_numbers_keep_their_precision_and_are_no_greater_than_training_can_hold(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\nx\t2.500000001\ny\t3.4e38\n")
    assert column(path, number) == [2.500000001, 3.4e38]
    path = tmp_path / "a.jsonl"
    for written in (
        "3.5e38",
        "1" + "0" * 400,
        "NaN",
        "Infinity",
        "true",
        '"1_000"',
        '"٣"',
        '"3,5"',
        '"nan"',
        '""',
        '"1\\u200b0"',
    ):
        path.write_text(f'{{"label": {written}}}\n', encoding="utf-8")
        with pytest.raises(UserError, match=r"a.jsonl, line 1: label is .*; it must be a number") as refused:
            column(path, number)
        assert len(str(refused.value)) < 400
    path.write_text('{"label": ' + "9" * 5000 + "}\n")
    with pytest.raises(UserError, match=r"a.jsonl, line 1: not a JSON object: .*digits"):
        column(path, number)
    (tmp_path / "b.csv").write_text("label,text\n" + "9" * 5000 + ",a\n")
    with pytest.raises(UserError, match=r"b.csv, line 2: label is '9+…?'?…?; it must be a number of at most 3.4e\+38"):
        column(tmp_path / "b.csv", number)


@pytest.mark.parametrize("layout", ["tsv", "csv"])
def test_a_header_that_comes_again_is_no_row(tmp_path, layout):
    """As where several files were put together; in a column alone its name is a text like any other."""
    between = "\t" if layout == "tsv" else ","
    path, rows = tmp_path / f"a.{layout}", [("text", "label"), ("a", "1"), ("text", "label"), ("text", "0")]
    path.write_text("".join(f"{one}{between}{other}\n" for one, other in rows))
    with pytest.raises(UserError, match=r", line 3: the header once more"):
        column(path, label_of)
    table = read_table(path, {"text": text, "label": raw}, skip_malformed=True)
    assert table.columns == {"text": ["a", "text"], "label": ["1", "0"]}
    path.write_text("text\na\ntext\n")
    assert column(path, text, "text") == ["a", "text"]


def test_half_a_character_is_malformed(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "whole \\ud83d\\ude00"}\n{"text": "half \\ud83d"}\n' + "[" * 10_000 + "\n")
    with pytest.raises(UserError, match=r"a.jsonl, line 2: half a character \('\\ud83d'\), as where an emoji was cut"):
        column(path, text, "text")
    table = read_table(path, {"text": text}, skip_malformed=True)
    assert table.columns["text"] == ["whole \U0001f600"] and "2 malformed lines left out" in table.notes[0]


@pytest.mark.parametrize(
    "cell",
    ["9" * 300_000 + "x", "[" + "9" * 300_000, "['a' " * 50_000, '"' * 300_001, "b'" * 99_999],
    ids=list("abcde"),
)
def test_long_cells_take_no_long_time(cell):
    for kind in (number, text, words, label_of, label_set(",", in_cells=True)):
        with contextlib.suppress(ValueError):
            kind(cell)


def test_a_cell_may_be_as_long_as_a_document(tmp_path):
    long = "word " * 100_000
    (tmp_path / "a.csv").write_text(f'text,label\n"{long}",1\n')
    assert column(tmp_path / "a.csv", text, "text") == [long]


@pytest.mark.parametrize(
    "cell",
    [
        "Ann Lee wrote", "['Ann', 'Lee', 'wrote']", "['Ann' 'Lee' 'wrote']", '["Ann", "Lee", "wrote"]',
        "('Ann', 'Lee', 'wrote')", "['Ann'\n 'Lee' 'wrote']", "array(['Ann', 'Lee', 'wrote'], dtype=object)",
        "[np.str_('Ann'), np.str_('Lee'), np.str_('wrote')]", ["Ann", "Lee", "wrote"], [b"Ann", b"Lee", b"wrote"],
    ],
)  # fmt: skip
def test_words_are_read_however_a_list_is_written(cell):
    assert words(cell) == ["Ann", "Lee", "wrote"]


def test_words_that_look_like_lists_and_those_with_quotes():
    assert words("[ 1 ] ( a , b )") == ["[", "1", "]", "(", "a", ",", "b", ")"]
    assert words("[1]") == ["[1]"] and words("[UNK] [MASK]") == ["[UNK]", "[MASK]"]
    assert words("""["it's", 'a "b"', 'c\\'d']""".replace(' "b"', '"b"')) == ["it's", 'a"b"', "c'd"]
    assert words(["1\u00a0000", "nan", "None"]) == ["1\u00a0000", "nan", "None"]
    assert words("10\u00a0000 Euro") == ["10\u00a0000", "Euro"]


@pytest.mark.parametrize(
    "cell",
    ["['a' 'b' ... 'y' 'z']", "[1, 2, 3]", "[['a'], ['b']]", "[array(['a'], dtype=object)]", "{'a', 'b'}", [1, 2],
     "{'a': 1, 'b': 2}", "Index(['a', 'b'], dtype='object')", "dict_keys(['a', 'b'])", "tensor([1, 2])",
     ["a b"], [""], [None], "['a', None]", None, float("nan"), 5, {"a": 1}, ["b'a'"], "[b'a' 5]"],
)  # fmt: skip
def test_what_is_no_list_of_words_is_refused(cell):
    with pytest.raises(ValueError, match=r"^(is|has) "):
        words(cell)


def test_tags_have_the_names_that_they_show():
    assert tags("['B-PER' 'O\u200b']") == ["B-PER", "O"]
    assert tags("NN , . `` '' -LRB- a|b") == ["NN", ",", ".", "``", "''", "-LRB-", "a|b"]
    for cell in ("[DT, NN]", "DT,NN", "O,B-PER O"):
        with pytest.raises(ValueError, match="with a comma in it; separate tags by spaces"):
            tags(cell)
    for missing in ("O nan", ["O", "None"]):
        with pytest.raises(ValueError, match="missing"):
            tags(missing)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("a,b", ["a", "b"]), ("['a', 'b']", ["a", "b"]), ('["b"]', ["b"]), ("[]", []), ("", []), (["a", b"b"], ["a", "b"]),
     ("1.0,b", ["1", "b"]), ([1.0, 2], ["1", "2"]), ("['a b' 'c']", ["a b", "c"])],
)  # fmt: skip
def test_label_sets(cell, expected):
    assert [label.key for label in label_set(",", in_cells=True)(cell)] == expected


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ([0, 1, 0], "vector of zeros and ones"), ("[0, 1, 0]", "vector of zeros"), ("[0. 1. 0.]", "vector of zeros"),
        ("0,1,1", "vector of zeros"), ([1.0, 0.0, 0.0], "vector"), ("[False  True  True]", "vector"),
        (["a", "a"], "label twice$"), ("a,,b", "empty label"), ([None], "must be a list"), (None, "must be a list"),
        (float("nan"), "must be a list"), ("nan", "missing"), ({"a": 1}, "must be a list"), ([["a"]], "must be a list"),
        ("[a, b]", "no list"), ("{a,b}", "no list"), ("[a]", "no list"), ("deque(['a'])", "no list"),
        ("{'a', 'b'}", "no list"), ("{'a': 1, 'b': 0}", "no list"), ("{0: 1}", "no list"), ("{}", "no list"),
        ("frozenset({'a', 'b'})", "no list"), ("dict_keys(['a', 'b'])", "no list"), ("set()", "no list"),
        ("Index(['a', 'b'], dtype='object')", "no list"), ("tensor([0, 1])", "no list"),
    ],
)  # fmt: skip
def test_what_is_no_label_set_is_refused(cell, message):
    with pytest.raises(ValueError, match=message):
        label_set(",", in_cells=True)(cell)


@pytest.mark.parametrize(
    "written",
    [
        [1, 1.0, "1", "1.0", " 1 ", "1.", "1\u00a0", "\ufeff1", b"1"], [0, -0.0, "0.00", "-0"], ["0.5", 0.5, "0.50"],
        [True, "true", "True", "TRUE"], ["caf\u00e9", "cafe\u0301", " caf\u00e9\u200b", "caf\u00e9\u00ad"],
        ["not spam", "not  spam", "not\u00a0spam", "not\tspam"], [10**20, 1e20],
    ],
)  # fmt: skip
def test_labels_that_are_one(written):
    assert len({label_of(value).key for value in written}) == 1


@pytest.mark.parametrize(
    "value",
    [None, "", " ", "\u200b", float("nan"), float("inf"), "nan", "NaN", "None", "null", "<NA>", "b'pos'", "['pos']",
     "{'pos'}", "{'pos': 1}", '{"label": "pos"}', "{1, 2}", "frozenset({'pos'})", "tensor(1)", "np.int64(1)", "[a, b]",
     "{a,b}", "np.str_('pos')", "<Label object at 0x7f01>", "Timestamp('2020-01-01')", "Index(['pos'])",
     "9" * 5000, b"\xff", ["pos"], {"a": 1}, ("pos",)],
)  # fmt: skip
def test_what_is_no_label(value):
    with pytest.raises(ValueError, match=r"^is "):
        label_of(value)


@pytest.mark.parametrize("name", ["[UNK]", "f(x)", "(a, b)", "(or so)", "{x}", "set(a)", "<none>", "a, b", "tensor"])
def test_labels_with_brackets(name):
    assert label_of(name).name == name


def named(*values, path="train.csv"):
    return list(class_names([(label_of(value), line) for line, value in enumerate(values, 2)], path, "label").values())


def test_classes_are_called_as_they_are_written():
    assert named("2.0", "10.0", "1.0") == ["1.0", "2.0", "10.0"]
    assert named(1, 0.0, 1.0) == ["0", "1"]
    assert named("1.50", "1.5", "x") == ["1.5", "x"]
    assert named("True", "False") == ["False", "True"] and named(True, "True", False) == ["false", "true"]
    assert named("none", "NA", "N/A") == ["N/A", "NA", "none"]
    assert named("A", "a", "\U0001f469\u200d\U0001f680") == ["A", "a", "\U0001f469\u200d\U0001f680"]
    assert named(0.1, 1e-7) == ["0.0000001", "0.1"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("01", "1"), ("\uff11", "1"), ("+1", 1), (True, 1), ("1e2", 100), ("a\u200db", "ab"), (".5", 0.5)],
)
def test_labels_that_can_hardly_be_two_are_refused(one, other):
    with pytest.raises(UserError, match=r"train.csv, line 4: label has .* in line 2; if they are one label"):
        named(one, "x", other)


def test_digits_of_float32_and_bytes_of_parquet(tmp_path):
    path = tmp_path / "a.parquet"
    narrow = pyarrow.array([0.1, 1.0, 16777216.0], pyarrow.float32())
    table = pyarrow.table({"label": narrow, "text": pyarrow.array([b"caf\xc3\xa9", b"b", b"c"])})
    pyarrow.parquet.write_table(table, path)
    assert [label_of(value).name for value in column(path)] == ["0.1", "1.0", "16777216.0"]
    assert column(path, text, "text") == ["caf\u00e9", "b", "c"]
    damaged = pyarrow.array([b"\xff", b"b", b"c"]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": damaged}), path)
    with pytest.raises(UserError, match=r"a.parquet.*(UTF-?8)"):
        column(path, text, "text")


def test_a_changed_page_of_parquet_is_found_by_its_checksum(tmp_path):
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": [f"number {row}" for row in range(50)]})
    pyarrow.parquet.write_table(table, path, write_page_checksum=True, compression="none", use_dictionary=False)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"number 20", b"number 70"))
    with pytest.raises(UserError, match=r"a.parquet: damaged or not Parquet"):
        column(path, text, "text")
