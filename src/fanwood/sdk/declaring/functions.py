"""A function, and what was put around it: partial functions, decorators, objects that can be called."""

from __future__ import annotations

import functools
import inspect
import sys
from pathlib import Path
from typing import Any, cast

from fanwood import checks


def is_async(function: Any) -> bool:
    """Whether calling it gives something to be awaited."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def code_of(function: Any) -> Any:
    """The function itself, inside what was put around it."""
    while True:
        if isinstance(function, functools.partial):
            function = cast("Any", function).func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif hasattr(function, "__func__"):  # of a method
            function = function.__func__
        elif hasattr(function, "__code__") or isinstance(function, type) or not callable(function):
            return cast("Any", function)
        else:
            return getattr(type(function).__call__, "__func__", type(function).__call__)


def name_of(function: Any) -> str:
    """The name of a function, or of what stands for one."""
    while isinstance(function, functools.partial):
        function = cast("Any", function).func
    return getattr(function, "__name__", None) or type(function).__name__


def module_of(code: Any) -> str:
    """The module that it is in: that of a script by the name under which others import it."""
    name: str = getattr(code, "__module__", "") or ""
    if name != "__main__":
        return name
    main: Any = sys.modules[name]
    if (spec := getattr(main, "__spec__", None)) is not None:
        return spec.name
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else name


def location(function: Any) -> str:
    """Where a function is written: file and line."""
    code = getattr(code_of(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def first_line(function: Any) -> str:
    """Of a function's text, as it can be stored."""
    line = (code_of(function).__doc__ or "").strip().partition("\n")[0].replace("\0", "\\0")
    return line.encode("utf-8", "backslashreplace").decode()[: checks.MAX_TEXT_LENGTH]
