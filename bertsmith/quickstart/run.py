"""The whole job in about five minutes, on text that every installation carries: raw text in, a scored BERT out.

OUT/manifest.json              what of the folder is ours
    corpus.jsonl               docstrings of the installed packages; those that task/ is made of are not among them
    task/                      are a sentence's words in order, or shuffled: train.jsonl, dev.jsonl
    vocab/  data/  bert/       what `bertsmith tokenizer`, `prepare` and `pretrain` write
    pretrained/  random/       what `bertsmith finetune` writes, from bert/'s weights and from random ones
    hf/                        what `bertsmith export` writes, of pretrained/
    report.html  results.json  the run page; the table at the end

Each part is whole, continued, or absent, so a second call finds itself done and a killed one goes on.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from bertsmith.config.loading import load
from bertsmith.console.progress import format_count, format_seconds
from bertsmith.console.terminal import tell
from bertsmith.convert.export import export_run
from bertsmith.errors import UserError
from bertsmith.evals.guesses import SENTENCES, show_guesses
from bertsmith.evals.likelihood import standard_error
from bertsmith.evals.word_order import find_pairs, word_order
from bertsmith.predict.predictor import Predictor
from bertsmith.quickstart.summary import WIDTH, show_figures, told
from bertsmith.quickstart.task import read_task, split_texts, tfidf_accuracy, write_task, write_texts
from bertsmith.reports.page import write_page
from bertsmith.storage.files import TEMPORARY, Held, locked, make_folder, refuse_links
from bertsmith.storage.folders import clear, no_empty_folder, read_own
from bertsmith.storage.json_files import finite, member, read_json, write_json
from bertsmith.storage.manifests import FOLDER_TYPES, read_manifest, write_manifest
from bertsmith.tasks.finetune import finetune, score_table
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.text.docstrings import documents
from bertsmith.text.learning import TokenizerRecipe, train_tokenizer
from bertsmith.text.prepare import PrepareRecipe, prepare
from bertsmith.text.shards import Data
from bertsmith.training.evaluation import held_out_losses
from bertsmith.training.machine import choose_machine
from bertsmith.training.pretrain import Probe, build_collator, build_objective, held_out_batches, pretrain
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.runner import Runner

FOLDER = FOLDER_TYPES["quickstart"]


@dataclass(frozen=True)
class Sizes:
    """How much of everything; the defaults are about five minutes of two cores."""

    vocabulary: int = 8000
    """Tokens."""
    heldout_fraction: float = 0.025
    train_examples: int = 1000
    dev_examples: int = 1000
    pairs: int = 300
    """Of the word-order test, at most."""
    pretrain: Sequence[str] = ()
    """Settings laid over the recipe, as on the command line."""
    finetune: Sequence[str] = ()


@no_empty_folder("out")
def quickstart(
    out: Path,
    overwrite: bool = False,
    texts: Callable[[], Iterable[tuple[str, str]]] = documents,
    sizes: Sizes = Sizes(),
) -> dict[str, Any]:
    """Do the whole job in the folder `out`, print what came of it, and return that.

    Args:
        out: made, continued or found whole.
        overwrite: start afresh.
        texts: gives pairs (package, text).
        sizes: see there.

    Raises:
        UserError: as the commands of the single steps.
        Interrupted: by SIGTERM or SIGINT; what was done is kept.
    """
    make_folder(out)
    with locked(out) as held:
        _open(out, overwrite)
        _heading(1, "text", "docstrings of the installed packages; nothing is downloaded")
        _collect(out, texts, sizes)
        _heading(2, "vocabulary", f"a WordPiece vocabulary of {sizes.vocabulary:,} tokens")
        corpus = [f"corpus={out / 'corpus.jsonl'}", f"heldout_fraction={sizes.heldout_fraction}"]
        train_tokenizer(_settings(TokenizerRecipe, "prepare", "jsonl", [*corpus, f"size={sizes.vocabulary}"]),
                        out / "vocab")  # fmt: skip
        _heading(3, "prepare", "text → token shards")
        held.check()
        data = prepare(_settings(PrepareRecipe, "prepare", "jsonl", [*corpus, f"vocab={out / 'vocab'}"]), out / "data")
        recipe = _settings(PretrainRecipe, "pretrain", "quickstart", [f"data={out / 'data'}", *sizes.pretrain])
        held.check()
        pretraining = _pretrain(recipe, data, out, sizes)
        _heading(5, "fine-tune", f"are a sentence's words in order, or shuffled? {sizes.train_examples:,} labelled "
                 f"sentences: first from random weights, then from the pre-trained ones. TF-IDF with logistic "
                 f"regression on the same is the other mark to beat")  # fmt: skip
        scores = {name: _finetune(out, name, sizes, held) for name in ("random", "pretrained")}
        train, dev = (read_task(out / "task", split) for split in ("train", "dev"))
        results = pretraining | {
            "guesses": _guesses(out), "classification": scores, "tfidf": tfidf_accuracy(train, dev),
            "examples": {"train": len(train), "dev": len(dev)},
        }  # fmt: skip
        _heading(6, "export", "a Hugging Face folder, and a page about the runs")
        _export(out, held)
        about = [*told(results), "In the place of [MASK]: " + "; ".join(results["guesses"])]
        write_page([out / name for name in ("bert", "pretrained", "random")], out / "report.html", about)
        write_json(out / "results.json", results)
    show_figures(results, out)
    return results


def _open(out: Path, overwrite: bool) -> None:
    """Make `out` ours, empty with `overwrite`, or refuse it: a folder named "data" may be anyone's."""
    if not (out / "manifest.json").exists():
        for name in sorted(os.listdir(out)):
            if name != ".lock" and not name.endswith(TEMPORARY):
                raise UserError(f"{out}: holds {name}, which no quickstart wrote; choose another --out")
    elif overwrite:
        clear(out, FOLDER)
    before = read_own(out, FOLDER) if (out / "manifest.json").exists() else {}
    write_manifest(out, FOLDER.name, before)
    refuse_links(out, ("task", *FOLDER.parts))


def _export(out: Path, held: Held) -> None:
    """Write hf/, and note down which files of it are ours."""
    held.check()
    export_run(out / "pretrained", out / "hf")
    names = [f"hf/{name}" for name in os.listdir(out / "hf")]
    write_manifest(out, FOLDER.name, read_manifest(out, FOLDER.name) | {"names": names})


def _heading(number: int, name: str, what: str) -> None:
    tell("\n" + fill(f"[{number}/6] {name}: {what}", WIDTH, subsequent_indent=" " * 6))


def _settings(cls: type, verb: str, recipe: str, overrides: Sequence[str]) -> Any:
    return load(cls, verb, recipe, overrides).settings


def _collect(out: Path, texts: Callable[[], Iterable[tuple[str, str]]], sizes: Sizes) -> None:
    """Write the corpus and the labelled task; the corpus is written last, so that its presence means both are whole."""
    if (out / "corpus.jsonl").exists():
        tell(f"{out / 'corpus.jsonl'} is there")
        return
    started_at = time.monotonic()
    found = list(texts())
    split = split_texts(found, sizes.train_examples, sizes.dev_examples)
    if len(split.train) < sizes.train_examples or not split.rest:
        raise UserError(
            f"{len(split.train) + len(split.dev):,} sentences for the labelled task in {len(found):,} docstrings on "
            f"this machine; the quickstart needs those of torch, scipy, numpy"
        )
    write_task(out / "task", split)
    write_texts(out / "corpus.jsonl", split.rest)
    counts = Counter(package for package, _ in found)
    tell(
        f"{len(found):,} texts, {format_count(sum(len(text) for _, text in found))} characters in "
        f"{format_seconds(time.monotonic() - started_at)}: "
        + ", ".join(f"{package} {count:,}" for package, count in counts.most_common())
    )


def _pretrain(recipe: PretrainRecipe, data: Data, out: Path, sizes: Sizes) -> dict[str, Any]:
    """Pre-train; return the measures before and after, and what it took."""
    machine = choose_machine(recipe.machine, data.tokenizer.pad_id)
    pairs = find_pairs(data, sizes.pairs)
    objective: Any = build_objective(recipe, data.tokenizer)  # a module too
    size = sum(parameter.numel() for parameter in objective.parameters())
    plan = f"{recipe.plan.hours * 60:g} minutes" if recipe.plan.hours else f"{recipe.plan.total:,} {recipe.plan.unit}"
    chance = f"0.5 ± {standard_error(0.5, len(pairs)):.3f}"
    _heading(4, "pre-train", f"a BERT of {format_count(size)} parameters on {format_count(data.num_tokens('train'))} "
             f"tokens, for {plan}. Word order: the share of {len(pairs)} held-out sentences that it finds likelier "
             f"than with two neighbouring words swapped; chance is {chance}")  # fmt: skip

    def read_word_order(objective: Any, show: Callable[[str], None]) -> dict[str, float]:
        return {"word_order": word_order(objective, pairs, data.tokenizer, machine)}

    def guess(objective: Any, show: Callable[[str], None]) -> dict[str, float]:
        show_guesses(objective, data.tokenizer, machine, show)
        return {}

    probes: list[Probe] = [read_word_order, guess]
    start = out / "start.json"
    if not start.exists():
        batches = held_out_batches(data, recipe, build_collator(recipe, data.tokenizer))
        losses = held_out_losses(Runner(objective, machine), batches, recipe.rows.length)
        measures = losses | read_word_order(objective, tell)
        write_json(start, finite(measures))
    done = pretrain(recipe, out / "bert", probes=probes)
    return {
        "parameters": size, "before": _read_start(start), "after": done["measures"], "pairs": len(pairs),
        "steps": done["steps"], "tokens": done["tokens"], "seconds": done["seconds"],
    }  # fmt: skip


def _read_start(path: Path) -> dict[str, float]:
    """Return what the network measured before it was trained."""
    before = read_json(path, dict)
    for name in ("mlm_loss", "word_order"):
        member(before, name, float, f"{path}, which is damaged (remove it, with {path.parent / 'bert'})")
    return before


def _finetune(out: Path, name: str, sizes: Sizes, held: Held) -> dict[str, float]:
    """Fine-tune; return the accuracy over the seeds: median, mean, standard deviation and the number of seeds."""
    loaded = load(FinetuneRecipe, "finetune", "quickstart", [
        f"model={out / 'bert'}", f"data={out / 'task'}", f"random_weights={str(name == 'random').lower()}",
        *sizes.finetune,
    ])  # fmt: skip
    tell(f"{name} weights:")
    held.check()
    results = finetune(loaded, out / name)
    tell("\n".join(score_table(results)))
    return results["summary"]["accuracy"] | {"seeds": len(results["trials"])}


def _guesses(out: Path) -> list[str]:
    """Return what the pre-trained model puts in the place of [MASK] in a few sentences."""
    found = Predictor(out / "bert").fill(list(SENTENCES), most=3)
    width = max(map(len, SENTENCES))
    return [
        f"{sentence:{width}}  {', '.join(f'{token} {prob:.0%}' for token, prob in filled.masks[0])}"
        for sentence, filled in zip(SENTENCES, found, strict=True)
    ]
