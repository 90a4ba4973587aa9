"""What comes from a run stays text, in HTML and in JSON inside a script."""

import json

import pytest

from bertsmith.reports.markup import embedded_json, escape, table


def test_text_reads_as_itself_and_holds_no_markup():
    assert escape("<b> & \"quotes\" 'too'") == "&lt;b&gt; &amp; &quot;quotes&quot; &#x27;too&#x27;"


def test_json_cannot_end_its_script_element_nor_open_a_comment():
    hostile = {"</script>": ["<!--", "<script", "\u2028"]}
    embedded = embedded_json(hostile)
    assert "<" not in embedded
    assert json.loads(embedded) == hostile


def test_json_has_no_word_for_nan():
    with pytest.raises(ValueError):
        embedded_json(float("nan"))


def test_a_table_heads_its_rows_and_marks_those_with_a_class():
    html = table(("", "a"), [("first", "1"), ("second", "2")], ("", "own"))
    assert '<thead><tr><th scope="col"></th><th scope="col">a</th></tr></thead>' in html
    assert '<tr class="own"><th scope="row">second</th><td>2</td></tr>' in html
    assert "<thead>" not in table((), [("first", "1")])
