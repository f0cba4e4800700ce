"""Annotations as they are meant: one by one, in the scopes around them, and with what only type checkers import."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_type_hints

from fanwood.errors import DeclarationError
from fanwood.sdk.declaring.fields import settle

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_NAMES = 50
_PACKAGE = "."
"""`import a.b` gives the name `a` to the package."""


class Resolver:
    """The annotations of one function."""

    def __init__(self, function: Any, where: str, name: str) -> None:
        self._function = function
        self._where = where
        self._name = name
        self._globals: dict[str, Any] = getattr(function, "__globals__", {})
        self._locals = _enclosing(function, self._globals)

    def resolve(self, parameter: str) -> Any:
        """What an annotation means; None if there is none.

        Raises:
            DeclarationError: it can't be found out.
        """
        annotation = getattr(self._function, "__annotations__", {}).get(parameter)
        if annotation is None:
            return None
        try:
            meant = self._evaluate(annotation, self._globals.get("__name__", ""), self._globals, self._locals)
        except NameError as error:
            raise self._unresolved(parameter, annotation, error) from None
        except Exception as error:
            raise self._unresolved(parameter, annotation, error) from error
        settle(meant, self)
        return meant

    def _evaluate(self, annotation: Any, module: str, scope: dict[str, Any], local: dict[str, Any]) -> Any:
        holder: Any = SimpleNamespace(__annotations__={"it": annotation})
        for _ in range(_MOST_NAMES):
            try:
                return get_type_hints(holder, scope, local, include_extras=True)["it"]
            except NameError as error:
                if not error.name or error.name in local or not _import(module, error.name, local):
                    raise
        raise NameError

    def of_class(self, annotation: Any, cls: Any, *, around: bool) -> Any:
        """What an annotation of a class means in its module; if `around`, also by what is around the declaration."""
        scope: dict[str, Any] = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
        if around:
            found = self._locals if scope is self._globals else {}
            return self._evaluate(annotation, cls.__module__, scope, {**found, **vars(cls)})
        holder: Any = SimpleNamespace(__annotations__={"it": annotation})
        inside: dict[str, Any] = {**vars(cls)}
        return get_type_hints(holder, scope, inside, include_extras=True)["it"]

    def of_module(self, module: str, name: str) -> Any:
        """What a name means around the declaration, if it is in that module, or to type checkers there."""
        found = self._locals if module == self._globals.get("__name__") else {}
        if name not in found and not _import(module, name, found):
            raise NameError(name)
        return found[name]

    def _unresolved(self, parameter: str, annotation: Any, error: Exception) -> DeclarationError:
        what = "return annotation" if parameter == "return" else f"annotation of {parameter}"
        return DeclarationError(
            f"{self._where}: the {what} of {self._name}, {annotation!r}, can't be resolved: {error}. Import it where "
            f"the function is declared{'' if parameter == 'return' else ', or name the type with input_validator='}"
        )


def _import(module: str, name: str, local: dict[str, Any]) -> bool:
    """Import what a module imports for type checkers only."""
    for source, attribute in _for_checkers(module, name):
        try:
            found = importlib.import_module(source)
            if attribute == _PACKAGE:
                found = sys.modules[name]
            local[name] = getattr(found, attribute) if attribute not in ("", _PACKAGE) else found
        except (ImportError, AttributeError):
            continue
    return name in local  # of `import a.b` and `import a.c`, both were done


def _enclosing(function: Any, scope: dict[str, Any]) -> dict[str, Any]:
    """The names of the functions around: those that it uses itself, and those of who declares it just now."""
    names: dict[str, Any] = {}
    frame = inspect.currentframe()  # there is no other way to the scope that an annotation was written in
    frames: list[dict[str, Any]] = []
    while frame is not None:
        if frame.f_globals is scope and frame.f_locals is not scope:
            frames.append(frame.f_locals)
        frame = frame.f_back
    for found in reversed(frames):
        names.update(found)
    free = function.__code__.co_freevars if hasattr(function, "__code__") else ()
    for name, cell in zip(free, getattr(function, "__closure__", None) or (), strict=False):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return names


def _for_checkers(module: str, name: str) -> Iterator[tuple[str, str]]:
    """Where a module's `if TYPE_CHECKING:` gets a name from, as (module, attribute)."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError, SyntaxError):
        return
    for block in ast.walk(tree):
        if not isinstance(block, ast.If) or not ast.unparse(block.test).endswith("TYPE_CHECKING"):
            continue
        for node in (each for statement in block.body for each in ast.walk(statement)):
            if isinstance(node, ast.ImportFrom):
                yield from (
                    (_absolute(module, node), alias.name)
                    for alias in node.names
                    if (alias.asname or alias.name) == name
                )
            elif isinstance(node, ast.Import):
                named = [
                    (alias.name, alias.asname or alias.name.partition(".")[0], alias.asname) for alias in node.names
                ]
                yield from ((full, "" if other else _PACKAGE) for full, given, other in named if given == name)


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module if hasattr(sys.modules[module], "__path__") else module.rpartition(".")[0]
    for _ in range(node.level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{node.module}" if node.module else package
