"""The rooms that train, and their benchmark on a GPU, must import where nothing but torch (with what it brings) and
numpy is installed."""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import bertsmith

PACKAGE = Path(bertsmith.__file__).parent
ROOMS = ("encoders", "objectives", "training")
MODULES = ["benchmarks.gpu"]
MODULES += sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for room in ROOMS
    for path in (PACKAGE / room).rglob("*.py")
)

# Told the allowed names and the modules on its standard input, prints {module: error}.
CHILD = """
import importlib, json, sys

question = json.load(sys.stdin)
allowed = set(question["allowed"]) | set(sys.stdlib_module_names)

class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"No module named {name!r} with torch and numpy alone", name=name)

sys.meta_path.insert(0, Absent)
faults = {}
for module in question["modules"]:
    try:
        importlib.import_module(module)
    except Exception as error:
        faults[module] = f"{type(error).__name__}: {error}"
print(json.dumps(faults))
"""


def with_requirements(distribution: str, found: set[str]) -> set[str]:
    """The distribution and all that it needs, itself and through others, extras apart."""
    found.add(distribution)
    for requirement in metadata.requires(distribution) or []:
        name = re.match(r"[\w.-]+", requirement)[0].lower()
        installed = name not in found and any(metadata.distributions(name=name))  # CUDA's packages may be absent
        if "extra ==" not in requirement and installed:
            with_requirements(name, found)
    return found


def test_modules_import_with_torch_and_numpy_alone():
    distributions = {re.sub(r"[-_.]+", "-", name) for name in with_requirements("torch", {"numpy"})}
    allowed = ["bertsmith", "benchmarks"] + [
        module
        for module, owners in metadata.packages_distributions().items()
        if any(re.sub(r"[-_.]+", "-", owner.lower()) in distributions for owner in owners)
    ]
    question = json.dumps({"allowed": allowed, "modules": MODULES})
    command = [sys.executable, "-c", CHILD]
    answer = subprocess.run(command, input=question, capture_output=True, text=True, cwd=PACKAGE.parent, timeout=120)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == {}
