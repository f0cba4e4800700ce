"""The input of tasks that take none, or anything."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, dataclass_transform


@dataclass_transform(kw_only_default=True)
class EmptyModel:
    """The input of a task that takes none. Fields that are given all the same it keeps, as plain JSON.

    A subclass may declare fields of its own, and has these and no others.
    """

    def __init__(self, /, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        if any(getattr(above, "__annotations__", None) for above in cls.__mro__):
            dataclasses.dataclass(kw_only=True)(cls)

    if TYPE_CHECKING:

        def __getattr__(self, name: str, /) -> Any: ...

    def model_dump(self) -> dict[str, Any]:
        """Its fields."""
        return dict(self.__dict__)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.__dict__ == other.__dict__

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({fields})"

    __hash__ = None  # pyright: ignore[reportAssignmentType]  # it can be changed


def is_open(declared: Any) -> bool:
    """Whether it is `EmptyModel`, or a subclass without fields of its own: instances have whatever they are given."""
    return isinstance(declared, type) and issubclass(declared, EmptyModel) and not dataclasses.is_dataclass(declared)
