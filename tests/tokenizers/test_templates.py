"""What stands around texts: as rows have it here, also for those who open what is saved with transformers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bertsmith.encoders.bert import BertConfig
from bertsmith.encoders.encoder import Encoder
from bertsmith.hub.huggingface import write_folder
from bertsmith.hub.network import Network
from bertsmith.tasks.texts.examples import Examples, encode
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.training.models import open_model
from tests.tokenizers import formats
from tests.tokenizers.formats import FORMATS
from tests.tokenizers.test_tokenizer_folder import write_folder as write_files

OTHERWISE = {"byte_fallback": "$A </s> $B </s>", "no_dummy_prefix": "$A $B", "ended_words": "$A $B"}
"""Format → what its file makes of two texts, which rows do not."""
FIRST, SECOND = ["the cats", "word"], ["sat on the mats", "a"]


def rows_here(ours: Tokenizer, *texts: list[str]) -> tuple[list[list[int]], list[list[int]]]:
    """Ids and segments of each row."""
    rows = encode(Examples(texts[0], texts[1] if len(texts) > 1 else None, None), ours, 64)
    spans = [slice(start, start + length) for start, length in zip(rows.starts, rows.lengths, strict=True)]
    return [rows.ids[span].tolist() for span in spans], [rows.segment_ids[span].tolist() for span in spans]


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_saved_gives_the_rows_that_are_trained_on(name: str, tmp_path: Path):
    ours = Tokenizer.load(FORMATS[name](tmp_path / "of"))
    for has_segments in (False, True):
        out = tmp_path / f"{has_segments}"
        out.mkdir()
        ours.save(out, has_segments=has_segments)
        theirs = AutoTokenizer.from_pretrained(out)
        for texts in ([FIRST], [FIRST, SECOND]):
            found = theirs(*texts, return_token_type_ids=True)
            ids, segments = rows_here(ours, *texts)
            assert found["input_ids"] == ids
            assert not has_segments or found["token_type_ids"] == segments
        assert Tokenizer.load(out).fingerprint == ours.fingerprint and not Tokenizer.load(out).template_note


@pytest.mark.parametrize("name", FORMATS)
def test_another_template_is_said(name: str, tmp_path: Path):
    ours = Tokenizer.load(FORMATS[name](tmp_path))
    said = [line for line in ours.notes() if "of two texts" in line]
    if name not in OTHERWISE:
        assert said == [] and ours.template_note == ""
        return
    first, last = ours.special_tokens["cls_token"], ours.special_tokens["sep_token"]
    rows = f"{first} $A {last} $B {last}"
    assert said == [
        f"warning: {tmp_path / 'tokenizer.json'}: of two texts it makes {OTHERWISE[name]!r}; rows here, and what is "
        f"saved, have {rows!r}"
    ]


def test_special_tokens_of_other_names_are_around_texts(tmp_path: Path):
    folder = write_files(
        tmp_path / "f", vocab=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat"],
        tokenizer_config={"do_lower_case": True, "cls_token": "<s>"}, config={"model_type": "bert"},
    )  # fmt: skip
    ours, theirs = Tokenizer.load(folder), AutoTokenizer.from_pretrained(folder)
    assert theirs("the", "cat")["input_ids"] == rows_here(ours, ["the"], ["cat"])[0][0]
    assert ours.token(rows_here(ours, ["the"])[0][0][0]) == "<s>" and not ours.template_note


def test_offsets_of_a_robertas_file_leave_spaces_out_as_in_transformers(tmp_path: Path):
    folder = formats.roberta(tmp_path / "of")
    (tmp_path / "out").mkdir()
    Tokenizer.load(folder).save(tmp_path / "out")
    before, after = (AutoTokenizer.from_pretrained(path) for path in (folder, tmp_path / "out"))
    one, other = (theirs(FIRST, SECOND, return_offsets_mapping=True)["offset_mapping"] for theirs in (before, after))
    assert one == other and one[0][2][0] == len("the ")


MAKES: dict[str, Callable[[Path], Path]] = {"roberta": formats.roberta, "byte_fallback": formats.byte_fallback}


@pytest.mark.parametrize("name", MAKES)
def test_an_exported_classifier_of_pairs_answers_as_here(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A BERT, which has segments, over vocabularies whose files know none."""
    ours = Tokenizer.load(MAKES[name](tmp_path / "of"))
    torch.manual_seed(0)
    settings = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=64, initializer_range=0.5,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    parts = nn.ModuleDict({
        "encoder": Encoder(settings, ours.vocab_size), "head": settings.classification_head(3, "bert")
    })  # fmt: skip
    network = Network(
        family="bert", settings=settings, vocab_size=ours.vocab_size, head="classification", labels=("a", "b", "c"),
        weights=parts.state_dict(),
    )  # fmt: skip
    write_folder(tmp_path / "out", network, ours, card="")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    inputs = AutoTokenizer.from_pretrained(tmp_path / "out")(FIRST, SECOND, return_tensors="pt", padding=True)
    with torch.no_grad():
        theirs = model(**inputs).logits
        rows = encode(Examples(FIRST, SECOND, None), ours, 64)
        built, tokens = network.build(), rows.take(np.arange(2))
        ours_said = built["head"](built["encoder"](tokens)[tokens.row_starts])
    assert torch.allclose(ours_said, theirs, atol=1e-5)
    capsys.readouterr()
    open_model(tmp_path / "out")
    assert "of two texts" not in capsys.readouterr().err
