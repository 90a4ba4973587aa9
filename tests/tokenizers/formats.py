"""Small folders of published tokenizers' formats, made by hand, each with the odd ways of its own."""

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "The cat sat on the mat, and the other cats didn't; it's 1234 o'clock in the café.",
    "Élan vital: naïve café, Ärger über ﬁne ①st things.  Two  spaces,\ttabs and   runs",
    "漢字とカタカナ 한국어 नमस्ते 😀👍 unaffable words worded wording",
    "def function(argument):\n    return argument + 1\n\n\n        deeper = [1, 2]",
] * 5
CHARACTERS = {"ﬁ": "fi", "①": "1", "Ａ": "A", "\u00a0": " ", "\u3000": " ", "\u200b": "", "…": "..."}
"""What a precompiled map replaces: a few of what NFKC does."""


def precompiled(mapping: dict[str, str]) -> str:
    """Return a SentencePiece map of characters in base64: a double array of 256 units a node, and the strings."""
    targets, values = b"", {}
    for source, target in mapping.items():
        values[source.encode()] = len(targets)
        targets += target.encode() + b"\0"
    nodes = {key[:length] for key in values for length in range(len(key) + 1)}
    bases = {node: 256 * number for number, node in enumerate(sorted(nodes, key=lambda key: (len(key), key)))}
    units = [0] * (256 * len(nodes))
    bases = {node: base + 256 for node, base in bases.items()}
    units += [0] * 256
    for node, base in bases.items():
        place = bases[node[:-1]] ^ node[-1] if node else 0
        label = node[-1] if node else 0
        units[place] = (place ^ base) << 10 | (node in values) << 8 | label
        if node in values:
            units[base] = values[node] | 1 << 31
    array = struct.pack(f"<{len(units)}I", *units)
    return base64.b64encode(struct.pack("<I", len(array)) + array + targets).decode()


def special(*names: str, **flags: bool) -> list[AddedToken]:
    return [AddedToken(name, special=True, normalized=False, **flags) for name in names]


def train_bpe(specials: list[str], *, size: int = 420, **model: Any) -> tokenizers.Tokenizer:
    """A byte-level BPE as GPT-2's, RoBERTa's or ModernBERT's."""
    fast = tokenizers.Tokenizer(models.BPE(**model))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )  # fmt: skip
    fast.train_from_iterator(TEXTS, trainer)
    return fast


def train_unigram(
    specials: list[str], unknown: str, normalizer: Any, pre_tokenizer: Any, *, size: int = 150
) -> tokenizers.Tokenizer:
    fast = tokenizers.Tokenizer(models.Unigram())
    if normalizer is not None:
        fast.normalizer = normalizer
    fast.pre_tokenizer = pre_tokenizer
    fast.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=specials, unk_token=unknown, show_progress=False
    )  # fmt: skip
    fast.train_from_iterator(TEXTS, trainer)
    return fast


def around(fast: tokenizers.Tokenizer, first: str, last: str, separators: int = 1) -> None:
    pair = f"{first} $A {' '.join([last] * separators)} $B {last}"
    ids = [(token, fast.token_to_id(token)) for token in dict.fromkeys((first, last))]
    fast.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", pair=pair, special_tokens=ids)


def write(folder: Path, definition: dict[str, Any], config: dict[str, Any], model_type: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(definition, ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type or "bert"}))
    return folder


def content_of(fast: tokenizers.Tokenizer) -> dict[str, Any]:
    return json.loads(fast.to_str())


ROBERTA = ["<s>", "<pad>", "</s>", "<unk>"]
ROBERTA_CONFIG = {
    "bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "rstrip": False, "normalized": True,
                   "single_word": False},
}  # fmt: skip
METASPACE = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]


def roberta(folder: Path, **config: Any) -> Path:
    """As published: merges of a space in one text, <mask> that takes the space before it."""
    fast = train_bpe(ROBERTA)
    fast.add_special_tokens(special("<mask>", lstrip=True))
    fast.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    content = content_of(fast)
    content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
    config = {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": False, **ROBERTA_CONFIG, **config}
    return write(folder, content, config, "roberta")


def roberta_files(folder: Path) -> Path:
    """vocab.json and merges.txt alone."""
    roberta(folder)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{merge}\n" for merge in model["merges"]))
    return folder


def modernbert(folder: Path) -> Path:
    """NFC, runs of spaces and special tokens added after the vocabulary, truncation and padding stored."""
    fast = train_bpe(["|||IP|||", "<|padding|>"], ignore_merges=False)
    fast.normalizer = normalizers.NFC()
    fast.add_tokens([AddedToken(" " * length, normalized=True) for length in (24, 8, 4, 2)])
    fast.add_special_tokens([*special("<|endoftext|>", "[UNK]", "[CLS]", "[SEP]", "[PAD]"),
                             *special("[MASK]", lstrip=True)])  # fmt: skip
    fast.add_tokens([AddedToken("[unused0]", normalized=True)])
    around(fast, "[CLS]", "[SEP]")
    fast.enable_truncation(8)
    fast.enable_padding(pad_id=fast.token_to_id("[PAD]"), pad_token="[PAD]", length=16)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "cls_token": "[CLS]", "sep_token": "[SEP]",
        "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]", "model_max_length": 8192,
    }  # fmt: skip
    return write(folder, content_of(fast), config, "modernbert")


def xlm_roberta(folder: Path) -> Path:
    """A precompiled map, and a mask in the vocabulary."""
    mapped = normalizers.Precompiled(base64.b64decode(precompiled(CHARACTERS)))
    fast = train_unigram([*ROBERTA, "<mask>"], "<unk>", mapped, pre_tokenizers.Sequence(METASPACE))
    around(fast, "<s>", "</s>", 2)
    config = {"tokenizer_class": "XLMRobertaTokenizer", **ROBERTA_CONFIG}
    return write(folder, content_of(fast), config, "xlm-roberta")


def camembert(folder: Path) -> Path:
    mapped = normalizers.Precompiled(base64.b64decode(precompiled(CHARACTERS)))
    names = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>", "<mask>"]
    fast = train_unigram(names, "<unk>", mapped, pre_tokenizers.Sequence(METASPACE))
    around(fast, "<s>", "</s>", 2)
    config = {
        "tokenizer_class": "CamembertTokenizer", "additional_special_tokens": ["<s>NOTUSED", "</s>NOTUSED"],
        **ROBERTA_CONFIG,
    }  # fmt: skip
    return write(folder, content_of(fast), config, "camembert")


def albert(folder: Path) -> Path:
    """Lower-casing, no accents, quotes replaced."""
    steps = [
        normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(), normalizers.StripAccents(),
        normalizers.Lowercase(), normalizers.Precompiled(base64.b64decode(precompiled(CHARACTERS))),
    ]  # fmt: skip
    fast = train_unigram(
        ["<pad>", "<unk>", "[CLS]", "[SEP]"], "<unk>", normalizers.Sequence(steps), pre_tokenizers.Sequence(METASPACE)
    )
    fast.add_special_tokens(special("[MASK]", lstrip=True))
    around(fast, "[CLS]", "[SEP]")
    return write(folder, content_of(fast), {"tokenizer_class": "AlbertTokenizer", "do_lower_case": True}, "albert")


def deberta_v3(folder: Path) -> Path:
    """The rules of transformers' class, which the file of another version does not have."""
    fast = train_unigram(["[PAD]", "[CLS]", "[SEP]", "[UNK]"], "[UNK]", None, pre_tokenizers.Metaspace())
    fast.add_special_tokens(special("[MASK]"))
    around(fast, "[CLS]", "[SEP]")
    config = {"tokenizer_class": "DebertaV2Tokenizer", "do_lower_case": False, "split_by_punct": False}
    return write(folder, content_of(fast), config, "deberta-v2")


def byte_fallback(folder: Path) -> Path:
    """A BPE over "▁" without a pre-tokenizer, unknown characters as bytes, no token before a text in the template."""
    fast = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    fast.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    fast.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    names = ["<unk>", "<s>", "</s>", "<pad>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=names, limit_alphabet=60, show_progress=False)
    fast.train_from_iterator(TEXTS, trainer)
    fast.add_special_tokens(special("<mask>"))
    ids = [("</s>", 2)]
    fast.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=ids)
    content = content_of(fast)
    content["added_tokens"] = [token for token in content["added_tokens"] if "<0x" not in token["content"]]
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
              "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}  # fmt: skip
    return write(folder, content, config)


def no_dummy_prefix(folder: Path) -> Path:
    """Unigram without "▁" at the start of a text; added tokens that are normalized, or take spaces."""
    steps = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    fast = train_unigram(names, "[UNK]", steps, pre_tokenizers.Metaspace(prepend_scheme="never"))
    fast.add_tokens([AddedToken("New York", normalized=True), AddedToken("<e>", lstrip=True, rstrip=True),
                     AddedToken("word", single_word=True)])  # fmt: skip
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "cls_token": "[CLS]", "sep_token": "[SEP]",
              "pad_token": "[PAD]", "mask_token": "[MASK]", "unk_token": "[UNK]"}  # fmt: skip
    return write(folder, content_of(fast), config)


def proteins(folder: Path) -> Path:
    """A letter a token."""
    names = ["<cls>", "<pad>", "<eos>", "<unk>", *"ACDEFGHIKLMNPQRSTVWYcatshe", "<mask>"]
    fast = tokenizers.Tokenizer(models.WordLevel({token: id for id, token in enumerate(names)}, unk_token="<unk>"))
    fast.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", "isolated")]
    )
    fast.add_special_tokens(["<cls>", "<pad>", "<eos>", "<unk>", "<mask>"])
    around(fast, "<cls>", "<eos>")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "cls_token": "<cls>", "eos_token": "<eos>",
              "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}  # fmt: skip
    return write(folder, content_of(fast), config)


def ended_words(folder: Path) -> Path:
    """A BPE that marks the last piece of a word, lower-cased as BERT's."""
    fast = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    fast.normalizer, fast.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=250, special_tokens=[*ROBERTA, "<mask>"], end_of_word_suffix="</w>", show_progress=False
    )
    fast.train_from_iterator(TEXTS, trainer)
    return write(folder, content_of(fast), {"tokenizer_class": "PreTrainedTokenizerFast", **ROBERTA_CONFIG})


def wordpiece(folder: Path) -> Path:
    """WordPiece whose special tokens are RoBERTa's, and whose inner pieces begin with "@@"."""
    fast = tokenizers.Tokenizer(models.WordPiece(unk_token="<unk>"))
    fast.normalizer, fast.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=250, special_tokens=[*ROBERTA, "<mask>"], continuing_subword_prefix="@@", show_progress=False
    )
    fast.train_from_iterator(TEXTS, trainer)
    fast.model.continuing_subword_prefix = "@@"
    around(fast, "<s>", "</s>")
    return write(folder, content_of(fast), {"tokenizer_class": "PreTrainedTokenizerFast", **ROBERTA_CONFIG})


FORMATS: dict[str, Callable[[Path], Path]] = {
    make.__name__: make
    for make in (roberta, roberta_files, modernbert, xlm_roberta, camembert, albert, deberta_v3, byte_fallback,
                 no_dummy_prefix, proteins, ended_words, wordpiece)
}  # fmt: skip
