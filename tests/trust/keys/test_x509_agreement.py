"""git with gpgsm, openssl and we on the same signatures: where all agree, and each place where they are content with less."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509 as certificates
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from support.certificates import Identity, issue, name, rsa_key, usage_of
from support.keys import ISSUED, NOW
from support.x509 import (
    DAY,
    DIGESTS,
    END,
    RSA,
    RSA_WITH,
    VALID,
    GpgsmHome,
    Grid,
    attribute,
    der,
    der_of,
    detached,
    held,
    named,
    oid,
    openssl,
    raw_signed,
    revocation_list,
    signed_data,
    signer_info,
    value,
)
from vmkeeper.errors import Refused
from vmkeeper.trust import tagobject
from vmkeeper.trust.keys.armour import armour, decode_signature
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.keys.interface import Claim
from vmkeeper.trust.keys.x509 import X509Verifier, normalised
from vmkeeper.trust.tagobject import Tagger, unsigned

TAGGER = Tagger("Alice", "alice@example.org", int(ISSUED.timestamp()))
NAME = "endorse/debian-12/1/alice/1"


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid()


class Git:
    """A repository, and git told to ask a gpgsm that knows the grid's authorities."""

    def __init__(self, folder: Path, home: GpgsmHome) -> None:
        self.folder, self.home = folder, home
        self.env = {**os.environ, **home.env, "HOME": str(folder)}
        self("init", "-q", "-b", "main")
        self("commit", "-q", "--allow-empty", "-m", "release")
        self.commit = self("rev-parse", "HEAD").stdout.strip()
        self("config", "gpg.format", "x509")
        self.at(NOW)

    def __call__(self, *words: str, data: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        who = ["-c", "user.name=Alice", "-c", "user.email=alice@example.org"]
        return subprocess.run(
            ["git", *who, *words], cwd=self.folder, env=self.env, input=data, check=check, capture_output=True, text=True, timeout=60
        )

    def at(self, time: datetime) -> None:
        self("config", "gpg.x509.program", str(self.home.wrapper(time)))

    def good(self, raw: bytes) -> bool:
        made = subprocess.run(
            ["git", "hash-object", "-t", "tag", "-w", "--stdin"],
            cwd=self.folder,
            env=self.env,
            input=raw,
            check=True,
            capture_output=True,
            timeout=60,
        )
        self("update-ref", f"refs/tags/{NAME}", made.stdout.decode().strip())
        return self("verify-tag", NAME, check=False).returncode == 0


@pytest.fixture(scope="module")
def home(grid: Grid) -> Iterator[GpgsmHome]:
    made = GpgsmHome(grid.root)
    made.add(grid.alice, grid.middle, grid.root)
    made.run("--import", data=grid.middle.pem)
    yield made
    made.close()


class Case:
    """One tag's bytes before the three."""

    def __init__(self, git: Git, grid: Grid, folder: Path) -> None:
        self.git, self.grid, self.folder = git, grid, folder
        self.body = unsigned(git.commit, NAME, TAGGER, b'{"a":1}')
        self.authorities = grid.authorities()
        self.now = NOW

    def tag(self, signature: bytes) -> bytes:
        return self.body + armour("CMS", signature).encode()

    def ours(self, raw: bytes, person: Identity) -> str:
        """The rule that we refuse the tag by; "" where we take it."""
        try:
            tag = tagobject.parse(raw)
            X509Verifier(self.authorities).verify(Claim(held(person), tag.signed, tag.signature), self.now)
        except Refused as error:
            return error.rule
        return ""

    def openssl(self, raw: bytes, *options: str | Path) -> bool:
        body, _, block = raw.partition(b"-----BEGIN")
        (self.folder / "signature").write_bytes(decode_signature("CMS", "-----BEGIN" + block.decode()))
        (self.folder / "content").write_bytes(body)
        (self.folder / "known").write_bytes(self.grid.root.pem + self.grid.middle.pem)
        words = ["-in", self.folder / "signature", "-content", self.folder / "content", "-CAfile", self.folder / "known", "-no-CApath", "-no-CAstore"]
        asked = openssl(
            "cms", "-verify", "-binary", "-inform", "DER", *words, "-purpose", "any", "-attime", str(int(self.now.timestamp())), *options, check=False
        )
        return asked.returncode == 0

    def verdicts(self, raw: bytes, person: Identity) -> tuple[bool, bool, str]:
        """git's, openssl's and ours."""
        return self.git.good(raw), self.openssl(raw), self.ours(raw, person)


@pytest.fixture
def case(grid: Grid, home: GpgsmHome, tmp_path: Path) -> Case:
    (tmp_path / "repository").mkdir()
    return Case(Git(tmp_path / "repository", home), grid, tmp_path)


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_all_agree_on_a_good_signature(case: Case, digest: str) -> None:
    assert case.verdicts(case.tag(detached(case.grid.alice, case.body, digest=digest)), case.grid.alice) == (True, True, "")


def test_all_agree_on_a_changed_tag(case: Case) -> None:
    raw = case.tag(detached(case.grid.alice, case.body))
    assert case.verdicts(raw.replace(b'{"a":1}', b'{"a":2}'), case.grid.alice) == (False, False, "R10")


def test_all_agree_on_a_strangers_authority(case: Case) -> None:
    stranger = Grid().alice
    assert case.verdicts(case.tag(detached(stranger, case.body)), stranger) == (False, False, "R19")


def test_disagreement_r19_others_take_a_key_that_is_not_for_signatures(case: Case) -> None:
    other = case.grid.person("Other", key=rsa_key(), key_usage=usage_of("key_encipherment"))
    assert case.verdicts(case.tag(detached(other, case.body)), other) == (True, True, "R19")


def test_git_signs_and_we_put_it_into_the_form_of_tags(case: Case) -> None:
    """What `git tag -s` writes holds the authorities' certificates in a stream; normalised, git and openssl take it as well as we do."""
    case.git.at(ISSUED)
    fingerprint = case.grid.alice.certificate.fingerprint(hashes.SHA1()).hex()
    case.git("tag", "-s", "-u", fingerprint, "-m", '{"a":1}', "by-git")
    raw = case.git("cat-file", "tag", "by-git").stdout.encode()
    case.git.at(NOW)
    body, _, block = raw.partition(b"-----BEGIN SIGNED MESSAGE-----\n")
    block = b"-----BEGIN SIGNED MESSAGE-----\n" + block
    signature = decode_signature("CMS", block.decode())
    assert armour("CMS", signature).encode() == block
    assert case.git("verify-tag", "by-git").returncode == 0
    assert case.openssl(raw)
    claim = Claim(held(case.grid.alice), body, block.decode())
    with pytest.raises(Refused, match="not in the form we write"):
        X509Verifier(case.authorities).verify(claim, NOW)
    again = normalised(signature, body)
    assert X509Verifier(case.authorities).verify(Claim(claim.key, body, again), NOW)
    assert case.git.good(body + again.encode())
    assert case.openssl(body + again.encode())


def test_disagreement_r10_openssl_takes_several_signers(case: Case) -> None:
    alice = case.grid.alice
    again = case.grid.person("Again", key=rsa_key())
    raw = case.tag(signed_data([signer_info(alice, case.body), signer_info(again, case.body)], der_of(alice, again)))
    assert case.verdicts(raw, alice) == (False, True, "R10")


def test_disagreement_r10_others_take_no_signed_attributes(case: Case) -> None:
    alice = case.grid.alice
    parts = (der(2, b"\1"), named(alice), der(0x30, oid(DIGESTS["sha512"])), der(0x30, oid(RSA), der(5)), der(4, value(alice, case.body)))
    assert case.verdicts(case.tag(signed_data([der(0x30, *parts)], der_of(alice))), alice) == (True, True, "R10")


@pytest.mark.parametrize("others", [("middle",), ("middle", "root"), ("erin",)])
def test_disagreement_r10_others_take_further_certificates(case: Case, others: tuple[str, ...]) -> None:
    raw = case.tag(detached(case.grid.alice, case.body, others=tuple(getattr(case.grid, one) for one in others)))
    assert case.verdicts(raw, case.grid.alice) == (True, True, "R10")


def test_disagreement_r10_others_take_no_certificate_at_all_where_they_have_it(case: Case) -> None:
    raw = case.tag(signed_data([signer_info(case.grid.alice, case.body)], []))
    assert case.git.good(raw)
    assert not case.openssl(raw)
    assert case.ours(raw, case.grid.alice) == "R10"


def test_disagreement_r10_openssl_takes_unsigned_attributes(case: Case) -> None:
    raw = case.tag(detached(case.grid.alice, case.body, unsigned=der(0xA1, attribute("1.2.3", der(5)))))
    assert case.openssl(raw)
    assert case.ours(raw, case.grid.alice) == "R10"


def test_disagreement_r10_others_take_revocation_lists_that_come_along(case: Case) -> None:
    found = b"".join(one.public_bytes(Encoding.DER) for one in case.grid.lists())
    raw = case.tag(detached(case.grid.alice, case.body, lists=der(0xA1, found)))
    assert case.openssl(raw)
    assert case.ours(raw, case.grid.alice) == "R10"


def test_disagreement_r10_openssl_takes_both_values_of_one_ecdsa_signature(case: Case) -> None:
    low, high = (case.tag(detached(case.grid.erin, case.body, high=one)) for one in (False, True))
    assert case.openssl(low)
    assert case.openssl(high)
    assert (case.ours(low, case.grid.erin), case.ours(high, case.grid.erin)) == ("", "R10")


def test_disagreement_r10_git_takes_text_after_the_signature(case: Case) -> None:
    raw = case.tag(detached(case.grid.alice, case.body)) + b"and more\n"
    assert case.git.good(raw)
    assert case.ours(raw, case.grid.alice) == "R10"


def test_disagreement_r10_git_takes_other_line_lengths(case: Case) -> None:
    raw = case.tag(detached(case.grid.alice, case.body))
    head, _, block = raw.partition(b"MESSAGE-----\n")
    joined = head + b"MESSAGE-----\n" + block.replace(b"\n", b"", 1)
    assert case.git.good(joined)
    assert case.ours(joined, case.grid.alice) == "R10"


def test_disagreement_r11_others_take_sha1(case: Case) -> None:
    raw = case.tag(detached(case.grid.alice, case.body, digest="sha1"))
    assert case.verdicts(raw, case.grid.alice) == (True, True, "R11")


def test_disagreement_r11_others_take_short_keys(case: Case) -> None:
    weak = case.grid.person("Weak", key=rsa_key(1024))
    raw = case.tag(detached(weak, case.body))
    assert case.verdicts(raw, weak) == (True, True, "R11")
    assert not case.openssl(raw, "-auth_level", "2")


def test_disagreement_r11_openssl_takes_rsa_pss(case: Case) -> None:
    pss = ["-keyopt", "rsa_padding_mode:pss"]
    certificate, key = case.grid.alice.write(case.folder, "alice")
    made = openssl("cms", "-sign", "-binary", "-md", "sha256", "-signer", certificate, "-inkey", key, *pss, "-outform", "DER", data=case.body).stdout
    raw = case.tag(made)
    assert case.openssl(raw)
    assert case.ours(raw, case.grid.alice) == "R11"


def test_disagreement_r12_others_take_a_revoked_certificate_where_nobody_says_otherwise(case: Case) -> None:
    """openssl looks at revocation lists only with -crl_check_all; git's gpgsm here is told to look at none."""
    raw = case.tag(detached(case.grid.alice, case.body))
    case.authorities = case.grid.read(case.grid.alice)
    assert case.verdicts(raw, case.grid.alice) == (True, True, "R12")
    (case.folder / "lists").write_bytes(b"".join(case.grid.files(case.grid.alice)[name_] for name_ in case.grid.files() if name_.endswith(".r0")))
    assert not case.openssl(raw, "-crl_check_all", "-certfile", case.folder / "lists")


def with_lists(case: Case, *lists: certificates.CertificateRevocationList) -> Callable[..., bool]:
    """openssl with the authorities' lists."""
    file = case.folder / "all"
    file.write_bytes(case.grid.root.pem + case.grid.middle.pem + b"".join(one.public_bytes(Encoding.PEM) for one in lists))
    case.authorities = case.grid.authorities(*lists, crls="required")
    return lambda raw, *options: case.openssl(raw, "-CAfile", file, *options)


def test_openssl_and_we_agree_on_revocation_lists(case: Case) -> None:
    raw = case.tag(detached(case.grid.alice, case.body))
    root, middle = case.grid.lists()
    stranger = Identity(case.grid.middle.certificate, rsa_key())
    for lists, rule in (
        ((root, middle), ""),
        ((root,), "R18"),
        ((middle,), "R18"),
        ((root, revocation_list(case.grid.middle, until=NOW - DAY)), "R18"),
        ((root, revocation_list(case.grid.middle, made=NOW + DAY)), "R18"),
        ((root, revocation_list(case.grid.middle, signed_by=stranger)), "R18"),
        (case.grid.lists(case.grid.alice), "R12"),
        (case.grid.lists(case.grid.middle), "R12"),
    ):
        assert with_lists(case, *lists)(raw, "-crl_check_all") == (rule == "")
        assert case.ours(raw, case.grid.alice) == rule


def test_disagreement_r12_openssl_misses_a_revoked_authority_with_crl_check_alone(case: Case) -> None:
    raw = case.tag(detached(case.grid.alice, case.body))
    asked = with_lists(case, *case.grid.lists(case.grid.middle))
    assert asked(raw, "-crl_check")
    assert not asked(raw, "-crl_check_all")
    assert case.ours(raw, case.grid.alice) == "R12"


def test_disagreement_r18_openssl_takes_a_revocation_list_signed_with_sha1(case: Case) -> None:
    root, middle = case.grid.lists()
    tbs = middle.tbs_certlist_bytes.replace(oid(RSA_WITH["sha256"]), oid(RSA_WITH["sha1"]))
    old = certificates.load_der_x509_crl(raw_signed(tbs, case.grid.middle, "sha1"))
    assert isinstance(old.signature_hash_algorithm, hashes.SHA1)
    raw = case.tag(detached(case.grid.alice, case.body))
    assert with_lists(case, root, old)(raw, "-crl_check_all", "-auth_level", "2")
    assert case.ours(raw, case.grid.alice) == "R18"


def test_an_expired_certificate_is_told_where_openssl_refuses(case: Case) -> None:
    raw = case.tag(detached(case.grid.alice, case.body))
    case.now = END + timedelta(days=1)
    assert not case.openssl(raw)
    assert case.ours(raw, case.grid.alice) == ""
    case.now = VALID["start"] - DAY
    assert not case.openssl(raw)
    assert case.ours(raw, case.grid.alice) == "R19"


def test_r15_a_name_that_looks_like_another(case: Case) -> None:
    """All three take the signature; only the decoded name says that it is not Alice's."""
    alice = issue(name(("O", "CERN"), ("CN", "Alice")), case.grid.middle, key=rsa_key(), **VALID)
    mallory = issue(name(("O", "CERN/CN=Alice")), case.grid.middle, key=rsa_key(), **VALID)
    raw = case.tag(detached(mallory, case.body))
    assert (case.git.good(raw), case.openssl(raw)) == (True, True)
    assert case.ours(raw, alice) == "R10"


def test_r19_what_a_system_trusts_does_not_count(case: Case) -> None:
    raw = case.tag(detached(case.grid.alice, case.body))
    case.authorities = Authorities(())
    assert case.verdicts(raw, case.grid.alice) == (True, True, "R19")
