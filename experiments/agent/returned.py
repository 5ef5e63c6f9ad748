# SPDX-License-Identifier: GPL-2.0-only
"""What came from an agent, checked: its kernel may have been made to say anything.

What is well-formed may still be untrue. Everything else is a `FormatError` here, and a
lost run to whoever asked.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from experiments.columns import is_header
from experiments.errors import FormatError
from experiments.model import Metric, Outcome, RunResult, RunSpec
from experiments.support.printable import printable, shortened

#: How deep lists and objects lie in each other; facts of the samplers are 4.
_DEEPEST = 16
#: As large as a number of the kernel's may be.
_LARGEST = 1 << 64
_LONGEST_REASON = 16 << 10
_MOST_COLUMNS = 500
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,63}")
_OF_NUMBERS = b"0123456789.+-e"
#: What an agent cannot know, and the host adds.
_OF_HOST = ("boot", "turnaround_s", "lost_attempts", "merged_from", "host")

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:/ -]{0,99}$")]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Metric(_Strict):
    name: _Name
    value: _Finite
    unit: Annotated[str, Field(max_length=30)]
    lower_is_better: bool
    resolution: _Finite | None = None


class _Result(_Strict):
    outcome: str
    reason: str
    metrics: Annotated[list[_Metric], Field(max_length=500)]
    proof: dict[str, Any]
    facts: dict[str, Any]


_FLAGS = TypeAdapter(list[str])
#: An agent that lives has not been lost.
_OUTCOMES = {o.value: o for o in Outcome if o is not Outcome.LOST}


def json_object(payload: bytes) -> dict[str, Any]:
    """Return a JSON object whose texts are printable and whose numbers are finite."""
    try:
        said = json.loads(payload, parse_constant=_no_number)
        if not isinstance(said, dict):
            raise FormatError("it is no object")
        clean: dict[str, Any] = _clean(said, _DEEPEST)
    except RecursionError:
        raise FormatError("lists and objects lie too deep in each other") from None
    except ValueError as error:
        raise FormatError(f"it is no JSON: {error}") from None
    return clean


def _no_number(word: str) -> NoReturn:
    raise FormatError(f"{word} is no number of JSON")


def _clean(value: Any, deepest: int) -> Any:
    if not deepest:
        raise FormatError(f"lists and objects lie deeper than {_DEEPEST} in each other")
    if isinstance(value, dict):
        return {printable(k): _clean(v, deepest - 1) for k, v in value.items()}
    if isinstance(value, list):
        return [_clean(v, deepest - 1) for v in value]
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise FormatError(f"a number is larger than {_LARGEST}")
    if isinstance(value, float) and not math.isfinite(value):
        raise FormatError("a number is not finite")
    return value


def event(payload: bytes) -> dict[str, Any]:
    """Return an event: an object with the text `event`."""
    said = json_object(payload)
    if not isinstance(said.get("event"), str):
        raise FormatError("it is no event")
    return said


def text(said: Mapping[str, Any], name: str, most: int) -> str:
    """Return the text of that name, shortened; FormatError when it is none."""
    value = said.get(name)
    if not isinstance(value, str):
        raise FormatError(f"{name} is no text")
    return shortened(value, most)


def facts(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the facts of a hello."""
    value = said.get("facts")
    if not isinstance(value, dict):
        raise FormatError("facts are no object")
    return value


def missing(said: Mapping[str, Any]) -> list[str]:
    """Return what an agent says is missing for a job."""
    try:
        return _FLAGS.validate_python(said.get("missing"))
    except ValidationError:
        raise FormatError("missing is no list of texts") from None


def samples(payload: bytes) -> bytes:
    """Return a table of samples: a header, and numbers below each of its columns."""
    header, _, body = payload.partition(b"\n")
    names = tuple(header.decode("ascii", "replace").split(","))
    if not is_header(names) or len(names) > _MOST_COLUMNS:
        raise FormatError("samples: the first line is not the header")
    if unnamed := [name for name in names if not _COLUMN.fullmatch(name)]:
        raise FormatError(f"samples: {shortened(unnamed[0], 40)!a} is no column")
    line = b"," * (len(names) - 1) + b"\n"
    if body.translate(None, _OF_NUMBERS) != line * body.count(b"\n"):
        raise FormatError("samples: not a number in each column")
    return payload


def result(payload: bytes, spec: RunSpec, more: Mapping[str, Any]) -> RunResult:
    """Return the result of a run, with `more` among its facts."""
    said = json_object(payload)
    try:
        found = _Result.model_validate(said)
        _FLAGS.validate_python(found.facts.get("flags", []))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise FormatError(f"result: {shortened(where, 80)}: {first['msg']}") from None
    if found.outcome not in _OUTCOMES:
        raise FormatError("result: outcome: there is none of that name")
    if forged := found.facts.keys() & {*_OF_HOST}:
        raise FormatError(f"result: facts that an agent cannot know: {sorted(forged)}")
    return RunResult(
        spec,
        spec.run_id,
        _OUTCOMES[found.outcome],
        shortened(found.reason, _LONGEST_REASON),
        tuple(Metric(**metric.model_dump()) for metric in found.metrics),
        found.proof,
        {**found.facts, **more},
    )
