"""What the architecture tests read: the package's modules, parsed, and where they import from."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

PACKAGE = "fanwood"
SOURCE_ROOT = Path(__file__).parents[2] / "src"


@dataclass(frozen=True)
class Import:
    """One import of one of our modules, wherever in the file it stands."""

    target: str  # a module of ours, as far as it is one: "fanwood.store.store"; or what was asked for
    line: int


@dataclass(frozen=True)
class Module:
    name: str  # "fanwood.store.store"; a package goes by its own name
    path: Path
    shown: str  # "src/fanwood/store/store.py", for messages

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=str(self.path))

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Of the whole tree: every check walks it."""
        return tuple(ast.walk(self.tree))

    @property
    def below_package(self) -> str:
        """The path below the package: "store/store.py"."""
        return self.shown.partition(f"/{PACKAGE}/")[2]

    @property
    def area(self) -> str:
        """What a floor is given to: the module or package right below `fanwood`; empty for `fanwood` itself."""
        return self.name.removeprefix(PACKAGE).lstrip(".").partition(".")[0]

    def at(self, line: int) -> str:
        return f"{self.shown}:{line}"


@cache
def our_modules() -> dict[str, Module]:
    """The package as it stands, parsed once for all checks."""
    return modules(SOURCE_ROOT)


def modules(source_root: Path) -> dict[str, Module]:
    """All modules below `source_root`/fanwood, by name."""
    found: dict[str, Module] = {}
    for path in sorted((source_root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(source_root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path, path.relative_to(source_root.parent).as_posix())
    return found


def imports(module: Module, known: dict[str, Module]) -> list[Import]:
    """Every import of ours in `module`: at the top, in functions, below TYPE_CHECKING, and import_module("...")."""
    found: list[Import] = []
    for node in module.nodes:
        match node:
            case ast.Import(names=names):
                found += [Import(_nearest(alias.name, known), node.lineno) for alias in names]
            case ast.ImportFrom(names=names):
                origin = _origin(node, module)
                found += [Import(_nearest(f"{origin}.{alias.name}", known), node.lineno) for alias in names]
            case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]) if _is_importer(func):
                found.append(Import(_nearest(name, known), node.lineno))
            case _:
                pass
    return [found_import for found_import in found if f"{found_import.target}.".startswith(f"{PACKAGE}.")]


def _origin(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    package = module.name.split(".")
    if module.path.name != "__init__.py":
        package.pop()
    base = package[: len(package) - (node.level - 1)]
    return ".".join([*base, *([node.module] if node.module else [])])


def _nearest(name: str, known: dict[str, Module]) -> str:
    """`name` without the parts that are not modules; as it is where nothing of it is known."""
    candidate = name
    while candidate:
        if candidate in known:
            return candidate
        candidate = candidate.rpartition(".")[0]
        if candidate == PACKAGE and name.count(".") > 1:
            return name  # from fanwood.missing import x: not an import of `fanwood` itself
    return name


def _is_importer(func: ast.expr) -> bool:
    name = func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""
    return name in {"import_module", "__import__"}


def plant(tmp_path: Path, files: dict[str, str]) -> dict[str, Module]:
    """A fabricated package for the checks' own tests: `files` maps paths below src/fanwood to texts."""
    for name, text in files.items():
        path = tmp_path / "src" / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return modules(tmp_path / "src")


def report(findings: list[str]) -> str:
    return "\n".join(["", *findings])
