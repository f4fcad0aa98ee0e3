"""Whatever bytes come as a signed list or as its content, the readers accept them or refuse by rule."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.trust.cases_lists import signed, text
from vmkeeper.errors import Problems, Refused
from vmkeeper.lists.hepix import read
from vmkeeper.lists.mime import split
from vmkeeper.lists.smime import verify
from vmkeeper.trust.keys.certificates import Authorities

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TEXT = text().encode()
SAMPLE = (Path(__file__).parents[1] / "fixtures" / "cloudkeeper" / "lists" / "imagelist01.signed").read_bytes()
NOBODY = Authorities(())


@given(st.binary(max_size=200))
def test_any_content_is_read_or_refused(data: bytes) -> None:
    with suppress(Refused, Problems):
        read(data)


@given(at=st.integers(0, len(TEXT) - 1), new=st.binary(max_size=8), skip=st.integers(0, 40))
@settings(max_examples=400)
def test_changed_content_is_read_or_refused(at: int, new: bytes, skip: int) -> None:
    with suppress(Refused, Problems):
        read(TEXT[:at] + new + TEXT[at + skip :])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
)


@given(key=st.sampled_from([word for word in text().split('"') if ":" in word and " " not in word]), value=_JSON)
@settings(max_examples=300)
def test_any_value_for_a_key_is_read_or_refused(key: str, value: object) -> None:
    import json

    def put(item: object) -> object:
        if isinstance(item, dict):
            return {name: value if name == key else put(inner) for name, inner in item.items()}
        return [put(inner) for inner in item] if isinstance(item, list) else item

    with suppress(Refused, Problems):
        read(json.dumps(put(json.loads(TEXT))).encode())


@given(at=st.integers(0, len(SAMPLE) - 1), new=st.binary(max_size=6), skip=st.integers(0, 60))
@settings(max_examples=400)
def test_a_changed_message_is_never_accepted(at: int, new: bytes, skip: int) -> None:
    message = SAMPLE[:at] + new + SAMPLE[at + skip :]
    with suppress(Refused):
        split(message)
    with suppress(Refused):
        verify(message, NOBODY, NOW)
        raise AssertionError("nobody is trusted")


@given(st.binary(max_size=300))
def test_any_message_is_refused(data: bytes) -> None:
    with suppress(Refused):
        verify(data, NOBODY, NOW)
        raise AssertionError("nobody is trusted")


def test_what_is_changed_here_is_sound() -> None:
    assert len(read(TEXT).images) == 1
    assert len(read(split(SAMPLE).content).images) == 2
    assert split(signed()).content.replace(b"\r\n", b"\n") == TEXT
