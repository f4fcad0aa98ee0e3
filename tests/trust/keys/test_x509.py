"""Signatures by certificates: what the verifier takes and gives, and what it refuses (R10, R11, R12, R15, R17, R18, R19, R32)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509 as certificates
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from support.certificates import Identity, authority, ec_key, issue, name, rsa_key
from support.keys import ISSUED, NOW, SecurityKey
from support.x509 import (
    DAY,
    END,
    GRID,
    VALID,
    Grid,
    attribute,
    attributes,
    der,
    der_of,
    detached,
    digest_of,
    held,
    revocation_list,
    signed_data,
    signer_info,
    with_digest,
    x509_signer,
)
from vmkeeper.errors import Refused
from vmkeeper.model.keys import X509Key
from vmkeeper.trust.keys import x509
from vmkeeper.trust.keys.armour import armour, dearmour
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.keys.interface import Claim, KeyVerifier, SignedBy
from vmkeeper.trust.keys.public_form import of_public_key
from vmkeeper.trust.keys.x509 import X509Verifier, certificate_of, fits, normalised, verify_detached

CONTENT = b"object 1\n\n{}\n"
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid()


@pytest.fixture(scope="module", params=["alice", "erin"])
def person(request: pytest.FixtureRequest, grid: Grid) -> Identity:
    found: Identity = getattr(grid, request.param)
    return found


def refused(rule: str, call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.rule == rule, str(caught.value)
    return f"{caught.value.what}: {caught.value.why}"


def claim(identity: Identity, data: bytes | None = None, *, content: bytes = CONTENT, key: X509Key | None = None, **how: Any) -> Claim:
    return Claim(key or held(identity), content, armour("CMS", detached(identity, content, **how) if data is None else data))


def test_a_good_signature(grid: Grid, person: Identity) -> None:
    verifier: KeyVerifier = X509Verifier(grid.read())
    verifier.prepare([claim(person)], NOW)
    assert verifier.verify(claim(person), NOW) == SignedBy(
        key=f"x509:{digest_of(person)}", material=of_public_key(person.key.public_key()), made=ISSUED, valid_until=END
    )


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_digests_that_are_taken(grid: Grid, person: Identity, digest: str) -> None:
    assert X509Verifier(grid.authorities()).verify(claim(person, digest=digest), NOW)
    assert verify_detached(detached(person, CONTENT, digest=digest), CONTENT, grid.authorities(), NOW) == person.certificate


def test_no_signing_time(grid: Grid) -> None:
    assert X509Verifier(grid.authorities()).verify(claim(grid.alice, at=None), NOW).made is None


def test_signers_of_the_tests_sign_what_is_taken(grid: Grid) -> None:
    for pinned in (False, True):
        signer = x509_signer(grid.alice, pinned=pinned)
        found = X509Verifier(grid.authorities()).verify(Claim(signer.key, CONTENT, signer.sign(CONTENT)), NOW)
        assert found.key == signer.id


def test_another_content(grid: Grid, person: Identity) -> None:
    made = claim(person)
    assert refused("R10", lambda: X509Verifier(grid.authorities()).verify(replace(made, signed=CONTENT + b" "), NOW)).endswith(
        "its digest is another one"
    )
    said = refused("R17", lambda: verify_detached(detached(person, CONTENT), CONTENT + b" ", grid.authorities(), NOW))
    assert said == "the signature is not over what it came with: its digest is another one"


def test_another_value(grid: Grid, person: Identity) -> None:
    wrong = "the signature is not over what it came with: its value is not by this key over its attributes"
    other = grid.person("Other", key=rsa_key() if person is grid.alice else ec_key(ec.SECP384R1()))
    for made in (b"", b"x" * 256, detached_value(other), detached_value(person, CONTENT + b" ")):
        data = detached(person, CONTENT, made=made)
        assert refused("R10", lambda data=data: X509Verifier(grid.authorities()).verify(claim(person, data), NOW)) == wrong  # type: ignore[misc]
        assert refused("R17", lambda data=data: verify_detached(data, CONTENT, grid.authorities(), NOW)) == wrong  # type: ignore[misc]


def detached_value(identity: Identity, content: bytes = CONTENT) -> bytes:
    from support.x509 import value

    return value(identity, attributes(content))


def test_an_algorithm_of_another_kind_of_key(grid: Grid) -> None:
    from support.x509 import ECDSA_WITH, RSA, oid

    wrong = "its value is not by this key over its attributes"
    for person, number in ((grid.alice, ECDSA_WITH["sha512"]), (grid.erin, RSA)):
        data = detached(person, CONTENT, algorithm=der(0x30, oid(number)))
        assert refused("R10", lambda data=data, person=person: X509Verifier(grid.authorities()).verify(claim(person, data), NOW)).endswith(wrong)  # type: ignore[misc]


def test_a_digest_that_the_signature_does_not_name(grid: Grid) -> None:
    """The attributes hold a SHA-256 of the content, the algorithms say SHA-512."""
    data = detached(grid.alice, CONTENT, attrs=attributes(CONTENT, "sha256"))
    assert refused("R17", lambda: verify_detached(data, CONTENT, grid.authorities(), NOW)).endswith("its digest is another one")


def forms(grid: Grid) -> dict[str, Callable[[Identity], bytes]]:
    return {
        "an authority's certificate too": lambda who: detached(who, CONTENT, others=(grid.middle,)),
        "unsigned attributes": lambda who: detached(who, CONTENT, unsigned=der(0xA1, attribute("1.2.3", der(5)))),
        "another version": lambda who: detached(who, CONTENT, number=3),
        "other digests named": lambda who: signed_data([signer_info(who, CONTENT)], der_of(who), digests=der(0x31)),
        "a longer length": lambda who: lengthened(detached(who, CONTENT)),
    }


def lengthened(data: bytes) -> bytes:
    """The same element with a length in more bytes than it needs."""
    assert data[1] == 0x82
    return b"\x30\x83\x00" + data[2:]


@pytest.mark.parametrize("form", forms(Grid()))
def test_other_forms_are_not_taken_in_tags_but_in_lists(grid: Grid, person: Identity, form: str) -> None:
    data = forms(grid)[form](person)
    said = refused("R10", lambda: X509Verifier(grid.authorities()).verify(claim(person, data), NOW))
    assert said == "the CMS signature is not in the form we write: it holds more than its signer's certificate, or other encodings"
    if form == "other digests named":  # openssl wants to know them before it reads the content
        refused("R32", lambda: verify_detached(data, CONTENT, grid.authorities(), NOW))
    else:
        assert verify_detached(data, CONTENT, grid.authorities(), NOW) == person.certificate
    assert X509Verifier(grid.authorities()).verify(Claim(held(person), CONTENT, normalised(data, CONTENT)), NOW)


def test_the_higher_of_two_values_is_not_taken_in_tags(grid: Grid) -> None:
    data = detached(grid.erin, CONTENT, high=True)
    refused("R10", lambda: X509Verifier(grid.authorities()).verify(claim(grid.erin, data), NOW))
    assert dearmour("CMS", normalised(data, CONTENT)) == x509.canonical(x509.read(data)) != data


def test_signatures_in_other_armour(grid: Grid) -> None:
    good = claim(grid.alice)
    for text in (
        good.signature.replace("\n", "\r\n"),
        good.signature + "\n",
        good.signature.replace("SIGNED MESSAGE", "CMS"),
        armour("SSH", b"x"),
        "",
    ):
        refused("R10", lambda text=text: X509Verifier(grid.authorities()).verify(replace(good, signature=text), NOW))  # type: ignore[misc]


def test_shapes_that_are_refused_have_the_rule_of_what_they_came_in(grid: Grid) -> None:
    two = signed_data([signer_info(grid.alice, CONTENT), signer_info(grid.erin, CONTENT)], der_of(grid.alice, grid.erin))
    assert "exactly one signer" in refused("R10", lambda: X509Verifier(grid.authorities()).verify(claim(grid.alice, two), NOW))
    assert "exactly one signer" in refused("R17", lambda: verify_detached(two, CONTENT, grid.authorities(), NOW))
    weak = detached(grid.alice, CONTENT, digest="sha1")
    refused("R11", lambda: X509Verifier(grid.authorities()).verify(claim(grid.alice, weak), NOW))
    refused("R11", lambda: verify_detached(weak, CONTENT, grid.authorities(), NOW))


# who it is by


def test_names_and_certificate_of_the_held_key(grid: Grid) -> None:
    alice = held(grid.alice)
    renewed = issue(grid.alice.certificate.subject, grid.middle, **VALID)
    by = certificate_of(claim(grid.alice).signature)
    assert (str(by.subject), str(by.issuer), by.sha256) == (alice.subject, alice.issuer, digest_of(grid.alice))
    assert fits(alice, by)
    assert fits(held(grid.alice, pinned=True), by)
    assert fits(alice, certificate_of(claim(renewed).signature))
    assert not fits(held(grid.alice, pinned=True), certificate_of(claim(renewed).signature))
    for changes in ({"subject": held(grid.erin).subject}, {"issuer": alice.subject}, {"certificate": "0" * 64}):
        assert not fits(alice.model_copy(update=changes), by)


def test_another_holder(grid: Grid) -> None:
    verifier = X509Verifier(grid.authorities())
    said = refused("R10", lambda: verifier.verify(claim(grid.alice, key=held(grid.erin)), NOW))
    names = f"{held(grid.alice).subject} by {held(grid.alice).issuer}, {digest_of(grid.alice)}"
    assert said == f"the signature is by another certificate than the held one: {names}"
    refused("R10", lambda: verifier.verify(claim(grid.alice, key=held(grid.alice).model_copy(update={"certificate": "0" * 64})), NOW))
    refused("R10", lambda: verifier.verify(replace(claim(grid.alice), key=SecurityKey().signer().key), NOW))


def test_held_key_that_names_nobody(grid: Grid) -> None:
    key = held(grid.alice).model_copy(update={"subject": "Alice"})
    assert "'Alice' is not a distinguished name" in refused("R10", lambda: X509Verifier(grid.authorities()).verify(claim(grid.alice, key=key), NOW))
    key = held(grid.alice).model_copy(update={"issuer": "CA"})
    assert "does not name its holder and issuer: 'CA'" in refused("R10", lambda: fits(key, certificate_of(claim(grid.alice).signature)))


def test_a_slash_in_a_name_makes_nobody_else(grid: Grid) -> None:
    """O="CERN/CN=Alice" is written like O=CERN, CN=Alice."""
    alice = issue(name(("O", "CERN"), ("CN", "Alice")), grid.middle, **VALID)
    mallory = issue(name(("O", "CERN/CN=Alice")), grid.middle, **VALID)
    verifier = X509Verifier(grid.authorities())
    key = held(alice)
    assert key.subject == "/O=CERN/CN=Alice"
    assert verifier.verify(claim(alice, key=key), NOW)
    refused("R10", lambda: verifier.verify(claim(mallory, key=key), NOW))
    beside = certificates.Name([certificates.RelativeDistinguishedName(list(name(("O", "CERN"), ("CN", "Alice"))))])
    refused("R10", lambda: verifier.verify(claim(issue(beside, grid.middle, **VALID), key=key), NOW))


def test_certificate_that_a_signature_claims(grid: Grid) -> None:
    stranger = issue(name(("CN", "Stranger")))
    found = certificate_of(claim(stranger, made=b"not verified").signature)
    assert (str(found.subject), str(found.issuer), found.sha256) == ("/CN=Stranger", "/CN=Stranger", digest_of(stranger))
    refused("R10", lambda: certificate_of(armour("CMS", b"junk")))
    refused("R10", lambda: certificate_of("junk"))
    refused("R11", lambda: certificate_of(claim(stranger, digest="sha1").signature))


# authorities, validity, revocation


def test_only_the_given_authorities_count(grid: Grid, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "all.pem").write_bytes(grid.root.pem + grid.middle.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "all.pem"))
    other = Grid()
    for authorities in (Authorities(()), other.authorities(), Authorities((grid.root.certificate,)), Authorities((grid.middle.certificate,))):
        refused("R19", lambda authorities=authorities: X509Verifier(authorities).verify(claim(grid.alice), NOW))  # type: ignore[misc]
    refused("R19", lambda: verify_detached(detached(grid.alice, CONTENT), CONTENT, Authorities((grid.root.certificate,)), NOW))


def test_lists_may_bring_the_authorities_in_between(grid: Grid) -> None:
    authorities = Authorities((grid.root.certificate,))
    assert verify_detached(detached(grid.alice, CONTENT, others=(grid.middle,)), CONTENT, authorities, NOW)


def test_expired_certificates_are_told_in_tags_and_refused_in_lists(grid: Grid) -> None:
    short = grid.person("Short", end=NOW)
    for now in (NOW - SECOND, NOW, NOW + SECOND):
        assert X509Verifier(grid.read()).verify(claim(short), now).valid_until == NOW
    assert verify_detached(detached(short, CONTENT), CONTENT, grid.read(), NOW - SECOND)
    refused("R19", lambda: verify_detached(detached(short, CONTENT), CONTENT, grid.read(), NOW + SECOND))


def test_disagreement_openssl_calls_a_certificate_expired_in_its_last_second(grid: Grid) -> None:
    """RFC 5280, 4.1.2.5, has it valid then; both must accept, so lists wait no longer than openssl."""
    data = detached(grid.person("Short", end=NOW), CONTENT)
    assert refused("R19", lambda: verify_detached(data, CONTENT, grid.authorities(), NOW)).endswith(": certificate has expired")


def test_not_yet_valid_certificates_are_refused(grid: Grid) -> None:
    early = grid.person("Early", start=NOW)
    assert X509Verifier(grid.authorities()).verify(claim(early), NOW)
    refused("R19", lambda: X509Verifier(grid.authorities()).verify(claim(early), NOW - SECOND))
    refused("R19", lambda: verify_detached(detached(early, CONTENT), CONTENT, grid.authorities(), NOW - SECOND))


def test_an_expired_authority_ends_what_it_vouches_for(grid: Grid) -> None:
    middle = authority(name(*GRID, ("CN", "Brief")), grid.root, start=VALID["start"], end=NOW)
    long = grid.person("Long", middle)
    authorities = Authorities((grid.root.certificate, middle.certificate))
    assert X509Verifier(authorities).verify(claim(long), NOW - SECOND)
    refused("R19", lambda: X509Verifier(authorities).verify(claim(long), NOW + SECOND))


def test_revocation_lists_are_asked_at_the_present_also_about_expired_certificates(grid: Grid) -> None:
    short, later = grid.person("Short", end=NOW - 300 * DAY), NOW + 100 * DAY
    lists: dict[str, Any] = {"made": later - DAY, "until": later + DAY}
    assert X509Verifier(grid.read(**lists)).verify(claim(short), later)
    refused("R12", lambda: X509Verifier(grid.read(short, **lists)).verify(claim(short), later))
    refused("R18", lambda: X509Verifier(grid.read()).verify(claim(short), later))


@pytest.mark.parametrize("crls", ["required", "when-there", "ignored"])
def test_revoked_certificates(grid: Grid, person: Identity, crls: str) -> None:
    for revoked in (person, grid.middle):
        authorities = grid.read(revoked, crls=crls)  # type: ignore[arg-type]
        both = (
            lambda authorities=authorities: X509Verifier(authorities).verify(claim(person), NOW),  # type: ignore[misc]
            lambda authorities=authorities: verify_detached(detached(person, CONTENT), CONTENT, authorities, NOW),  # type: ignore[misc]
        )
        for call in both:
            if crls == "ignored":
                assert call()
            else:
                assert "keyCompromise" in refused("R12", call)


def test_revocation_lists_where_they_are_there(grid: Grid, person: Identity) -> None:
    """Without one of the leaf's authority openssl cannot be told to look at the other one; we do."""
    root, middle = grid.lists()
    for lists in ((), (root,), (middle,), (root, middle)):
        assert X509Verifier(grid.authorities(*lists, crls="when-there")).verify(claim(person), NOW)
    for lists in ((), (root,), (middle,)):
        refused("R18", lambda lists=lists: X509Verifier(grid.authorities(*lists, crls="required")).verify(claim(person), NOW))  # type: ignore[misc]
    for lists, rule in (((revocation_list(grid.root, until=NOW),), "R18"), ((revocation_list(grid.middle, person),), "R12")):
        refused(rule, lambda lists=lists: X509Verifier(grid.authorities(*lists, crls="when-there")).verify(claim(person), NOW))  # type: ignore[misc]


def test_revocation_lists_of_others_change_nothing(grid: Grid) -> None:
    other = Grid()
    lists = (*grid.lists(), *other.lists(other.alice, until=NOW - DAY, made=NOW - 2 * DAY))
    assert X509Verifier(replace(grid.authorities(*lists), crls="required")).verify(claim(grid.alice), NOW)


# openssl beside us


def test_openssl_looks_at_what_we_do_not(grid: Grid) -> None:
    strange = certificates.UnrecognizedExtension(certificates.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    marked = grid.person("Marked", extra=strange)
    said = refused("R19", lambda: X509Verifier(grid.authorities()).verify(claim(marked), NOW))
    assert said == "the signer's certificate is not trusted: unhandled critical extension"
    permitted = certificates.NameConstraints([certificates.DirectoryName(name(("C", "CH")))], None)
    narrow = authority(name(*GRID, ("CN", "Narrow")), grid.root, extra=permitted, **VALID)
    authorities = Authorities((grid.root.certificate, narrow.certificate))
    assert "permitted subtree violation" in refused("R19", lambda: X509Verifier(authorities).verify(claim(grid.person("Wide", narrow)), NOW))
    inside = issue(name(("C", "CH"), ("CN", "Inside")), narrow, **VALID)
    assert X509Verifier(authorities).verify(claim(inside), NOW)


def test_what_a_certificate_is_for_counts_in_lists(grid: Grid) -> None:
    server = grid.person("Server", usage=(ExtendedKeyUsageOID.SERVER_AUTH,))
    data = detached(server, CONTENT)
    assert "purpose" in refused("R19", lambda: verify_detached(data, CONTENT, grid.authorities(), NOW))
    assert verify_detached(data, CONTENT, grid.authorities(), NOW, purpose="any")
    assert X509Verifier(grid.authorities()).verify(claim(server), NOW)


def test_a_certificate_alone_as_anchor(grid: Grid) -> None:
    data, alone = detached(grid.alice, CONTENT), Authorities((grid.alice.certificate,))
    assert verify_detached(data, CONTENT, alone, NOW, anchor="any") == grid.alice.certificate
    refused("R19", lambda: verify_detached(data, CONTENT, alone, NOW))


def fake_openssl(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    file = folder / "openssl"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setattr(x509, "program", lambda name: str(file))


@pytest.mark.parametrize(
    ("script", "rule", "said"),
    [
        ("echo 'no idea' >&2; exit 4", "R32", "openssl does not call the signature good, we do: no idea"),
        (
            "echo 'CMS Verification failure' >&2; echo 'Verify error: bad day' >&2; echo more >&2; exit 4",
            "R19",
            "the signer's certificate is not trusted: bad day",
        ),
        ("exit 4", "R32", "openssl does not call the signature good, we do: "),
    ],
)
def test_openssl_has_the_last_word(grid: Grid, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, rule: str, said: str) -> None:
    fake_openssl(monkeypatch, tmp_path, script)
    assert refused(rule, lambda: verify_detached(detached(grid.alice, CONTENT), CONTENT, grid.authorities(), NOW)) == said
    assert refused(rule, lambda: X509Verifier(grid.authorities()).verify(claim(grid.alice), NOW)) == said


@pytest.mark.parametrize("wrong", ["content", "signer", ""])
def test_openssl_that_read_something_else(grid: Grid, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: str) -> None:
    (tmp_path / "content").write_bytes(CONTENT + b"x" if wrong == "content" else CONTENT)
    (tmp_path / "signer").write_bytes(grid.erin.pem if wrong == "signer" else grid.alice.pem)
    copy = f'while [ $# -gt 0 ]; do case $1 in -out) cp {tmp_path}/content "$2";; -signer) cp {tmp_path}/signer "$2";; esac; shift; done'
    fake_openssl(monkeypatch, tmp_path, copy)
    if wrong:
        said = refused("R32", lambda: verify_detached(detached(grid.alice, CONTENT), CONTENT, grid.authorities(), NOW))
        assert said == "two readers of the signature do not agree: "
    else:
        assert verify_detached(detached(grid.alice, CONTENT), CONTENT, grid.authorities(), NOW)


def asked(tmp_path: Path) -> list[str]:
    return (tmp_path / "asked").read_text().splitlines()


def test_openssl_is_asked_once_about_each_certificate(grid: Grid, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_openssl(monkeypatch, tmp_path, f'echo "$@" >> {tmp_path}/asked; exec {x509.program("openssl")} "$@"')
    verifier = X509Verifier(grid.read(grid.erin))
    for number in range(3):
        assert verifier.verify(claim(grid.alice, content=b"%d" % number), NOW)
        refused("R12", lambda number=number: verifier.verify(claim(grid.erin, content=b"%d" % number), NOW))  # type: ignore[misc]
        refused("R10", lambda: verifier.verify(replace(claim(grid.alice), signed=b"other"), NOW))
    (first,) = asked(tmp_path)
    assert f"-attime {int(NOW.timestamp())} -purpose any -crl_check_all" in first
    assert verifier.verify(claim(grid.alice), NOW + SECOND)
    assert len(asked(tmp_path)) == 2
    assert "-no-CApath -no-CAstore -auth_level 2" in first
    assert "-partial_chain" not in first


def test_what_openssl_is_told(grid: Grid, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = f'while [ $# -gt 0 ]; do case $1 in -CAfile) cp "$2" {tmp_path}/known;; esac; shift; done'
    fake_openssl(monkeypatch, tmp_path, f'echo "$@" >> {tmp_path}/asked; {known}; exit 1')
    root, middle = grid.lists()
    other = authority(name(("CN", "Other")), **VALID)
    trusted = (*grid.authorities().certificates, other.certificate)

    def told(authorities: Authorities, person: Identity = grid.alice, at: datetime = NOW) -> tuple[str, int, int]:
        refused("R32", lambda: X509Verifier(authorities).verify(claim(person), at))
        text = (tmp_path / "known").read_text()
        return asked(tmp_path)[-1], text.count("BEGIN CERTIFICATE"), text.count("BEGIN X509 CRL")

    line, count, lists = told(Authorities(trusted, (root, middle, revocation_list(other)), "required"))
    assert ("-crl_check_all" in line, count, lists) == (True, 2, 2)
    line, count, lists = told(Authorities(trusted, (root, middle), "ignored"))
    assert ("-crl_check_all" in line, count, lists) == (False, 2, 0)
    for found in ((root,), (middle,)):
        line, count, lists = told(Authorities(trusted, found, "when-there"))
        assert ("-crl_check_all" in line, count, lists) == (False, 2, 1)
    line, _, _ = told(Authorities(trusted), grid.person("Short", end=NOW))
    assert "-no_check_time" in line
    assert "-attime" not in line
    line, _, _ = told(Authorities(trusted), grid.person("Short", end=NOW + SECOND))
    assert f"-attime {int(NOW.timestamp())}" in line
    assert "-no_check_time" not in line
    data = detached(grid.alice, CONTENT, others=(grid.middle,))
    refused("R32", lambda: verify_detached(data, CONTENT, Authorities((grid.root.certificate,)), NOW, anchor="any"))
    assert asked(tmp_path)[-1].endswith(
        f"-attime {int(NOW.timestamp())} -purpose smimesign -partial_chain {asked(tmp_path)[-1].partition('-partial_chain ')[2]}"
    )
    assert (tmp_path / "known").read_text().count("BEGIN CERTIFICATE") == 1


def test_normalising_what_is_no_good_signature(grid: Grid) -> None:
    refused("R10", lambda: normalised(detached(grid.alice, CONTENT), CONTENT + b" "))
    refused("R10", lambda: normalised(b"junk", CONTENT))
    refused("R11", lambda: normalised(detached(grid.alice, CONTENT, digest="sha1"), CONTENT))
    assert normalised(detached(grid.alice, CONTENT), CONTENT) == claim(grid.alice).signature


def test_lists_with_sha1_where_the_caller_says_so(grid: Grid, person: Identity) -> None:
    data = detached(person, CONTENT, digest="sha1")
    assert verify_detached(data, CONTENT, grid.authorities(), NOW, sha1=True) == person.certificate
    refused("R11", lambda: verify_detached(data, CONTENT, grid.authorities(), NOW))
    refused("R11", lambda: X509Verifier(grid.authorities()).verify(claim(person, data), NOW))
    assert refused("R17", lambda: verify_detached(data, CONTENT + b" ", grid.authorities(), NOW, sha1=True)).endswith("its digest is another one")
    old = with_digest(grid.person("Old", key=person.key), grid.middle, "sha1")
    assert "weak digest" in refused("R11", lambda: verify_detached(detached(old, CONTENT), CONTENT, grid.authorities(), NOW, sha1=True))


@pytest.mark.filterwarnings("ignore::Warning")
def test_no_changed_byte_of_a_signature_is_accepted_under_good_armour(grid: Grid, person: Identity) -> None:
    verifier = X509Verifier(grid.read())
    good = claim(person)
    data = dearmour("CMS", good.signature)
    assert verifier.verify(good, NOW)
    rules = set()
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        with pytest.raises(Refused) as caught:
            verifier.verify(replace(good, signature=armour("CMS", bytes(changed))), NOW)
        rules.add(caught.value.rule)
    assert rules == {"R10", "R11", "R19"}


@pytest.mark.filterwarnings("ignore::Warning")
def test_no_inserted_or_dropped_byte_of_a_signature_is_accepted_under_good_armour(grid: Grid, person: Identity) -> None:
    verifier = X509Verifier(grid.read())
    good = claim(person)
    data = dearmour("CMS", good.signature)
    for at in range(0, len(data), 3):
        for changed in (data[:at] + data[at + 1 :], data[:at] + b"\0" + data[at:], data[:at] + data[at : at + 1] + data[at:]):
            with pytest.raises(Refused) as caught:
                verifier.verify(replace(good, signature=armour("CMS", changed)), NOW)
            assert caught.value.rule in ("R10", "R11", "R19")
