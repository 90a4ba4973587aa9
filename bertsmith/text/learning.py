"""A corpus in, a folder with a tokenizer trained on it out."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

from bertsmith.config.fields import setting, settings
from bertsmith.config.loading import identity
from bertsmith.console.progress import format_count, progress_bar
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
from bertsmith.tokenizers.tokenizer import TOKENIZER_FILES, Tokenizer
from bertsmith.tokenizers.vocabulary import MIN_SIZE, extend, train_vocabulary


@settings
class TokenizerRecipe(PrepareRecipe):
    """Text and size of a vocabulary. A prepare recipe serves as it is; settings that only `prepare` needs are
    ignored."""

    vocab: str | None = setting(None, "ignored: the vocabulary is the result", identity=False)  # type: ignore[assignment]
    lowercase: bool | None = setting(None, "lower-case the text; by default it is, or as the vocabulary to extend")
    heldout_fraction: float = setting(0.005, "ignored", identity=False, ge=0, lt=1)
    compat: bool = setting(False, "ignored", identity=False)
    part: str | None = setting(None, "ignored", identity=False)
    engine: Annotated[str, ENGINES] = setting("processes", "ignored", identity=False)
    ray_address: str | None = setting(None, "ignored", identity=False)
    size: int = setting(30_522, "tokens in the vocabulary; the default is BERT's", ge=MIN_SIZE)
    extend: str | None = setting(
        None, "a vocabulary to keep and add whole words of the corpus to, up to size; by default all of it is trained",
        identity=False,
    )  # fmt: skip
    megabytes: int = setting(300, "text to train on, in MB, taken evenly from the whole corpus", ge=1)


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
        base, notes = None, [f"vocabulary: {'cased' if recipe.lowercase is False else 'lower-cased'} (lowercase)"]
        casing = {"lowercase": recipe.lowercase is not False, "strip_accents": recipe.strip_accents}
    else:
        base = Tokenizer.load(recipe.extend, lowercase=recipe.lowercase, strip_accents=recipe.strip_accents)
        notes = [f"{recipe.extend}: {base.casing}", *base.notes()]
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
        if base is None:
            lowercase = recipe.lowercase is not False
            tokenizer = train_vocabulary(texts, recipe.size, lowercase=lowercase, strip_accents=recipe.strip_accents)
        else:
            tokenizer = extend(base, texts, recipe.size)
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
