"""The card is what the hub and a Markdown reader take it for, whatever stands in a recipe."""

import tomllib

import pytest
import yaml
from markdown_it import MarkdownIt

from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.heads import HeadName
from bertsmith.hub.card import model_card
from bertsmith.hub.network import Network

RECIPE = """seed = 1
corpus = "data/`odd`_*.txt"
note = '''
```
a fence
'''
"""


def card(head: HeadName = "masked_tokens", trained_length: int | None = None, **changes) -> str:
    network = Network(family="bert", settings=BertConfig(), vocab_size=10, head=head, trained_length=trained_length)
    arguments = {
        "recipe": RECIPE,
        "data": {"tokens": 15353131},
        "results": {"loss": 2.3456789},
    }
    return model_card("bert-tiny", network, **(arguments | changes))


def read(text: str) -> tuple[dict, list]:
    """Front matter, and the Markdown after it as tokens."""
    empty, front, body = text.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(front), MarkdownIt("commonmark").enable("table").parse(body)


def cells(tokens: list) -> list[str]:
    """The plain text of every table cell."""
    inside = [tokens[i + 1] for i, token in enumerate(tokens) if token.type in ("th_open", "td_open")]
    assert all(child.type in ("text", "text_special") for cell in inside for child in cell.children or [])
    return ["".join(child.content for child in cell.children or []) for cell in inside]


@pytest.mark.parametrize(
    ("head", "pipeline"), [("masked_tokens", "fill-mask"), ("classification", "text-classification")]
)
def test_the_hub_learns_library_and_task(head, pipeline):
    front, tokens = read(card(head=head))
    assert front == {"library_name": "transformers", "pipeline_tag": pipeline, "tags": ["bertsmith"]}
    example = next(token for token in tokens if token.info == "python").content
    compile(example, "example", "exec")
    assert pipeline in example


def test_the_recipe_is_there_to_the_letter():
    _, tokens = read(card())
    (recipe,) = (token.content for token in tokens if token.info == "toml")
    assert tomllib.loads(recipe) == tomllib.loads(RECIPE)


def test_data_and_results_read_as_written():
    data = {"corpus": "a|b <script> *x* _y_ [z](u) `c` \\ & # ~", "documents": 28831, "lowercase": True}
    _, tokens = read(card(data=data, results={"mcc, median of 5 seeds": 0.5678901, "loss": 1e-7}))
    text = cells(tokens)
    assert [pair for pair in zip(text[::2], text[1::2], strict=True) if any(pair)] == [
        ("corpus", data["corpus"]),
        ("documents", "28,831"),
        ("lowercase", "True"),
        ("metric", ""),
        ("mcc, median of 5 seeds", "0.5679"),
        ("loss", "1e-07"),
    ]


def test_what_is_not_known_is_left_out():
    text = card(data={}, results={})
    assert "## Data" not in text
    assert "## Results" not in text
    assert "rows of up to" not in text
    assert "rows of up to 128 tokens" in card(trained_length=128)
