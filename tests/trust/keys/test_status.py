"""What is made of gpg's words: which lines belong to which file, what its listing says, and when both agree with our own reading."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.keys import ISSUED, NOW
from support.refusals import refusal
from vmkeeper.errors import Refused
from vmkeeper.trust.keys.interface import SignedBy
from vmkeeper.trust.keys.packets import SignaturePacket
from vmkeeper.trust.keys.status import Answer, Listed, Reading, judge, read_listing, read_status

PRIMARY, SUBKEY, STRANGER = "A" * 40, "B" * 40, "C" * 40
MADE, MOMENT = int(ISSUED.timestamp()), int(NOW.timestamp())
OURS = Reading(SignaturePacket(b"", 22, "sha512", MADE, SUBKEY), PRIMARY, "ed25519:00")
LISTING = {PRIMARY: Listed(False, None), SUBKEY: Listed(False, None)}
VALIDSIG = f"{SUBKEY} 2026-05-31 {MADE} 0 4 0 22 10 00 {PRIMARY}"
GOOD: Answer = (
    ("NEWSIG", ""),
    ("KEY_CONSIDERED", f"{PRIMARY} 0"),
    ("SIG_ID", f"x 2026-05-31 {MADE}"),
    ("GOODSIG", "BBBBBBBBBBBBBBBB Somebody"),
    ("VALIDSIG", VALIDSIG),
)
FILES = ["/a/0", "/a/1"]


def said(*answers: Answer, files: list[str] = FILES) -> bytes:
    blocks = (
        f"[GNUPG:] FILE_START 1 {file}\n" + "".join(f"[GNUPG:] {word} {rest}".rstrip(" ") + "\n" for word, rest in answer) + "[GNUPG:] FILE_DONE\n"
        for file, answer in zip(files, answers, strict=False)
    )
    return "".join(blocks).encode()


def with_word(before: str, after: str) -> Answer:
    return tuple((after if word == before else word, rest) for word, rest in GOOD)


def with_validsig(before: str, after: str) -> Answer:
    assert before in VALIDSIG
    return tuple((word, rest.replace(before, after) if word == "VALIDSIG" else rest) for word, rest in GOOD)


def refused(answer: Answer, listing: dict[str, Listed] = LISTING, moment: int = MOMENT) -> tuple[str, str, str]:
    return refusal(lambda: judge(answer, listing, OURS, moment))


def test_lines_belong_to_the_file_between_whose_marks_they_stand() -> None:
    other: Answer = (("NEWSIG", ""), ("BADSIG", "B x"))
    assert read_status(said(GOOD, other), FILES) == [GOOD, other]
    assert read_status(said(other, GOOD), FILES) == [other, GOOD]
    assert read_status(said(), []) == []


def test_lines_outside_of_files_and_without_the_prefix_say_nothing() -> None:
    text = b"gpg: hello\n[GNUPG:] FAILURE x 1\n" + said(GOOD).replace(
        b"[GNUPG:] SIG_ID", b"hello\n[GNUPG:]GOODSIG\n [GNUPG:] BADSIG\n[GNUPG:] SIG_ID"
    )
    assert read_status(text + b"[GNUPG:] FAILURE gpg-exit 33554433\n", FILES) == [GOOD, None]


def test_a_file_that_gpg_did_not_finish_has_no_answer() -> None:
    whole = said(GOOD, GOOD)
    assert read_status(whole.removesuffix(b"[GNUPG:] FILE_DONE\n"), FILES) == [GOOD, None]
    assert read_status(said(GOOD), FILES) == [GOOD, None]
    assert read_status(b"", FILES) == [None, None]


@pytest.mark.parametrize(
    "text",
    [
        said(GOOD, GOOD, files=FILES[::-1]),
        said(GOOD, files=["/a/1"]),
        said(GOOD, GOOD, GOOD, files=[*FILES, "/a/2"]),
        said(GOOD, GOOD, files=["/a/0", "/a/0"]),
        said(GOOD, GOOD).replace(b"FILE_START 1", b"FILE_START 2"),
        said(GOOD, GOOD).replace(b"[GNUPG:] FILE_DONE\n", b"", 1),
        said(GOOD, GOOD).replace(b"[GNUPG:] FILE_DONE\n", b"[GNUPG:] FILE_DONE\n[GNUPG:] FILE_DONE\n", 1),
        b"[GNUPG:] FILE_DONE\n" + said(GOOD, GOOD),
    ],
)
def test_marks_out_of_order_make_everything_unanswered(text: bytes) -> None:
    assert read_status(text, FILES) == [None, None]


@pytest.mark.parametrize("end", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_only_a_line_feed_ends_a_line(end: str) -> None:
    name = f"B x{end}[GNUPG:] FILE_DONE{end}[GNUPG:] FILE_START 1 /a/1{end}[GNUPG:] BADSIG B y"
    hostile: Answer = (("GOODSIG", name),)
    assert read_status(said(hostile, GOOD), FILES) == [hostile, GOOD]


def test_bytes_that_are_not_utf8_are_kept_apart() -> None:
    assert read_status(said(GOOD).replace(b"Somebody", b"\xff\xe2\x80"), FILES[:1])[0] != GOOD


def test_a_listing_is_read_by_fingerprint() -> None:
    text = (
        "tru:t:0:0:0:0:0:0\n"
        f"pub:e:255:22:AAAAAAAAAAAAAAAA:1767225600:{MOMENT}::-:::sc:::::ed25519:::0:\nfpr:::::::::{PRIMARY}:\n"
        f"fpr:::::::::{STRANGER}:\nuid:-::::1767225600::F::sub\u2028sub:r:\\x3a:::::::::0:\n"
        f"sub:r:255:22:BBBBBBBBBBBBBBBB:1767225600::::::s:::::ed25519::\nfpr:::::::::{SUBKEY}:\n"
    )
    assert read_listing(text.encode()) == {PRIMARY: Listed(False, NOW), SUBKEY: Listed(True, None)}
    assert read_listing(b"") == {}
    assert read_listing(b"pub:-:::::\nfpr:x\n") == {}
    assert read_listing(b"pub:-:::::\nfpr" + b":" * 8 + b"x\n") == {}
    assert read_listing(b"pub:-:::::\nfpr" + b":" * 9 + b"x\n") == {"x": Listed(False, None)}


@pytest.mark.parametrize("line", ["pub", "pub:-", "sub:-:255:22:B:0:never:", "sub:-:255:22:B:0:99999999999999999999:", "pub:-:255:22:B:0:1e9:"])
def test_a_listing_in_another_form_is_refused(line: str) -> None:
    assert refusal(lambda: read_listing(line.encode())) == ("R10", "gpg's listing of the key cannot be read", line)


def test_where_all_agree_the_signature_is_good() -> None:
    made = datetime.fromtimestamp(MADE, UTC)
    assert judge(GOOD, LISTING, OURS, MOMENT) == SignedBy(f"openpgp:{PRIMARY}", "ed25519:00", made, None)


@pytest.mark.parametrize(("primary", "subkey"), [(NOW, None), (None, NOW), (NOW, NOW.replace(year=2030)), (NOW.replace(year=2030), NOW)])
def test_the_earlier_end_of_primary_key_and_subkey_is_told(primary: datetime | None, subkey: datetime | None) -> None:
    listing = {PRIMARY: Listed(False, primary), SUBKEY: Listed(False, subkey), STRANGER: Listed(True, ISSUED)}
    assert judge(GOOD, listing, OURS, MOMENT).valid_until == NOW
    assert judge(with_word("GOODSIG", "EXPKEYSIG"), listing, OURS, MOMENT).valid_until == NOW


def test_a_key_that_only_gpg_calls_expired_is_refused() -> None:
    expired = with_word("GOODSIG", "EXPKEYSIG")
    for end in (None, datetime.fromtimestamp(MOMENT + 1, UTC)):
        assert refused(expired, {PRIMARY: Listed(False, end), SUBKEY: Listed(False, None)}) == (
            "R10",
            "gpg calls the key expired and does not list it so",
            SUBKEY,
        )


@pytest.mark.parametrize(
    ("answer", "listing"),
    [
        (with_word("GOODSIG", "REVKEYSIG"), LISTING),
        ((*GOOD, ("KEYREVOKED", "")), LISTING),
        (GOOD, {**LISTING, PRIMARY: Listed(True, None)}),
        (GOOD, {**LISTING, SUBKEY: Listed(True, None)}),
        (with_word("GOODSIG", "EXPKEYSIG"), {**LISTING, SUBKEY: Listed(True, ISSUED)}),
        ((), {PRIMARY: Listed(True, None)}),
    ],
)
def test_a_revoked_key_is_refused_whoever_says_so(answer: Answer, listing: dict[str, Listed]) -> None:
    assert refused(answer, listing) == ("R12", "the key has been revoked", PRIMARY)


@pytest.mark.parametrize("missing", [PRIMARY, SUBKEY])
def test_a_key_that_gpg_does_not_list_is_refused(missing: str) -> None:
    listing = {name: listed for name, listed in LISTING.items() if name != missing}
    assert refused(GOOD, listing) == ("R10", "gpg does not take the pinned key", SUBKEY)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((), "no signature"),
        (GOOD[:3], "NEWSIG"),
        (GOOD[:4], "GOODSIG NEWSIG"),
        (GOOD[1:], "GOODSIG VALIDSIG"),
        (GOOD + GOOD, "GOODSIG GOODSIG NEWSIG NEWSIG VALIDSIG VALIDSIG"),
        ((*GOOD, ("NEWSIG", "")), "GOODSIG NEWSIG NEWSIG VALIDSIG"),
        ((*GOOD, ("EXPKEYSIG", "B x")), "EXPKEYSIG GOODSIG NEWSIG VALIDSIG"),
        (with_word("GOODSIG", "BADSIG"), "BADSIG NEWSIG VALIDSIG"),
        (with_word("GOODSIG", "EXPSIG"), "EXPSIG NEWSIG VALIDSIG"),
        (with_word("GOODSIG", "ERRSIG"), "ERRSIG NEWSIG VALIDSIG"),
        *(
            ((*GOOD, (fault, "1")), " ".join(sorted(["GOODSIG", "NEWSIG", "VALIDSIG", fault])))
            for fault in ("ERROR", "FAILURE", "NODATA", "NO_PUBKEY", "UNEXPECTED")
        ),
    ],
)
def test_r10_what_gpg_does_not_plainly_call_good_is_refused(answer: Answer, why: str) -> None:
    assert refused(answer) == ("R10", "gpg does not call the signature good", why)


@pytest.mark.parametrize(
    ("before", "after"),
    [(SUBKEY, STRANGER), (PRIMARY, STRANGER), (SUBKEY, PRIMARY), (f" {PRIMARY}", ""), (PRIMARY, PRIMARY + " x"), (" 10 ", " 1000 ")],
)
def test_r10_a_signature_by_another_key_is_refused(before: str, after: str) -> None:
    answer = with_validsig(before, after)
    assert refused(answer) == ("R10", "the signature is by another key than the pinned one", dict(answer)["VALIDSIG"])


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (" 10 00 ", " 2 00 ", "hash 2, class 00"),
        (" 10 00 ", " 8 00 ", "hash 8, class 00"),
        (" 10 00 ", " 10 01 ", "hash 10, class 01"),
        (" 10 00 ", " 10 10 ", "hash 10, class 10"),
    ],
)
def test_r32_gpg_and_our_reading_must_agree_on_hash_and_class(before: str, after: str, why: str) -> None:
    assert refused(with_validsig(before, after)) == ("R11", "gpg reads another kind of signature than we do", why)


WORDS = st.sampled_from(["NEWSIG", "GOODSIG", "EXPKEYSIG", "VALIDSIG", "BADSIG", "FILE_START", "FILE_DONE", "KEYREVOKED", "SIG_ID", ""])
RESTS = st.sampled_from([VALIDSIG, "1 /a/0", "1 /a/1", "B x", "", VALIDSIG.replace(PRIMARY, STRANGER)]) | st.text(max_size=30)


def rule(judged: Answer) -> str:
    try:
        judge(judged, LISTING, OURS, MOMENT)
    except Refused as error:
        return error.rule
    return ""


@given(lines=st.lists(st.tuples(WORDS, RESTS), max_size=12), noise=st.binary(max_size=60))
def test_any_lines_of_gpg_are_judged_or_refused(lines: list[tuple[str, str]], noise: bytes) -> None:
    text = b"".join(f"[GNUPG:] {word} {rest}\n".encode(errors="surrogatepass") for word, rest in lines)
    for data in (text, noise, text + noise, noise + text):
        answers = read_status(data, FILES)
        assert len(answers) == 2
        for answer in answers:
            assert answer is None or rule(answer) in {"R10", "R11", "R12"} or dict(answer)["VALIDSIG"] == VALIDSIG


@given(st.lists(st.tuples(WORDS, RESTS), max_size=6).map(tuple) | st.permutations(GOOD).map(tuple))
def test_any_answer_is_judged_or_refused(answer: Answer) -> None:
    assert rule(answer) in {"R10", "R11", "R12"} or dict(answer)["VALIDSIG"] == VALIDSIG


@given(
    st.binary(max_size=100) | st.from_regex(r"((pub|sub|fpr|uid)(:[a-z0-9]{0,12}){0,12}\n(fpr:{9}[AB]{40}:\n)?){1,3}", fullmatch=True).map(str.encode)
)
def test_any_listing_is_read_or_refused(listing: bytes) -> None:
    try:
        found = read_listing(listing)
    except Refused:
        return
    assert all(isinstance(listed, Listed) for listed in found.values())
