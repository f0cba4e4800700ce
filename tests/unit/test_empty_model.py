"""`EmptyModel`: no input, or any."""

from __future__ import annotations

import copy
import pickle

import pytest

from fanwood import EmptyModel, InputValidationError, PayloadEncodingError
from fanwood.codec import codec_for


class Bare(EmptyModel):
    pass


BARE = Bare(a=1)  # pyright: ignore[reportCallIssue]  # for a checker, a subclass has the fields that it declares


class Named(EmptyModel):
    n: int = 3
    name: str = "x"


class More(Named):
    m: int


def test_it_takes_any_fields_and_gives_them_back() -> None:
    model = EmptyModel(a=1, self=2)
    assert (model.a, model.model_dump(), repr(model)) == (1, {"a": 1, "self": 2}, "EmptyModel(a=1, self=2)")
    assert model == EmptyModel(self=2, a=1) != EmptyModel(a=1)
    assert EmptyModel().model_dump() == {}
    assert EmptyModel(a=1) != BARE
    assert pickle.loads(pickle.dumps(model)) == copy.deepcopy(model) == model


@pytest.mark.parametrize(
    "value", [EmptyModel(), EmptyModel(a=[1, {"b": None}]), Bare(), BARE, Named(), Named(n=4), More(m=1, n=2)]
)
def test_it_travels(value: EmptyModel) -> None:
    codec = codec_for(type(value))
    back = codec.decode(codec.encode(value, "it"))
    assert type(back) is type(value)
    assert back == value
    assert codec.decode(codec.encode(value.model_dump(), "it")) == value
    assert codec.schema()


def test_subclasses_have_their_fields() -> None:
    assert Named().model_dump() == {"n": 3, "name": "x"}
    assert More(m=1, n=2) == More(m=1, n=2) != More(m=1)
    with pytest.raises(TypeError):
        Named(other=1)  # pyright: ignore[reportCallIssue]
    with pytest.raises(InputValidationError):
        codec_for(Named).encode({"n": "many"}, "it")


@pytest.mark.parametrize("wrong", [3, [1], "text"])
def test_what_has_no_fields_is_refused(wrong: object) -> None:
    with pytest.raises(InputValidationError, match="an object with fields is expected"):
        codec_for(EmptyModel).encode(wrong, "it")


def test_subclasses_of_what_is_declared_are_refused() -> None:
    with pytest.raises(PayloadEncodingError, match="is not of the declared class EmptyModel"):
        codec_for(EmptyModel).encode(Named(), "it")
    with pytest.raises(PayloadEncodingError):
        codec_for(EmptyModel).encode(EmptyModel(a=float("nan")), "it")
