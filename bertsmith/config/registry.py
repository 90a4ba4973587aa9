"""Registries: name → what a setting can choose by it, such as an optimizer; plugins may add to them.

A settings class names a registry in a field's annotation, and what is added later counts as well:

    optimizer: Annotated[OptimizerSettings, OPTIMIZERS] = setting(AdamWSettings(), "how weights move")
"""

import inspect
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar, TypeVar

from bertsmith.errors import UserError, quoted

BY_PLUGIN = "a plugin may register more, named with --plugin FILE.py"

Registered = TypeVar("Registered")
SettingsClass = TypeVar("SettingsClass", bound=type)


class Registry(dict[str, Registered]):
    """Name → entry; annotates a setting that is one of the names.

    Attributes:
        noun: an entry in words, for messages, such as "layout".
    """

    num_added: ClassVar[int] = 0  # to all registries; what is concluded from one holds until there are more

    def __init__(self, noun: str, entries: Mapping[str, Registered]):
        super().__init__(entries)
        self.noun = noun

    def add(self, name: str, entry: Registered) -> Registered:
        """Add an entry. Raises UserError where there is another of this name."""
        if name in self:
            raise UserError(f"{self.noun} {quoted(name, 60)}: there is one of this name; choose another")
        self[name] = entry
        Registry.num_added += 1
        return entry

    def __hash__(self) -> int:  # type: ignore[override]  # annotations are compared by what they are, not hold
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Return pydantic's schema of a setting: one of the names."""
        from pydantic_core import core_schema

        return core_schema.custom_error_schema(
            core_schema.literal_schema(list(self)), "not_registered",
            custom_error_message=f"there are {', '.join(map(repr, self))}; {BY_PLUGIN}",
        )  # fmt: skip


class Kinds(Registry[type]):
    """Kind → settings class; annotates a table that may be of any of them."""

    def __init__(self, noun: str, classes: Iterable[Any]):
        super().__init__(noun, {cls.kind: cls for cls in classes})

    def register(self, cls: SettingsClass) -> SettingsClass:
        """Add a settings class by its `kind`; a decorator. Raises UserError where there is another of this kind."""
        self.add(cls.kind, cls)  # type: ignore[attr-defined]
        return cls

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Return pydantic's schema of a table: its kind says which class checks the rest."""
        from pydantic_core import core_schema

        choices = {kind: handler.generate_schema(cls) for kind, cls in self.items()}
        return core_schema.tagged_union_schema(choices, discriminator="kind")


def modules_in(package: ModuleType) -> Iterator[ModuleType]:
    """Import and yield the files of a package, in the order of their names."""
    for file in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        yield import_module(file.name)


def classes_in(package: ModuleType, base: type) -> Iterator[Any]:
    """Yield the subclasses of `base` that the files of a package define, private and abstract ones apart."""
    for module in modules_in(package):
        for cls in filter(inspect.isclass, vars(module).values()):
            is_own = cls.__module__ == module.__name__ and not cls.__name__.startswith("_")
            if is_own and issubclass(cls, base) and not inspect.isabstract(cls):
                yield cls
