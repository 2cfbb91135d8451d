"""A page of the replay is written straight from the rows: it must be what its description says."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

import orjson
from hypothesis import given
from hypothesis import strategies as st

from smart_support.api.replay import MODELS
from smart_support.events.records import FACTS, Fact, fact_of, payload_of, whole_payload

_finite = st.floats(allow_nan=False, allow_infinity=False)
_KINDS: dict[Any, st.SearchStrategy[Any]] = {
    Any: st.none() | st.text() | st.dictionaries(st.text(), st.booleans()),
    int: st.integers(-(2**53), 2**53),
    float: _finite,
    float | None: st.none() | _finite,
    Mapping[str, str]: st.dictionaries(st.text(), st.text()),
}


def facts(kind: type[Fact]) -> st.SearchStrategy[Fact]:
    """Facts as JSON can have them."""
    hints = get_type_hints(kind)
    hinted = {field.name: hints[field.name] for field in fields(kind)}
    return st.builds(
        kind,
        **{
            name: _KINDS[hint] if hint in _KINDS else st.from_type(hint)
            for name, hint in hinted.items()
        },
    )


def as_stored(fact: Fact) -> dict[str, Any]:
    payload: dict[str, Any] = orjson.loads(orjson.dumps(payload_of(fact)))
    return payload


@given(data=st.data())
def test_every_fact_is_told_as_it_is_described(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(FACTS)))
    fact = data.draw(facts(FACTS[kind]))
    stored = as_stored(fact)

    told = whole_payload(kind, stored)

    assert told == {"type": kind, **stored}
    assert list(told) == ["type", *(field.name for field in fields(FACTS[kind]))]
    MODELS[kind].model_validate(told)


@given(data=st.data())
def test_what_an_older_version_wrote_is_completed_and_what_a_newer_one_wrote_left_out(
    data: st.DataObject,
) -> None:
    kind = data.draw(st.sampled_from(sorted(FACTS)))
    stored = as_stored(data.draw(facts(FACTS[kind])))
    later = {field.name for field in fields(FACTS[kind]) if field.default is not MISSING}
    older = {name: value for name, value in stored.items() if name not in later}

    told = whole_payload(kind, older | {"of a newer version": 1})

    assert told == {"type": kind, **as_stored(fact_of(kind, older))}
    MODELS[kind].model_validate(told)
