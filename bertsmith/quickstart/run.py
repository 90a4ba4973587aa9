"""The whole job in about five minutes, on text in the installed packages: raw text in, a scored BERT out.

OUT/manifest.json              the names of our files in the folder
    corpus.jsonl               docstrings of the installed packages; those that task/ is made of are not among them
    task/                      are a sentence's words in order, or shuffled: train.jsonl, dev.jsonl
    vocab/  data/  bert/       the results of `bertsmith tokenizer`, `prepare` and `pretrain`
    pretrained/  random/       the results of `bertsmith finetune`, from bert/'s weights and from random ones
    hf/                        pretrained/ as `bertsmith export` writes it
    report.html  results.json  the run page; the table at the end

Each part is complete, continued or absent, so a second call finds all finished, and a killed one continues.
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
from bertsmith.convert.export import export_run
from bertsmith.errors import UserError
from bertsmith.evals.likelihood import find_pairs, standard_error, word_order
from bertsmith.evals.masks import SENTENCES, show_guesses
from bertsmith.evals.pinned import probes_of
from bertsmith.predict.predictor import Predictor
from bertsmith.quickstart.summary import conclusions, summary
from bertsmith.quickstart.task import read_task, split_texts, tfidf_accuracy, write_task, write_texts
from bertsmith.reports.averages import LINE_WIDTH
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
from bertsmith.training.held_out_text import held_out_text
from bertsmith.training.machine import choose_machine
from bertsmith.training.pretrain import initial_objective, pretrain
from bertsmith.training.recipe import PretrainRecipe
from bertsmith.training.runner import Runner
from bertsmith.training.staged_rows import build_collator

QUICKSTART = FOLDER_TYPES["quickstart"]


@dataclass(frozen=True)
class Sizes:
    """Sizes of the job; the defaults take about five minutes on two cores."""

    vocabulary: int = 8000  # tokens
    heldout_fraction: float = 0.025
    train_examples: int = 1000
    dev_examples: int = 1000
    pairs: int = 300  # of the word-order test, at most
    pretrain: Sequence[str] = (  # settings that override the recipe's, as on the command line
        "plan.tokens=1800000", "plan.checkpoint_steps=400", "plan.evaluate_steps=400", "plan.log_steps=40",
        "machine.compile=false", "evaluate_rows=512", "stages=[{tokens=450_000, length=32, batch_size=32}]",
    )  # fmt: skip
    finetune: Sequence[str] = ()


@no_empty_folder
def quickstart(
    out: Path,
    report: Callable[[str], None],
    overwrite: bool = False,
    texts: Callable[[], Iterable[tuple[str, str]]] = documents,
    sizes: Sizes = Sizes(),
) -> dict[str, Any]:
    """Do the whole job in the folder `out`, and return its results.

    Args:
        out: made, continued or found finished.
        report: called with lines about each step and its results.
        overwrite: start afresh.
        texts: returns pairs (package, text).
        sizes: how much of everything.

    Raises:
        UserError: as the commands of the single steps.
        Interrupted: by SIGTERM or SIGINT; finished steps are kept.
    """
    make_folder(out)
    with locked(out) as held:
        _open(out, overwrite)
        results = _Steps(out, report, sizes, held).run(texts)
    report("\n".join(summary(results)))
    return results


def _open(out: Path, overwrite: bool) -> None:
    """Make `out` ours, empty with `overwrite`, or refuse it: a folder named "data" may be anyone's."""
    if not (out / "manifest.json").exists():
        for name in sorted(os.listdir(out)):
            if name != ".lock" and not name.endswith(TEMPORARY):
                raise UserError(f"{out}: holds {name}, which no quickstart wrote; choose another --out")
    elif overwrite:
        clear(out, QUICKSTART)
    before = read_own(out, QUICKSTART) if (out / "manifest.json").exists() else {}
    write_manifest(out, QUICKSTART.name, before)
    refuse_links(out, ("task", *QUICKSTART.parts))


@dataclass(frozen=True)
class _Steps:
    """The six steps in a folder."""

    out: Path
    report: Callable[[str], None]
    sizes: Sizes
    held: Held

    def run(self, texts: Callable[[], Iterable[tuple[str, str]]]) -> dict[str, Any]:
        out, sizes = self.out, self.sizes
        self._begin(1, "text", "docstrings of the installed packages; nothing is downloaded")
        self._collect(texts)
        self._begin(2, "vocabulary", f"a WordPiece vocabulary of {sizes.vocabulary:,} tokens")
        corpus = [f"corpus={out / 'corpus.jsonl'}", f"heldout_fraction={sizes.heldout_fraction}"]
        train_tokenizer(_settings(TokenizerRecipe, "prepare", "jsonl", [*corpus, f"size={sizes.vocabulary}"]),
                        out / "vocab")  # fmt: skip
        self._begin(3, "prepare", "text → token shards")
        data = prepare(_settings(PrepareRecipe, "prepare", "jsonl", [*corpus, f"vocab={out / 'vocab'}"]), out / "data")
        pretraining = self._pretrain(data)
        self._begin(5, "fine-tune", f"are a sentence's words in order, or shuffled? {sizes.train_examples:,} labelled "
                    f"sentences: first from random weights, then from the pre-trained ones. TF-IDF with logistic "
                    f"regression on the same is the other baseline")  # fmt: skip
        scores = {name: self._finetune(name) for name in ("random", "pretrained")}
        train, dev = (read_task(out / "task", split) for split in ("train", "dev"))
        results = pretraining | {
            "guesses": _guesses(out), "classification": scores, "tfidf": tfidf_accuracy(train, dev),
            "examples": {"train": len(train), "dev": len(dev)},
        }  # fmt: skip
        self._begin(6, "export", "a Hugging Face folder, and a page about the runs")
        self._export()
        about = [*conclusions(results), f"TF-IDF with logistic regression: accuracy {results['tfidf']:.3f}."]
        guesses = (guess.rsplit("  ", 1) for guess in results["guesses"])
        about += [f"[MASK] in “{sentence.rstrip()}”: {tokens}." for sentence, tokens in guesses]
        write_page([out / name for name in ("bert", "pretrained", "random")], out / "report.html", about)
        write_json(out / "results.json", results)
        return results

    def _begin(self, number: int, name: str, what: str) -> None:
        self.held.check()
        self.report("\n" + fill(f"[{number}/6] {name}: {what}", LINE_WIDTH, subsequent_indent=" " * 6))

    def _collect(self, texts: Callable[[], Iterable[tuple[str, str]]]) -> None:
        """Write the labelled task, and last the corpus, so that its presence means both are complete."""
        corpus, sizes = self.out / "corpus.jsonl", self.sizes
        if corpus.exists():
            self.report(f"{corpus} is there")
            return
        started_at = time.monotonic()
        found = list(texts())
        split = split_texts(found, sizes.train_examples, sizes.dev_examples)
        if len(split.train) < sizes.train_examples or not split.rest:
            raise UserError(
                f"{len(split.train) + len(split.dev):,} sentences for the labelled task in {len(found):,} docstrings "
                f"on this machine; the quickstart needs those of torch, scipy, numpy"
            )
        write_task(self.out / "task", split)
        write_texts(corpus, split.rest)
        counts = Counter(package for package, _ in found)
        self.report(
            f"{len(found):,} texts, {format_count(sum(len(text) for _, text in found))} characters in "
            f"{format_seconds(time.monotonic() - started_at)}: "
            + ", ".join(f"{package} {count:,}" for package, count in counts.most_common())
        )

    def _pretrain(self, data: Data) -> dict[str, Any]:
        """Pre-train; return the measures before and after, and the steps, tokens and seconds it took."""
        overrides = [f"data={data.path}", *self.sizes.pretrain]
        recipe: PretrainRecipe = _settings(PretrainRecipe, "pretrain", "fast-tiny", overrides)
        machine = choose_machine(recipe.machine, data.tokenizer.pad_id)
        pairs = find_pairs(data, self.sizes.pairs)
        objective: Any = initial_objective(recipe, data.tokenizer)  # a module too
        size = sum(parameter.numel() for parameter in objective.parameters())
        plan = recipe.plan
        length = f"{plan.hours * 60:g} minutes" if plan.hours else f"{plan.total:,} {plan.unit}"
        chance = f"0.5 ± {standard_error(0.5, len(pairs)):.3f}"
        self._begin(4, "pre-train", f"a BERT of {format_count(size)} parameters on "
                    f"{format_count(data.num_tokens('train'))} tokens, for {length}. Word order: the share of "
                    f"{len(pairs)} held-out sentences that it finds likelier than with two neighbouring words swapped; "
                    f"chance is {chance}")  # fmt: skip

        def read_word_order(objective: Any, show: Callable[[str], None]) -> dict[str, float]:
            return {"word_order": word_order(objective, pairs, data.tokenizer, machine)}

        def guess(objective: Any, show: Callable[[str], None]) -> dict[str, float]:
            show_guesses(objective, data.tokenizer, machine, show)
            return {}

        start = self.out / "start.json"
        if not start.exists():
            held_out = held_out_text(data, recipe, build_collator(recipe, data.tokenizer))
            losses = held_out.measure(Runner(objective, machine), recipe.rows.length)
            write_json(start, finite(losses | read_word_order(objective, self.report)))
        done = pretrain(recipe, self.out / "bert", probes=[*probes_of(recipe), read_word_order, guess])
        return {
            "parameters": size, "before": _read_start(start), "after": done["measures"], "pairs": len(pairs),
            "steps": done["steps"], "tokens": done["tokens"], "seconds": done["seconds"],
        }  # fmt: skip

    def _finetune(self, name: str) -> dict[str, float]:
        """Fine-tune; return the accuracy over the seeds: median, mean, standard deviation and the number of seeds."""
        out = self.out
        loaded = load(FinetuneRecipe, "finetune", "quickstart", [
            f"model={out / 'bert'}", f"data={out / 'task'}", f"random_weights={str(name == 'random').lower()}",
            *self.sizes.finetune,
        ])  # fmt: skip
        self.report(f"{name} weights:")
        self.held.check()
        results = finetune(loaded, out / name)
        self.report("\n".join(score_table(results)))
        return results["summary"]["accuracy"] | {"seeds": len(results["trials"])}

    def _export(self) -> None:
        """Write hf/, and list its files in the manifest."""
        export_run(self.out / "pretrained", self.out / "hf")
        names = [f"hf/{name}" for name in os.listdir(self.out / "hf")]
        write_manifest(self.out, QUICKSTART.name, read_manifest(self.out, QUICKSTART.name) | {"names": names})


def _settings(cls: type, verb: str, recipe: str, overrides: Sequence[str]) -> Any:
    return load(cls, verb, recipe, overrides).settings


def _read_start(path: Path) -> dict[str, float]:
    """Return the measures of the network before training."""
    before = read_json(path, dict)
    for name in ("mlm_loss", "word_order"):
        member(before, name, float, f"{path}, which is damaged (remove it, with {path.parent / 'bert'})")
    return before


def _guesses(out: Path) -> list[str]:
    """Return lines with the pre-trained model's tokens for [MASK] in a few sentences."""
    filled = Predictor(out / "bert").fill(list(SENTENCES), top_k=3)
    width = max(map(len, SENTENCES))
    return [
        f"{sentence:{width}}  {', '.join(f'{token} {prob:.0%}' for token, prob in each.masks[0])}"
        for sentence, each in zip(SENTENCES, filled, strict=True)
    ]
