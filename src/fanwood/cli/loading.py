"""From `module:object` to a Fanwood or a Worker, and what to say when there is none."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from fanwood.app import Fanwood
from fanwood.cli.base import Sentence
from fanwood.worker.worker import Worker

_OURS = str(Path(__file__).parents[1])


def load(target: str) -> Fanwood | Worker:
    """The object that `target` names; without `:object`, the module's only Fanwood.

    Raises:
        Sentence: there is no such module or object, it is something else, or the module can't be imported.
    """
    module_name, colon, path = target.partition(":")
    if module_name.endswith(".py") or "/" in module_name:
        dotted = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise Sentence(f"{target!r} names a file; name the module instead: {dotted}:{path or 'object'}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module = _import(module_name)
    found = _attribute(module, path) if colon else _only_one(module)
    if not isinstance(found, (Fanwood, Worker)):
        raise Sentence(f"{target} is neither a Fanwood nor a Worker, but {_kind(found)}.{_candidates(module)}")
    return found


def load_app(target: str) -> Fanwood:
    """As `load`, for commands that need the tasks only."""
    found = load(target)
    return found if isinstance(found, Fanwood) else app_of(found)


def app_of(worker: Worker) -> Fanwood:
    assert isinstance(worker.host, Fanwood)
    return worker.host


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise Sentence(_no_module(name, error.name)) from None
        raise Sentence(f"{name} can't be imported:\n{_their_lines(error)}") from None
    except SystemExit as error:
        raise Sentence(
            f"{name} called sys.exit({error.code!r}) when it was imported. Put what it does when it is run as a "
            f'program below `if __name__ == "__main__":`'
        ) from None
    except Exception as error:  # noqa: BLE001  (whatever a module's code raises)
        raise Sentence(f"{name} can't be imported:\n{_their_lines(error)}") from None


def _no_module(name: str, missing: str) -> str:
    parent, _, last = missing.rpartition(".")
    folder = Path.cwd()
    if parent:
        with contextlib.suppress(Exception):
            folder = Path(next(iter(importlib.import_module(parent).__path__)))
    siblings = [p.stem for p in sorted(folder.iterdir()) if p.suffix == ".py" or (p / "__init__.py").exists()]
    close = difflib.get_close_matches(last, siblings, n=1)
    rest = name.removeprefix(missing)
    hint = f" Did you mean {parent + '.' if parent else ''}{close[0]}{rest}?" if close else ""
    return f"There is no module named {missing!r} in {folder} or on the Python path.{hint}"


def _attribute(module: ModuleType, path: str) -> Any:
    found: Any = module
    for name in path.split("."):
        if not hasattr(found, name):
            close = difflib.get_close_matches(name, [n for n in vars(module) if n[0] != "_"], n=1)
            hint = f" Did you mean {close[0]}?" if close and found is module else ""
            raise Sentence(f"{module.__name__} has no {path!r}.{hint or _candidates(module)}")
        found = getattr(found, name)
    return found


def _only_one(module: ModuleType) -> Any:
    names = _names(module)
    if len(names) != 1:
        raise Sentence(f"Say which object of {module.__name__}: module:object.{_candidates(module)}")
    return getattr(module, names[0])


def _names(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if isinstance(value, (Fanwood, Worker))]


def _candidates(module: ModuleType) -> str:
    names = ", ".join(f"{module.__name__}:{name}" for name in _names(module))
    return f" There is {names}." if names else f" {module.__name__} has no Fanwood at its top level."


def _kind(value: object) -> str:
    article = "an" if type(value).__name__[0].lower() in "aeiou" else "a"
    return f"{article} {type(value).__name__}"


def _their_lines(error: BaseException) -> str:
    """The traceback without our frames and the import machinery's."""
    formatted = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = formatted
    while part is not None:
        part.stack = traceback.StackSummary.from_list([f for f in part.stack if _is_theirs(f.filename)])
        part = part.__cause__ or part.__context__
    lines = formatted.format() if formatted.stack else formatted.format_exception_only()
    return "".join(lines).rstrip()


def _is_theirs(filename: str) -> bool:
    return not (filename.startswith((_OURS, "<frozen importlib")) or filename == importlib.__file__)
