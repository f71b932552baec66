"""Signatures: every signed field counts, and two keys are valid during rotation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.broker.signing import sign, verify

FIELDS = st.tuples(st.text(), st.text(), st.text(), st.text())


@given(st.text(min_size=1), FIELDS)
def test_a_signature_verifies(key: str, fields: tuple[str, str, str, str]) -> None:
    signature = sign(key, *fields)
    assert verify([key], *fields, signature)
    assert verify(["new", key], *fields, signature)


@given(FIELDS, FIELDS)
def test_no_two_messages_share_a_signature(
    one: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    assert (sign("k", *one) == sign("k", *other)) == (one == other)


def test_another_key_does_not_verify() -> None:
    assert not verify(["a"], "t", "q", "i", "b", sign("b", "t", "q", "i", "b"))
    assert not verify(["a"], "t", "q", "i", "b", "ä")
