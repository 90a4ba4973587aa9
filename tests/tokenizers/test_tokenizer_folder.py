"""A folder's ids are those of transformers' AutoTokenizer, whichever of its files and keys say what."""

import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, BertTokenizerFast

from bertsmith.errors import UserError
from bertsmith.tokenizers.tokenizer import SPECIAL_TOKENS, Tokenizer

TOKENS = [*SPECIAL_TOKENS, "[unused1]", "[unused2]", *"abcdenx[]<>.", "word", "Word", "WORD", "##s", "##1", "##字",
          "##ed", "cafe", "café", "Café", "漢", "字", "漢字", "new", "york", "E", "##E", "é", "unused"]  # fmt: skip
TEXTS = [
    "Word words worded WORD café Café CAFÉ cafe\u0301",
    "漢字 a漢字b 漢字s 字",
    "an [unused1] token[unused2]x <e>Word</e> x<E>x < e > [ unused1 ] [UNUSED1]",
    "[MASK] [mask]s[SEP]x [CLS][PAD] [UNK] [ MASK ]",
    "new york new  york New York newyork news",
    "a\x00b\x07c wo\u00adrd w\u200bord\x0bword e\u0301 É\u0130ß",
    "", " ", "\n\t", "\u3000word\u2028word\u0085a", "a" * 101, "\ud7ff\U0010ffff",
]  # fmt: skip
ABSENT = "absent"

CLASS = [ABSENT, "BertTokenizer", "BertTokenizerFast", "ElectraTokenizer", "DistilBertTokenizerFast",
         "PreTrainedTokenizerFast"]  # fmt: skip
LOWER = [ABSENT, True, False]
ACCENTS = [ABSENT, None, True, False]
CHINESE = [ABSENT, True, False]


def fast_token(content: str, **flags: bool) -> dict[str, Any]:
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False} | flags


def write_folder(folder: Path, **files: Any) -> Path:
    """`config` → config.json, and so on; `vocab` is a list of lines."""
    folder.mkdir(parents=True)
    names = {
        "config": "config.json",
        "tokenizer_config": "tokenizer_config.json",
        "tokenizer": "tokenizer.json",
        "special": "special_tokens_map.json",
        "added": "added_tokens.json",
    }
    for key, content in files.items():
        if key == "vocab":
            (folder / "vocab.txt").write_bytes("".join(f"{token}\n" for token in content).encode())
        elif content is not ABSENT:
            (folder / names[key]).write_text(json.dumps(content))
    return folder


def definition(added: Iterable[dict[str, Any]] = (), **normalizer: Any) -> dict[str, Any]:
    """A tokenizer.json of BERT's kind."""
    specials = [fast_token(token, normalized=False, special=True) for token in SPECIAL_TOKENS]
    switches = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    tokens = [token | {"id": TOKENS.index(token["content"])} for token in specials] + list(added)
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens,
        "normalizer": {"type": "BertNormalizer"} | switches | normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": None, "decoder": None,
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": {token: id for id, token in enumerate(TOKENS)},
        },
    }  # fmt: skip


def ids_here(folder: Path, **said: Any) -> list[list[int]]:
    tokenizer = Tokenizer.load(folder, **said)
    assert tokenizer.encode_each(TEXTS) == [tokenizer.fast.encode(text, add_special_tokens=False).ids for text in TEXTS]
    return tokenizer.encode_each(TEXTS)


def ids_there(folder: Path, **said: Any) -> list[list[int]]:
    return AutoTokenizer.from_pretrained(folder, **said)(TEXTS, add_special_tokens=False)["input_ids"]


def keys(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not ABSENT}


def refused(folder: Path, key: str) -> bool:
    """Whether the folder is refused, in one line that names the key; asserts that it is equal if it is not."""
    try:
        ours = ids_here(folder)
    except UserError as error:
        assert key in str(error) and len(str(error).splitlines()) == 1, str(error)
        return True
    assert ours == ids_there(folder)
    return False


@pytest.mark.parametrize("name", CLASS[:-1], ids=str)
@pytest.mark.parametrize("lower", LOWER, ids=["silent", "lower", "cased"])
def test_switches_of_a_vocabulary(name: Any, lower: Any, tmp_path: Path):
    for number, (accents, chinese) in enumerate(itertools.product(ACCENTS, CHINESE)):
        content = keys(tokenizer_class=name, do_lower_case=lower, strip_accents=accents, tokenize_chinese_chars=chinese)
        folder = write_folder(
            tmp_path / str(number), vocab=TOKENS, tokenizer_config=content, config={"model_type": "bert"}
        )
        # "Word" has a capital: where nobody says it, such a vocabulary is cased
        expected = ids_there(folder) if lower is not ABSENT else ids_there(folder, do_lower_case=False)
        assert ids_here(folder) == expected, content


@pytest.mark.parametrize("name", CLASS, ids=str)
@pytest.mark.parametrize("lower", LOWER, ids=["silent", "lower", "cased"])
def test_switches_beside_a_tokenizer_file(name: Any, lower: Any, tmp_path: Path):
    own = [{"lowercase": True}, {"lowercase": False}, {"strip_accents": False}, {"handle_chinese_chars": False}]
    outcomes = set()
    for number, (accents, chinese, filed) in enumerate(itertools.product(ACCENTS, CHINESE, own)):
        content = keys(tokenizer_class=name, do_lower_case=lower, strip_accents=accents, tokenize_chinese_chars=chinese)
        folder = write_folder(
            tmp_path / str(number),
            tokenizer=definition(**filed),
            tokenizer_config=content,
            config={"model_type": "bert"},
        )
        key = {"lowercase": "do_lower_case", "handle_chinese_chars": "tokenize_chinese_chars"}
        outcomes.add(refused(folder, key.get(next(iter(filed)), "strip_accents")))
    assert False in outcomes and (True in outcomes) == (name != "PreTrainedTokenizerFast")


NAMES = {
    "additional_special_tokens": ["[unused1]", "<e>"],
    "extra_special_tokens": ["[unused2]"],
    "image_token": "<E>",
    "bos_token": "[unused1]",
    "mask_token": {"__type": "AddedToken", **fast_token("[MASK]", lstrip=True, normalized=False)},
}
SPECIALS = [
    ABSENT,
    {"additional_special_tokens": ["new york"], "unk_token": "[UNK]"},
    {"mask_token": fast_token("[MASK]", lstrip=True), "extra_special_tokens": ["word", fast_token("<e>", rstrip=True)]},
    {"extra_special_tokens": {"entity_token": "<E>"}, "pad_token": "[PAD]"},
]
ADDED = [ABSENT, {"<e>": len(TOKENS), "new york": len(TOKENS) + 1}, {"word": TOKENS.index("word")}]
DECODER = [
    ABSENT,
    {},
    {
        "5": fast_token("[unused1]", normalized=False, special=True),
        str(len(TOKENS)): fast_token("<e>", single_word=True),
    },
    {str(TOKENS.index("word")): fast_token("word", normalized=True, special=False)},
]


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "filed"), [("BertTokenizer", False), ("BertTokenizer", True), ("PreTrainedTokenizerFast", True)], ids=str
)
def test_added_tokens_of_all_files(name: str, filed: bool, step: int, tmp_path: Path):
    groups = [{}, *({key: value} for key, value in NAMES.items()), NAMES]
    number_refused = 0
    for number, (group, special, added, decoder) in enumerate(
        itertools.islice(itertools.product(groups, SPECIALS, ADDED, DECODER), None, None, step)
    ):
        content = {"tokenizer_class": name, "do_lower_case": True} | group | keys(added_tokens_decoder=decoder)
        own = {"tokenizer": definition([fast_token("cafe", normalized=True, special=False, id=TOKENS.index("cafe"))])}
        folder = write_folder(
            tmp_path / str(number), tokenizer_config=content, special=special, added=added,
            config={"model_type": "bert"}, **(own if filed else {"vocab": TOKENS}),
        )  # fmt: skip
        number_refused += refused(folder, "added token")
    assert number_refused < number / 3


@pytest.mark.parametrize("flag", list(itertools.product([False, True], repeat=5)), ids=str)
def test_flags_of_added_tokens(flag: tuple[bool, ...], tmp_path: Path):
    flags = dict(zip(("single_word", "lstrip", "rstrip", "normalized", "special"), flag, strict=True))
    for number, content in enumerate(("new york", "Word", "é", "漢", "<e>", "s", "[unused1]", "x[")):
        decoder = {str(TOKENS.index(content) if content in TOKENS else len(TOKENS)): {"content": content, **flags}}
        for lower in (True, False):
            folder = write_folder(
                tmp_path / f"{number}{lower}", vocab=TOKENS, config={"model_type": "electra"},
                tokenizer_config={"do_lower_case": lower, "added_tokens_decoder": decoder},
            )  # fmt: skip
            assert ids_here(folder) == ids_there(folder), (content, flags)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"do_basic_tokenize": False}, "do_basic_tokenize = False"),
        ({"never_split": ["word"]}, "never_split = 'word'"),
        ({"split_special_tokens": True}, "split_special_tokens"),
        ({"clean_text": False}, "clean_text"),
        ({"wordpieces_prefix": "@@"}, "wordpieces_prefix"),
        ({"word_tokenizer_type": "mecab"}, "word_tokenizer_type"),
        ({"tokenizer_class": "BertJapaneseTokenizer"}, "tokenizer_class = 'BertJapaneseTokenizer'"),
        ({"tokenizer_class": "RobertaTokenizer"}, "no tokenizer.json, which its tokenizer_class"),
        ({"tokenizer_class": "MPNetTokenizer"}, "tokenizer_class = 'MPNet"),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, "no tokenizer.json, which its tokenizer_class"),
        ({"tokenizer_class": 3}, "tokenizer_class must be text"),
        ({"mask_token": "[CLS]"}, "mask_token = '[CLS]' is cls_token too"),
        ({"do_lower_case": "no"}, "do_lower_case must be true or false or null"),
        ({"tokenize_chinese_chars": 1}, "tokenize_chinese_chars must be"),
        ({"additional_special_tokens": "<e>"}, "additional_special_tokens must be a list"),
        ({"additional_special_tokens": [3]}, "additional_special_tokens = 3"),
        ({"additional_special_tokens": [" e"]}, "the added token ' e'"),
        ({"added_tokens_decoder": {"7": "word"}}, "added_tokens_decoder"),
        ({"added_tokens_decoder": {"x": fast_token("word")}}, "the id of an added token is 'x'"),
        ({"added_tokens_decoder": {"500": fast_token("<e>")}}, "'<e>' is said to have id 500, and gets"),
        ({"added_tokens_decoder": {"5": fast_token("[unused1]", bold=True)}}, "added_tokens_decoder.5"),
        ({"auto_map": {"AutoTokenizer": ["own.py", None]}}, "auto_map"),
        ({"vocab": {"a": 1}}, "vocab ="),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_its_name(content: dict[str, Any], message: str, tmp_path: Path):
    folder = write_folder(
        tmp_path / "model",
        vocab=TOKENS,
        tokenizer_config={"do_lower_case": True} | content,
        config={"model_type": "bert"},
    )
    with pytest.raises(UserError, match=re.escape(message)) as refusal:
        Tokenizer.load(folder)
    assert str(refusal.value).startswith(str(folder)) and len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "role", "token"),
    [({"cls_token": "<s>"}, "cls_token", "<s>"), ({"mask_token": None}, "mask_token", "[MASK]")],
)
def test_special_tokens_of_other_names_are_added_as_in_transformers(
    content: dict[str, Any], role: str, token: str, tmp_path: Path
):
    said = {"do_lower_case": True} | content
    folder = write_folder(tmp_path / "f", vocab=TOKENS, tokenizer_config=said, config={"model_type": "bert"})
    assert ids_here(folder) == ids_there(folder)
    assert Tokenizer.load(folder).special_tokens[role] == token


def test_values_that_change_nothing_are_read(tmp_path: Path):
    content = {
        "do_lower_case": True, "do_basic_tokenize": True, "never_split": ["[MASK]"], "model_max_length": 512,
        "name_or_path": "../elsewhere", "clean_up_tokenization_spaces": True, "padding_side": "right",
        "add_bos_token": False,
    }  # fmt: skip
    folder = write_folder(tmp_path / "f", vocab=TOKENS, tokenizer_config=content, config={"model_type": "bert"})
    assert ids_here(folder) == ids_there(folder)


@pytest.mark.parametrize(("key", "value"), [("lowercase", True), ("strip_accents", True)])
def test_the_caller_decides_where_the_folder_does_not_and_is_refused_where_it_does(
    key: str, value: bool, tmp_path: Path
):
    silent = write_folder(tmp_path / "silent", vocab=TOKENS, config={"model_type": "bert"})
    there = BertTokenizerFast(
        vocab=str(silent / "vocab.txt"),
        do_lower_case=key == "lowercase",
        strip_accents=None if key == "lowercase" else True,
    )
    assert ids_here(silent, **{key: value}) == there(TEXTS, add_special_tokens=False)["input_ids"]
    said = {"do_lower_case": False, "strip_accents": False}
    says = write_folder(tmp_path / "says", vocab=TOKENS, config={"model_type": "bert"}, tokenizer_config=said)
    assert ids_here(says, **{key: not value}) == ids_there(says)
    filed = write_folder(tmp_path / "filed", tokenizer=definition(lowercase=False))
    for folder in (says, filed):
        with pytest.raises(UserError, match=rf"^{key} = true: .* false itself; leave {key}=… away"):
            Tokenizer.load(folder, **{key: value})


def test_what_is_saved_has_the_folders_ids_here_and_in_transformers(tmp_path: Path):
    added = {"additional_special_tokens": ["<e>", "[unused1]"], "tokenize_chinese_chars": False, "do_lower_case": False}
    folder = write_folder(tmp_path / "f", vocab=TOKENS, tokenizer_config=added, config={"model_type": "bert"})
    (tmp_path / "out").mkdir()
    Tokenizer.load(folder).save(tmp_path / "out")
    assert ids_here(tmp_path / "out") == ids_there(tmp_path / "out") == ids_there(folder)
    assert Tokenizer.load(tmp_path / "out").fingerprint == Tokenizer.load(folder).fingerprint
