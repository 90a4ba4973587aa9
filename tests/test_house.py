"""The house: imports go down only, importing does nothing, every setting is described and read, recipes parse."""

import ast
import dataclasses
import functools
import graphlib
import importlib
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bertsmith.config.loading import load, shipped_recipes
from bertsmith.encoders.registry import ENCODERS
from bertsmith.filtering.recipe import FilterRecipe
from bertsmith.objectives.kinds import OBJECTIVES
from bertsmith.tasks.recipe import FinetuneRecipe
from bertsmith.text.prepare import PrepareRecipe
from bertsmith.training.recipe import PretrainRecipe

PACKAGE = Path(__file__).resolve().parents[1] / "bertsmith"
FILES = sorted(PACKAGE.rglob("*.py"))

FLOORS = (
    ("__version__", "cores", "errors", "memory", "randomness", "recipes"),
    ("storage",),
    ("config", "console", "scoring", "tables", "tokenizers"),
    ("encoders", "datasets", "text"),
    ("objectives", "hub", "filtering"),
    ("training",),
    ("tasks", "evals", "reports"),
    ("convert", "planning", "predict", "records"),
    ("quickstart", "sweeps"),
    ("cli",),
    ("__init__", "__main__"),
)
"""From the ground up; rooms on one floor do not see each other."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree_of(path)))


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in nodes_of(path):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bertsmith"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            modules |= set(names) if node.module == "bertsmith" else {node.module}
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names if alias.name.startswith("bertsmith")}
    return modules


def imported_names(path: Path) -> set[str]:
    """What a file imports: modules, and names in modules, some of which are modules."""
    names = set()
    for node in nodes_of(path):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("room", sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")))
def test_a_room_names_its_files_in_reading_order(room):
    folder = PACKAGE / room
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    listed = re.findall(r"^    ([a-z_/]+(?:, [a-z_/]+)*) ", text, re.MULTILINE)
    named = [name.rstrip("/") for names in listed for name in names.split(", ")]
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    there = files | {path.parent.name for path in folder.glob("*/__init__.py")}
    registered = {cls.__module__.rpartition(".")[2] for cls in (*ENCODERS.values(), *OBJECTIVES.values())}
    assert len(set(named)) == len(named) and set(named) <= there
    assert there - set(named) <= registered, "files of encoders and objectives, which are found, need not be listed"


def test_every_room_has_its_floor_and_the_root_holds_few_modules():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert rooms == FLOOR.keys() - {"__version__"}
    assert len(list(PACKAGE.glob("*.py"))) - 2 <= 6, "beside __init__ and __main__"


def test_imports_only_go_down():
    for path in FILES:
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for module in imported_modules(path):
            other = room_of(module)
            if other not in ("", own):
                assert FLOOR[other] < FLOOR[own], f"{path} imports {module}"


def test_no_file_imports_itself_by_way_of_others():
    """Imports inside of functions count too."""
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in FILES}
    seen = {name: {module for module in imported_names(path) if module in names} for name, path in names.items()}
    graphlib.TopologicalSorter(seen).prepare()  # raises CycleError, which names the files


TASK_ROOMS = ("texts", "words", "answering")


@pytest.mark.parametrize("room", TASK_ROOMS)
def test_the_rooms_of_tasks_do_not_see_each_other(room: str):
    others = tuple(f"bertsmith.tasks.{other}" for other in TASK_ROOMS if other != room)
    for path in (PACKAGE / "tasks" / room).rglob("*.py"):
        seen = [module for module in imported_modules(path) if module.startswith(others)]
        assert not seen, f"{path.name} imports {seen}"


def test_files_and_functions_stay_small_and_say_what_they_give():
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 320, f"{path} is long"
        assert ast.get_docstring(tree_of(path)), f"{path}: every file says what it gives"
        for node in nodes_of(path):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 70, f"{path}: {node.name} is long"
                arguments = [a for a in node.args.args if a.arg not in ("self", "cls", "ctx")]
                assert len(arguments) <= 6, f"{path}: {node.name}: arguments"


def prints(node: ast.AST) -> bool:
    """Whether a call writes to a standard stream itself."""
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    drawn = called.endswith("Console") and not any(keyword.arg == "file" for keyword in node.keywords)
    return drawn or called == "print" or called.endswith((".echo", ".secho", "stdout.write", "stderr.write"))


def test_only_the_terminal_prints():
    for path in FILES:
        lines = [node.lineno for node in nodes_of(path) if prints(node)]
        if path.name != "terminal.py":
            assert not lines, f"{path}, lines {lines}: use bertsmith.console.terminal, which escapes and does not fail"


def prints_results(node: ast.AST) -> bool:
    """Whether a call writes to standard output by way of the terminal."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    is_note = any(keyword.arg == "error" for keyword in node.keywords)
    return node.func.id in ("tell", "say_json", "say_table") or (node.func.id == "say" and not is_note)


def test_only_the_command_line_prints_results():
    """Rooms return results; notes that accompany the work go to standard error."""
    places = set()
    for path in FILES:
        source, room = path.read_text(), path.relative_to(PACKAGE).parts[0]
        if "bertsmith.console.terminal import" in source and room not in ("cli", "console"):
            places |= {str(path.relative_to(PACKAGE)) for node in nodes_of(path) if prints_results(node)}
    assert not places


def test_no_command_is_put_together_without_a_shell_in_mind():
    """`next: bertsmith … {path}` is for `bertsmith.console.shell.command`, which quotes what has a blank in it."""
    for path in FILES:
        for node in (node for node in nodes_of(path) if isinstance(node, ast.JoinedStr)):
            literals = [part.value for part in node.values if isinstance(part, ast.Constant)]
            assert not any(re.search(r"^bertsmith [a-z]+ |next: bertsmith [a-z]+ ", text) for text in literals), (
                f"{path}, line {node.lineno}"
            )
            for before, part in itertools.pairwise(node.values):
                if isinstance(before, ast.Constant) and re.search(r"`bertsmith [a-z]+ [^`]*$", before.value):
                    assert isinstance(part, ast.FormattedValue) and ast.unparse(part.value).startswith("quote("), (
                        f"{path}, line {node.lineno}: quote what a command names"
                    )


WITH_VERBS = (
    "cli", "config", "console", "convert", "datasets", "encoders", "evals", "filtering", "hub", "objectives",
    "planning", "predict", "quickstart", "records", "reports", "scoring", "storage", "sweeps", "tables", "tasks",
    "text", "tokenizers", "training",
)  # fmt: skip
"""Rooms whose functions' docstrings begin with a verb. May only grow."""
NO_VERBS = {"A", "An", "The", "What", "Which", "Whose", "Whether", "Where", "How", "Every", "Each", "Of", "As", "That"}


@pytest.mark.parametrize("room", WITH_VERBS)
def test_docstrings_of_functions_begin_with_a_verb(room: str):
    """Properties and verbs of the program, whose docstrings are the help that it prints, apart."""
    for path in (PACKAGE / room).rglob("*.py"):
        for node in nodes_of(path):
            first = (ast.get_docstring(node) or "-").split()[0] if isinstance(node, ast.FunctionDef) else "-"
            is_help = room == "cli" and not node.name.startswith("_") if first != "-" else True
            if not is_help and "property" not in str(list(map(ast.unparse, node.decorator_list))):
                assert first not in NO_VERBS and first[0].isalpha(), f"{path.name}: {node.name}: {first} …"


def defined_names(node: ast.stmt) -> list[str]:
    """Return the names that a statement of a module defines: a class, a function, constants or a type variable."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [found.id for target in targets for found in ast.walk(target) if isinstance(found, ast.Name)]


FOUND_BY_NAME = {"SPECS"}
"""Constants that a registry reads from each file of its folder."""


def test_a_public_name_means_one_thing():
    """The verbs, which the command line and the Python API name as the functions that do them, apart."""
    places: dict[str, set[Path]] = {}
    for path in FILES:
        if path.relative_to(PACKAGE).parts[0] not in ("cli", "__init__.py"):
            for node in tree_of(path).body:
                for name in defined_names(node):
                    if not name.startswith("_"):
                        places.setdefault(name, set()).add(path)
    assert {name for name, paths in places.items() if len(paths) > 1} <= FOUND_BY_NAME


def test_the_text_room_has_no_torch():
    code = "import sys, bertsmith.text.prepare, bertsmith.text.segments; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_command_line_imports_no_room():
    heavy = ("torch", "numpy", "pydantic", "tokenizers")
    code = f"import sys, bertsmith.cli.app; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


RECIPES = [
    (cls, verb, name)
    for verb, cls in {
        "filter": FilterRecipe, "prepare": PrepareRecipe, "pretrain": PretrainRecipe, "finetune": FinetuneRecipe,
    }.items()
    for name in shipped_recipes(verb)
]  # fmt: skip
NEEDED = {
    "filter": ["corpus=c", "layout=jsonl"], "prepare": ["corpus=c", "vocab=v"], "pretrain": ["data=d"],
    "finetune": ["model=m", "data=d"],
}  # fmt: skip


def test_every_shipped_recipe_is_one():
    for cls, verb, name in RECIPES:
        load(cls, verb, name, NEEDED[verb])
        text = (PACKAGE / "recipes" / verb / f"{name}.toml").read_text()
        assert text.startswith("#") and f"bertsmith {verb} {name}" in text, f"{verb} {name}: its header has its command"


def test_the_recipes_of_the_main_job_are_there():
    assert set(shipped_recipes("prepare")) >= {"openwebtext", "text", "jsonl", "parquet"}
    assert set(shipped_recipes("pretrain")) >= {"bert-tiny", "bert-mini", "bert-small-owt", "bert-base", "bert-large"}
    assert set(shipped_recipes("pretrain")) >= {"electra-small-owt", "electra-base", "electra-large"}
    assert set(shipped_recipes("pretrain")) >= {"bert-small-512", "electra-small-512"}
    assert set(shipped_recipes("pretrain")) >= {"electric-small", "electric-base", "modern-small", "modern-base"}
    assert set(shipped_recipes("finetune")) >= {
        "cola", "sst-2", "mrpc", "sts-b", "rte", "wnli", "qnli", "qqp", "mnli", "chunk", "custom",
        "squad-v1.1", "squad-v2.0", "newsqa", "naturalqs", "triviaqa", "searchqa",
    }  # fmt: skip


def settings_classes() -> dict[str, type]:
    """Return every settings class of the package, by module and name."""
    classes = {}
    for path in FILES:
        defined = [node for node in tree_of(path).body if isinstance(node, ast.ClassDef)]
        names = [node.name for node in defined if "settings" in map(ast.unparse, node.decorator_list)]
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        classes |= {f"{module}.{name}": getattr(importlib.import_module(module), name) for name in names}
    return classes


READ_BY_WALKING = (
    "SearchSettings", "CardSettings", "GopherRepetitionRule", "GopherQualityRule", "C4Rule", "FineWebRule",
)  # fmt: skip
"""Whose fields are read one after another, by `dataclasses.fields` or `asdict`."""


def test_every_setting_is_described_and_read_somewhere():
    """Some file reads an attribute of its name."""
    attributes = (node for path in FILES for node in nodes_of(path) if isinstance(node, ast.Attribute))
    attributes_read = {node.attr for node in attributes if isinstance(node.ctx, ast.Load)}
    classes = settings_classes()
    assert len(classes) > 20
    for name, cls in classes.items():
        for field in dataclasses.fields(cls):
            assert field.metadata["description"], f"{name}.{field.name}"
            read = field.name in attributes_read or field.name == "kind" or cls.__name__ in READ_BY_WALKING
            assert read, f"nothing reads {name}.{field.name}"
