"""Our own reading of certificate chains and revocation lists (R11, R12, R18, R19), without openssl."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519

from support.certificates import Identity, authority, ec_key, issue, name, rsa_key, usage_of
from support.keys import NOW
from support.x509 import DAY, END, GRID, START, VALID, Grid, der, raw_signed, revocation_list, utc_time, with_digest
from vmkeeper.errors import Refused
from vmkeeper.trust.keys.certificates import Authorities, Crls
from vmkeeper.trust.keys.chains import chain_of, check_revocation
from vmkeeper.trust.keys.names import DistinguishedName

SECOND = timedelta(seconds=1)
ROOT, USERS, ALICE = "/DC=org/DC=grid/CN=Grid Root", "/DC=org/DC=grid/CN=Grid Users", "/DC=org/DC=grid/O=People/CN=Alice"


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid()


def trusting(*identities: Identity) -> Authorities:
    return Authorities(tuple(one.certificate for one in identities))


def chain(leaf: Identity, authorities: Authorities, *others: Identity, at: datetime = NOW, **how: Any) -> tuple[x509.Certificate, ...]:
    return chain_of(leaf.certificate, [one.certificate for one in others], authorities, at, **how)


def refused(rule: str, call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.rule == rule, str(caught.value)
    return f"{caught.value.what}: {caught.value.why}"


def certificates(*identities: Identity) -> tuple[x509.Certificate, ...]:
    return tuple(one.certificate for one in identities)


def test_chain_over_the_authorities(grid: Grid) -> None:
    expected = certificates(grid.alice, grid.middle, grid.root)
    assert chain(grid.alice, trusting(grid.root, grid.middle)) == expected
    assert chain(grid.alice, trusting(grid.middle, grid.root)) == expected
    assert chain(grid.alice, trusting(grid.root), grid.middle, grid.erin) == expected


def test_chain_of_one_that_is_trusted_by_itself(grid: Grid) -> None:
    alone = issue(name(("CN", "Alone")), **VALID)
    assert chain(alone, trusting(alone)) == certificates(alone)
    assert chain(grid.root, trusting(grid.root)) == certificates(grid.root)


def test_an_authority_that_is_not_there(grid: Grid) -> None:
    said = "the signer's certificate is not trusted: "
    end = "and no chain leads from it to an authority of this site"
    assert refused("R19", lambda: chain(grid.alice, trusting(grid.root))) == f"{said}{ALICE}: it is issued by {USERS}, {end}"
    assert refused("R19", lambda: chain(grid.alice, trusting(grid.middle))) == f"{said}{ALICE}: it is issued by {USERS}, {end}"
    assert refused("R19", lambda: chain(grid.alice, trusting(), grid.middle, grid.root)) == f"{said}{ALICE}: it is issued by {USERS}, {end}"
    alone = issue(name(("CN", "Alone")), **VALID)
    assert refused("R19", lambda: chain(alone, trusting(grid.root))) == f"{said}/CN=Alone: it is self-signed, {end}"


def test_a_chain_may_end_anywhere_where_the_caller_says_so(grid: Grid) -> None:
    assert chain(grid.alice, trusting(grid.middle), anchor="any") == certificates(grid.alice, grid.middle)
    assert chain(grid.alice, trusting(grid.alice), anchor="any") == certificates(grid.alice)
    refused("R19", lambda: chain(grid.alice, trusting(grid.alice)))
    refused("R19", lambda: chain(grid.alice, trusting(grid.erin), grid.middle, grid.root, anchor="any"))


def test_the_name_alone_is_not_enough(grid: Grid) -> None:
    double = authority(grid.middle.certificate.subject, grid.root, **VALID)
    refused("R19", lambda: chain(grid.alice, trusting(grid.root, double)))
    assert chain(grid.alice, trusting(grid.root, double, grid.middle))[1] == grid.middle.certificate


def test_the_key_alone_is_not_enough(grid: Grid) -> None:
    renamed = authority(name(("CN", "Other")), grid.root, key=grid.middle.key, **VALID)
    refused("R19", lambda: chain(grid.alice, trusting(grid.root, renamed)))


def test_no_authority_speaks_for_another_one(grid: Grid) -> None:
    """A second root that the site trusts certifies an authority with the name of the first root's."""
    second = authority(name(("CN", "Second Root")), **VALID)
    double = authority(grid.middle.certificate.subject, second, **VALID)
    forged = grid.person("Alice", double)
    assert forged.certificate.issuer == grid.alice.certificate.issuer
    refused("R19", lambda: chain(forged, trusting(grid.root, grid.middle, second), double))
    assert chain(grid.alice, trusting(grid.root, grid.middle, second), double, grid.middle) == certificates(grid.alice, grid.middle, grid.root)


def test_a_way_round_an_authority_that_does_not_serve(grid: Grid) -> None:
    """The authority has two certificates for one key; only one of them serves."""
    expired = authority(grid.middle.certificate.subject, grid.root, key=grid.middle.key, start=START, end=NOW - DAY)
    for order in ((grid.root, expired, grid.middle), (grid.middle, expired, grid.root)):
        assert chain(grid.alice, trusting(*order)) == certificates(grid.alice, grid.middle, grid.root)
    assert "expired" in refused("R19", lambda: chain(grid.alice, trusting(grid.root, expired)))


def test_a_way_round_a_weak_digest() -> None:
    root = authority(name(("CN", "Root")), key=rsa_key(), **VALID)
    good = authority(name(("CN", "Middle")), root, **VALID)
    weak = with_digest(authority(name(("CN", "Middle")), root, key=good.key, **VALID), root, "sha1")
    leaf = issue(name(("CN", "Leaf")), good, **VALID)
    for order in ((root, weak, good), (good, weak, root)):
        assert chain(leaf, trusting(*order)) == certificates(leaf, good, root)


def test_refusals_say_what_to_do(grid: Grid) -> None:
    strange = authority(name(("CN", "Middle")), grid.root, key_usage=usage_of("crl_sign"), **VALID)
    calls: dict[str, Callable[[], object]] = {
        "the certificate must be valid and lead to an authority of this site": below(strange, grid.root),
        "have it issued anew": lambda: chain(with_digest(grid.person("Old"), grid.middle, "sha1"), grid.authorities()),
        "run fetch-crl for the CA folder, and look at what it says": lambda: check(grid, grid.authorities(crls="required")),
        "its holder signs with another certificate": lambda: check(grid, grid.authorities(*grid.lists(grid.alice), crls="required")),
    }
    for hint, call in calls.items():
        with pytest.raises(Refused) as caught:
            call()
        assert caught.value.hint == hint


def test_certificates_that_issue_each_other_lead_nowhere() -> None:
    key = ec_key()
    first = authority(name(("CN", "First")), key=key, **VALID)
    second = authority(name(("CN", "Second")), first, key=key, **VALID)
    crossed = authority(name(("CN", "First")), second, key=key, **VALID)
    person = issue(name(("CN", "Person")), crossed, **VALID)
    refused("R19", lambda: chain(person, trusting(), crossed, second, first))
    assert len(chain(person, trusting(first), crossed, second)) == 2


def test_keys_of_a_kind_that_signs_nothing_here(grid: Grid) -> None:
    strange = ed25519.Ed25519PrivateKey.generate()
    builder = x509.CertificateBuilder().subject_name(grid.middle.certificate.subject).issuer_name(grid.root.certificate.subject)
    builder = builder.public_key(strange.public_key()).serial_number(7).not_valid_before(START).not_valid_after(END)
    other = Identity(builder.sign(grid.root.key, hashes.SHA256()), strange)
    refused("R19", lambda: chain(grid.alice, trusting(grid.root, other)))


AT = [(START, ""), (END, ""), (START - SECOND, "R19"), (END + SECOND, "R19")]


@pytest.mark.parametrize(("at", "rule"), AT)
@pytest.mark.parametrize("who", ["leaf", "middle", "root"])
def test_validity_is_seen_to_the_second(at: datetime, rule: str, who: str) -> None:
    wide = {"start": START - DAY, "end": END + DAY}
    root = authority(name(("CN", "Root")), **(VALID if who == "root" else wide))
    middle = authority(name(("CN", "Middle")), root, **(VALID if who == "middle" else wide))
    leaf = issue(name(("CN", "Leaf")), middle, **(VALID if who == "leaf" else wide))
    if not rule:
        assert len(chain(leaf, trusting(root, middle), at=at)) == 3
        return
    said = refused(rule, lambda: chain(leaf, trusting(root, middle), at=at))
    assert (
        f"/CN={who.title()}: it has expired or is not valid yet: 2025-01-01T00:00:00Z to 2028-01-01T00:00:00Z, asked for {at:%Y-%m-%dT%H:%M:%SZ}"
        in said
    )
    assert ("signer's" in said) == (who == "leaf")


@pytest.mark.parametrize(
    ("usage", "taken"),
    [
        (("digital_signature",), True),
        (("content_commitment",), True),
        (("digital_signature", "content_commitment"), True),
        (("key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"), False),
    ],
)
def test_what_the_signers_key_is_for(grid: Grid, usage: tuple[str, ...], taken: bool) -> None:
    leaf = grid.person("Leaf", key_usage=usage_of(*usage))
    if taken:
        assert chain(leaf, grid.authorities())
    else:
        assert (
            refused("R19", lambda: chain(leaf, grid.authorities()))
            == "the signer's certificate is not for signatures: /DC=org/DC=grid/O=People/CN=Leaf"
        )


def test_a_certificate_that_does_not_say_what_it_is_for_signs() -> None:
    bare = authority(name(("CN", "Bare")), **VALID)
    assert not any(isinstance(one.value, x509.KeyUsage) for one in bare.certificate.extensions)
    assert chain(bare, trusting(bare))


def below(middle: Identity, root: Identity) -> Callable[[], object]:
    leaf = issue(name(("CN", "Leaf")), middle, **VALID)
    return lambda: chain(leaf, trusting(root, middle))


def test_what_an_authoritys_key_is_for(grid: Grid) -> None:
    for usage, taken in ((("key_cert_sign",), True), (("key_cert_sign", "crl_sign"), True), (("digital_signature", "crl_sign"), False)):
        middle = authority(name(("CN", "Middle")), grid.root, key_usage=usage_of(*usage), **VALID)
        if taken:
            assert below(middle, grid.root)()
        else:
            assert refused("R19", below(middle, grid.root)) == "a certificate in the chain is not an authority's: /CN=Middle"


def test_a_person_is_no_authority(grid: Grid) -> None:
    person = grid.person("Forger", key_usage=usage_of("digital_signature", "key_cert_sign"))
    forged = issue(name(("CN", "Forged")), person, **VALID)
    assert "not an authority's: /DC=org/DC=grid/O=People/CN=Forger" in refused("R19", lambda: chain(forged, grid.authorities(), person))


def test_an_authority_that_does_not_say_it_is_one(grid: Grid) -> None:
    key = ec_key()
    builder = x509.CertificateBuilder().subject_name(name(("CN", "Old"))).issuer_name(name(("CN", "Old"))).public_key(key.public_key())
    old = Identity(builder.serial_number(3).not_valid_before(START).not_valid_after(END).sign(key, hashes.SHA256()), key)
    leaf = issue(name(("CN", "Leaf")), old, **VALID)
    assert "not an authority's: /CN=Old" in refused("R19", lambda: chain(leaf, trusting(old)))


@pytest.mark.parametrize(("length", "taken"), [(None, True), (2, True), (1, True), (0, False)])
def test_how_many_authorities_may_stand_below_one(length: int | None, taken: bool) -> None:
    root = authority(name(("CN", "Root")), constraints=x509.BasicConstraints(True, length), **VALID)
    middle = authority(name(("CN", "Middle")), root, constraints=x509.BasicConstraints(True, 0), **VALID)
    if taken:
        assert below(middle, root)()
    else:
        said = "there are more authorities in the chain than one of them allows: /CN=Root: 0 below it"
        assert refused("R19", below(middle, root)) == said


def test_a_root_that_renewed_itself_is_in_the_folder_again() -> None:
    root = authority(name(("CN", "Root")), **VALID)
    renewed = authority(name(("CN", "Root")), **VALID)
    leaf = issue(name(("CN", "Leaf")), renewed, **VALID)
    assert chain(leaf, trusting(root, renewed)) == certificates(leaf, renewed)
    refused("R19", lambda: chain(leaf, trusting(root), renewed))


def test_weak_keys(grid: Grid) -> None:
    assert f"{ALICE.replace('Alice', 'Weak')}: RSA of 1024 bits" in refused(
        "R11", lambda: chain(grid.person("Weak", key=rsa_key(1024)), grid.authorities())
    )
    root, middle = authority(name(("CN", "Weak")), key=rsa_key(1024), **VALID), grid.middle
    leaf = issue(name(("CN", "Leaf")), root, **VALID)
    assert "/CN=Weak: RSA of 1024 bits" in refused("R11", lambda: chain(leaf, trusting(root)))
    middle = authority(name(("CN", "Weak")), grid.root, key=rsa_key(1024), **VALID)
    assert "/CN=Weak: RSA of 1024 bits" in refused("R11", below(middle, grid.root))


def test_weak_digests_but_for_a_roots_own() -> None:
    root = authority(name(("CN", "Old")), key=rsa_key(), **VALID)
    old = with_digest(root, root, "sha1")
    assert old.certificate.signature_hash_algorithm.name == "sha1"  # type: ignore[union-attr]
    assert below(authority(name(("CN", "Middle")), old, **VALID), old)()
    middle = with_digest(authority(name(("CN", "Middle")), old, **VALID), old, "sha1")
    assert refused("R11", below(middle, old)) == "a certificate is signed with a weak digest: /CN=Middle: sha1"
    person = with_digest(issue(name(("CN", "Person")), old, **VALID), old, "sha1")
    assert "/CN=Person: sha1" in refused("R11", lambda: chain(person, trusting(old)))


# revocation


def check(grid: Grid, authorities: Authorities, now: datetime = NOW, leaf: Identity | None = None) -> None:
    check_revocation(certificates(leaf or grid.alice, grid.middle, grid.root), authorities, now)


def test_good_revocation_lists(grid: Grid) -> None:
    for crls in ("required", "when-there", "ignored"):
        check(grid, grid.authorities(*grid.lists(grid.erin), crls=crls))  # type: ignore[arg-type]


def test_revoked_certificates(grid: Grid) -> None:
    for one, who in ((grid.alice, ALICE), (grid.middle, USERS), (grid.root, ROOT)):
        for crls in ("required", "when-there"):
            authorities = grid.authorities(*grid.lists(one), crls=crls)  # type: ignore[arg-type]
            said = refused("R12", lambda authorities=authorities: check(grid, authorities))
            assert (
                said == f"the certificate has been revoked: {who}, number {one.certificate.serial_number:x}, on 2026-05-31T11:00:00Z: keyCompromise"
            )
        check(grid, grid.authorities(*grid.lists(one)))


def test_why_a_certificate_was_revoked(grid: Grid) -> None:
    def said(**how: Any) -> str:
        return refused("R12", lambda: check(grid, grid.authorities(*grid.lists(grid.alice, **how), crls="required"))).rpartition(": ")[2]

    assert said(reason=x509.ReasonFlags.certificate_hold) == "certificateHold"
    assert said(reason=None) == "no reason"
    assert said(entry_extension=x509.InvalidityDate(NOW.replace(tzinfo=None))) == "no reason"
    assert said(entry_extension=x509.UnrecognizedExtension(x509.CRLReason.oid, b"\x05\x00")) == "a reason that cannot be read"


def test_the_same_number_by_another_authority_is_another_certificate(grid: Grid) -> None:
    lists = (revocation_list(grid.root, grid.alice), revocation_list(grid.middle, grid.middle))
    check(grid, grid.authorities(*lists, crls="required"))


def test_absent_revocation_lists(grid: Grid) -> None:
    root, middle = grid.lists()
    for lists, missing in (((root,), USERS), ((middle,), ROOT), ((), USERS)):
        said = refused("R18", lambda lists=lists: check(grid, grid.authorities(*lists, crls="required")))
        assert said == f"there is no good revocation list of an authority: {missing}: none is there that can be read"
        check(grid, grid.authorities(*lists, crls="when-there"))


def test_a_revocation_list_that_cannot_be_read_is_not_one_that_is_absent(grid: Grid) -> None:
    for one in (grid.root, grid.middle):
        unreadable = frozenset({DistinguishedName.of(one.certificate.subject)})
        for crls, rule in (("required", "R18"), ("when-there", "R18")):
            authorities = replace(grid.authorities(crls=crls), unreadable=unreadable)  # type: ignore[arg-type]
            refused(rule, lambda authorities=authorities: check(grid, authorities))
        check(grid, replace(grid.authorities(), unreadable=unreadable))
    other = frozenset({DistinguishedName.parse("/CN=Other")})
    check(grid, replace(grid.authorities(crls="when-there"), unreadable=other))


def bad_lists(grid: Grid) -> dict[str, tuple[x509.CertificateRevocationList, str]]:
    stranger = Identity(grid.middle.certificate, rsa_key())
    return {
        "stale": (revocation_list(grid.middle, until=NOW), "it was good until 2026-06-01T12:00:00Z"),
        "not valid yet": (revocation_list(grid.middle, made=NOW + SECOND), "it is from 2026-06-01T12:00:01Z, after 2026-06-01T12:00:00Z"),
        "another key": (revocation_list(grid.middle, signed_by=stranger), "it is not signed by this authority"),
        "another authority": (revocation_list(grid.middle, signed_by=grid.root), "it is not signed by this authority"),
        "weak digest": (revocation_list(grid.middle, digest=hashes.SHA224()), "it is signed with a weak digest, sha224"),
        "a part": (
            revocation_list(
                grid.middle,
                extension=(x509.IssuingDistributionPoint(None, None, True, False, None, False, False), True),
            ),
            "it covers only a part of what the authority issued",
        ),
        "a delta": (revocation_list(grid.middle, extension=(x509.DeltaCRLIndicator(1), True)), "it covers only a part of what the authority issued"),
    }


@pytest.mark.parametrize("crls", ["required", "when-there"])
@pytest.mark.parametrize("how", bad_lists(Grid()))
def test_revocation_lists_that_are_not_good(grid: Grid, how: str, crls: Crls) -> None:
    (bad, why), (root, good) = bad_lists(grid)[how], grid.lists()
    assert (
        refused("R18", lambda: check(grid, grid.authorities(root, bad, crls=crls)))
        == f"there is no good revocation list of an authority: {USERS}: {why}"
    )
    check(grid, grid.authorities(root, bad, good, crls=crls))
    check(grid, grid.authorities(root, good, bad, crls=crls))
    assert f"{why}; {why}" in refused("R18", lambda: check(grid, grid.authorities(bad, bad, root, crls=crls)))


def test_revocation_lists_are_good_to_the_second(grid: Grid) -> None:
    lists = grid.lists(made=NOW, until=NOW + SECOND)
    check(grid, grid.authorities(*lists, crls="required"))
    refused("R18", lambda: check(grid, grid.authorities(*lists, crls="required"), NOW + SECOND))
    refused("R18", lambda: check(grid, grid.authorities(*lists, crls="required"), NOW - SECOND))


def test_extensions_that_limit_nothing_are_taken(grid: Grid) -> None:
    root, _ = grid.lists()
    check(grid, grid.authorities(root, revocation_list(grid.middle, extension=(x509.CRLNumber(7), False)), crls="required"))


def test_a_bad_list_revokes_nothing(grid: Grid) -> None:
    """Who cannot sign for the authority cannot revoke for it either."""
    root, good = grid.lists()
    forged = revocation_list(grid.middle, grid.alice, signed_by=Identity(grid.middle.certificate, rsa_key()))
    check(grid, grid.authorities(root, forged, good, crls="required"))


def test_of_several_good_lists_each_counts(grid: Grid) -> None:
    root, good = grid.lists()
    revoking = revocation_list(grid.middle, grid.alice, made=NOW - 2 * DAY)
    for lists in ((good, revoking), (revoking, good)):
        refused("R12", lambda lists=lists: check(grid, grid.authorities(root, *lists, crls="required")))


def test_authority_that_may_not_sign_lists(grid: Grid) -> None:
    for usage, taken in ((("key_cert_sign", "crl_sign"), True), (("key_cert_sign",), False)):
        middle = authority(name(*GRID, ("CN", "Grid Users")), grid.root, key_usage=usage_of(*usage), **VALID)
        leaf = grid.person("Leaf", middle)
        path = certificates(leaf, middle, grid.root)
        authorities = Authorities(certificates(grid.root, middle), (revocation_list(grid.root), revocation_list(middle)), "required")
        if taken:
            check_revocation(path, authorities, NOW)
        else:
            said = refused("R18", lambda path=path, authorities=authorities: check_revocation(path, authorities, NOW))
            assert said.endswith("this authority's certificate is not for revocation lists")


def test_a_list_without_an_end_is_not_good(grid: Grid) -> None:
    made = revocation_list(grid.middle)
    tbs = made.tbs_certlist_bytes
    end = utc_time(NOW + 7 * DAY)
    assert tbs.count(end) == 1
    assert tbs[1] == len(tbs) - 2
    endless = x509.load_der_x509_crl(raw_signed(der(0x30, tbs[2:].replace(end, b"")), grid.middle))
    assert endless.next_update_utc is None
    root, _ = grid.lists()
    said = refused("R18", lambda: check(grid, grid.authorities(root, endless, crls="required")))
    assert said.endswith("it was good until no time that it names")
