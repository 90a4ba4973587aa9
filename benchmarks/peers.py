"""Fine-tuning as `transformers`' own scripts do it: `Trainer`, padding each batch to its longest row."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.finetune import LEARNING_RATE, WARMUP
from bertsmith.tasks.loading import load_task
from bertsmith.tasks.metrics import measure
from bertsmith.tasks.recipe import FinetuneRecipe

IGNORED = -100


def peer_scores(recipe: FinetuneRecipe, seed: int) -> dict[str, float]:
    """Metrics on dev after training with `recipe`'s hyper-parameters, under the names they have here."""
    if recipe.task == "squad-v1.1":
        from benchmarks.peer_answers import answer_scores

        return answer_scores(recipe, (Path(recipe.answering.train), Path(recipe.answering.dev)), seed)
    return (_tags if recipe.spec.input == "words" else _texts)(recipe, seed)


def _texts(recipe: FinetuneRecipe, seed: int) -> dict[str, float]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding

    data, tokenizer = load_task(recipe).data, AutoTokenizer.from_pretrained(recipe.model)

    def features(examples) -> list[dict[str, Any]]:
        pair = [] if examples.second is None else [examples.second]
        encoded = tokenizer(examples.first, *pair, truncation=True, max_length=recipe.sequence_length)
        return [
            {name: encoded[name][number] for name in encoded} | {"labels": label}
            for number, label in enumerate(examples.targets.tolist())
        ]

    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(recipe.model, num_labels=data.spec.answers.num_outputs)
    logits = train_and_predict(
        model, features(data.train), features(data.dev), DataCollatorWithPadding(tokenizer), recipe, seed
    )
    predicted = logits.argmax(axis=1) if data.spec.labels else logits[:, 0]
    return measure(data.spec.metrics, predicted, data.dev.targets)


def _tags(recipe: FinetuneRecipe, seed: int) -> dict[str, float]:
    from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
    from transformers import AutoModelForTokenClassification, AutoTokenizer, DataCollatorForTokenClassification

    data, tokenizer = load_task(recipe).data, AutoTokenizer.from_pretrained(recipe.model)
    ids = {label: id for id, label in enumerate(data.spec.labels)}

    def features(sentences) -> list[dict[str, Any]]:
        options = {"is_split_into_words": True, "truncation": True, "max_length": recipe.sequence_length}
        encoded = tokenizer(sentences.texts(), **options)
        found = []
        for number, tags in enumerate(sentences.tags()):
            words = encoded.word_ids(number)
            first = [word is not None and word != before for word, before in zip(words, [None, *words], strict=False)]
            labels = [ids[tags[word]] if is_first else IGNORED for word, is_first in zip(words, first, strict=True)]
            found.append({name: encoded[name][number] for name in encoded} | {"labels": labels})
        return found

    torch.manual_seed(seed)
    model = AutoModelForTokenClassification.from_pretrained(recipe.model, num_labels=len(data.spec.labels))
    collator = DataCollatorForTokenClassification(tokenizer)
    dev = features(data.dev)
    found = train_and_predict(model, features(data.train), dev, collator, recipe, seed).argmax(axis=2)
    gold, predicted = data.dev.tags(), []
    for row, asked in zip(found, dev, strict=True):
        kept = [data.spec.labels[id] for id, label in zip(row, asked["labels"], strict=False) if label != IGNORED]
        predicted.append(kept + ["O"] * (len(gold[len(predicted)]) - len(kept)))
    scorers = {"f1": f1_score, "precision": precision_score, "recall": recall_score, "accuracy": accuracy_score}
    return {name: float(score(gold, predicted)) for name, score in scorers.items()}


def train_and_predict(
    model: Any, train: list[dict[str, Any]], dev: list[dict[str, Any]], collator: Any, recipe: FinetuneRecipe, seed: int
) -> Any:
    """The logits of all of `dev`, after training with `recipe`'s hyper-parameters."""
    from transformers import Trainer, TrainingArguments

    on_cpu = recipe.machine.device == "cpu"
    steps = -(-len(train) // recipe.batch_size) * int(recipe.epochs)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=int(recipe.epochs), per_device_train_batch_size=recipe.batch_size,
            per_device_eval_batch_size=recipe.batch_size, learning_rate=LEARNING_RATE,
            warmup_steps=round(steps * WARMUP), weight_decay=recipe.optimizer.weight_decay,
            max_grad_norm=recipe.optimizer.clip_norm, save_strategy="no",
            report_to=[], logging_steps=10_000, disable_tqdm=True, seed=seed,
            use_cpu=on_cpu, tf32=None if on_cpu else True,  # as here
        )  # fmt: skip
        trainer = Trainer(model, arguments, train_dataset=train, data_collator=collator)
        trainer.train()
        return trainer.predict(dev).predictions
