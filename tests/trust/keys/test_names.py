"""Distinguished names: what is the same name and what only looks so (R15)."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.certificates import CA_NAME, PUBLISHER, issue, name
from vmkeeper.trust.keys.names import DistinguishedName


def of(*parts):
    return DistinguishedName.of(name(*parts))


def test_one_line_form():
    assert str(DistinguishedName.of(PUBLISHER)) == "/DC=org/DC=example/O=Images/CN=Image Publisher"
    assert DistinguishedName.parse("/DC=org/DC=example/CN=Test Authority") == DistinguishedName.of(CA_NAME)


def test_a_slash_in_a_value_makes_another_name():
    joined, apart = of(("O", "CERN/CN=Alice")), of(("O", "CERN"), ("CN", "Alice"))
    assert joined != apart
    assert str(joined) != str(apart)
    assert (str(joined), str(apart)) == ("/O=CERN\\/CN=Alice", "/O=CERN/CN=Alice")
    assert DistinguishedName.parse("/O=CERN/CN=Alice") == apart
    assert DistinguishedName.parse("/O=CERN/CN=Alice") != joined


def test_parts_set_beside_each_other_are_another_name():
    from cryptography import x509

    flat = name(("O", "CERN"), ("CN", "Alice"))
    beside = x509.Name([x509.RelativeDistinguishedName(list(flat))])
    assert DistinguishedName.of(beside) != DistinguishedName.of(flat)


@pytest.mark.parametrize("text", ["/CN=host/a.example.org", "/CN=[a]", "/DC=org/CN=Robot: pilot - x", "/CN=a=b", "/O=x/emailAddress=a@b"])
def test_names_that_people_write(text):
    assert str(DistinguishedName.parse(text)) == text


@pytest.mark.parametrize(
    ("one", "other"), [("/Email=a@b", "/emailAddress=a@b"), ("/cn=x", "/CN=x"), ("/USERID=x", "/UID=x"), ("/E=a", "/emailAddress=a")]
)
def test_spellings_of_one_type(one, other):
    assert DistinguishedName.parse(one) == DistinguishedName.parse(other)


@pytest.mark.parametrize("text", ["", "CN=x", "x/CN=y", "/", "/CN", "//CN=x", " /CN=x", "CN=x,O=y"])
def test_what_is_no_name(text):
    with pytest.raises(ValueError, match="distinguished name"):
        DistinguishedName.parse(text)


@pytest.mark.parametrize("change", [("CN", "image publisher"), ("CN", "Image Publisher "), ("OU", "Image Publisher")])
def test_nearly_the_same_is_not_the_same(change):
    assert of(("O", "Images"), change) != of(("O", "Images"), ("CN", "Image Publisher"))


VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)


@given(st.lists(st.tuples(st.sampled_from(["DC", "O", "OU", "CN"]), VALUES), min_size=1, max_size=5))
def test_one_line_form_is_ascii_and_reads_back(parts):
    made = of(*parts)
    assert str(made).isascii()
    assert DistinguishedName.parse(str(made)) == made


@given(*[st.lists(st.tuples(st.sampled_from(["O", "CN"]), st.text("aC=N/\\O", min_size=1, max_size=8)), min_size=1, max_size=3)] * 2)
def test_different_names_have_different_lines(one, other):
    assert (str(of(*one)) == str(of(*other))) == (one == other)


def test_one_line_form_is_that_of_openssl(tmp_path):
    subject = name(("C", "CH"), ("DC", "org"), ("O", "Ünïversity"), ("OU", "a+b, c"), ("CN", "host/x.example.org"))
    certificate, _ = issue(subject).write(tmp_path, "x")
    said = subprocess.run(
        ["openssl", "x509", "-in", certificate, "-noout", "-subject", "-nameopt", "compat"], capture_output=True, text=True, check=True
    ).stdout
    assert DistinguishedName.parse(said.strip().removeprefix("subject=")) == DistinguishedName.of(subject)
    assert said.replace("\\/", "/").replace("\\+", "+").strip().removeprefix("subject=") == str(DistinguishedName.of(subject))


def test_types_without_a_short_name_and_values_that_are_no_text():
    from cryptography import x509
    from cryptography.x509.name import _ASN1Type

    bits = x509.NameAttribute(x509.NameOID.X500_UNIQUE_IDENTIFIER, b"a\xe9", _ASN1Type.BitString)
    made = DistinguishedName.of(x509.Name([bits]))
    assert made.parts == (frozenset({("2.5.4.45", "aé")}),)
    assert str(made) == "/2.5.4.45=a\\xC3\\xA9"
    assert DistinguishedName.parse("/1.2.840.3=x/2.5.4.3=y").parts == (frozenset({("1.2.840.3", "x")}), frozenset({("2.5.4.3", "y")}))
    assert DistinguishedName.parse("/2.5.4.3=y") != of(("CN", "y"))


def test_what_a_backslash_stands_for():
    def value(text):
        ((part,),) = DistinguishedName.parse(text).parts
        return part[1]

    assert value("/CN=a\\/CN=b") == "a/CN=b"
    assert value("/CN=a\\+b\\\\") == "a+b\\"
    assert value("/CN=\\xC3\\xa9\\x5C") == "é\\"
    assert value("/CN=\\xG1") == "xG1"
    assert value("/CN=\\xff") == "\ufffd"
    assert str(DistinguishedName.parse("/CN=a\nb\x7f~ ")) == "/CN=a\\x0Ab\\x7F~ "


def test_every_type_with_a_short_name_reads_back():
    from vmkeeper.trust.keys import names

    expected = "CN C DC emailAddress GN L O OU serialNumber ST street SN title UID"
    assert list(names._SHORT.values()) == expected.split()
    for oid, short in names._SHORT.items():
        made = of((oid.dotted_string, "XX"))
        assert str(made) == f"/{short}=XX"
        assert DistinguishedName.parse(f"/{short.upper()}=XX") == DistinguishedName.parse(f"/{short.lower()}=XX") == made
    for alias, short in {"E": "emailAddress", "Email": "emailAddress", "USERID": "UID", "S": "ST", "SP": "ST"}.items():
        assert DistinguishedName.parse(f"/{alias}=XX") == DistinguishedName.parse(f"/{short}=XX")


def test_types_of_up_to_twenty_letters():
    assert str(DistinguishedName.parse(f"/{'a' * 20}=x")) == f"/{'a' * 20}=x"
    with pytest.raises(ValueError, match="write it as /DC=org/DC=example/CN=Some Name"):
        DistinguishedName.parse(f"/{'a' * 21}=x")
