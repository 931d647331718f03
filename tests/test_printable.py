"""What comes from outside is shown on one line, escaped and short."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.printable import PrintableError, printable

characters = st.characters(codec=None)  # surrogates too


@given(st.text(characters, max_size=60), st.integers(20, 80))
def test_what_is_shown_is_printable_short_and_the_same_when_shown_again(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable() and len(shown) <= limit
    assert printable(shown, limit) == shown
    shown.encode()


@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P")), max_size=40))
def test_what_can_be_shown_stays_as_it_is(text: str) -> None:
    assert printable(text, 40) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jname", r"\x1b[2Jname"),
        ("two\nlines", r"two\nlines"),
        ("cat\u202egpj.exe", r"cat\u202egpj.exe"),
        ("\ud800", r"\ud800"),
        ("Bär 猫", "Bär 猫"),
        (None, "None"),
        ("x" * 100, "x" * 12 + "..." + "x" * 5),
    ],
)
def test_escapes(text: object, shown: str) -> None:
    assert printable(text, 20) == shown


def test_a_long_text_keeps_its_start_and_its_end() -> None:
    shown = printable("start" + "\x00" * 1_000_000 + "end", 100)
    assert shown.startswith("start") and shown.endswith("end") and len(shown) == 100


def test_an_error_of_text_from_outside_is_a_value_error_that_survives_a_process() -> None:
    error = pickle.loads(pickle.dumps(PrintableError("bad\x07" * 1000)))
    assert isinstance(error, ValueError) and str(error).isprintable() and len(str(error)) <= 500
