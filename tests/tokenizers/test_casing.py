"""Where nobody says whether text is lower-cased, the vocabulary's words do, in every script; what it means is said."""

import json
from pathlib import Path

import pytest
from tokenizers import Regex, normalizers

from bertsmith.config.loading import load
from bertsmith.errors import UserError
from bertsmith.text.learning import TokenizerRecipe, train_tokenizer
from bertsmith.text.prepare import PrepareRecipe, prepare
from bertsmith.tokenizers.casing import has_capital, in_words, is_lowercase, warnings
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer

CAPITALS = ["The", "iPhone", "##Z", "Ωμέγα", "Москва", "Հայաստան", "Ⴀ", "ᲐᲑ", "ǅ", "ẞ", "İ", "É", "##Ñ", "Ⅷ", "Ａ", "Ꭰ"]
SMALL = [
    "the",
    "##z",
    "ωμέγας",
    "москва",
    "հայ",
    "ა",
    "აბ",
    "ǆ",
    "ß",
    "ı",
    "é",
    "漢",
    "한국",
    "عربي",
    "ª",
    "ʰ",
    "##!",
    "𝐀",
]
MARKERS = [*SPECIAL_TOKENS, "[unused1]", "[E1]", "[/Name]", "<URL>", "</S>", "{NAME}", "(TM)"]


@pytest.mark.parametrize("word", CAPITALS)
def test_a_word_with_a_capital_makes_a_vocabulary_cased(word: str):
    assert has_capital(word)
    found, reason = is_lowercase([*MARKERS, *SMALL, word])
    assert not found and reason == f"1 of the vocabulary's words have capitals, as {word!r}"


def test_markers_in_brackets_and_letters_without_case_do_not():
    assert is_lowercase([*MARKERS, *SMALL, "[", "]A"[:1]]) == (True, "no word of the vocabulary has a capital")


def test_pieces_that_no_text_gives_are_counted_by_their_setting():
    tokens = [*MARKERS, *SMALL, "The", "##Z", "für", "Über"]
    lower = normalizers.BertNormalizer(lowercase=True)
    assert warnings(tokens, lower) == [
        "warning: 3 of 22 pieces can never be produced, as 'The', '##Z', 'Über': text is lower-cased (lowercase=true, "
        "do_lower_case)",
        "warning: 4 of 22 pieces can never be produced, as 'ωμέγας', 'é', '한국': accents are taken off "
        "(strip_accents)",
    ]
    kept = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    assert [line[:50] for line in warnings(tokens, kept)] == ["warning: 3 of 22 pieces can never be produced, as "]
    assert warnings(tokens, normalizers.BertNormalizer(lowercase=False)) == []
    assert warnings(SMALL, normalizers.BertNormalizer(lowercase=False))[0].startswith("warning: no piece has a capital")
    assert warnings(["漢", "[A]"], normalizers.BertNormalizer(lowercase=False)) == []
    assert warnings(tokens, None) == []


def test_pieces_that_another_normalizer_never_gives_are_counted_by_the_reason():
    tokens = [*MARKERS, " the", "The", " Über", "für", "é", "ﬁ", "Ａ", "\ufffd", " "]
    steps = [normalizers.NFD(), normalizers.StripAccents(), normalizers.NFKC(), normalizers.Lowercase()]
    assert warnings(tokens, normalizers.Sequence(steps)) == [
        "warning: 3 of 8 pieces can never be produced, as 'The', 'Über', 'Ａ': its normalizer lower-cases text",
        "warning: 2 of 8 pieces can never be produced, as 'für', 'é': its normalizer takes accents off",
        "warning: 1 of 8 pieces can never be produced, as 'ﬁ': its normalizer writes them otherwise",
    ]
    assert warnings(tokens, normalizers.NFC()) == []
    prepend = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    assert warnings(tokens, prepend) == []


def write(folder: Path, word: str) -> Path:
    folder.mkdir()
    tokens = [*SPECIAL_TOKENS, "[E1]", *"abcdefghij", *(f"##{letter}" for letter in "abcdefghij"), word]
    path = folder / "vocab.txt"
    path.write_text("".join(f"{token}\n" for token in tokens))
    return path


@pytest.mark.parametrize(
    ("normalizer", "words"),
    [
        (None, "cased"),
        (normalizers.NFKC(), "cased"),
        (normalizers.NFD(), "cased"),
        (normalizers.Prepend("▁"), "cased"),
        (normalizers.Lowercase(), "lower-cased, accents kept"),
        (
            normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]),
            "lower-cased",
        ),
        (normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]), "cased, accents taken off"),
        (normalizers.BertNormalizer(lowercase=True), "lower-cased"),
        (normalizers.BertNormalizer(lowercase=False), "cased"),
        (normalizers.Replace(Regex(r"[^CN()=]"), ""), "normalized"),
    ],
)
def test_what_a_normalizer_does_to_capitals_and_accents_is_said(normalizer: normalizers.Normalizer | None, words: str):
    assert in_words(normalizer) == words


def test_a_file_without_a_normalizer_is_said_to_have_none(tmp_path: Path):
    fast = Tokenizer.load(write(tmp_path / "vocab", "Abc")).fast
    definition = json.loads(fast.to_str()) | {"normalizer": None}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(definition))
    assert Tokenizer.load(path).casing == "cased (tokenizer.json has no normalizer)"
    with pytest.raises(UserError, match=r"tokenizer\.json has no normalizer; leave them away"):
        Tokenizer.load(path, lowercase=True)


@pytest.mark.parametrize(
    ("word", "said", "lowercase", "why"),
    [
        ("Abc", [], False, r"cased (1 of the vocabulary's words have capitals, as 'Abc')"),
        ("Жук", [], False, r"cased (1 of the vocabulary's words have capitals, as 'Жук')"),
        ("[Abc]", [], True, "lower-cased (no word of the vocabulary has a capital)"),
        ("Abc", ["lowercase=true"], True, "lower-cased (lowercase=true)"),
        ("abc", ["lowercase=false"], False, "cased (lowercase=false)"),
    ],
)
def test_prepare_and_tokenizer_decide_alike_and_say_it(
    word: str, said: list[str], lowercase: bool, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = write(tmp_path / "vocab", word)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("Abc abc bcde bcde fgh")
    settings = [f"corpus={tmp_path / 'corpus'}", "workers=1", "heldout_fraction=0", *said]
    data = prepare(
        load(PrepareRecipe, "prepare", "text", [*settings, f"vocab={path}"]).settings, tmp_path / "data"
    )  # fmt: skip
    assert f"{path}: {why}\n" in capsys.readouterr().err
    assert data.tokenizer.lowercase is data.manifest["identity"]["lowercase"] is lowercase
    recipe = load(TokenizerRecipe, "prepare", "text", [*settings, f"extend={path}", "size=100"]).settings
    assert train_tokenizer(recipe, tmp_path / "extended").lowercase is lowercase
    assert f"{path}: {why}\n" in capsys.readouterr().err
    again = Tokenizer.load(tmp_path / "extended")
    assert (
        again.lowercase is lowercase and train_tokenizer(recipe, tmp_path / "extended").fingerprint == again.fingerprint
    )


def test_lower_cased_text_and_a_cased_vocabulary_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write(tmp_path / "vocab", "Abc")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("Abc abc")
    settings = [f"corpus={tmp_path / 'corpus'}", "workers=1", "heldout_fraction=0", f"vocab={path}", "lowercase=true"]
    prepare(load(PrepareRecipe, "prepare", "text", settings).settings, tmp_path / "data")
    assert "warning: 1 of 21 pieces can never be produced, as 'Abc': text is lower-cased" in capsys.readouterr().err


def test_data_made_before_casing_was_decided_is_found_whole(tmp_path: Path):
    """A folder of an earlier version notes the setting, true by default, even of a tokenizer.json that is cased."""
    Tokenizer.load(write(tmp_path / "vocab", "Abc"), lowercase=False).save(tmp_path / "vocab")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("Abc abc")
    settings = [f"corpus={tmp_path / 'corpus'}", "workers=1", "heldout_fraction=0", f"vocab={tmp_path / 'vocab'}"]
    recipe = load(PrepareRecipe, "prepare", "text", settings).settings
    prepare(recipe, tmp_path / "data")
    manifest = tmp_path / "data" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"lowercase": false', '"lowercase": true'))
    written = manifest.stat().st_mtime_ns
    assert prepare(recipe, tmp_path / "data").tokenizer.lowercase is False
    assert manifest.stat().st_mtime_ns == written
