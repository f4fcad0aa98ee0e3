"""gpg's listing is read by lines: what somebody writes into a user id is no line of it."""

from __future__ import annotations

from datetime import UTC, datetime

from vmkeeper.trust.keys.status import Listed, read_listing


def test_words_of_a_user_id_are_no_lines_of_the_listing() -> None:
    user_id = "Eve fpr:::::::::BBBB: pub:r:255:22:CCCC:100:::::: fpr:::::::::CCCC:"
    for space in (" ", "\t", "\r", "\x0b", "\u2028"):
        listing = f"pub:-:255:22:AAAA:100:200:::::\nuid:-::::100::H::{user_id.replace(' ', space)}:\nfpr:::::::::AAAA:\n"
        assert read_listing(listing.encode()) == {"AAAA": Listed(revoked=False, expires=datetime.fromtimestamp(200, UTC))}
