"""Typed values to JSON text and back: what goes in comes out equal, or is refused.

A child run is identified by a hash of its input's canonical text, so equal values must have equal ones in every
process, whatever the insertion order of a dict or the iteration order of a set. (Stored is the order that was given.)
And a value that JSON can't hold, or that would come back as something else, must be refused, with the place where it
sits: a NaN that turns into `null`, a field that only a subclass has, would otherwise surface days later, elsewhere. So
what is written is read again at once, unless it is made of JSON's own types.

msgspec does the work, and pydantic that of its own types; their classes carry their validator and serializer. It is
imported, if it is installed, for what msgspec doesn't know: unions of dataclasses, flags, paths, constraints such as
`PositiveInt`. A type that neither can read is refused when it is declared.

Where no type is declared, tuples come back as lists, models and dataclasses as dicts, and datetime, UUID, Decimal,
Enum and the like as the text (or number) that msgspec writes for them. Bytes, sets, and keys that aren't text are
refused there, as nobody would expect what comes back.

Most values take a short way: one look at the type (done once, when the codec is made) or at the value says that there
is only one way to write it, and one call writes it. All others, and all that fail, take the careful way, which walks
the value, sorts its sets, and knows the path to whatever is wrong. From the bottom up:

    empty      the class for no input, or any fields
    rewriting  pydantic's schemas, changed where it does not read what it writes
    models     pydantic's classes: what they carry, and whether they are written in one way only
    shapes     annotations: their alternatives, fields and parts
    faults     a walk through a value, for what would be lost or changed
    plain      values as JSON's own types, with sets in order
    comparing  whether what was read is what was written
    knowing    which of the two knows a type
    problems   what is wrong with a value, in words
    codecs     the codecs of undeclared, declared and pydantic types
"""

from __future__ import annotations

from fanwood.codec.codecs import Codec, codec_for
from fanwood.codec.faults import MAX_DEPTH

__all__ = ["Codec", "MAX_DEPTH", "codec_for"]
