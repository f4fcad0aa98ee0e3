"""Signed lists: what we sign is verified by openssl in both of its ways, and everything that is not quite right is refused (R11, R17, R19)."""

import base64
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from support.certificates import CA_NAME, DAY, NOW, PUBLISHER, Identity, authority, ca_folder, ec_key, issue, name, rsa_key
from support.lists import image_list
from support.x509 import revocation_list
from vmkeeper.errors import Refused, UserError
from vmkeeper.lists.hepix import publish_text, read
from vmkeeper.lists.smime import Signer, load_authorities, load_pkcs12, load_signer, sign, verify
from vmkeeper.trust.keys.certificates import Authorities, read_authorities

SAMPLES = Path(__file__).parents[1] / "fixtures" / "cloudkeeper"
TEXT = publish_text(image_list())
SIGN = ["openssl", "cms", "-sign", "-md", "sha256"]


@pytest.fixture(scope="session")
def trusted():
    return authority()


@pytest.fixture(scope="session")
def publisher(trusted):
    return issue(PUBLISHER, trusted, key=rsa_key())


@pytest.fixture(scope="session")
def files(publisher, trusted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    publisher.write(folder, "publisher")
    ca_folder(folder / "ca", trusted)
    (folder / "list.json").write_text(TEXT)
    return folder


def signer(identity, *chain):
    return Signer(identity.certificate, identity.key, tuple(one.certificate for one in chain))


@pytest.fixture(scope="session")
def message(publisher):
    return sign(TEXT, signer(publisher))


def refuses(rule, message, authorities, now=NOW, **how):
    with pytest.raises(Refused) as caught:
        verify(message, authorities, now, **how)
    assert caught.value.rule == rule, str(caught.value)
    return str(caught.value)


def openssl_sign(files, *options, certificate="publisher", content="list.json"):
    command = [
        "openssl",
        "cms",
        "-sign",
        "-signer",
        files / f"{certificate}.pem",
        "-inkey",
        files / f"{certificate}.key",
        "-in",
        files / content,
        *options,
    ]
    return subprocess.run([str(word) for word in command], check=True, capture_output=True).stdout


def test_what_we_sign_we_verify(message, files, publisher):
    signed = verify(message, files / "ca", NOW)
    assert read(signed.content) == image_list()
    assert signed.content.replace(b"\r\n", b"\n") == TEXT.encode()
    assert signed.certificate == publisher.certificate
    assert str(signed.subject) == "/DC=org/DC=example/O=Images/CN=Image Publisher"
    assert str(signed.issuer) == "/DC=org/DC=example/CN=Test Authority"


@pytest.mark.parametrize("key", ["rsa", "ec256", "ec384"])
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
@pytest.mark.parametrize("program", ["cms", "smime"])
def test_openssl_verifies_what_we_sign(tmp_path, trusted, key, digest, program):
    keys = {"rsa": rsa_key, "ec256": ec_key, "ec384": lambda: ec_key(ec.SECP384R1())}
    made = issue(PUBLISHER, trusted, key=keys[key]())
    data = sign(TEXT, signer(made), digest)
    (tmp_path / "list").write_bytes(data)
    (tmp_path / "ca.pem").write_bytes(trusted.pem)
    command = ["openssl", program, "-verify", "-in", "list", "-CAfile", "ca.pem", "-attime", str(int(NOW.timestamp())), "-out", "out"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    assert read((tmp_path / "out").read_bytes()) == image_list()
    assert verify(data, [trusted.certificate], NOW).certificate == made.certificate


def test_our_message_has_the_packaging_that_every_consumer_verifies(message):
    header, _, rest = message.replace(b"\r\n", b"\n").partition(b"\n\n")
    assert b'protocol="application/x-pkcs7-signature"' in header
    assert b"multipart/signed" in header
    boundary = re.search(rb'boundary="([^"]+)"', header)[1]
    assert rest.count(b"--" + boundary) == 3
    content = rest.split(b"--" + boundary)[1].lstrip(b"\r\n")
    assert content.startswith(b"{")


def test_chain_through_an_intermediate(tmp_path):
    root = authority(name(("CN", "Root")))
    middle = authority(name(("CN", "Middle")), root)
    person = issue(PUBLISHER, middle)
    assert verify(sign(TEXT, signer(person, middle)), [root.certificate], NOW).subject.parts
    refuses("R19", sign(TEXT, signer(person)), [root.certificate])
    assert verify(sign(TEXT, signer(person)), [root.certificate, middle.certificate], NOW)
    certificate, key = person.write(tmp_path, "person")
    certificate.write_bytes(person.pem + middle.pem)
    assert verify(sign(TEXT, load_signer(certificate, key)), [root.certificate], NOW)


@pytest.mark.parametrize("sample", ["imagelist01", "imagelist02"])
def test_cloudkeepers_lists_are_accepted(sample):
    signed = verify((SAMPLES / "lists" / f"{sample}.signed").read_bytes(), SAMPLES / "ca", datetime(2026, 11, 20, tzinfo=UTC))
    made = read(signed.content)
    assert len(made.images) == 2
    assert str(signed.subject) == "/C=AU/ST=Some-State/O=Internet Widgits Pty Ltd"
    assert made.endorser.dn != str(signed.subject)


def test_cloudkeepers_invalid_list_is_refused():
    message = (SAMPLES / "lists" / "imagelist_invalid.signed").read_bytes()
    assert "self-signed" in refuses("R19", message, SAMPLES / "ca")


def test_cloudkeepers_lists_are_refused_once_their_authority_has_expired():
    message = (SAMPLES / "lists" / "imagelist01.signed").read_bytes()
    assert "expired" in refuses("R19", message, SAMPLES / "ca", datetime(2028, 3, 1, tzinfo=UTC))


@pytest.mark.parametrize("options", [[], ["-stream"], ["-nosmimecap"], ["-md", "sha512"], ["-crlfeol"]], ids=str)
def test_lists_that_openssl_signs_are_accepted(files, options):
    assert read(verify(openssl_sign(files, *options), files / "ca", NOW).content) == image_list()


REFUSED = {
    "with text headers": (["-text"], "R17"),
    "binary": (["-binary"], "R17"),
    "opaque": (["-nodetach"], "R17"),
    "DER": (["-outform", "DER"], "R17"),
    "PEM": (["-outform", "PEM"], "R17"),
    "without certificates": (["-nocerts"], "R17"),
    "without signed attributes": (["-noattr"], "R17"),
    "SHA-1": (["-md", "sha1"], "R11"),
}


@pytest.mark.parametrize(("options", "rule"), REFUSED.values(), ids=REFUSED)
def test_packagings_that_are_refused(files, options, rule):
    refuses(rule, openssl_sign(files, *options), files / "ca")


def test_two_signers_are_refused(files, publisher, trusted):
    issue(name(("CN", "Other")), trusted).write(files, "other")
    message = openssl_sign(files, "-signer", files / "other.pem", "-inkey", files / "other.key")
    assert "one signer" in refuses("R17", message, files / "ca")


def test_content_from_another_list_is_refused(message, files):
    refuses("R17", message.replace(b"Science", b"Sciencf"), files / "ca")


@pytest.mark.parametrize("place", ["preamble", "epilogue", "second part", "third part", "nested", "two types", "no boundary", "lone return"])
def test_text_around_the_signed_part_is_refused(message, files, place):
    message = message.replace(b"\r\n", b"\n")
    mark = b"--" + re.search(rb'boundary="([^"]+)"', message)[1]
    head, first, second, tail = message.split(mark)
    changed = {
        "preamble": mark.join([head + b'{"hv:imagelist": {}}\n', first, second, tail]),
        "epilogue": message + b'{"hv:imagelist": {}}\n',
        "second part": mark.join([head, first, first, second, tail]),
        "third part": mark.join([head, first, second, second, tail]),
        "nested": message.replace(b"\n\n", b"\n\n" + message.partition(b"\n\n")[0] + b"\n\n", 1),
        "two types": message.replace(b"MIME-Version: 1.0", b"MIME-Version: 1.0\nContent-Type: text/plain"),
        "no boundary": re.sub(rb'boundary="[^"]+"', b"", message, count=1),
        "lone return": message.replace(b'"hv:imagelist"', b'"hv:\rimagelist"'),
    }[place]
    assert changed != message
    refuses("R17", changed, files / "ca")


@pytest.mark.parametrize("message", [b"", b"x", b"\n\n", TEXT.encode(), b"Content-Type: multipart/signed\n\n", b"\x00" * 1000, b"--" * 1000])
def test_what_is_no_message_is_refused(files, message):
    refuses("R17", message, files / "ca")


def test_endless_message_is_refused(files):
    refuses("R25", b"x" * ((24 << 20) + 1), files / "ca")


def test_line_ends_of_a_mail_server_change_nothing(message, files):
    lines = message.replace(b"\r\n", b"\n")
    assert verify(lines, files / "ca", NOW).content == verify(lines.replace(b"\n", b"\r\n"), files / "ca", NOW).content


CERTIFICATES = {
    "stranger's authority": lambda _: (issue(PUBLISHER, authority(name(("CN", "Stranger")))), "R19"),
    "authority of the same name": lambda _: (issue(PUBLISHER, authority(CA_NAME)), "R19"),
    "self-signed": lambda _: (issue(PUBLISHER), "R19"),
    "expired": lambda ca: (issue(PUBLISHER, ca, end=NOW - DAY), "R19"),
    "not valid yet": lambda ca: (issue(PUBLISHER, ca, start=NOW + DAY), "R19"),
    "issued by no authority": lambda ca: (issue(PUBLISHER, issue(CA_NAME, ca)), "R19"),
    "for web servers": lambda ca: (issue(PUBLISHER, ca, usage=(ExtendedKeyUsageOID.SERVER_AUTH,)), "R19"),
    "weak RSA key": lambda ca: (issue(PUBLISHER, ca, key=rsa_key(1024)), "R11"),
    "small curve": lambda ca: (issue(PUBLISHER, ca, key=ec_key(ec.SECP192R1())), "R11"),
}


@pytest.mark.parametrize("how", CERTIFICATES.values(), ids=CERTIFICATES)
def test_certificates_that_are_refused(trusted, how):
    made, rule = how(trusted)
    refuses(rule, sign(TEXT, signer(made)), [trusted.certificate])


def test_certificate_for_servers_serves_where_the_caller_says_so(trusted):
    made = issue(PUBLISHER, trusted, usage=(ExtendedKeyUsageOID.SERVER_AUTH,))
    assert verify(sign(TEXT, signer(made)), [trusted.certificate], NOW, purpose="any")


def test_authority_under_a_weak_signature_is_refused():
    root = authority(name(("CN", "Root")), key=rsa_key())
    middle = authority(name(("CN", "Middle")), root, key=rsa_key(1024))
    refuses("R11", sign(TEXT, signer(issue(PUBLISHER, middle), middle)), [root.certificate])


def test_only_the_given_authorities_count_whatever_the_system_trusts(message, monkeypatch, files, trusted):
    monkeypatch.setenv("SSL_CERT_DIR", str(files / "ca"))
    other = authority(name(("CN", "Other Authority")))
    refuses("R19", message, [other.certificate])


def test_the_time_is_the_callers(message, files):
    verify(message, files / "ca", NOW + 300 * DAY)
    refuses("R19", message, files / "ca", NOW + 400 * DAY)
    refuses("R19", message, files / "ca", NOW - 400 * DAY)


def test_own_certificate_as_the_only_anchor(message, publisher):
    assert verify(message, [publisher.certificate], NOW, anchor="any")
    refuses("R19", message, [publisher.certificate])
    refuses("R19", message, [issue(PUBLISHER).certificate], anchor="any")


def test_folder_of_authorities_is_read_in_every_layout(tmp_path, trusted):
    for file in ("a1b2c3d4.0", "authority.pem", "authority.crt"):
        folder = tmp_path / file.replace(".", "-")
        folder.mkdir()
        (folder / file).write_bytes(trusted.pem)
        (folder / "README").write_text("not a certificate")
        (folder / "authority.signing_policy").write_text("x")
        assert load_authorities(folder) == (trusted.certificate,)
    assert load_authorities(folder / file) == (trusted.certificate,)


def test_folder_without_authorities_says_so(tmp_path):
    with pytest.raises(UserError, match="no authority"):
        load_authorities(tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_single_changed_bytes_never_change_what_is_accepted(message, files, data):
    at = data.draw(st.integers(0, len(message) - 1))
    changed = message[:at] + bytes([data.draw(st.integers(0, 255))]) + message[at + 1 :]
    try:
        signed = verify(changed, files / "ca", NOW)
    except Refused as error:
        rule = error.rule
    else:
        rule = ""
        assert read(signed.content) == image_list()
    assert rule in ("", "R11", "R17", "R19", "R32")


def test_bits_of_the_signature_itself(message, files):
    """Whatever is changed inside the signature, in BER, is refused with a typed error or changes nothing."""
    mark = b"--" + re.search(rb'boundary="([^"]+)"', message)[1]
    encoded = message.split(mark)[2].replace(b"\r\n", b"\n").partition(b"\n\n")[2]
    message = message.replace(b"\r\n", b"\n")
    assert encoded in message
    raw = base64.b64decode(encoded)
    accepted = 0
    for at in range(0, len(raw), 97):
        changed = raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :]
        try:
            verify(message.replace(encoded, base64.encodebytes(changed)), files / "ca", NOW)
        except Refused:
            continue
        accepted += 1
    assert accepted <= 1


def test_signer_from_files(files, publisher):
    loaded = load_signer(files / "publisher.pem", files / "publisher.key")
    assert loaded.certificate == publisher.certificate
    assert str(loaded.issuer) == "/DC=org/DC=example/CN=Test Authority"


def test_signer_files_that_do_not_serve(files, tmp_path, trusted):
    issue(PUBLISHER, trusted).write(tmp_path, "other")
    issue(PUBLISHER, trusted, key=rsa_key(1024)).write(tmp_path, "weak")
    for certificate, key, said in (
        (files / "publisher.pem", tmp_path / "other.key", "does not belong"),
        (files / "publisher.pem", files / "publisher.pem", "not a private key"),
        (files / "publisher.key", files / "publisher.key", "no certificate"),
        (tmp_path / "absent.pem", files / "publisher.key", "cannot be read"),
    ):
        with pytest.raises(UserError, match=said):
            load_signer(certificate, key)
    with pytest.raises(Refused) as caught:
        load_signer(tmp_path / "weak.pem", tmp_path / "weak.key")
    assert caught.value.rule == "R11"


def test_expiry_in_the_past_is_seen_to_the_second(trusted):
    made = issue(PUBLISHER, trusted, end=NOW)
    message = sign(TEXT, signer(made))
    verify(message, [trusted.certificate], NOW - timedelta(seconds=1))
    refuses("R19", message, [trusted.certificate], NOW + timedelta(seconds=1))


LISTED = {
    "good": (lambda ca, me: revocation_list(ca, made=NOW - DAY, until=NOW + DAY), ""),
    "revoked": (lambda ca, me: revocation_list(ca, me, made=NOW - DAY, until=NOW + DAY), "R12"),
    "stale": (lambda ca, me: revocation_list(ca, made=NOW - 2 * DAY, until=NOW - DAY), "R18"),
    "another authority's": (lambda ca, me: revocation_list(authority(name(("CN", "Other"))), made=NOW - DAY, until=NOW + DAY), "R18"),
}


@pytest.mark.parametrize(("how", "rule"), LISTED.values(), ids=LISTED)
def test_revocation_lists_of_the_ca_folder_count(message, trusted, publisher, how, rule):
    files = {"a.0": trusted.pem, "a.r0": how(trusted, publisher).public_bytes(serialization.Encoding.PEM)}
    if rule:
        refuses(rule, message, read_authorities(files))
    else:
        assert verify(message, read_authorities(files), NOW)
    assert verify(message, read_authorities(files, "ignored"), NOW)


def test_absent_revocation_lists_count_where_they_are_required(message, trusted):
    refuses("R18", message, read_authorities({"a.0": trusted.pem}))
    assert verify(message, read_authorities({"a.0": trusted.pem}, "when-there"), NOW)
    assert verify(message, Authorities((trusted.certificate,)), NOW)


def packed(identity, *chain, password=b"secret", key=None, certificate=True):
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return pkcs12.serialize_key_and_certificates(b"me", key or identity.key, identity.certificate if certificate else None, chain, how)


def test_signer_from_pkcs12(tmp_path, publisher, trusted):
    file = tmp_path / "me.p12"
    file.write_bytes(packed(publisher, trusted.certificate))
    made = load_pkcs12(file, b"secret")
    assert (made.certificate, made.chain) == (publisher.certificate, (trusted.certificate,))
    assert verify(sign(TEXT, made), [trusted.certificate], NOW).subject == made.subject
    file.write_bytes(packed(publisher, password=b""))
    assert load_pkcs12(file).chain == ()


def test_pkcs12_files_that_do_not_serve(tmp_path, trusted, publisher):
    file = tmp_path / "me.p12"
    ed = Ed25519PrivateKey.generate()
    weak = issue(PUBLISHER, trusted, key=rsa_key(1024))
    for data, password, said in (
        (packed(publisher), b"wrong", "not a PKCS #12 file"),
        (b"junk", None, "not a PKCS #12 file"),
        (packed(publisher, certificate=False, password=b""), None, "no certificate with the key"),
        (packed(Identity(ed25519_certificate(ed), ed), password=b""), None, "RSA or EC keys"),
    ):
        file.write_bytes(data)
        with pytest.raises(UserError, match=said):
            load_pkcs12(file, password)
    file.write_bytes(packed(weak, password=b""))
    with pytest.raises(Refused) as caught:
        load_pkcs12(file)
    assert caught.value.rule == "R11"


def ed25519_certificate(key):
    builder = x509.CertificateBuilder().subject_name(PUBLISHER).issuer_name(PUBLISHER).public_key(key.public_key()).serial_number(1)
    return builder.not_valid_before(NOW - DAY).not_valid_after(NOW + DAY).sign(key, None)
