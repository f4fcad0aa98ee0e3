"""CMS signatures: what is read of them, every form that is refused (R11, R17), and the one form that tags carry."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import x509
from support.certificates import Identity, ec_key, issue, name
from support.keys import ISSUED
from support.x509 import (
    CONTENT_TYPE,
    DATA,
    DIGESTS,
    ECDSA_WITH,
    MESSAGE_DIGEST,
    RSA,
    RSA_WITH,
    SIGNED_DATA,
    SIGNING_TIME,
    Grid,
    attribute,
    attributes,
    der,
    der_of,
    detached,
    oid,
    openssl,
    signed_data,
    signer_info,
    streamed,
)
from vmkeeper.errors import Refused
from vmkeeper.trust.keys.cms import MAXIMUM, canonical, read

CONTENT = b"object 1\n\n{}\n"


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid()


@pytest.fixture(scope="module", params=["alice", "erin"])
def person(request: pytest.FixtureRequest, grid: Grid) -> Identity:
    found: Identity = getattr(grid, request.param)
    return found


def refused(data: bytes, rule: str = "R17") -> str:
    with pytest.raises(Refused) as caught:
        read(data)
    assert caught.value.rule == rule
    assert caught.value.hint
    return f"{caught.value.what}: {caught.value.why}"


UNREADABLE = "this is not one detached signature: it is not a CMS SignedData that can be read"


def test_all_that_is_signed_is_read(person: Identity, grid: Grid) -> None:
    attrs = attributes(CONTENT, "sha384", ISSUED)
    signed = read(detached(person, CONTENT, digest="sha384", attrs=attrs, others=(grid.middle, grid.root)))
    assert signed.certificate == person.certificate
    assert signed.others == (grid.middle.certificate, grid.root.certificate)
    assert (signed.digest, signed.elliptic) == ("sha384", person is grid.erin)
    assert signed.attributes == attrs
    assert signed.content_digest == x509.hashlib.sha384(CONTENT).digest()
    assert signed.signing_time == ISSUED


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_the_form_of_tags_is_read_back(person: Identity, digest: str) -> None:
    data = detached(person, CONTENT, digest=digest)
    assert read(data).digest == digest
    assert canonical(read(data)) == data


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_rsa_with_its_digest_named_twice_is_the_same(grid: Grid, digest: str) -> None:
    data = detached(grid.alice, CONTENT, digest=digest, algorithm=der(0x30, oid(RSA_WITH[digest]), der(5)))
    assert not read(data).elliptic
    assert canonical(read(data)) == detached(grid.alice, CONTENT, digest=digest)


def test_the_value_is_what_the_key_made(grid: Grid) -> None:
    assert read(detached(grid.alice, CONTENT, made=b"value")).value == b"value"


def other_forms(grid: Grid) -> dict[str, Callable[..., bytes]]:
    """Ways to write the same signature that tags do not carry: they are read, and turned into the one form."""
    return {
        "its authorities' certificates": lambda who, made: detached(who, CONTENT, others=(grid.middle,), made=made),
        "its authority first": lambda who, made: signed_data([signer_info(who, CONTENT, made=made)], der_of(grid.middle, who)),
        "a parameter for the digest": lambda who, made: detached(who, CONTENT, made=made, digest_algorithm=der(0x30, oid(DIGESTS["sha512"]), der(5))),
        "another list of digests": lambda who, made: signed_data([signer_info(who, CONTENT, made=made)], der_of(who), digests=der(0x31)),
        "another version": lambda who, made: signed_data([signer_info(who, CONTENT, made=made, number=3)], der_of(who)),
        "unsigned attributes": lambda who, made: detached(who, CONTENT, made=made, unsigned=der(0xA1, attribute("1.2.3", der(5)))),
        "unknown length": lambda who, made: streamed_form(detached(who, CONTENT, made=made)),
    }


def streamed_form(data: bytes) -> bytes:
    """The outer three elements with indefinite lengths, as gpgsm and openssl -stream write them."""
    body = data[4:]
    inner = body[len(oid(SIGNED_DATA)) + 4 + 4 :]
    return streamed(0x30, oid(SIGNED_DATA), streamed(0xA0, streamed(0x30, inner)))


@pytest.mark.parametrize("form", other_forms(None))  # type: ignore[arg-type]
def test_other_forms_are_turned_into_the_one_of_tags(person: Identity, grid: Grid, form: str) -> None:
    one = detached(person, CONTENT)
    data = other_forms(grid)[form](person, read(one).value)
    assert data != one
    assert canonical(read(data)) == one


def test_of_two_values_the_lower_one_is_carried(grid: Grid) -> None:
    high = detached(grid.erin, CONTENT, high=True)
    made = canonical(read(high))
    assert made != high
    assert canonical(read(made)) == made
    r, s = x509.decode_dss_signature(read(high).value)
    assert x509.decode_dss_signature(read(made).value) == (r, ec.SECP384R1().group_order - s)


def test_signer_named_by_its_key(grid: Grid) -> None:
    identifier = next(one.value.digest for one in grid.alice.certificate.extensions if isinstance(one.value, x509.x509.SubjectKeyIdentifier))
    signed = read(detached(grid.alice, CONTENT, name=der(0x80, identifier), number=3, others=(grid.middle,)))
    assert signed.certificate == grid.alice.certificate
    assert "signer's certificate" in refused(detached(grid.alice, CONTENT, name=der(0x80, identifier[:-1])))
    assert "signer's certificate" in refused(detached(grid.alice, CONTENT, name=der(0x04, identifier)))


def test_signer_whose_certificate_is_not_there(grid: Grid) -> None:
    assert "does not hold its signer's certificate" in refused(signed_data([signer_info(grid.alice, CONTENT)], der_of(grid.erin, grid.middle)))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (der(0x17, b"491231235959Z"), datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (der(0x17, b"500101000000Z"), datetime(1950, 1, 1, tzinfo=UTC)),
        (der(0x18, b"20500101000001Z"), datetime(2050, 1, 1, 0, 0, 1, tzinfo=UTC)),
    ],
)
def test_signing_times_of_both_forms(grid: Grid, written: bytes, meant: datetime) -> None:
    attrs = attributes(CONTENT, "sha512", None, attribute(SIGNING_TIME, written))
    assert read(detached(grid.alice, CONTENT, attrs=attrs)).signing_time == meant


def test_no_signing_time(grid: Grid) -> None:
    assert read(detached(grid.alice, CONTENT, at=None)).signing_time is None


@pytest.mark.parametrize(
    "values",
    [
        (),
        (x509.utc_time(ISSUED), x509.utc_time(ISSUED)),
        (der(0x17, b"20260601000000Z"),),
        (der(0x18, b"260601000000Z"),),
        (der(0x17, b"2606010000Z"),),
        (der(0x17, b"2606010000+1Z"),),
        (der(0x17, b"260631000000Z"),),
        (der(0x17, "٢60601000000Z".encode()),),
        (der(0x16, b"260601000000Z"),),
        (der(0x16, b"20260601000000Z"),),
        (der(0x18, b"20260601000000Z0"),),
    ],
)
def test_signing_times_that_are_none(grid: Grid, values: tuple[bytes, ...]) -> None:
    attrs = attributes(CONTENT, "sha512", None, attribute(SIGNING_TIME, *values))
    assert refused(detached(grid.alice, CONTENT, attrs=attrs)) == UNREADABLE


def wrong_attributes() -> dict[str, bytes]:
    digest = der(4, x509.hashlib.sha512(CONTENT).digest())
    kind, value = attribute(CONTENT_TYPE, oid(DATA)), attribute(MESSAGE_DIGEST, digest)
    return {
        "no digest": der(0x31, kind),
        "no content type": der(0x31, value),
        "empty": der(0x31),
        "two digests": der(0x31, kind, attribute(MESSAGE_DIGEST, digest, digest)),
        "two content types": der(0x31, attribute(CONTENT_TYPE, oid(DATA), oid(DATA)), value),
        "another content type": der(0x31, attribute(CONTENT_TYPE, oid(SIGNED_DATA)), value),
        "a content type that is none": der(0x31, attribute(CONTENT_TYPE, der(4, oid(DATA)[2:])), value),
        "a digest that is none": der(0x31, kind, attribute(MESSAGE_DIGEST, der(3, digest[2:]))),
        "an attribute that is none": der(0x31, kind, value, der(0x31, oid("1.2.3"), der(0x31))),
        "values that are none": der(0x31, kind, value, der(0x30, oid("1.2.3"), der(0x30))),
        "three parts": der(0x31, kind, value, der(0x30, oid("1.2.3"), der(0x31), der(5))),
    }


@pytest.mark.parametrize("attrs", wrong_attributes().values(), ids=wrong_attributes())
def test_attributes_that_do_not_serve(grid: Grid, attrs: bytes) -> None:
    assert refused(detached(grid.alice, CONTENT, attrs=attrs)) == UNREADABLE


def test_attribute_that_is_there_twice(grid: Grid) -> None:
    doubled = attributes(CONTENT, "sha512", ISSUED, attribute(MESSAGE_DIGEST, der(4, b"x")))
    assert "twice" in refused(detached(grid.alice, CONTENT, attrs=doubled))


def test_attributes_of_unknown_length(grid: Grid) -> None:
    data = detached(grid.alice, CONTENT)
    written = b"\xa0" + attributes(CONTENT)[1:]
    start = data.index(written)
    assert written[1] == 0x81
    changed = data[:start] + streamed(0xA0, written[3:]) + data[start + len(written) :]
    assert refused(streamed_form(rewrapped(changed))) == UNREADABLE


def rewrapped(data: bytes) -> bytes:
    """Lengths of the outer elements made indefinite from the signer up, where an inner one has grown."""
    at = data.rindex(b"\x31\x82")
    return data[:at] + streamed(0x31, streamed(0x30, data[at + 8 :]))


def shapes(grid: Grid) -> dict[str, tuple[bytes, str]]:
    alice, info = grid.alice, signer_info(grid.alice, CONTENT)
    held = der(0x30, oid(DATA), der(0xA0, der(4, CONTENT)))
    plain = der(0x30, der(2, b"\1"), x509.named(alice), der(0x30, oid(DIGESTS["sha512"])), der(0x30, oid(RSA), der(5)), der(4, b"x"))
    return {
        "two signers": (signed_data([info, signer_info(grid.erin, CONTENT)], der_of(alice, grid.erin)), "exactly one signer"),
        "no signer": (signed_data([], der_of(alice)), "exactly one signer"),
        "the content inside": (signed_data([info], der_of(alice), content=held), "its own content"),
        "other content": (signed_data([info], der_of(alice), content=der(0x30, oid(SIGNED_DATA))), "its own content"),
        "no certificates": (signed_data([info], []), "no certificates"),
        "revocation lists": (signed_data([info], der_of(alice), lists=der(0xA1)), "something beside them"),
        "something after the signers": (signed_data([info], der_of(alice), tail=der(5)), "something beside them"),
        "only revocation lists": (signed_data([info], [], lists=der(0xA1)), "something beside them"),
        "an empty set of certificates": (signed_data([info], [], lists=der(0xA0)), "holds 0 certificates, where 1 to 16"),
        "too many certificates": (signed_data([info], der_of(alice) * 17), "holds 17 certificates"),
        "no signed attributes": (signed_data([plain], der_of(alice)), "no signed attributes"),
    }


@pytest.mark.parametrize("shape", shapes(Grid()))
def test_shapes_that_are_refused(grid: Grid, shape: str) -> None:
    data, said = shapes(grid)[shape]
    assert said in refused(data)


def test_sixteen_certificates_are_taken(grid: Grid) -> None:
    people = [issue(name(("CN", str(number))), key=ec_key()) for number in range(15)]
    assert len(read(detached(grid.alice, CONTENT, others=tuple(people))).others) == 15


def broken(grid: Grid) -> dict[str, bytes]:
    alice = grid.alice
    good, info = detached(alice, CONTENT), signer_info(alice, CONTENT)
    body = good[4:]
    return {
        "nothing": b"",
        "one byte": b"\x30",
        "cut off": good[:-1],
        "a byte more": good + b"\0",
        "another kind": der(0x30, oid(DATA), body[len(oid(SIGNED_DATA)) :]),
        "a set around it": b"\x31" + good[1:],
        "another tag inside": der(0x30, oid(SIGNED_DATA), b"\xa1" + body[len(oid(SIGNED_DATA)) + 1 :]),
        "something after it": der(0x30, body, der(5)),
        "two of it": der(0x30, oid(SIGNED_DATA), der(0xA0, der(0x30), der(0x30))),
        "a kind that is no identifier": der(0x30, der(4, oid(SIGNED_DATA)[2:]), body[len(oid(SIGNED_DATA)) :]),
        "no version": der(0x30, oid(SIGNED_DATA), der(0xA0, der(0x30, der(0x31), der(0x31)))),
        "signers in a sequence": good.replace(der(0x31, info), der(0x30, info)),
        "a signer that is a set": signed_data([b"\x31" + info[1:]], der_of(alice)),
        "something after the value": signed_data([signer_info(alice, CONTENT, unsigned=der(0xA0))], der_of(alice)),
        "unsigned attributes twice": signed_data([signer_info(alice, CONTENT, unsigned=der(0xA1) * 2)], der_of(alice)),
        "a signer cut short": signed_data([der(0x30, der(2, b"\1"), x509.named(alice))], der_of(alice)),
        "a value that is none": good.replace(b"\x04\x82\x01\x00", b"\x03\x82\x01\x00"),
        "a certificate that is none": signed_data([info], [der(0x30, der(5))]),
        "content that is none": signed_data([info], der_of(alice), content=der(0x31, oid(DATA))),
        "a digest that is none": signed_data([signer_info(alice, CONTENT, digest_algorithm=der(0x31, oid(DIGESTS["sha512"])))], der_of(alice)),
        "an empty digest": signed_data([signer_info(alice, CONTENT, digest_algorithm=der(0x30))], der_of(alice)),
        "an algorithm that is none": signed_data([signer_info(alice, CONTENT, algorithm=der(0x31, oid(RSA)))], der_of(alice)),
        "a long tag": der(0x30, oid(SIGNED_DATA), der(0xA0, b"\x3f\x01\x00")),
        "a primitive of unknown length": der(0x30, b"\x06\x80" + oid(SIGNED_DATA)[2:] + b"\0\0", body[len(oid(SIGNED_DATA)) :]),
        "never ending": b"\x30\x80" * 200,
        "a child longer than its parent": der(0x30, b"\x30\x05\x05\x00", b"\x05\x00\x05\x00\x05\x00")[:4] + b"\x30\x03\x05\x00\x05\x00",
    }


@pytest.mark.parametrize("how", broken(Grid()))
def test_bytes_that_are_no_signature(grid: Grid, how: str) -> None:
    assert refused(broken(grid)[how]) == UNREADABLE


def nested(depth: int) -> bytes:
    """An attribute value so many elements deep below the whole."""
    value = der(5)
    for _ in range(depth - 8):
        value = der(0x30, value)
    return value


def test_depth_is_bounded(grid: Grid) -> None:
    read(detached(grid.alice, CONTENT, attrs=attributes(CONTENT, "sha512", ISSUED, attribute("1.2.3", nested(24)))))
    assert refused(detached(grid.alice, CONTENT, attrs=attributes(CONTENT, "sha512", ISSUED, attribute("1.2.3", nested(25))))) == UNREADABLE


@pytest.mark.parametrize(
    ("digest", "said"),
    [("md5", "MD5"), ("sha1", "SHA-1"), ("sha224", "object identifier 608648016503040204")],
)
def test_weak_digests(grid: Grid, digest: str, said: str) -> None:
    assert refused(detached(grid.alice, CONTENT, digest=digest), "R11").endswith(f"a digest that is not taken: {said}")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("1.2.840.113549.1.1.10", "RSASSA-PSS with sha512"),
        (RSA_WITH["sha256"], "object identifier 2a864886f70d01010b with sha512"),
        (RSA_WITH["sha1"], "object identifier 2a864886f70d010105 with sha512"),
        (ECDSA_WITH["sha384"], "object identifier 2a8648ce3d040303 with sha512"),
        ("1.3.101.112", "object identifier 2b6570 with sha512"),
    ],
)
def test_algorithms_that_are_not_taken(grid: Grid, number: str, said: str) -> None:
    assert refused(detached(grid.alice, CONTENT, algorithm=der(0x30, oid(number))), "R11").endswith(f"an algorithm that is not taken: {said}")


@pytest.mark.parametrize("options", [(), ("-nosmimecap",), ("-keyid",)])
def test_what_openssl_signs_is_read(grid: Grid, options: tuple[str, ...], person: Identity, tmp_path: x509.Path) -> None:
    certificate, key = person.write(tmp_path, "person")
    made = openssl(
        "cms", "-sign", "-binary", "-md", "sha256", "-signer", certificate, "-inkey", key, "-outform", "DER", *options, data=CONTENT
    ).stdout
    signed = read(made)
    assert (signed.certificate, signed.digest) == (person.certificate, "sha256")
    assert signed.content_digest == x509.hashlib.sha256(CONTENT).digest()
    again = read(canonical(signed))
    assert (again.attributes, again.certificate, again.signing_time) == (signed.attributes, signed.certificate, signed.signing_time)


SEEDS = Grid()
FUZZ = [detached(SEEDS.alice, CONTENT), detached(SEEDS.erin, CONTENT), streamed_form(detached(SEEDS.erin, CONTENT))]


def answers(data: bytes) -> None:
    try:
        signed = read(data)
    except Refused as error:
        rule = error.rule
    else:
        rule = ""
        assert signed.digest in ("sha256", "sha384", "sha512")
    assert rule in ("", "R11", "R17")


@pytest.mark.filterwarnings("ignore::Warning")
@settings(max_examples=400, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.sampled_from(FUZZ), st.data())
def test_changed_signatures_are_read_or_refused(seed: bytes, data: st.DataObject) -> None:
    changed = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(seed) - 1))
        changed[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    answers(bytes(changed))


@pytest.mark.filterwarnings("ignore::Warning")
@settings(max_examples=200)
@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda data: b"\x30\x80" + oid(SIGNED_DATA) + b"\xa0\x80\x30\x80" + data))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    answers(data)


def test_pem_inside_a_certificate_is_not_looked_for(grid: Grid) -> None:
    """A name in a certificate may hold the text of another certificate."""
    hidden = grid.erin.pem.decode()
    person = issue(name(*x509.GRID, ("2.5.4.13", hidden)), grid.middle, **x509.VALID)
    assert base64.b64encode(b"") in person.certificate.public_bytes(x509.Encoding.DER)
    assert read(detached(person, CONTENT)).certificate == person.certificate


@pytest.mark.parametrize("named", [True, False])
def test_sha1_where_the_caller_says_so(person: Identity, named: bool) -> None:
    numbers = ECDSA_WITH if person.certificate.subject == SEEDS.erin.certificate.subject else RSA_WITH
    how = {"algorithm": der(0x30, oid(numbers["sha1"]))} if named else {}
    data = detached(person, CONTENT, digest="sha1", **how)
    assert read(data, sha1=True).digest == "sha1"
    assert read(data, sha1=True).elliptic == (numbers is ECDSA_WITH)
    refused(data, "R11")
    refused(data.replace(oid(DIGESTS["sha1"]), oid("1.3.14.3.2.27")), "R11")
    for digest in ("sha256", "sha512"):
        assert read(detached(person, CONTENT, digest=digest), sha1=True).digest == digest
    for digest in ("md5", "sha224"):
        if digest in numbers:
            with pytest.raises(Refused, match="digest that is not taken"):
                read(detached(person, CONTENT, digest=digest), sha1=True)
    with pytest.raises(Refused, match="algorithm that is not taken"):
        read(detached(person, CONTENT, digest="sha256", algorithm=der(0x30, oid(numbers["sha1"]))), sha1=True)


def test_large_signatures_are_refused_unread(grid: Grid) -> None:
    one = detached(grid.alice, CONTENT)
    room = MAXIMUM - len(one) - 16
    largest = detached(grid.alice, CONTENT, unsigned=der(0xA1, der(5) * (room // 2)))
    assert MAXIMUM - 40 < len(largest) <= MAXIMUM
    assert read(largest).certificate == grid.alice.certificate
    with pytest.raises(Refused, match=f"the signature is too large: {MAXIMUM + 1} bytes, at most {MAXIMUM} are read") as caught:
        read(b"\0" * (MAXIMUM + 1))
    assert caught.value.rule == "R25"
    refused(b"\0" * MAXIMUM)
