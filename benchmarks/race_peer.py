"""The peer in the race: `transformers.Trainer` as run_mlm.py uses it, on the same text, vocabulary and kind of network.

    python -m benchmarks.race_peer DATA OUT --network bert --tokens 1200000 --length 64 --batch-size 8 [--rate 5e-5 …]

Texts are joined and cut into full rows, as run_mlm.py's `group_texts` does, and 15 % of the tokens are masked anew in
each batch by `DataCollatorForLanguageModeling`. The defaults are run_mlm.py's and `TrainingArguments`' own. Several
times on the way the pinned loss is measured, as in our runs; CPU seconds (of `--device cuda` seconds) are of training
alone. Prints its figures as JSON.

With `--resume` it saves checkpoints on the way and when SIGTERM asks it to stop, goes on from the newest, and keeps its
figures in OUT/figures.json.
"""

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertsmith.config.loading import apply_overrides
from bertsmith.predict.evaluate import EvaluateSettings, evaluate_model
from bertsmith.storage.json_files import read_optional, write_json
from bertsmith.text.shards import Data, open_data
from bertsmith.training.models import open_model

CHECKPOINTS = 20
FIGURES_FILE, WATCH_FILE = "figures.json", "watch.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--network", choices=("bert", "modernbert"), default="bert")
    parser.add_argument("--hidden-size", type=int, default=192)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--intermediate-size", type=int, help="of BERT; four times the hidden size by default")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--tokens", type=int)
    budget.add_argument("--steps", type=int)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--beta2", type=float, default=0.999)
    parser.add_argument("--warmup", type=float, default=0.0, help="share of the steps")
    parser.add_argument("--bf16", action="store_true", help="TrainingArguments' own switch, always on with cuda")
    parser.add_argument("--evaluations", type=int, default=6, help="of the pinned loss")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: in bfloat16, compiled")
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    figures = finished(given.out) if given.resume else None
    print(json.dumps(figures or train(given)))


def train(given: argparse.Namespace) -> dict[str, Any]:
    """Train, and return the figures that `benchmarks.race` has of its own arms; ends the program with the status of a
    SIGTERM where one came."""
    from transformers import AutoTokenizer, DataCollatorForLanguageModeling, Trainer, TrainingArguments, set_seed

    data, on_gpu = open_data(given.data), given.device == "cuda"
    set_seed(given.seed)
    model = network(given, data.tokenizer.vocab_size)
    tokenizer = AutoTokenizer.from_pretrained(data.path)
    steps = given.steps or -(-given.tokens // (given.batch_size * given.length))
    watch = Watch(model, data, given, -(-steps // given.evaluations))
    arguments = TrainingArguments(
        output_dir=str(given.out / "trainer"), max_steps=steps, per_device_train_batch_size=given.batch_size,
        learning_rate=given.rate, adam_beta2=given.beta2, warmup_steps=round(given.warmup * steps), seed=given.seed,
        save_strategy="steps" if given.resume else "no", save_steps=-(-steps // CHECKPOINTS), save_total_limit=2,
        report_to=[], disable_tqdm=True, use_cpu=not on_gpu, logging_strategy="no", bf16=given.bf16 or on_gpu,
        torch_compile=on_gpu, dataloader_num_workers=2 if on_gpu else 0, dataloader_drop_last=on_gpu,
    )  # fmt: skip
    trainer = Trainer(
        model=model, args=arguments, train_dataset=Rows(full_rows(data, given.length)), callbacks=[callback_of(watch)],
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
    )  # fmt: skip
    last = checkpoints_of(given.out)[-1:] if given.resume else []
    if last:
        watch.restore(last[0])
    if given.resume:
        signal.signal(signal.SIGTERM, watch.stop)
    watch.begin()
    trainer.train(resume_from_checkpoint=str(last[0]) if last else None)
    if trainer.state.global_step < steps:
        sys.exit(128 + signal.SIGTERM)
    told = {name: str(value) for name, value in vars(given).items() if name not in ("data", "out")}
    figures = watch.figures() | {"settings": told}
    if given.resume:
        write_json(given.out / FIGURES_FILE, figures)
    return figures


def finished(out: Path) -> dict[str, Any] | None:
    """Return the figures of a peer that was trained with `--resume`; None where it has not come to its end."""
    return read_optional(out / FIGURES_FILE) or None


def checkpoints_of(out: Path) -> list[Path]:
    """Return the checkpoints of a peer that are whole, by their steps."""
    found = [path.parent for path in (out / "trainer").glob(f"checkpoint-*/{WATCH_FILE}")]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def network(given: argparse.Namespace, vocab_size: int) -> torch.nn.Module:
    """Return a masked-token model of transformers with random weights."""
    from transformers import BertConfig, BertForMaskedLM, ModernBertConfig, ModernBertForMaskedLM

    size = {
        "vocab_size": vocab_size, "hidden_size": given.hidden_size, "num_hidden_layers": given.layers,
        "num_attention_heads": given.hidden_size // 64, "max_position_embeddings": 128,
    }  # fmt: skip
    if given.network == "bert":
        return BertForMaskedLM(BertConfig(**size, intermediate_size=given.intermediate_size or 4 * given.hidden_size))
    special = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    return ModernBertForMaskedLM(ModernBertConfig(**size, **special, intermediate_size=given.hidden_size * 3 // 2))


def full_rows(data: Data, length: int) -> np.ndarray:
    """Return rows of `length` tokens: [CLS] text [SEP] of all documents, one after the other."""
    first, last = np.array([data.tokenizer.cls_id]), np.array([data.tokenizer.sep_id])
    parts: list[np.ndarray] = []
    for index in range(data.num_shards("train")):
        shard, start = data.read("train", index), 0
        for end in shard.document_ends.tolist():
            parts += [first, shard.tokens[start:end], last]
            start = end
    joined = np.concatenate(parts, dtype=np.int32)
    return joined[: len(joined) // length * length].reshape(-1, length)  # [rows, length]


class Rows(torch.utils.data.Dataset):
    """Rows of ids as the Trainer takes them."""

    def __init__(self, ids: np.ndarray):
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return {"input_ids": self.ids[index].tolist()}


class Watch:
    """Measures the pinned loss every so many steps, outside of the time that counts."""

    def __init__(self, model: torch.nn.Module, data: Data, given: argparse.Namespace, every: int):
        self.model, self.data, self.out, self.device, self.every = model, data, given.out, given.device, every
        self.tokens_a_step = given.batch_size * given.length
        self.clock = time.process_time if given.device == "cpu" else time.perf_counter
        self.compiles = given.device == "cuda"
        self.seconds = 0.0
        self.curve: list[list[float]] = []
        self.last: dict[str, float] = {}
        self.asked_to_stop = False

    def begin(self) -> None:
        self.started_at = self.clock()

    def pause(self) -> None:
        self.seconds += self.clock() - self.started_at

    def stop(self, *signal_and_frame: Any) -> None:
        self.asked_to_stop = True

    def after_step(self, step: int, last: bool) -> None:
        if self.compiles:
            self.compiles = False  # the first step of a process is start-up
            self.begin()
        if step % self.every and not last:
            return
        self.pause()
        self.model.save_pretrained(self.out)
        self.data.tokenizer.save(self.out)
        given = [f"data={self.data.path}", f"machine.device={self.device}"]
        settings = apply_overrides(EvaluateSettings, {}, given).settings
        measures = evaluate_model(open_model(self.out), settings).heldout or {}
        self.last = {name: measures[name] for name in ("pinned_loss", "pinned_bits_per_byte", "mlm_loss")}
        self.curve.append([step, step * self.tokens_a_step, round(measures["pinned_loss"], 4), self.seconds])
        self.model.train()
        self.begin()

    def save(self, checkpoint: Path) -> None:
        """Keep what was measured beside a checkpoint of the Trainer's, after all of its files."""
        self.pause()
        write_json(checkpoint / WATCH_FILE, {"seconds": self.seconds, "curve": self.curve, "last": self.last})
        self.begin()

    def restore(self, checkpoint: Path) -> None:
        kept = read_optional(checkpoint / WATCH_FILE)
        self.seconds, self.curve, self.last = kept["seconds"], kept["curve"], kept["last"]

    def figures(self) -> dict[str, Any]:
        step, tokens, *_ = self.curve[-1]
        return {
            "pinned_loss": self.last["pinned_loss"], "bits_per_byte": self.last["pinned_bits_per_byte"],
            "own_loss": self.last["mlm_loss"], "steps": step, "tokens": tokens, "cpu_seconds": self.seconds,
            "curve": self.curve,
        }  # fmt: skip


def callback_of(watch: Watch) -> Any:
    from transformers import TrainerCallback

    class Callback(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            watch.after_step(state.global_step, state.global_step == state.max_steps)
            if watch.asked_to_stop:
                control.should_save = control.should_training_stop = True

        def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            watch.save(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    return Callback()


if __name__ == "__main__":
    main()
