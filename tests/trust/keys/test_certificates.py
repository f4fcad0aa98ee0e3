"""Certificates, revocation lists and the CA folder: read whole or not at all, one bad file stops only itself."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from support.certificates import Identity, authority, ec_key, issue, name, rsa_key
from support.x509 import VALID, Grid, revocation_list
from vmkeeper.errors import Refused
from vmkeeper.trust.keys.certificates import (
    Authorities,
    load_certificate,
    load_certificates,
    load_revocation_lists,
    read_authorities,
    sha256,
    strong_key,
    subject,
    weak_digest,
)
from vmkeeper.trust.keys.names import DistinguishedName


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid()


def der(one: Identity) -> bytes:
    return one.certificate.public_bytes(Encoding.DER)


def test_folder_in_the_layout_of_igtf(grid: Grid) -> None:
    files = grid.files()
    assert {name.rpartition(".")[2] for name in files} == {"0", "r0", "info", "signing_policy"}
    found = read_authorities(files)
    assert set(found.certificates) == {grid.root.certificate, grid.middle.certificate}
    assert {one.issuer for one in found.revocation_lists} == {grid.root.certificate.subject, grid.middle.certificate.subject}
    assert (found.crls, found.problems, found.unreadable) == ("required", (), frozenset())


@pytest.mark.parametrize("crls", ["required", "when-there", "ignored"])
def test_what_is_asked_of_revocation_lists_is_kept(crls: str) -> None:
    assert read_authorities({}, crls) == Authorities((), (), crls)  # type: ignore[arg-type]


def test_authorities_alone_ask_nothing_of_revocation_lists() -> None:
    assert Authorities(()) == Authorities((), (), "ignored", frozenset(), ())


@pytest.mark.parametrize("file", ["a.pem", "a.crt", "1a2b3c4d.0", "1a2b3c4d.12"])
@pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER])
def test_names_and_forms_of_certificates(grid: Grid, file: str, form: Encoding) -> None:
    assert read_authorities({file: grid.root.certificate.public_bytes(form)}).certificates == (grid.root.certificate,)


@pytest.mark.parametrize("file", ["a.crl", "a.r0", "1a2b3c4d.r0", "1a2b3c4d.r12"])
@pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER])
def test_names_and_forms_of_revocation_lists(grid: Grid, file: str, form: Encoding) -> None:
    made = revocation_list(grid.root)
    assert read_authorities({file: made.public_bytes(form)}).revocation_lists == (made,)


@pytest.mark.parametrize(
    "file", ["a.info", "a.namespaces", "a.signing_policy", "a.crl_url", "README", ".pem", "a.pem~", "a.0x", "a.r", "a.rx0", "a."]
)
def test_other_files_are_left_alone(file: str) -> None:
    assert read_authorities({file: b"whatever"}) == Authorities((), crls="required")


def test_the_same_under_two_names_counts_once(grid: Grid) -> None:
    made = revocation_list(grid.root)
    found = read_authorities(
        {
            "a.pem": b"Grid Root\n" + grid.root.pem,
            "b.0": der(grid.root),
            "c.0": grid.middle.pem + grid.root.pem,
            "a.r0": made.public_bytes(Encoding.PEM),
            "b.r0": made.public_bytes(Encoding.DER),
        }
    )
    assert found.certificates == (grid.root.certificate, grid.middle.certificate)
    assert found.revocation_lists == (made,)


def test_several_revocation_lists_in_one_file(grid: Grid) -> None:
    lists = grid.lists()
    text = b"\n".join(one.public_bytes(Encoding.PEM) for one in lists)
    assert load_revocation_lists(text) == list(lists)


def test_a_broken_file_stops_only_itself(grid: Grid) -> None:
    files = {"a.0": b"junk", "b.0": grid.root.pem, "c.r0": b"junk", "d.r0": revocation_list(grid.root).public_bytes(Encoding.PEM), "e.r0": b""}
    found = read_authorities(files)
    assert (found.certificates, len(found.revocation_lists)) == ((grid.root.certificate,), 1)
    assert [str(problem.place) for problem in found.problems] == ["a.0", "c.r0", "e.r0"]
    assert all(problem.what.startswith("cannot be read: ") and problem.hint for problem in found.problems)
    assert found.problems[1].what == "cannot be read: there is no X509 CRL block"
    assert found.unreadable == frozenset()


def test_a_broken_revocation_list_is_that_of_its_neighbour(grid: Grid) -> None:
    other = authority(name(("CN", "Other")))
    found = read_authorities(
        {"a.pem": grid.root.pem + other.pem, "a.r0": b"junk", "b.0": grid.middle.pem, "b.r0": revocation_list(grid.middle).public_bytes(Encoding.DER)}
    )
    assert found.unreadable == {subject(grid.root.certificate), subject(other.certificate)}
    assert found.unreadable == {DistinguishedName.of(grid.root.certificate.subject), DistinguishedName.of(other.certificate.subject)}


def unreadable(grid: Grid) -> dict[str, bytes]:
    good = der(grid.root)
    constraints = bytes.fromhex("0603551d13")
    doubled = issue(name(("CN", "x")), extra=x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.20"), b"\x05\x00"))
    return {
        "nothing": b"",
        "text": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "a byte more": good + b"\0",
        "a list": revocation_list(grid.root).public_bytes(Encoding.DER),
        "an extension that cannot be read": good.replace(constraints, bytes.fromhex("0603551d0f")),
        "an extension twice": der(doubled).replace(bytes.fromhex("0603551d14"), constraints),
        "another version": good.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x42"),
        "an unknown form of a name": der(
            issue(name(("CN", "x")), extra=x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x30\x04\xa3\x02\x05\x00"))
        ),
        "a subject that is no text": der(issue(name(("CN", "no text")), grid.root)).replace(b"no text", b"no\xfftext"[:7]),
        "an issuer that is no text": der(issue(name(("CN", "x")), authority(name(("CN", "no text"))))).replace(b"no text", b"no\xfftext"[:7]),
        "a key of an unknown kind": good.replace(bytes.fromhex("06092a864886f70d010101"), bytes.fromhex("06092a864886f70d010177")),
        "a signature of an unknown kind": good.replace(bytes.fromhex("06092a864886f70d01010b"), bytes.fromhex("06092a864886f70d010177")),
    }


@pytest.mark.parametrize("how", unreadable(Grid()))
def test_certificates_that_cannot_be_read(grid: Grid, how: str) -> None:
    data = unreadable(grid)[how]
    with pytest.raises(ValueError, match=r"."):
        load_certificates(data)
    with pytest.raises(ValueError, match=r"."):
        load_certificate(data)
    pem = b"-----BEGIN CERTIFICATE-----\n" + x509_base64(data) + b"-----END CERTIFICATE-----\n"
    with pytest.raises(ValueError, match=r"."):
        load_certificates(pem)


def x509_base64(data: bytes) -> bytes:
    import base64

    return base64.encodebytes(data)


def test_revocation_list_with_an_extension_that_cannot_be_read(grid: Grid) -> None:
    made = revocation_list(grid.root, extension=(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.20"), b"\x05\x00"), False))
    for form in (Encoding.PEM, Encoding.DER):
        with pytest.raises(ValueError, match=r"."):
            load_revocation_lists(made.public_bytes(form))


def test_long_and_short_der_files_are_told_from_text(grid: Grid) -> None:
    small = authority(name(("CN", "x")), key=ec_key(), **VALID)
    assert der(small)[1] == 0x82
    tiny = der(small)
    assert load_certificates(tiny)[0] == small.certificate
    with pytest.raises(ValueError, match=r"."):
        load_certificates(b"\x30\x81\x03\x02\x01\x00")
    with pytest.raises(ValueError, match=r"."):
        load_revocation_lists(b"\x30\x83\x00\x00\x03\x02\x01\x00")
    assert load_certificates(b"0 is no number here\n" + small.pem) == [small.certificate]


@pytest.mark.parametrize("bits", [2048, 3072])
def test_rsa_keys_that_are_strong(bits: int) -> None:
    one = authority(name(("CN", "x")), key=rsa_key(bits))
    assert strong_key(one.certificate) == one.certificate.public_key()


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP521R1(), ec.BrainpoolP256R1()], ids=lambda curve: curve.name)
def test_curves_that_are_strong(curve: ec.EllipticCurve) -> None:
    one = authority(name(("CN", "x")), key=ec_key(curve))
    assert strong_key(one.certificate) == one.certificate.public_key()


def test_keys_that_are_not_taken() -> None:
    ed = ed25519.Ed25519PrivateKey.generate()
    eddsa = x509.CertificateBuilder().subject_name(name(("CN", "x"))).issuer_name(name(("CN", "x"))).public_key(ed.public_key()).serial_number(1)
    eddsa = eddsa.not_valid_before(VALID["start"]).not_valid_after(VALID["end"])
    for certificate, said in (
        (authority(name(("CN", "x")), key=rsa_key(2047)).certificate, "/CN=x: RSA of 2047 bits"),
        (authority(name(("CN", "x")), key=ec_key(ec.SECP224R1())).certificate, "/CN=x: the curve secp224r1"),
        (eddsa.sign(ed, None), "/CN=x: Ed25519PublicKey"),
    ):
        with pytest.raises(Refused) as caught:
            strong_key(certificate)
        assert (caught.value.rule, caught.value.why) == ("R11", said)
        assert caught.value.hint == "use RSA of 2048 bits or more, or a curve of 256 bits or more"


def test_digests_that_are_strong() -> None:
    assert [weak_digest(one) for one in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())] == ["", "", ""]
    assert [weak_digest(one) for one in (hashes.SHA1(), hashes.SHA224(), hashes.SHA3_256(), None)] == ["sha1", "sha224", "sha3-256", "none"]


def test_digest_of_a_certificate(grid: Grid) -> None:
    import hashlib

    assert sha256(grid.root.certificate) == hashlib.sha256(der(grid.root)).hexdigest()
