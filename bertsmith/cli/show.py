"""`bertsmith show`: the settings of a recipe or verb; the content of a data folder, a run or a model's folder; without
a name, the verbs and the recipes."""

import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from bertsmith.cli.arguments import what_next
from bertsmith.cli.usage import SETTINGS, settings_classes
from bertsmith.config.loading import Loaded, read_own_recipe, rows, set_keys, shipped_recipes
from bertsmith.config.schema import entry_class
from bertsmith.console.progress import format_count
from bertsmith.console.shell import command, quote
from bertsmith.console.terminal import say, say_table
from bertsmith.errors import UserError
from bertsmith.planning.incomplete import load_incomplete, recipe_class
from bertsmith.storage.folders import checkpoint_folders
from bertsmith.storage.manifests import folder_type, read_manifest
from bertsmith.storage.results import read_glue_results, read_run_results, read_search_results

if TYPE_CHECKING:
    from bertsmith.text.shards import Data

WITH_RECIPES = ("filter", "prepare", "pretrain", "finetune")

_PLAIN: dict[str, Any] = {"box": None, "padding": (0, 2, 0, 0)}
"""Of rich's tables, without lines."""


def show(what: str, overrides: Sequence[str] = ()) -> list[object]:
    """Print a recipe (by name or path) or the content of a folder of data, a run or a model; return the words of the
    next command. Raises UserError where `what` is none of these."""
    path = Path(what)
    if path.is_dir():
        from bertsmith.training.description import describe_model, is_model_folder

        if is_model_folder(path):
            title, facts, following = describe_model(path)
            print_facts(title, facts)
            return following
        manifest = _manifest(path)
        printers = {
            "filtered": _show_filtered, "data": _show_data, "pretrain": _show_pretraining,
            "finetune": _show_finetuning, "glue": _show_glue, "search": _show_search,
        }  # fmt: skip
        if manifest.get("kind") == "record":
            raise UserError(f"{path}: an entry of the record; `bertsmith record {quote(path)}` checks and shows it")
        if manifest.get("kind") == "data-part":
            merged = f"`bertsmith prepare merge --out {quote(path.parent)}`"
            raise UserError(f"{path}: a part of a corpus; {merged} makes data of all parts")
        if manifest.get("kind") not in printers:
            raise UserError(f"{path}: neither a data folder, nor a run, nor a model{_folders_in(path)}")
        return printers[manifest["kind"]](path, manifest)
    return _show_recipe(what, overrides)


def _folders_in(path: Path) -> str:
    """Return, for a message, folders inside that can be shown."""
    found = sorted({file.parent for name in ("manifest.json", "config.json") for file in path.glob(f"*/{name}")})
    commands = ", ".join(f"`bertsmith show {quote(folder)}`" for folder in found[:4])
    return f"; it has {len(found)} inside, try {commands}" if found else ""


def _show_recipe(what: str, overrides: Sequence[str]) -> list[object]:
    """Print a recipe's settings: a shipped one by its name; a file for the first verb whose settings it has."""
    shipped = {verb: shipped_recipes(verb) for verb in WITH_RECIPES}
    verbs = [verb for verb, names in shipped.items() if what in names]
    if not verbs and what in SETTINGS and not Path(what).is_file():
        return show_verb(what)
    if not verbs and not Path(what).is_file():
        near = difflib.get_close_matches(what.lower(), [name for names in shipped.values() for name in names])
        listed = "; ".join(f"for {verb} {', '.join(names)}" for verb, names in shipped.items())
        hint = f"did you mean {' or '.join(near)}?" if near else f"shipped are\n{listed}"
        raise UserError(f"{what}: neither a folder, nor a recipe's file or name; {hint}")
    faults = []
    for verb in verbs or shipped:
        try:
            loaded = load_incomplete(verb, what, overrides)
            _print_settings(loaded, command("bertsmith", verb, what))
            needed = [f"{key}=PATH" for key, origin in loaded.origins.items() if origin == "needed"]
            return [verb, what, *overrides, *needed, "--out", "DIR"]
        except UserError as error:
            faults.append(f"as a {verb} recipe: {str(error).splitlines()[0]}")
    raise UserError("\n".join(faults) if Path(what).is_file() else faults[0].partition(": ")[2])


def _print_settings(loaded: Loaded, title: str) -> None:
    found = list(rows(loaded))
    cells = [(row.key, _value(row.value), row.origin, row.description) for row in found]
    chosen = [row.origin != "default" for row in found]
    say_table(title, ("setting", "value", "from", "meaning"), cells, chosen, **_PLAIN)


def _value(value: Any) -> str:
    return "–" if value is None else json.dumps(value, ensure_ascii=False)


def _show_filtered(path: Path, manifest: dict[str, Any]) -> list[object]:
    from bertsmith.cli.filtering import print_counts, what_reads

    print_counts(path, manifest)
    return what_reads(path)


def _show_data(path: Path, manifest: dict[str, Any]) -> list[object]:
    from bertsmith.text.shards import open_data

    data = open_data(path)
    counts = manifest.get("counts", {})
    print_facts(f"{path}: token shards", {
        **{name.replace("_", " "): _plain(value) for name, value in counts.items()},
        **{f"{split} tokens": format_count(data.num_tokens(split)) for split in manifest["shards"]},
        **{f"{split} shards": data.num_shards(split) for split in manifest["shards"]},
        "vocabulary": f"{data.tokenizer.vocab_size:,} tokens",
        "hash": data.hash,
        "corpus": _plain(manifest.get("corpus", "–")),
        **{f"corpus {name}": facts for name, facts in _corpora(data).items()},
    })  # fmt: skip
    return ["pretrain", "bert-small-owt", f"data={path}", "--out", "runs/bert-small-owt"]


def _corpora(data: "Data") -> dict[str, str]:
    """Describe each of several corpora: its share of training, and what was made of it."""
    from bertsmith.text.weights import prepared_weights, training_shares

    shares, weights = training_shares(data, {}) if data.num_tokens("train") else {}, prepared_weights(data.manifest)
    facts = {}
    for name, own in data.corpora.items():
        share = f"{shares[name]:.3g} of training" if name in shares else "no training text"
        by = f"weight {weights[name]:g}" if name in weights else "no weight: in proportion to its tokens"
        splits = ", ".join(f"{split} tokens {format_count(own.num_tokens(split))}" for split in own.manifest["shards"])
        facts[name] = f"{share} ({by}), {splits}, {_plain(own.manifest['counts'])}"
    return facts


def _show_pretraining(path: Path, manifest: dict[str, Any]) -> list[object]:
    from bertsmith.training.schedules import progress_of

    found = manifest.get("measures", {}).items()
    measures = {name: "–" if value is None else f"{value:.4g}" for name, value in found}
    recipe: Any = read_own_recipe(recipe_class("pretrain"), path, "pretrain")
    saved = checkpoint_folders(path)
    print_facts(f"{path}: pre-training", {
        "finished": manifest["finished"] or f"no, {progress_of(recipe.plan, max(saved, default=0))}",
        "data": f"{manifest['data']['path']} ({format_count(manifest['data']['tokens']['train'])} tokens)",
        "checkpoints": ", ".join(checkpoint.name for checkpoint in saved.values()) or "none",
        "environment": _plain(manifest["environment"]),
        **measures,
    })  # fmt: skip
    _print_own_recipe(path, "pretrain")
    if not manifest["finished"]:
        return ["pretrain", path / "recipe.toml", "--out", path]
    return ["finetune", "cola", f"model={path}", "data=data/glue", "--out", Path(f"{path}-cola")]


def _show_finetuning(path: Path, manifest: dict[str, Any]) -> list[object]:
    results = path / "results.json"
    facts: dict[str, Any] = {"finished": manifest["finished"], "task": manifest["task"], "trials": "none finished"}
    if manifest.get("learnt_before"):
        facts["learnt before"] = ", ".join(manifest["learnt_before"])
    if results.is_file():
        content = read_run_results(results)
        recipe: Any = read_own_recipe(recipe_class("finetune"), path, "finetune")
        facts["trials"] = f"{len(content['trials'])} of {recipe.seeds}"
        facts |= {name: _plain(values) for name, values in content["summary"].items()}
    print_facts(f"{path}: fine-tuning", facts)
    _print_own_recipe(path, "finetune")
    return what_next(path, Path(f"{path}-hf"))


def _show_glue(path: Path, manifest: dict[str, Any]) -> list[object]:
    from bertsmith.reports.averages import glue_table

    print_facts(f"{path}: all of GLUE", {
        "finished": manifest["finished"], "model": manifest["model"],
        **{name: _plain(value) for name, value in manifest["settings"].items()},
    })  # fmt: skip
    if (path / "results.json").is_file():
        say("\n".join(glue_table(read_glue_results(path / "results.json"))))
    return ["submit", path, Path(f"{path}.zip")]


def _show_search(path: Path, manifest: dict[str, Any]) -> list[object]:
    from bertsmith.sweeps.search import search_table

    searched = ", ".join(manifest.get("searched", []))
    print_facts(f"{path}: a search", {"finished": manifest["finished"], "searched": searched})
    if not (path / "results.json").is_file():
        return []
    results = read_search_results(path / "results.json")
    say("\n".join(search_table(results)))
    return what_next(path / "grid" / results["chosen"], Path(f"{path}-hf"))


def _print_own_recipe(path: Path, verb: str) -> None:
    """Print a run's recipe.toml, which has all settings; those that are not at their defaults are from the run."""
    recipe: Any = read_own_recipe(recipe_class(verb), path, verb)
    _print_settings(Loaded(recipe, dict.fromkeys(set_keys(recipe), "run")), "\nrecipe")


def print_facts(title: str, facts: dict[str, Any]) -> None:
    """Print the title, and below it names and values in two columns."""
    say(title)
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        said = ("yes" if value else "no") if isinstance(value, bool) else value
        say(f"  {name:<{width}}  {said}")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(entry)}" for name, entry in value.items()) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if type(value) is int else str(value)


def _manifest(path: Path) -> dict[str, Any]:
    found = folder_type(path, strict=True)
    if found is None:
        lacks = "its manifest.json names no kind"
        if not (path / "manifest.json").exists():
            lacks = "it has neither manifest.json nor config.json"
        raise UserError(f"{path}: no data folder, no run and no model ({lacks})")
    return read_manifest(path, found)


def show_overview(verbs: Mapping[str, Any]) -> list[object]:
    """Print what there is to choose from: the program's `verbs` (name → the parser's command), recipes and settings;
    return the words of a command to go on with."""
    say_table("verbs", ("verb", "what it does"), [
        (name, " ".join((verb.help or "").split())) for name, verb in verbs.items()
    ], **_PLAIN)  # fmt: skip
    for verb in WITH_RECIPES:
        say()
        lines = [(name, _first_line(verb, name)) for name in shipped_recipes(verb)]
        say_table(f"recipes of `{verb}`", ("recipe", "what it is"), lines, **_PLAIN)
    say("\nsettings (key=value) of the other verbs; `bertsmith show VERB` says what they mean")
    for verb, keys in _own_settings().items():
        say(f"  {verb}: {', '.join(keys)}")
    return ["show", "bert-small-owt"]


def show_verb(verb: str) -> list[object]:
    """Print every setting of `verb`, one of `usage.SETTINGS`; return the words of a command to go on with."""
    rows = [row for cls in settings_classes(verb) for row in _settings(cls)]
    say_table(f"settings of `bertsmith {verb}`", ("setting", "default", "meaning"), rows, **_PLAIN)
    return [verb, "--help"]


def _own_settings() -> dict[str, list[str]]:
    """Return the settings that no recipe has, of each verb without recipes of its own: verb → keys."""
    keys = {verb: [key for cls in settings_classes(verb) for key, *_ in _settings(cls)] for verb in SETTINGS}
    known = {key for verb in WITH_RECIPES for key in keys[verb]}
    of_recipes = ("tokenizer", "search", "glue")
    return {
        verb: list(dict.fromkeys(key for key in keys[verb] if verb not in of_recipes or key not in known))
        for verb in keys
        if verb not in (*WITH_RECIPES, "plan")
    }


def _settings(cls: type, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield key, default and description of each setting; of a table of several kinds, of the default's."""
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        default: Any = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        table = type(default) if dataclasses.is_dataclass(default) else hints[field.name]
        if dataclasses.is_dataclass(table):
            yield from _settings(table, f"{prefix}{field.name}.")
            continue
        shown = "needed" if default is dataclasses.MISSING else "–"
        if default not in (None, dataclasses.MISSING):
            shown = json.dumps(default, ensure_ascii=False)
        yield f"{prefix}{field.name}", shown, field.metadata["description"]
        if entry := entry_class(hints[field.name]):
            yield from _settings(entry, f"{prefix}{field.name}[].")


def _first_line(verb: str, name: str) -> str:
    text = (resources.files("bertsmith.recipes") / verb / f"{name}.toml").read_text(encoding="utf-8")
    line = text.split("\n")[0].removeprefix("#").strip()
    return line if line.endswith((".", ")", "?")) else f"{line} …"
