"""Two checkouts do the same small jobs; shards, weights and predictions are compared byte by byte.

    python -m benchmarks.same_bits OTHER_CHECKOUT [--keep FOLDER]

Each checkout prepares a synthetic text, pre-trains on it (BERT, ELECTRA, Electric, ModernBERT, a modern ELECTRA), goes
on from the second last checkpoint of each, fine-tunes (texts, several labels, numbers, tags, answers, several tasks),
predicts and exports. What differs is listed, and the exit status is 1. Two threads, a few minutes.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
COMPARED = (
    "*.npy",
    "vocab.txt",
    "tokenizer.json",
    "*.safetensors",
    "predictions-*",
    "preds.json",
    "eval.json",
    "*.out",
)
"""Files in which nothing tells of time, place or version."""
SIZES = (
    "model.hidden_size=32", "model.num_hidden_layers=2", "model.num_attention_heads=2", "rows.length=32",
    "model.max_position_embeddings=64", "batch_size=8", "evaluate_rows=16", "plan.steps=12", "plan.checkpoint_steps=4",
    "plan.evaluate_steps=6", "plan.keep_checkpoints=0", "plan.log_steps=4", "tensorboard=false",
)  # fmt: skip
DROPOUT = ("model.hidden_dropout_prob=0.1", "model.attention_probs_dropout_prob=0.1")
PRETRAINED = {
    "bert": ("bert-tiny", *DROPOUT, "rows.kind=two_segments"),
    "electra": ("electra-small-owt", *DROPOUT, "model.embedding_size=16", "objective.generator.hidden_fraction=0.5"),
    "electric": ("electric-small", *DROPOUT, "model.embedding_size=16", "objective.generator.hidden_fraction=0.5"),
    "modern": ("modern-small", "model.local_attention=8", "model.classifier_pooling=mean"),
    "modern-electra": (
        "electra-small-owt", "model.kind=modern", "model.local_attention=8", "objective.generator.hidden_fraction=0.5",
    ),
}  # fmt: skip
FINETUNED = {
    "texts": ("custom.text=text", "custom.label=label"),
    "labels": ("custom.kind=multi-label", "custom.text=text", "custom.label=labels"),
    "numbers": ("custom.kind=regression", "custom.text=text", "custom.label=number"),
    "pairs": ("custom.text=text", "custom.second_text=other", "custom.label=label"),
    "tags": ("custom.kind=tagging",),
    "answers": ("custom.kind=answering", "answering.question_length=8", "answering.stride=8"),
}
TRAINING = ("epochs=2", "batch_size=8", "seeds=2", "sequence_length=32", "schedule.learning_rate=1e-3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="the checkout to compare with")
    parser.add_argument("--keep", type=Path, help="folder to work in, which is kept; what it holds is not made again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.keep or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        sides = [work / "other", work / "this"]
        for checkout, side in zip((arguments.other.resolve(), HERE), sides, strict=True):
            do_all(checkout, side)
        differing = list(differences(*sides))
    print("\n".join(differing) or "equal: every shard, weight and prediction")
    sys.exit(bool(differing))


def do_all(checkout: Path, side: Path) -> None:
    """Run every job with the code of `checkout` in the folder `side`."""

    def bertsmith(*words: object, out: str | None = None) -> None:
        environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "2"}
        command = [sys.executable, "-m", "bertsmith", *map(str, words)]
        done = subprocess.run(command, cwd=side, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{checkout}: {' '.join(command[1:])}\n{done.stderr}")
        if out is not None:
            (side / out).write_text(done.stdout, encoding="utf-8")

    side.mkdir(exist_ok=True)
    if not (side / "text").exists():
        write_text(side / "text")
        write_tasks(side)
    bertsmith("tokenizer", "text", "corpus=text", "size=300", "--out", "vocab")
    bertsmith("prepare", "text", "corpus=text", "vocab=vocab", "heldout_fraction=0.1", "workers=2", "--out", "data")
    for name, settings in PRETRAINED.items():
        job = ("pretrain", settings[0], "data=data", *SIZES, *settings[1:])
        bertsmith(*job, "--out", name)
        if not (side / f"{name}-resumed").exists():
            shutil.copytree(side / name, side / f"{name}-resumed")
            shutil.rmtree(side / f"{name}-resumed" / "checkpoints" / "step-00000012")
        bertsmith(*job, "--out", f"{name}-resumed")
        bertsmith("export", name, f"{name}-hf")
    bertsmith("score", "bert", "texts/lines.txt", "--json", out="score.out")
    for model in ("bert", "electra", "modern"):
        for task, settings in FINETUNED.items():
            run = f"{model}-{task}"
            bertsmith("finetune", "custom", f"model={model}", f"data={task}", *settings, *TRAINING, "--out", run)
            bertsmith("predict", run, "--file", f"{task}/dev.{'conll' if task == 'tags' else 'jsonl'}", "--json",
                      out=f"{run}.out")  # fmt: skip
    bertsmith("finetune", "several", "several.tasks=['cola','sts-b']", "model=bert", "data=glue", "check_counts=false",
              *TRAINING, "--out", "bert-several")  # fmt: skip
    bertsmith("export", "bert-texts", "bert-texts-hf")


def differences(first: Path, second: Path) -> Iterator[str]:
    """Yield a line for each file that is not the same, or that only one of two folders has."""
    names = [
        {path.relative_to(side) for pattern in COMPARED for path in side.rglob(pattern)} for side in (first, second)
    ]
    for name in sorted(names[0] | names[1]):
        if name not in names[0] or name not in names[1]:
            yield f"{name}: only in {first.name if name in names[0] else second.name}"
        elif (first / name).read_bytes() != (second / name).read_bytes():
            yield f"{name}: differs"
    print(f"{len(names[0] & names[1]):,} files compared", file=sys.stderr)


def write_text(folder: Path) -> None:
    """Write documents in which every word is followed by a fixed other one half of the time."""
    folder.mkdir()
    rng = random.Random(0)
    for number in range(200):
        lines = [" ".join(_words(rng, rng.randrange(4, 20))) + "." for _ in range(rng.randrange(2, 8))]
        (folder / f"{number:03d}.txt").write_text("\n".join(lines), encoding="utf-8")


VOWELS, CONSONANTS = "aeiou", "bcdfghjklmnpqrstvwxz"


def _words(rng: random.Random, count: int) -> list[str]:
    place, words = rng.randrange(100), []
    for _ in range(count):
        words.append(CONSONANTS[place // 5] + VOWELS[place % 5] + CONSONANTS[place * 7 % 20])
        place = (place * 7 + 3) % 100 if rng.random() < 0.5 else rng.randrange(100)
    return words


def write_tasks(side: Path) -> None:
    """Write a small task of each kind, whose answers follow from the words."""
    rng = random.Random(1)
    (side / "texts").mkdir()
    (side / "texts" / "lines.txt").write_text("\n".join(" ".join(_words(rng, 6)) for _ in range(5)) + "\n")
    for split, count in (("train", 60), ("dev", 30)):
        rows, sentences, questions = [], [], []
        for _ in range(count):
            words, other = _words(rng, rng.randrange(4, 12)), _words(rng, 5)
            labels = sorted({word[1] for word in words} & set("aei"))
            rows.append({
                "text": " ".join(words), "other": " ".join(other), "label": "yes" if "a" in labels else "no",
                "labels": labels, "number": len(words) / 3,
            })  # fmt: skip
            sentences.append("".join(f"{word} {'B' if word[1] in 'ae' else 'O'}\n" for word in words))
            questions.append({"question": other[0], "context": " ".join(words), "answer": words[len(words) // 2]})
        for task in ("texts", "labels", "numbers", "pairs"):
            _write_lines(side / task / f"{split}.jsonl", rows)
        _write_lines(side / "answers" / f"{split}.jsonl", questions)
        _write_glue(side / "glue", split, rows)
        (side / "tags").mkdir(exist_ok=True)
        (side / "tags" / f"{split}.conll").write_text("\n".join(sentences), encoding="utf-8")


def _write_glue(folder: Path, split: str, rows: list[dict[str, object]]) -> None:
    """Write CoLA and STS-B in their layouts."""
    for task in ("CoLA", "STS-B"):
        (folder / task).mkdir(parents=True, exist_ok=True)
    cola = [f"s\t{int(row['label'] == 'yes')}\t\t{row['text']}\n" for row in rows]
    (folder / "CoLA" / f"{split}.tsv").write_text("".join(cola), encoding="utf-8")
    heading = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
    pairs = [f"0\tg\tf\ty\to\ts\ts\t{row['text']}\t{row['other']}\t{row['number']}\n" for row in rows]
    (folder / "STS-B" / f"{split}.tsv").write_text(heading + "".join(pairs), encoding="utf-8")


def _write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
