"""BPE and Unigram vocabularies that are trained here: the same each time, read by transformers, extended by words."""

import argparse
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from bertsmith.config.loading import load
from bertsmith.errors import UserError
from bertsmith.text.learning import TokenizerRecipe, train_tokenizer
from bertsmith.tokenizers.bpe import train_bpe
from bertsmith.tokenizers.extension import extend, extends, notes_on_extending, pieces_of
from bertsmith.tokenizers.families import SPECIAL_FAMILIES, UnicodeForm
from bertsmith.tokenizers.pieces import cut_words
from bertsmith.tokenizers.tokenizer import Tokenizer
from bertsmith.tokenizers.unigram import train_unigram
from tests.tokenizers import formats
from tests.tokenizers.test_tokenizer import ODD_TEXTS

TEXTS = inspect.getsource(argparse).split("\n\n")
TRAIN = {"bpe": train_bpe, "unigram": train_unigram}
PLAIN = {"bpe": UnicodeForm("none", False, False), "unigram": UnicodeForm("nfkc", False, False)}
KINDS = pytest.mark.parametrize("kind", TRAIN)


def train(
    kind: str, texts=TEXTS, size: int = 500, family: str = "roberta", form: UnicodeForm | None = None
) -> Tokenizer:
    return TRAIN[kind](texts, size, SPECIAL_FAMILIES[family], form or PLAIN[kind])


@KINDS
def test_the_same_text_gives_the_same_vocabulary_in_any_order_and_process(kind: str):
    first, *others = [train(kind, texts).fingerprint for texts in (TEXTS, iter(TEXTS[::-1]))]
    assert others == [first]
    code = (
        "import argparse, inspect, sys; from bertsmith.tokenizers import bpe, unigram, families as f;"
        "texts = inspect.getsource(argparse).split('\\n\\n'); known = f.SPECIAL_FAMILIES['roberta'];"
        "make = {'bpe': bpe.train_bpe, 'unigram': unigram.train_unigram}[sys.argv[1]];"
        "print(make(texts, 500, known, f.UnicodeForm(sys.argv[2], False, False)).fingerprint)"
    )
    command = [sys.executable, "-c", code, kind, PLAIN[kind].form]
    again = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert again.stdout.split()[-1] == first


@KINDS
@pytest.mark.parametrize("family", SPECIAL_FAMILIES)
def test_special_tokens_are_the_familys_and_transformers_opens_it(kind: str, family: str, tmp_path: Path):
    ours = train(kind, family=family)
    expected = SPECIAL_FAMILIES[family]
    assert tuple(ours.token(id) for id in range(5)) == expected.tokens and ours.special_tokens == expected.by_key
    assert ours.vocab_size == 500 and ours.num_separators == expected.num_separators
    unknown = (ours.encode_batch(TEXTS)[0] == ours.unk_id).mean()
    assert unknown == 0 if kind == "bpe" else unknown < 0.004, "Unigram leaves the rarest characters out"
    ours.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for texts in (TEXTS, ODD_TEXTS):
        assert theirs(texts, add_special_tokens=False)["input_ids"] == ours.encode_each(texts)
    inner = ours.encode_each(["a b"])[0]
    both = [ours.cls_id, *inner, *[ours.sep_id] * ours.num_separators, *inner, ours.sep_id]
    assert theirs("a b", "a b")["input_ids"] == both
    assert theirs(f"a {theirs.mask_token} b")["input_ids"].count(ours.mask_id) == 1
    assert Tokenizer.load(tmp_path).fingerprint == ours.fingerprint


def test_a_byte_level_vocabulary_knows_every_text():
    ours = train("bpe", ["the cat sat on the mat the cat"] * 2, 300)
    assert ours.vocab_size < 300, "the text has no more pieces that come twice"
    for text in ODD_TEXTS:
        ids = ours.encode_each([text])[0]
        assert ours.unk_id not in ids
        if not any(token in text for token in ours.special_tokens.values()):
            assert ours.decode(ids) == text


@KINDS
def test_normalization_is_as_asked_and_kept(kind: str, tmp_path: Path):
    texts = ["Élan VITAL ﬁne élan e\u0301tude café"] * 20
    asked = {
        "cased": (UnicodeForm("nfc", False, False), "Élan étude"),
        "lower": (UnicodeForm("nfc", True, False), "élan étude"),
        "bare": (UnicodeForm("nfkc", True, True), "elan fine"),
    }  # fmt: skip
    for name, (form, known) in asked.items():
        ours = train(kind, texts, 310, form=form)
        text = known.split()[1].replace("é", "e\u0301") if name != "bare" else "ÉTUDE"
        normalized = ours.fast.normalizer.normalize_str(text)
        assert normalized == {"cased": "étude", "lower": "étude", "bare": "etude"}[name]
        (tmp_path / name).mkdir()
        ours.save(tmp_path / name)
        assert Tokenizer.load(tmp_path / name).encode_each([known]) == ours.encode_each([known])
        assert ours.notes() == []


@KINDS
def test_words_come_in_whole_and_nothing_moves(kind: str):
    base = train(kind)
    extended = extend(base, TEXTS, base.vocab_size + 20)
    assert extends(extended, base) and not extends(base, extended)
    assert [extended.token(id) for id in range(base.vocab_size)] == [base.token(id) for id in range(base.vocab_size)]
    new = range(base.vocab_size, extended.vocab_size)
    assert len(new) == 20
    for id in new:
        text = extended.text(id)
        assert text.startswith(" ") and extended.encode_each([f"a{text} b"])[0].count(id) == 1
        assert pieces_of(extended, id, base) == base.encode_each([text])[0] and len(pieces_of(extended, id, base)) > 1
    before, after = base.encode_each(TEXTS), extended.encode_each(TEXTS)
    assert sum(map(len, after)) < sum(map(len, before))
    for old, new_ids in zip(before, after, strict=True):
        assert base.unk_id in old or base.decode(old) == extended.decode(new_ids)


def with_unmade_tokens(folder: Path) -> Tokenizer:
    """A BPE with tokens that no merge makes: one of a whole word, one of two words, one that is found beforehand."""
    content = json.loads((formats.roberta(folder) / "tokenizer.json").read_text())
    known = content["model"]["vocab"]
    known |= {token: len(known) + n for n, token in enumerate(("Ġquokka", "quokkaĠx", "<e>"))}
    content["added_tokens"][-1]["id"] = len(known)  # <mask>, after the vocabulary
    content["added_tokens"].append(content["added_tokens"][0] | {"content": "<e>", "id": known["<e>"]})
    (folder / "tokenizer.json").write_text(json.dumps(content))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return Tokenizer.load(folder)


def test_an_extended_bpe_gives_other_words_the_ids_that_they_had(tmp_path: Path):
    """It takes a word whole that is a token: one that the merges do not make of it is said."""
    for base, num_unmade in ((train("bpe"), 0), (with_unmade_tokens(tmp_path), 1)):
        notes = notes_on_extending(base)
        assert len(notes) == num_unmade and all("1 tokens" in note and "'Ġquokka'" in note for note in notes)
        extended = extend(base, TEXTS, base.vocab_size + 20)
        new = {extended.token(id) for id in range(base.vocab_size, extended.vocab_size)}
        words = {word for text in [*TEXTS, *ODD_TEXTS, *formats.TEXTS] for word in cut_words(base.fast, text)} - new
        words |= {base.token(id) for id in range(base.vocab_size)} - {
            "Ġquokka",
            "quokkaĠx",
            *base.special_tokens.values(),
        }
        assert len(words) > 400
        for word in words - {"<e>"}:
            ids = [[token.id for token in each.fast.model.tokenize(word)] for each in (base, extended)]
            assert ids[0] == ids[1], word


def test_a_bpe_is_trained_beside_runs_that_are_no_words():
    texts = ["the cat sat on the mat, and the cats sat"] * 20
    expected = train("bpe", texts, 300).fingerprint
    long = ["ab" * 400_000, "the cat " + "x" * 500_000, "-" * 500_000, " " * 500_000]
    assert train("bpe", [*texts, long[0], *long[2:]], 300).fingerprint == expected
    once = train("bpe", [*texts, "the cat "], 300).fingerprint
    assert train("bpe", [*texts, long[1]], 300).fingerprint == once


@pytest.mark.parametrize("make", [formats.modernbert, formats.deberta_v3, formats.albert])
def test_words_come_after_tokens_that_were_added_behind_the_vocabulary(make, tmp_path: Path):
    base = Tokenizer.load(make(tmp_path))
    texts = ["zebra zebra quokka quokka quokka"]
    extended = extend(base, texts, base.vocab_size + 2)
    assert [extended.token(id) for id in range(base.vocab_size)] == [base.token(id) for id in range(base.vocab_size)]
    assert extended.mask_id == base.mask_id and extends(extended, base)
    assert extended.encode_each([" quokka zebra"])[0] == [base.vocab_size, base.vocab_size + 1]
    others = ["a <mask> b", f"the {base.mask_token} cat", "naïve  [unused0] 漢字"]
    assert extended.encode_each(others) == base.encode_each(others)
    (tmp_path / "out").mkdir()
    extended.save(tmp_path / "out")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs(others + texts, add_special_tokens=False)["input_ids"] == extended.encode_each(others + texts)


@pytest.mark.parametrize(
    ("make", "message"),
    [(formats.byte_fallback, "a BPE without a pre-tokenizer that cuts"), (formats.ended_words, "words end in '</w>'")],
)
def test_vocabularies_that_would_not_find_a_new_word_are_refused(make, message: str, tmp_path: Path):
    base = Tokenizer.load(make(tmp_path))
    with pytest.raises(UserError, match=message):
        extend(base, ["zebra zebra quokka quokka quokka"], base.vocab_size + 2)


def test_a_new_word_begins_as_the_mean_of_its_pieces_inside_of_a_text(tmp_path: Path):
    """Also where the normalizer puts "▁" before every text, and a space would be one too many."""
    folder = formats.byte_fallback(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    base = Tokenizer.load(folder)
    extended = extend(base, ["the worded worded cat"], base.vocab_size + 1)
    new = base.vocab_size
    assert extended.token(new) == "▁worded" and extended.encode_each(["a worded a"])[0].count(new) == 1
    assert pieces_of(extended, new, base) == base.encode_each(["worded"])[0]


# The command's settings


def recipe(corpus: Path, *more: str) -> TokenizerRecipe:
    return load(TokenizerRecipe, "prepare", "text", [f"corpus={corpus}", "size=400", *more]).settings


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "corpus").mkdir()
    for number, text in enumerate(TEXTS[:200]):
        (tmp_path / "corpus" / f"{number}.txt").write_text(text)
    return tmp_path / "corpus"


@pytest.mark.parametrize(
    ("more", "kind", "mask", "normalizer"),
    [
        (["kind=bpe"], "BPE", "<mask>", "NoneType"),
        (["kind=bpe", "special_tokens=bert", "normalization=nfc"], "BPE", "[MASK]", "NFC"),
        (["kind=unigram"], "Unigram", "<mask>", "NFKC"),
        (["kind=unigram", "normalization=none", "lowercase=true"], "Unigram", "<mask>", "Lowercase"),
    ],
)
def test_a_recipe_says_kind_and_rules(more: list[str], kind: str, mask: str, normalizer: str, corpus, tmp_path):
    made = train_tokenizer(recipe(corpus, *more), tmp_path / "vocab")
    assert (made.kind, made.mask_token, type(made.fast.normalizer).__name__) == (kind, mask, normalizer)
    assert train_tokenizer(recipe(corpus, *more), tmp_path / "vocab").fingerprint == made.fingerprint
    with pytest.raises(UserError, match="made with other settings"):
        train_tokenizer(recipe(corpus), tmp_path / "vocab")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "lower-cased (lowercase), accents taken off (strip_accents)"),
        (["lowercase=false"], "cased (lowercase), accents kept (strip_accents)"),
        (["strip_accents=false"], "lower-cased (lowercase), accents kept (strip_accents)"),
        (["kind=bpe"], "cased (lowercase), accents kept (strip_accents), normalization none"),
        (
            ["kind=unigram", "lowercase=true"],
            "lower-cased (lowercase), accents kept (strip_accents), normalization nfkc",
        ),
    ],
)
def test_what_becomes_of_text_is_said_by_its_settings(more: list[str], said: str, corpus: Path):
    assert recipe(corpus, *more).described == f"vocabulary: {said}"


def test_settings_of_another_kind_are_refused(corpus: Path):
    with pytest.raises(UserError, match=r"special_tokens.*kind = bpe or unigram"):
        recipe(corpus, "special_tokens=bert")


@pytest.mark.parametrize("said", ["kind=unigram", "kind=bpe special_tokens=bert", "kind=bpe normalization=nfc"])
def test_what_the_extended_vocabulary_has_of_its_own_is_not_set(said: str, corpus: Path, tmp_path: Path):
    base = formats.roberta(tmp_path / "base")
    key, _, value = said.split()[-1].partition("=")
    with pytest.raises(UserError, match=f"^{key} = {value}: {base}, a BPE, has its own; leave {key}=… away"):
        train_tokenizer(recipe(corpus, f"extend={base}", "size=430", *said.split()), tmp_path / "out")
    assert train_tokenizer(recipe(corpus, f"extend={base}", "size=430", "kind=bpe"), tmp_path / "out").vocab_size == 430


# Bad input


@KINDS
def test_what_cannot_be_trained(kind: str):
    with pytest.raises(UserError, match="no text to train a vocabulary on"):
        train(kind, ["", " \n"])
    with pytest.raises(UserError, match=r"a .*vocabulary has at least"):
        train(kind, TEXTS, 99)


def test_the_trainers_package_is_asked_for_before_the_text_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(UserError, match=r"pip install 'bertsmith\[sentencepiece\]'"):
        train("unigram", map(pytest.fail, ["the text was read"]))
