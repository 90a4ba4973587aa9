"""bertsmith: pre-train your own BERT from raw text on one GPU, and know how good it is.

The functions here are the Python API; `docs/python.md` shows them at work. Each takes a recipe (a shipped one's name, a
TOML file's path, or a checked settings object) with settings laid over it, and does what the verb of its name does.

The main rooms, in the order the data flows through them: `text` and `tokenizers`, `encoders`, `objectives`, `training`,
`evals`, `tasks`, `predict`, `convert`, `reports`; `cli` is the program. ARCHITECTURE.md has them all. Each room's
docstring says what comes in, what goes out, and which file to read first.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # importing does nothing
    from bertsmith.predict.evaluate import Evaluation
    from bertsmith.predict.predictor import Predictor
    from bertsmith.tasks.recipe import FinetuneRecipe
    from bertsmith.text.prepare import PrepareRecipe
    from bertsmith.text.shards import Data
    from bertsmith.training.recipe import PretrainRecipe

__version__ = "0.1.0"

Values = Mapping[str, Any]
"""Settings by their dotted keys, as {"plan.steps": 1000, "data": "data/owt"}."""


def prepare(
    recipe: "str | Path | PrepareRecipe", out: str | Path, settings: Values | None = None, *, overwrite: bool = False
) -> "Data":
    """Turn raw text into token shards in the folder `out`, which may be an address (s3://…), and return them; a folder
    that is done is opened.

    Raises:
        UserError: a setting or the corpus cannot be used; `out` holds something else.
    """
    from bertsmith.text import prepare as room

    return room.prepare(_loaded(recipe, room.PrepareRecipe, "prepare", settings), out, overwrite)


def pretrain(
    recipe: "str | Path | PretrainRecipe", out: str | Path, settings: Values | None = None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Train an encoder on token shards, from where the folder `out` stands to the plan's end, and return how
    far it came and its last measures. With the setting `blimp`, each evaluation measures BLiMP as well, and with `glue`
    some of them five tasks of GLUE.

    Raises:
        UserError: a setting, the data or the model of `init` cannot be used; `out` holds another run.
        Interrupted: by a signal, after a checkpoint was written.
    """
    from bertsmith.evals.pinned import probes_of
    from bertsmith.tasks.quick_glue import glue_probes
    from bertsmith.training import pretrain as room
    from bertsmith.training.initial import load_pretraining

    checked = _loaded(recipe, room.PretrainRecipe, "pretrain", settings, load_pretraining)
    return room.pretrain(checked, Path(out), overwrite, [*probes_of(checked), *glue_probes(checked)])


def finetune(
    recipe: "str | Path | FinetuneRecipe", out: str | Path, settings: Values | None = None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Fine-tune an encoder on a labelled task over several seeds, and return what `out`/results.json holds.

    Raises:
        UserError: a setting, the model or the task's files cannot be used; `out` holds another run.
        Interrupted: by a signal; finished trials stay.
    """
    from bertsmith.config.loading import Loaded
    from bertsmith.tasks import finetune as room
    from bertsmith.tasks.recipe import FinetuneRecipe

    checked = _loaded(recipe, FinetuneRecipe, "finetune", settings)
    return room.finetune(Loaded(checked, {}), Path(out), overwrite)


def evaluate(model: str | Path, settings: Values | None = None) -> "Evaluation":
    """Measure a pre-trained model on held-out text (of the setting `data`, by default the run's own), on BLiMP
    (`blimp`), STS-B (`sts`) or, fine-tuned for a few epochs, on five tasks of GLUE (`glue`).

    Raises:
        UserError: there is no such model, or it was fine-tuned; a setting or a file cannot be used.
    """
    from bertsmith.config.loading import apply_overrides
    from bertsmith.predict.evaluate import EvaluateSettings, evaluate_model
    from bertsmith.predict.predictor import Predictor

    checked = apply_overrides(EvaluateSettings, {}, _overrides(settings)).settings
    return evaluate_model(Predictor(model).pretrained("be evaluated"), checked)


def load(path: str | Path, device: str = "auto", task: str | None = None) -> "Predictor":
    """Open a model to ask it about text: `fill`, `replaced`, `score`, `embed`, `classify`, `tag`, `answer`, `evaluate`.

    Args:
        path: a run of `bertsmith pretrain` or `finetune`, or a Hugging Face folder of a BERT, RoBERTa, ModernBERT, ….
        device: auto, cpu, cuda or cuda:N.
        task: which one, of a run of several tasks.

    Raises:
        UserError: no model there, or no such device.
    """
    from bertsmith.predict.predictor import Predictor

    return Predictor(path, device, task)


def load_plugin(path: str | Path) -> None:
    """Run a file of code that registers more objectives, encoders, optimizers, schedules, tasks, layouts or trackers;
    needed to open what was made with it. A recipe loads those of its setting `plugins` itself.

    Raises:
        UserError: there is no such file; it fails, or has changed since it was loaded.
    """
    from bertsmith.config import plugins

    plugins.load_plugin(path)


def export(
    run: str | Path,
    out: str | Path,
    settings: Values | None = None,
    *,
    opset: int | None = None,
    task: str | None = None,
    all_steps: bool = False,
) -> Path:
    """Write a run as a Hugging Face folder, and return its path.

    Args:
        run: of `pretrain` (its newest checkpoint), `finetune` (its best trial) or `search` (the run that it chose).
        out: the folder to write.
        settings: of the model card, as {"card.license": "apache-2.0"}; averages of weights (`averaged`, `mean_of`).
        opset: of a model.onnx to write as well.
        task: which one, of a run of several tasks.
        all_steps: write every checkpoint of a pre-training run, and the weights that it began with, to a folder each in
            `out`, as step-00001000.

    Raises:
        UserError: there is no such run; it has no weights yet; no Hugging Face class is like it; `out` holds what is
            not ours to replace.
    """
    from bertsmith.config.loading import apply_overrides
    from bertsmith.convert.all_steps import export_steps
    from bertsmith.convert.export import ExportSettings, export_run

    checked = apply_overrides(ExportSettings, {}, _overrides(settings)).settings
    if all_steps:
        export_steps(Path(run), Path(out), opset, checked)
        return Path(out)
    return export_run(Path(run), Path(out), opset, task, checked)


def _loaded(recipe: Any, cls: type, verb: str, settings: Values | None, read: Any = None) -> Any:
    """Return the checked settings object of a recipe with `settings` laid over it."""
    from bertsmith.config.loading import apply_overrides, load, to_dict

    overrides = _overrides(settings)
    if not isinstance(recipe, str | Path):
        return apply_overrides(cls, to_dict(recipe), overrides).settings
    if read is not None:
        return read(str(recipe), overrides).settings
    return load(cls, verb, str(recipe), overrides).settings


def _overrides(settings: Values | None) -> list[str]:
    return [f"{key}={_toml(value)}" for key, value in (settings or {}).items()]


def _toml(value: Any) -> str:
    """Return a value as TOML writes it on one line."""
    import json

    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(key)} = {_toml(entry)}' for key, entry in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
