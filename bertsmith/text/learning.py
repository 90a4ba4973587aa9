"""A corpus in, a folder with a tokenizer trained on it out."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from bertsmith.config.fields import setting, settings
from bertsmith.config.loading import identity
from bertsmith.console.progress import format_count, progress_bar
from bertsmith.errors import UserError
from bertsmith.storage.files import locked, make_folder
from bertsmith.storage.folders import no_empty_folder
from bertsmith.storage.manifests import read_manifest, write_manifest
from bertsmith.text.blank_lines import unify_line_ends
from bertsmith.text.compression import UnreadableInput
from bertsmith.text.data_folders import refuse_other_identity, refuse_other_type, skipped_line
from bertsmith.text.engines.registry import ENGINES
from bertsmith.text.layouts.layout import CorpusPart
from bertsmith.text.named_corpora import Corpora, open_corpora
from bertsmith.text.part_encoder import note_broken
from bertsmith.text.prepare import PrepareRecipe
from bertsmith.tokenizers.bpe import train_bpe
from bertsmith.tokenizers.extension import extend, notes_on_extending
from bertsmith.tokenizers.families import SPECIAL_FAMILIES, UnicodeForm
from bertsmith.tokenizers.tokenizer import TOKENIZER_FILES, Tokenizer
from bertsmith.tokenizers.unigram import train_unigram
from bertsmith.tokenizers.vocabulary import MIN_SIZE, train_vocabulary


@settings
class TokenizerRecipe(PrepareRecipe):
    """Text and size of a vocabulary. A prepare recipe serves as it is; settings that only `prepare` needs are
    ignored."""

    vocab: str | None = setting(None, "ignored: the vocabulary is the result", identity=False)  # type: ignore[assignment]
    lowercase: bool | None = setting(
        None, "lower-case the text; by default wordpiece does, bpe and unigram do not; or as the vocabulary to extend"
    )
    heldout_fraction: float = setting(0.005, "ignored", identity=False, ge=0, lt=1)
    compat: bool = setting(False, "ignored", identity=False)
    part: str | None = setting(None, "ignored", identity=False)
    engine: Annotated[str, ENGINES] = setting("processes", "ignored", identity=False)
    ray_address: str | None = setting(None, "ignored", identity=False)
    kind: Literal["wordpiece", "bpe", "unigram"] = setting(
        "wordpiece", "wordpiece: BERT's; bpe: byte-level, RoBERTa's and ModernBERT's; unigram: XLM-R's and DeBERTa's, "
        "which SentencePiece trains (the extra sentencepiece)", identity=False,
    )  # fmt: skip
    special_tokens: Literal["bert", "roberta"] | None = setting(
        None, "of which family: bert has [CLS] and [MASK], roberta <s> and <mask>; by default roberta", identity=False,
        only=("kind = bpe or unigram",),
    )  # fmt: skip
    normalization: Literal["none", "nfc", "nfkc"] | None = setting(
        None, "Unicode's form that text is brought to; by default none for bpe, nfkc for unigram", identity=False,
        only=("kind = bpe or unigram",),
    )  # fmt: skip
    size: int = setting(30_522, "tokens in the vocabulary; the default is BERT's", ge=MIN_SIZE)
    extend: str | None = setting(
        None, "a vocabulary to keep and add whole words of the corpus to, up to size; by default all of it is trained",
        identity=False,
    )  # fmt: skip
    megabytes: int = setting(300, "text to train on, in MB, taken evenly from the whole corpus", ge=1)

    @property
    def tags(self) -> set[str]:
        """What its settings apply to."""
        return super().tags | ({"kind = bpe or unigram"} if self.kind != "wordpiece" else set())

    @property
    def casing(self) -> dict[str, bool | None]:
        """The settings of casing, as the kind has them by default."""
        if self.kind == "wordpiece":
            return {"lowercase": self.lowercase is not False, "strip_accents": self.strip_accents}
        return {"lowercase": self.lowercase is True, "strip_accents": self.strip_accents is True}

    @property
    def described(self) -> str:
        """What becomes of capitals, accents and Unicode's forms, by the settings that say so."""
        lowercase, strip_accents = self.casing.values()
        stripped = lowercase if strip_accents is None else strip_accents  # BERT's rule
        said = [f"{'lower-cased' if lowercase else 'cased'} (lowercase)"]
        said.append(f"accents {'taken off' if stripped else 'kept'} (strip_accents)")
        said += [f"{key} {form}" for key, form in self.rules.items() if key == "normalization"]
        return f"vocabulary: {', '.join(said)}"

    @property
    def rules(self) -> dict[str, str]:
        """What else decides ids of another kind than wordpiece."""
        if self.kind == "wordpiece":
            return {}
        form = self.normalization or ("none" if self.kind == "bpe" else "nfkc")
        return {"kind": self.kind, "special_tokens": self.special_tokens or "roberta", "normalization": form}


@no_empty_folder
def train_tokenizer(recipe: TokenizerRecipe, out: Path, overwrite: bool = False) -> Tokenizer:
    """Train the tokenizer folder `out` for `recipe`, or find it finished. `prepare` takes the folder as its `vocab`.

    Raises:
        UserError: a path or a setting is wrong, an archive is broken (unless `on_error` is "skip"), the corpus has no
            text, `out` was made with other settings, is in use or cannot be written.
    """
    corpora = open_corpora(recipe, (out, *([] if recipe.extend is None else [Path(recipe.extend)])))
    own = identity(recipe) | corpora.identity
    if recipe.extend is None:
        base, casing = None, recipe.casing
        notes = [recipe.described]
        own |= recipe.rules
    else:
        base = Tokenizer.load(recipe.extend, lowercase=recipe.lowercase, strip_accents=recipe.strip_accents)
        _refuse_other_rules(recipe, base)
        notes = [f"{recipe.extend}: {base.casing}", *base.notes(), *notes_on_extending(base)]
        casing = {"lowercase": base.lowercase, "strip_accents": base.strip_accents}
        own["extend"] = base.fingerprint
    own |= casing
    make_folder(out)
    with locked(out):
        refuse_other_type(out, "tokenizer")
        if (out / "manifest.json").exists() and not overwrite:
            refuse_other_identity(out, read_manifest(out, "tokenizer")["identity"], own)
            return Tokenizer.load(out)
        counts: Counter[str] = Counter()
        texts = _texts(corpora, recipe, counts, notes)
        tokenizer = _train(recipe, texts) if base is None else extend(base, texts, recipe.size)
        (out / "manifest.json").unlink(missing_ok=True)
        content = {"identity": own, "counts": dict(counts), "fingerprint": tokenizer.fingerprint}
        try:
            tokenizer.save(out)
            write_manifest(out, "tokenizer", content)
        except BaseException:  # a full disk: files without a manifest would be taken for the user's
            for name in TOKENIZER_FILES:
                (out / name).unlink(missing_ok=True)
            raise
        return tokenizer


def _refuse_other_rules(recipe: TokenizerRecipe, base: Tokenizer) -> None:
    """Raise UserError where a recipe sets what the vocabulary that it extends has of its own."""
    asked: dict[str, str | None] = {"special_tokens": recipe.special_tokens, "normalization": recipe.normalization}
    if recipe.kind not in ("wordpiece", base.kind.lower()):  # wordpiece is the default
        asked["kind"] = recipe.kind
    for key, value in asked.items():
        if value is not None:
            raise UserError(f"{key} = {value}: {recipe.extend}, a {base.kind}, has its own; leave {key}=… away")


def _train(recipe: TokenizerRecipe, texts: Iterator[str]) -> Tokenizer:
    lowercase, strip_accents = recipe.casing.values()
    if recipe.kind == "wordpiece":
        return train_vocabulary(texts, recipe.size, lowercase=bool(lowercase), strip_accents=strip_accents)
    form = UnicodeForm(recipe.rules["normalization"], bool(lowercase), bool(strip_accents))
    train = train_bpe if recipe.kind == "bpe" else train_unigram
    return train(texts, recipe.size, SPECIAL_FAMILIES[recipe.rules["special_tokens"]], form)


def _texts(corpora: Corpora, recipe: TokenizerRecipe, counts: Counter[str], notes: list[str]) -> Iterator[str]:
    """Yield documents of every n-th part, so that about `recipe.megabytes` of text come from all over the corpora, of
    several from each as its share of the bytes is."""
    size, begun, num_bytes = 0, -1, corpora.num_bytes
    skipped: Counter[str] = Counter()
    with progress_bar("reading", num_bytes) as bar:
        corpora.report_files(bar.line)
        for note in notes:
            bar.line(note)
        for number, part in corpora.parts():
            if number != begun:  # how much text a byte has is another in each
                begun, due, share, before, read = number, 1.0, 1.0, counts["characters"], 0
            if due >= 1.0:
                due -= 1.0
                for text in _documents(part, recipe.on_error == "skip", skipped):
                    counts.update(documents=1, characters=len(text))
                    yield text
                found, read = counts["characters"] - before, read + part.size
                if share == 1.0 and found and read:
                    share = min(1.0, recipe.megabytes * 1e6 / (found * num_bytes / read))
            due += share
            size += part.size
            bar.update(size, f"{format_count(counts['documents'])} documents")
        said = f"training on {counts['documents']:,} documents, {counts['characters'] / 1e6:,.1f} M characters"
        bar.line(f"{said}; skipped {skipped_line(skipped)}" if skipped else said)


def _documents(part: CorpusPart, skip_broken: bool, skipped: Counter[str]) -> Iterator[str]:
    broken: list[str] = []
    note = partial(note_broken, skip_broken, broken)
    try:
        for document in part.documents(skipped, note):
            try:
                yield unify_line_ends(document).decode()
            except UnicodeDecodeError:
                skipped["not UTF-8"] += 1
    except UnreadableInput as error:
        note(error)
    if broken:
        skipped["broken archive"] += len(broken)
