"""`bertsmith show`: every setting of a recipe; what a data folder, a run or a model's folder holds."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bertsmith.cli.arguments import what_next
from bertsmith.cli.overview import show_verb
from bertsmith.cli.usage import SETTINGS
from bertsmith.config.loading import Loaded, read_own_recipe, rows, set_keys, shipped_recipes
from bertsmith.console.progress import format_count
from bertsmith.console.shell import command
from bertsmith.console.terminal import say, say_table
from bertsmith.errors import UserError
from bertsmith.planning.incomplete import load_incomplete, recipe_class
from bertsmith.storage.folders import checkpoint_folders
from bertsmith.storage.manifests import folder_type, read_manifest
from bertsmith.storage.results import read_glue_results, read_run_results, read_search_results


def show(what: str, overrides: Sequence[str] = ()) -> list[object]:
    """Print what `what` is: the name or path of a recipe, a data folder, a run's folder, or a model's; return the words
    of the next command.

    Raises:
        UserError: it is none of these.
    """
    path = Path(what)
    if path.is_dir():
        from bertsmith.training.description import describe_model, is_model_folder

        if is_model_folder(path):
            title, facts, following = describe_model(path)
            print_facts(title, facts)
            return following
        manifest = _manifest(path)
        printers = {
            "data": _show_data, "pretrain": _show_pretraining, "finetune": _show_finetuning, "glue": _show_glue,
            "search": _show_search,
        }  # fmt: skip
        if manifest.get("kind") not in printers:
            raise UserError(f"{path}: neither a data folder, nor a run, nor a model")
        return printers[manifest["kind"]](path, manifest)
    return _show_recipe(what, overrides)


def _show_recipe(what: str, overrides: Sequence[str]) -> list[object]:
    """Print a recipe's settings: the verb of a shipped one follows from its name; a file is read as the first kind that
    it fits."""
    shipped = {verb: shipped_recipes(verb) for verb in ("prepare", "pretrain", "finetune")}
    verbs = [verb for verb, names in shipped.items() if what in names]
    if not verbs and what in SETTINGS and not Path(what).is_file():
        return show_verb(what)
    if not verbs and not Path(what).is_file():
        near = difflib.get_close_matches(what.lower(), [name for names in shipped.values() for name in names])
        hint = f"did you mean {' or '.join(near)}?" if near else _listed(shipped)
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


def _listed(shipped: dict[str, list[str]]) -> str:
    return "shipped are\n" + "; ".join(f"for {verb} {', '.join(names)}" for verb, names in shipped.items())


def _print_settings(loaded: Loaded, title: str) -> None:
    found = list(rows(loaded))
    cells = [(row.key, _value(row.value), row.origin, row.description) for row in found]
    chosen = [row.origin != "default" for row in found]
    say_table(title, ("setting", "value", "from", "meaning"), cells, chosen, box=None, padding=(0, 2, 0, 0))


def _value(value: Any) -> str:
    return "–" if value is None else json.dumps(value, ensure_ascii=False)


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
    })  # fmt: skip
    return ["pretrain", "bert-small-owt", f"data={path}", "--out", "runs/bert-small-owt"]


def _show_pretraining(path: Path, manifest: dict[str, Any]) -> list[object]:
    from bertsmith.training.plan import progress_of

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
    from bertsmith.reports.glue_table import glue_table

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
    """Print a run's recipe.toml, which holds all settings; which of them were chosen shows in their values."""
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
