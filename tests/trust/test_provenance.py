"""R31: provenance counts by a builder's own key, under its own id, and only if it says what the release record says."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.certificates import ec_key
from support.keys import Signer
from support.trust import release
from support.x509 import Grid, x509_signer
from vmkeeper.errors import Refused
from vmkeeper.model.keys import Compromise
from vmkeeper.model.release import Release
from vmkeeper.trust import dsse, slsa
from vmkeeper.trust.history import Record
from vmkeeper.trust.keys.interface import Claim, KeyVerifier, SignedBy
from vmkeeper.trust.keys.openpgp import GpgVerifier
from vmkeeper.trust.keys.ssh import SSHVerifier
from vmkeeper.trust.keys.x509 import X509Verifier
from vmkeeper.trust.people import TrustedBuilder
from vmkeeper.trust.provenance import Attested, parse, verify_provenance
from vmkeeper.values import Duration, canonical_json, sha512_hex

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
BUILT = NOW - timedelta(days=2)
ROOT = "0" * 39 + "1"
ID = "https://ci.example.org/builders/main"
RUN = slsa.Invocation(invocationId="urn:uuid:3f0c5a44-6c8a-4f0e-9d70-6f2f0f7f2c11", startedOn=BUILT - timedelta(hours=1), finishedOn=BUILT)
LOCKS = {f"appliances/{name}/packages.lock": sha512_hex(name.encode()) for name in ("tools", "debian-12", "debian-base")}
RELEASE = release(commit="b" * 40, parent="e" * 64)
RECORD = Record(sha512_hex(b"the record"), RELEASE)
Change = Callable[[Any], object]


def stated(record: Record = RECORD, **changes: Any) -> dict[str, Any]:
    """The statement about a release as JSON's values."""
    fields: dict[str, Any] = {"repository": ROOT, "locks": LOCKS, "builder": ID, "program": "0.1.0", "invocation": RUN}
    return dict(json.loads(slsa.encode(slsa.describe(record, **{**fields, **changes}))))


def sealed(signer: Signer, statement: Mapping[str, Any] | bytes | None = None, keyid: str | None = None) -> bytes:
    """provenance.json with any statement, signed."""
    payload = statement if isinstance(statement, bytes) else canonical_json(stated() if statement is None else statement)
    return dsse.seal(payload, keyid or signer.id, signer.sign(dsse.pae(payload)))


def builder(*signers: Signer, name: str = "ci", builder_id: str = ID) -> TrustedBuilder:
    return TrustedBuilder(name=name, id=builder_id, keys=tuple(signer.key for signer in signers))


def judge(data: bytes, *builders: TrustedBuilder, verifiers: Mapping[str, KeyVerifier], record: Record = RECORD, now: datetime = NOW) -> Attested:
    return verify_provenance(data, record, repository=ROOT, builders=builders, verifiers=verifiers, now=now)


def refused(call: Callable[[], object]) -> Refused:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid()


@pytest.fixture(scope="module")
def certificate(grid: Grid) -> Signer:
    """A robot's certificate."""
    return x509_signer(grid.person("Robot: CI", key=ec_key()))


@pytest.fixture(scope="module")
def other_certificate(grid: Grid) -> Signer:
    return x509_signer(grid.erin)


@pytest.fixture(scope="module")
def verifiers(openpgp: GpgVerifier, grid: Grid) -> Mapping[str, KeyVerifier]:
    return {"openpgp": openpgp, "ssh": SSHVerifier(), "x509": X509Verifier(grid.authorities())}


@pytest.fixture(params=["openpgp", "ssh", "x509"])
def signer(request: pytest.FixtureRequest) -> Signer:
    return request.getfixturevalue({"openpgp": "pgp", "ssh": "ssh", "x509": "certificate"}[request.param])


# -- what passes


def test_provenance_by_the_builders_own_key_is_accepted(signer: Signer, other_ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    data = sealed(signer)
    found = judge(data, builder(other_ssh, name="old", builder_id="https://other.example.org"), builder(signer), verifiers=verifiers)
    assert (found.builder.name, found.signed_by.key, found.sha512) == ("ci", signer.id, sha512_hex(data))
    assert found.provenance.builder_id == ID
    assert found.provenance.invocation == RUN
    assert found.provenance.asked.commit == "b" * 40


def test_an_abstract_appliance_without_parent_or_locks_has_provenance_too(ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    record = Record("1" * 128, release(files=[]))
    found = judge(sealed(ssh, stated(record, locks={})), builder(ssh), verifiers=verifiers, record=record)
    assert [subject.name for subject in found.provenance.subject] == [
        "appliances/debian-12/release.yaml",
        "debian-12-2026.5.1.7.rootfs.tar",
        "debian-12-2026.5.1.7.manifest",
        "debian-12-2026.5.1.7.sbom",
    ]
    assert found.provenance.predicate.build_definition.parent is None


def test_a_run_may_end_in_the_second_in_which_it_began(ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    run = slsa.Invocation(invocationId=RUN.invocation_id, startedOn=BUILT, finishedOn=BUILT)
    assert judge(sealed(ssh, stated(invocation=run)), builder(ssh), verifiers=verifiers).provenance.invocation == run


def test_the_statement_has_slsas_form() -> None:
    files = {file.format: file.sha512 for file in RELEASE.files}
    assert stated() == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": "appliances/debian-12/release.yaml", "digest": {"sha512": RECORD.sha512}},
            {"name": "debian-12-2026.5.1.7.qcow2", "digest": {"sha512": files["qcow2"]}},
            {"name": "debian-12-2026.5.1.7.raw", "digest": {"sha512": files["raw"]}},
            {"name": "debian-12-2026.5.1.7.rootfs.tar", "digest": {"sha512": RELEASE.rootfs.sha512}},
            {"name": "debian-12-2026.5.1.7.manifest", "digest": {"sha512": RELEASE.manifest.sha512}},
            {"name": "debian-12-2026.5.1.7.sbom", "digest": {"sha512": RELEASE.sbom.sha512}},
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://vmkeeper.org/build/v1",
                "externalParameters": {
                    "repository": ROOT,
                    "appliance": "debian-12",
                    "version": "2026.5.1.7",
                    "commit": "b" * 40,
                    "recipe": RELEASE.recipe,
                },
                "internalParameters": {"builder": {"name": "debian", "version": 1}},
                "resolvedDependencies": [
                    {"name": "source", "digest": {"gitCommit": "b" * 40}},
                    *({"name": path, "digest": {"sha512": LOCKS[path]}} for path in sorted(LOCKS)),
                    {"name": "parent", "digest": {"sha256": "e" * 64}},
                ],
            },
            "runDetails": {
                "builder": {"id": ID, "version": {"vmkeeper": "0.1.0"}},
                "metadata": {
                    "invocationId": "urn:uuid:3f0c5a44-6c8a-4f0e-9d70-6f2f0f7f2c11",
                    "startedOn": "2026-05-30T11:00:00Z",
                    "finishedOn": "2026-05-30T12:00:00Z",
                },
            },
        },
    }


# -- what is said differently: each is signed by the builder's own key and refused all the same


def at(path: str, value: Any) -> Change:
    """Set what lies at a path, `a.b.0.c`; a list gets one more element at `+`."""

    def change(statement: Any) -> None:
        *way, last = path.split(".")
        for part in way:
            statement = statement[int(part) if part.isdigit() else part]
        if last == "+":
            statement.append(value)
        elif last == "-":
            statement.pop()
        else:
            statement[int(last) if last.isdigit() else last] = value

    return change


def without(path: str) -> Change:
    def change(statement: Any) -> None:
        *way, last = path.split(".")
        for part in way:
            statement = statement[int(part) if part.isdigit() else part]
        del statement[last]

    return change


def swapped(path: str, first: int, second: int) -> Change:
    def change(statement: Any) -> None:
        for part in path.split("."):
            statement = statement[part]
        statement[first], statement[second] = statement[second], statement[first]

    return change


DEFINITION = "predicate.buildDefinition"
ASKED = f"{DEFINITION}.externalParameters"
NEEDS = f"{DEFINITION}.resolvedDependencies"
DETAILS = "predicate.runDetails"
LIES: dict[str, Change] = {
    "wrong builder id": at(f"{DETAILS}.builder.id", "https://ci.example.org/builders/other"),
    "builder id with a slash more": at(f"{DETAILS}.builder.id", ID + "/"),
    "builder id that is no URI": at(f"{DETAILS}.builder.id", "ci"),
    "unknown external parameter": at(f"{ASKED}.flags", "--insecure"),
    "unknown internal parameter": at(f"{DEFINITION}.internalParameters.cache", "shared"),
    "unknown field of the builder": at(f"{DETAILS}.builder.builderDependencies", []),
    "unknown field of the run": at(f"{DETAILS}.byproducts", []),
    "unknown field of the predicate": at("predicate.notes", ""),
    "unknown field of the statement": at("notes", ""),
    "unknown field of a subject": at("subject.0.uri", "https://example.org/"),
    "unknown component of the builder": at(f"{DETAILS}.builder.version.kernel", "6.1"),
    "no component of the builder": at(f"{DETAILS}.builder.version", {}),
    "missing external parameter": without(f"{ASKED}.recipe"),
    "missing internal parameters": without(f"{DEFINITION}.internalParameters"),
    "missing time": without(f"{DETAILS}.metadata.finishedOn"),
    "another buildType": at(f"{DEFINITION}.buildType", "https://vmkeeper.org/build/v2"),
    "another predicateType": at("predicateType", "https://slsa.dev/provenance/v0.2"),
    "another statement type": at("_type", "https://in-toto.io/Statement/v0.1"),
    "another repository": at(f"{ASKED}.repository", "0" * 39 + "2"),
    "another appliance": at(f"{ASKED}.appliance", "debian-13"),
    "another version": at(f"{ASKED}.version", "2026.5.1.8"),
    "the same version with a zero": at(f"{ASKED}.version", "2026.5.1.7.0"),
    "another recipe": at(f"{ASKED}.recipe", "f" * 64),
    "another version of the builder": at(f"{DEFINITION}.internalParameters.builder.version", 2),
    "another builder": at(f"{DEFINITION}.internalParameters.builder.name", "packer"),
    "another commit as parameter only": at(f"{ASKED}.commit", "a" * 40),
    "another commit as source only": at(f"{NEEDS}.0.digest.gitCommit", "a" * 40),
    "another record": at("subject.0.digest.sha512", "0" * 128),
    "another image": at("subject.1.digest.sha512", "0" * 128),
    "another list of packages": at("subject.4.digest.sha512", "0" * 128),
    "another bill of materials": at("subject.5.digest.sha512", "0" * 128),
    "another name of an image": at("subject.1.name", "debian-12-2026.5.1.8.qcow2"),
    "a subject more": at("subject.+", {"name": "other", "digest": {"sha512": "0" * 128}}),
    "a subject less": at("subject.-", None),
    "no subject": at("subject", []),
    "subjects in another order": swapped("subject", 1, 2),
    "two digests of a subject": at("subject.0.digest.sha256", "0" * 64),
    "a subject by another digest": at("subject.0.digest", {"sha256": "0" * 64}),
    "a subject without digest": at("subject.0.digest", {}),
    "another parent": at(f"{NEEDS}.4.digest.sha256", "0" * 64),
    "no parent": at(f"{NEEDS}.-", None),
    "parent by another digest": at(f"{NEEDS}.4.digest", {"sha512": "0" * 128}),
    "no source": at(NEEDS, []),
    "only a parent": at(NEEDS, [{"name": "parent", "digest": {"sha256": "e" * 64}}]),
    "source by another name": at(f"{NEEDS}.0.name", "origin"),
    "a lock twice": at(f"{NEEDS}.2.name", "appliances/debian-12/packages.lock"),
    "locks in another order": swapped(NEEDS, 1, 2),
    "parent before a lock": swapped(NEEDS, 3, 4),
    "a lock by another digest": at(f"{NEEDS}.1.digest", {"sha256": "0" * 64}),
    "a file that is no lock": at(f"{NEEDS}.3.name", "appliances/tools/provision/install"),
    "a lock behind a lock's name": at(f"{NEEDS}.3.name", "appliances/tools/packages.lock/x"),
    "a lock of no appliance": at(f"{NEEDS}.3.name", "appliances/../packages.lock"),
    "finished before it started": at(f"{DETAILS}.metadata.finishedOn", "2026-05-30T10:59:59Z"),
    "time with a zone": at(f"{DETAILS}.metadata.finishedOn", "2026-05-30T12:00:00+00:00"),
    "invocation that is no UUID": at(f"{DETAILS}.metadata.invocationId", "run 7"),
    "no number but text": at("subject", "all"),
}
REWRITTEN: dict[str, Change] = {
    "a number as text": at(f"{DEFINITION}.internalParameters.builder.version", "1"),
    "a null field": at(f"{NEEDS}.0.digest.sha512", None),
}


def lying(change: Change) -> dict[str, Any]:
    statement = stated()
    change(statement)
    return statement


@pytest.mark.parametrize("case", LIES)
def test_another_statement_than_the_releases_is_refused(case: str, signer: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    error = refused(lambda: judge(sealed(signer, lying(LIES[case])), builder(signer), verifiers=verifiers))
    assert error.rule == "R31", error


@pytest.mark.parametrize("case", REWRITTEN)
def test_another_way_to_write_the_same_statement_is_refused(case: str, ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    error = refused(lambda: judge(sealed(ssh, lying(REWRITTEN[case])), builder(ssh), verifiers=verifiers))
    assert error.rule == "R32", error


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"version": "2026.5.1.8"}, "version"),
        ({"commit": "a" * 40}, "commit"),
        ({"recipe": "f" * 64}, "recipe"),
        ({"parent": None}, "parent"),
        ({"appliance": "debian-13"}, "appliance"),
        ({"builder": {"name": "debian", "version": 2}}, "builder version"),
        ({"files": []}, "number of subjects"),
        ({"rootfs": {"size": 10, "sha512": "0" * 128}}, "digest of debian-12-2026.5.1.7.rootfs.tar"),
        ({"manifest": {"size": 10, "sha512": "0" * 128}}, "digest of debian-12-2026.5.1.7.manifest"),
        ({"sbom": {"size": 10, "sha512": "0" * 128}}, "digest of debian-12-2026.5.1.7.sbom"),
    ],
)
def test_the_provenance_of_another_release_is_refused(change: dict[str, Any], what: str, ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    fields = {**RELEASE.model_dump(mode="json"), **change}
    record = Record(RECORD.sha512, Release.model_validate(fields))
    error = refused(lambda: judge(sealed(ssh), builder(ssh), verifiers=verifiers, record=record))
    assert (error.rule, error.what) == ("R31", f"the provenance has another {what} than the release")


def test_another_subject_is_told_apart_from_another_digest(ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    error = refused(lambda: judge(sealed(ssh, lying(swapped("subject", 0, 1))), builder(ssh), verifiers=verifiers))
    assert (error.rule, error.what) == ("R31", "the provenance has another subject than the release")


def test_the_same_release_with_another_record_is_refused(ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    error = refused(lambda: judge(sealed(ssh), builder(ssh), verifiers=verifiers, record=replace(RECORD, sha512="0" * 128)))
    assert (error.rule, error.what) == ("R31", "the provenance has another digest of appliances/debian-12/release.yaml than the release")


def test_the_same_release_in_another_repository_is_refused(ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    error = refused(lambda: verify_provenance(sealed(ssh), RECORD, repository="0" * 40, builders=[builder(ssh)], verifiers=verifiers, now=NOW))
    assert (error.rule, "another repository" in error.what) == ("R31", True)


# -- who signed


def test_a_key_of_no_builder_is_refused(signer: Signer, other_ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    for builders in ((), (builder(other_ssh),)):
        assert refused(lambda builders=builders: judge(sealed(signer), *builders, verifiers=verifiers)).rule == "R31"


def test_a_builder_cannot_sign_as_another_one(signer: Signer, other_ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    both = (builder(other_ssh), builder(signer, name="nightly", builder_id="https://nightly.example.org"))
    error = refused(lambda: judge(sealed(signer), *both, verifiers=verifiers))
    assert (error.rule, "nightly" in error.what) == ("R31", True)


def test_a_changed_statement_under_an_old_signature_is_refused(signer: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    payload = canonical_json(lying(at("subject.1.digest.sha512", "0" * 128)))
    data = dsse.seal(payload, signer.id, signer.sign(dsse.pae(canonical_json(stated()))))
    assert refused(lambda: judge(data, builder(signer), verifiers=verifiers)).rule == "R10"


@pytest.mark.parametrize("bare", [True, False])
def test_a_signature_over_something_else_than_the_pae_is_refused(bare: bool, signer: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    payload = canonical_json(stated())
    data = dsse.seal(payload, signer.id, signer.sign(payload if bare else dsse.pae(payload, "text/plain")))
    assert refused(lambda: judge(data, builder(signer), verifiers=verifiers)).rule == "R10"


def test_a_signature_under_another_builders_key_id_is_refused(signer: Signer, other_ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    data = sealed(signer, keyid=other_ssh.id)
    assert refused(lambda: judge(data, builder(signer), builder(other_ssh, name="other"), verifiers=verifiers)).rule == "R10"


def test_a_key_of_two_builders_is_refused(signer: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    error = refused(lambda: judge(sealed(signer), builder(signer), builder(signer, name="twin"), verifiers=verifiers))
    assert (error.rule, "two builders" in error.what) == ("R31", True)


def test_a_key_listed_twice_under_one_builder_serves(ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    assert judge(sealed(ssh), builder(ssh, ssh), verifiers=verifiers).builder.name == "ci"


def test_a_kind_of_key_that_cannot_be_checked_is_refused(ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    lacking = {kind: verifier for kind, verifier in verifiers.items() if kind != "ssh"}
    assert refused(lambda: judge(sealed(ssh), builder(ssh), verifiers=lacking)).rule == "R31"


def test_a_certificate_found_by_its_names_has_to_be_the_one_that_signed(certificate: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    other = f"x509:{'0' * 64}"
    error = refused(lambda: judge(sealed(certificate, keyid=other), builder(certificate), verifiers=verifiers))
    assert (error.rule, error.why) == ("R31", f"{certificate.id}, not {other}")


def test_of_two_certificate_holders_the_one_that_signed_is_found(
    certificate: Signer, other_certificate: Signer, verifiers: Mapping[str, KeyVerifier]
) -> None:
    both = (builder(other_certificate, name="other", builder_id="https://other.example.org"), builder(certificate))
    assert judge(sealed(certificate), *both, verifiers=verifiers).builder.name == "ci"


def test_a_certificate_that_is_pinned_serves_and_another_does_not(certificate: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    digest = certificate.id.removeprefix("x509:")
    for pinned, accepted in ((digest, True), ("0" * 64, False)):
        ci = TrustedBuilder(name="ci", id=ID, keys=(certificate.key.model_copy(update={"certificate": pinned}),))
        if accepted:
            assert judge(sealed(certificate), ci, verifiers=verifiers).builder.name == "ci"
        else:
            assert refused(lambda ci=ci: judge(sealed(certificate), ci, verifiers=verifiers)).rule == "R31"


def test_a_revoked_key_is_refused_whatever_it_signs(signer: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    def judged(data: bytes, revoked: str) -> Attested:
        builders = [builder(signer)]
        return verify_provenance(data, RECORD, repository=ROOT, builders=builders, verifiers=verifiers, now=NOW, revoked={revoked})

    good = judged(sealed(signer), f"ssh:SHA256:{'A' * 43}")
    assert good.builder.name == "ci"
    for name in (signer.id, good.signed_by.material):
        assert refused(lambda name=name: judged(sealed(signer), name)).rule == "R12"
        assert refused(lambda name=name: judged(sealed(signer, {}), name)).rule == "R12"


# -- when


class Told:
    """A verifier that says what it is told: the dates of keys, which only some kinds of keys have."""

    def __init__(self, made: datetime | None = None, valid_until: datetime | None = None) -> None:
        self._made, self._valid_until = made, valid_until

    def verify(self, claim: Claim, now: datetime) -> SignedBy:
        assert now == NOW
        key = json.loads(base64.b64decode(claim.signature.split()[1]))
        return SignedBy(key, "", self._made, self._valid_until)

    def prepare(self, claims: object, now: datetime) -> None:
        raise AssertionError


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("key", "told", "rule"),
    [
        ({}, {}, ""),
        ({}, {"made": BUILT}, ""),
        ({}, {"valid_until": NOW + timedelta(seconds=1)}, ""),
        ({}, {"valid_until": NOW}, "R12"),
        ({}, {"valid_until": NOW - HOUR}, "R12"),
        ({}, {"made": NOW + timedelta(minutes=5)}, ""),
        ({}, {"made": NOW + timedelta(minutes=5, seconds=1)}, "R13"),
        ({"retired": BUILT + HOUR}, {}, ""),
        ({"retired": BUILT + HOUR}, {"made": BUILT}, ""),
        ({"retired": BUILT + HOUR}, {"made": BUILT + HOUR}, "R12"),
        ({"retired": BUILT}, {"made": BUILT - HOUR}, "R12"),
        ({"retired": BUILT}, {}, "R12"),
        ({"compromised_since": Compromise()}, {}, "R12"),
    ],
)
def test_dates_of_keys_and_signatures(key: dict[str, Any], told: dict[str, Any], rule: str, ssh: Signer) -> None:
    ci = TrustedBuilder(name="ci", id=ID, keys=(ssh.key.model_copy(update=key),))
    data = dsse.seal(canonical_json(stated()), ssh.id, f"X {base64.b64encode(json.dumps(ssh.id).encode()).decode()}")
    verifiers: dict[str, KeyVerifier] = {"ssh": Told(**told)}
    if rule:
        assert refused(lambda: judge(data, ci, verifiers=verifiers)).rule == rule
    else:
        assert judge(data, ci, verifiers=verifiers).builder == ci


def test_the_clocks_may_differ_by_as_much_as_is_allowed(ssh: Signer) -> None:
    data = dsse.seal(canonical_json(stated()), ssh.id, f"X {base64.b64encode(json.dumps(ssh.id).encode()).decode()}")
    for seconds, rule in ((60, ""), (59, "R13")):
        told: dict[str, KeyVerifier] = {"ssh": Told(made=NOW + timedelta(seconds=60))}
        skew = Duration.parse(f"{seconds}s")

        def call(told: dict[str, KeyVerifier] = told, skew: Duration = skew) -> Attested:
            return verify_provenance(data, RECORD, repository=ROOT, builders=[builder(ssh)], verifiers=told, now=NOW, skew=skew)

        assert (refused(call).rule if rule else call().builder.name) == (rule or "ci")


# -- the envelope


def test_the_envelope_is_canonical_json_and_one_newline(ssh: Signer) -> None:
    data = sealed(ssh)
    value = json.loads(data)
    assert sorted(value) == ["payload", "payloadType", "signatures"]
    assert value["payloadType"] == "application/vnd.in-toto+json"
    assert base64.b64decode(value["payload"]) == canonical_json(stated())
    ((signature),) = value["signatures"]
    assert signature["keyid"] == ssh.id
    assert base64.b64decode(signature["sig"]).startswith(b"-----BEGIN SSH SIGNATURE-----\n")
    assert data == canonical_json(value) + b"\n"
    provenance, envelope = parse(data)
    assert provenance == slsa.read_statement(envelope.statement)
    assert slsa.encode(provenance) == canonical_json(stated())


def test_the_pae_is_as_dsses_own_example_says() -> None:
    assert dsse.pae(b"hello world", "http://example.com/HelloWorld") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert dsse.pae(b"{}") == b"DSSEv1 28 application/vnd.in-toto+json 2 {}"
    assert dsse.pae(b"", "") == b"DSSEv1 0  0 "


FILES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "no newline": (lambda data: data[:-1], "R32"),
    "two newlines": (lambda data: data + b"\n", "R32"),
    "spaces": (lambda data: json.dumps(json.loads(data)).encode() + b"\n", "R32"),
    "another order": (lambda data: json.dumps(dict(reversed(json.loads(data).items())), separators=(",", ":")).encode() + b"\n", "R32"),
    "a key twice": (lambda data: data.replace(b'{"payload":', b'{"payload":"","payload":', 1), "R22"),
    "not JSON": (lambda data: data[1:], "R22"),
    "a NaN": (lambda _: b"NaN\n", "R22"),
    "nested too deeply": (lambda _: b"[" * 3000 + b"]" * 3000 + b"\n", "R22"),
    "empty": (lambda _: b"", "R22"),
    "another encoding": (lambda data: data.decode().encode("utf-16"), "R22"),
    "half a character": (lambda _: b'"\\ud800"\n', "R22"),
    "too large": (lambda data: data[:-2] + b" " * dsse.MAXIMUM + data[-2:], "R22"),
    "a list": (lambda _: b"[]\n", "R31"),
    "an unknown field": (lambda data: written(data, at("notes", "")), "R31"),
    "another type of payload": (lambda data: written(data, at("payloadType", "application/json")), "R31"),
    "no signature": (lambda data: written(data, at("signatures", [])), "R31"),
    "two signatures": (lambda data: written(data, lambda value: value["signatures"].append(value["signatures"][0])), "R31"),
    "an unknown field of the signature": (lambda data: written(data, at("signatures.0.cert", "")), "R31"),
    "no key id": (lambda data: written(data, without("signatures.0.keyid")), "R31"),
    "a key id of another kind": (lambda data: written(data, at("signatures.0.keyid", "pgp:1")), "R31"),
    "a payload that is not base64": (lambda data: written(data, at("payload", "ab$d")), "R31"),
    "an empty payload": (lambda data: written(data, at("payload", "")), "R31"),
    "a payload in URL base64": (lambda data: written(data, at("payload", "ab_-")), "R31"),
    "a cut payload": (lambda data: written(data, at("payload", "abcde")), "R32"),
    "a payload without its padding": (lambda data: written(data, at("payload", "YQ")), "R32"),
    "a payload with spare bits": (lambda data: written(data, at("payload", "YR==")), "R32"),
    "a payload that is not JSON": (lambda data: written(data, at("payload", "YQ==")), "R22"),
}


def written(data: bytes, change: Change) -> bytes:
    value = json.loads(data)
    change(value)
    return canonical_json(value) + b"\n"


@pytest.mark.parametrize("case", FILES)
def test_another_file_is_refused(case: str, ssh: Signer) -> None:
    change, rule = FILES[case]
    assert refused(lambda: parse(change(sealed(ssh)))).rule == rule


def test_a_refusal_says_what_and_where(ssh: Signer) -> None:
    unknown = written(sealed(ssh), at("signatures.0.cert", ""))
    assert refused(lambda: parse(unknown)).why == "signatures.0.cert: Extra inputs are not permitted"
    missing = sealed(ssh, lying(without(f"{ASKED}.recipe")))
    assert refused(lambda: parse(missing)).why == "predicate.buildDefinition.externalParameters.recipe: Field required"
    assert refused(lambda: parse(written(sealed(ssh), at("payload", "YR==")))).what == "the payload is not base64 in its one form"
    spare = dsse.open_envelope(written(sealed(ssh), at("signatures.0.sig", "YR==")))
    assert refused(lambda: spare.signature.armour).what == "the signature is not base64 in its one form"
    assert refused(lambda: parse(b"{\n")).what == "the envelope is not JSON that has one reading"
    assert refused(lambda: parse(sealed(ssh, b"{"))).what == "the payload is not JSON that has one reading"


def test_a_signature_that_is_not_base64_in_its_one_form_is_refused(ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    for text, rule in (("YR==", "R32"), ("YQ", "R32"), ("/w==", "R10")):
        data = written(sealed(ssh), at("signatures.0.sig", text))
        assert refused(lambda data=data: judge(data, builder(ssh), verifiers=verifiers)).rule == rule


@pytest.mark.parametrize(
    ("payload", "rule"), [(b'{"a":1,"a":2}', "R22"), (json.dumps(stated()).encode(), "R32"), (canonical_json(stated()) + b"\n", "R32")]
)
def test_a_signed_payload_in_another_form_is_refused(payload: bytes, rule: str, ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    assert refused(lambda: judge(sealed(ssh, payload), builder(ssh), verifiers=verifiers)).rule == rule


def test_limits_hold_the_largest_release_and_no_more(ssh: Signer) -> None:
    assert dsse.MAXIMUM == 131072
    data = sealed(ssh)
    room = b'{"payload":"' + b"A" * (dsse.MAXIMUM + 1 - 14) + b'"}'
    assert len(room) == dsse.MAXIMUM + 1
    assert refused(lambda: dsse.open_envelope(room + b"\n")).rule == "R22"
    assert refused(lambda: dsse.open_envelope(room[:-3] + b'"}' + b"\n")).rule == "R31"
    many = {f"appliances/a{number:03}/packages.lock": "0" * 128 for number in range(198)}
    assert len(parse(sealed(ssh, stated(locks=many)))[0].predicate.build_definition.resolved_dependencies) == 200
    assert len(data) < 8192


# -- any bytes


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert refused(lambda: parse(data)).rule in ("R22", "R31", "R32")


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3), max_leaves=4)
PLACES = [
    "_type",
    "subject",
    "subject.0",
    "subject.0.digest",
    "subject.0.digest.sha512",
    "predicate",
    DEFINITION,
    ASKED,
    NEEDS,
    f"{NEEDS}.0",
    f"{NEEDS}.1.digest",
    DETAILS,
    f"{DETAILS}.builder",
    f"{DETAILS}.builder.version",
    f"{DETAILS}.metadata.startedOn",
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PLACES), JSON)
def test_any_value_in_any_place_is_refused(place: str, value: Any) -> None:
    statement = lying(at(place, value))
    assert refused(lambda: slsa.read_statement(canonical_json(statement))).rule in ("R22", "R31", "R32")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(min_value=0), value=st.integers(min_value=1, max_value=255))
def test_no_byte_of_the_file_can_change(position: int, value: int, ssh: Signer, verifiers: Mapping[str, KeyVerifier]) -> None:
    data = bytearray(_sealed_once(ssh))
    data[position % len(data)] ^= value
    assert refused(lambda: judge(bytes(data), builder(ssh), verifiers=verifiers)).rule in ("R10", "R11", "R22", "R31", "R32")


_SEALED: dict[str, bytes] = {}


def _sealed_once(signer: Signer) -> bytes:
    return _SEALED.setdefault(signer.id, sealed(signer))


# -- other programs

READER = """
import json, sys
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from google.protobuf import json_format
from securesystemslib.dsse import Envelope
data = json.load(sys.stdin)
envelope = Envelope.from_dict({**data, "signatures": [{"keyid": one["keyid"], "sig": one["sig"]} for one in data["signatures"]]})
value = json.loads(envelope.payload)
statement = json_format.ParseDict(value, __import__("in_toto_attestation.v1.statement_pb2", fromlist=["Statement"]).Statement())
Statement.copy_from_pb(statement).validate()
json_format.ParseDict(value["predicate"], provenance_pb2.Provenance())
sys.stdout.write(envelope.pae().hex())
"""


def test_other_readers_of_dsse_and_in_toto_take_it(signer: Signer) -> None:
    asked = subprocess.run([sys.executable, "-c", "import in_toto_attestation, securesystemslib.dsse"], capture_output=True, check=False)
    if asked.returncode != 0:
        pytest.skip("in-toto-attestation and securesystemslib are not installed")
    data = sealed(signer)
    read = subprocess.run([sys.executable, "-c", READER], input=data, capture_output=True, check=False)
    assert read.returncode == 0, read.stderr.decode()
    assert bytes.fromhex(read.stdout.decode()) == dsse.pae(parse(data)[1].statement)
