"""The peer in the race: `transformers.Trainer` as run_mlm.py uses it, on the same text, vocabulary and kind of network.

    python -m benchmarks.race_peer DATA OUT --network bert --tokens 1200000 --length 64 --batch-size 8 [--rate 5e-5 …]

Texts are joined and cut into full rows, as run_mlm.py's `group_texts` does, and 15 % of the tokens are masked anew in
each batch by `DataCollatorForLanguageModeling`. The defaults are run_mlm.py's and `TrainingArguments`' own. Several
times on the way the pinned loss is measured, as in our runs; CPU seconds are of training alone. Prints its figures as
JSON.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertsmith.config.loading import apply_overrides
from bertsmith.predict.evaluate import EvaluateSettings, evaluate_model
from bertsmith.text.shards import Data, open_data
from bertsmith.training.models import open_model

EVALUATIONS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--network", choices=("bert", "modernbert"), default="bert")
    parser.add_argument("--hidden-size", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--beta2", type=float, default=0.999)
    parser.add_argument("--warmup", type=float, default=0.0, help="share of the steps")
    parser.add_argument("--seed", type=int, default=0)
    print(json.dumps(train(parser.parse_args())))


def train(given: argparse.Namespace) -> dict[str, Any]:
    """Train, and return the figures that `benchmarks.race` has of its own arms."""
    from transformers import AutoTokenizer, DataCollatorForLanguageModeling, Trainer, TrainingArguments, set_seed

    data = open_data(given.data)
    set_seed(given.seed)
    model = network(given, data.tokenizer.vocab_size)
    tokenizer = AutoTokenizer.from_pretrained(data.path)
    steps = -(-given.tokens // (given.batch_size * given.length))
    watch = Watch(model, data, given.out, -(-steps // EVALUATIONS), given.batch_size * given.length)
    arguments = TrainingArguments(
        output_dir=str(given.out / "trainer"), max_steps=steps, per_device_train_batch_size=given.batch_size,
        learning_rate=given.rate, adam_beta2=given.beta2, warmup_steps=round(given.warmup * steps), seed=given.seed,
        save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True, logging_strategy="no",
    )  # fmt: skip
    trainer = Trainer(
        model=model, args=arguments, train_dataset=full_rows(data, given.length), callbacks=[callback_of(watch)],
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
    )  # fmt: skip
    watch.begin()
    trainer.train()
    return watch.figures() | {"settings": {name: str(value) for name, value in vars(given).items()}}


def network(given: argparse.Namespace, vocab_size: int) -> torch.nn.Module:
    """Return a masked-token model of transformers with random weights."""
    from transformers import BertConfig, BertForMaskedLM, ModernBertConfig, ModernBertForMaskedLM

    size = {
        "vocab_size": vocab_size, "hidden_size": given.hidden_size, "num_hidden_layers": given.layers,
        "num_attention_heads": given.hidden_size // 64, "max_position_embeddings": 128,
    }  # fmt: skip
    if given.network == "bert":
        return BertForMaskedLM(BertConfig(**size, intermediate_size=4 * given.hidden_size))
    special = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    return ModernBertForMaskedLM(ModernBertConfig(**size, **special, intermediate_size=given.hidden_size * 3 // 2))


def full_rows(data: Data, length: int) -> list[dict[str, list[int]]]:
    """Return rows of `length` tokens: [CLS] text [SEP] of all documents, one after the other."""
    tokenizer, parts = data.tokenizer, []
    for index in range(data.num_shards("train")):
        shard, start = data.read("train", index), 0
        for end in shard.document_ends.tolist():
            parts.append(np.array([tokenizer.cls_id, *shard.tokens[start:end], tokenizer.sep_id], dtype=np.int64))
            start = end
    joined = np.concatenate(parts)
    rows = joined[: len(joined) // length * length].reshape(-1, length)
    return [{"input_ids": row.tolist()} for row in rows]


class Watch:
    """Measures the pinned loss every so many steps, outside of the time that counts."""

    def __init__(self, model: torch.nn.Module, data: Data, out: Path, every: int, tokens_a_step: int):
        self.model, self.data, self.out, self.every, self.tokens_a_step = model, data, out, every, tokens_a_step
        self.seconds = 0.0
        self.curve: list[list[float]] = []

    def begin(self) -> None:
        self.started_at = time.process_time()

    def after_step(self, step: int, last: bool) -> None:
        if step % self.every and not last:
            return
        self.seconds += time.process_time() - self.started_at
        self.model.save_pretrained(self.out)
        self.data.tokenizer.save(self.out)
        settings = apply_overrides(EvaluateSettings, {}, [f"data={self.data.path}", "machine.device=cpu"]).settings
        self.measures = evaluate_model(open_model(self.out), settings).heldout or {}
        self.step = step
        self.curve.append([step, step * self.tokens_a_step, round(self.measures["pinned_loss"], 4), self.seconds])
        self.model.train()
        self.begin()

    def figures(self) -> dict[str, Any]:
        return {
            "pinned_loss": self.measures["pinned_loss"], "bits_per_byte": self.measures["pinned_bits_per_byte"],
            "own_loss": self.measures["mlm_loss"], "steps": self.step, "tokens": self.step * self.tokens_a_step,
            "cpu_seconds": self.seconds, "curve": self.curve,
        }  # fmt: skip


def callback_of(watch: Watch) -> Any:
    from transformers import TrainerCallback

    class Callback(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            watch.after_step(state.global_step, state.global_step == state.max_steps)

    return Callback()


if __name__ == "__main__":
    main()
