"""Public keys whose private halves were thrown away, and endorser lists that name them, for tests that sign nothing."""

from __future__ import annotations

from textwrap import dedent, indent

ALICE = "D6A445C0626F104130C83A5C308784701F8D9507"
BOB = "C9A5D387D186396A5E561F7089FF6B8E36943C3E"
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUrGeodsl4pQ5n0ZJSLYDyEvOVvMIUv6Xvt1hBpKIpA"
ARMOURED = {
    ALICE: """\
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEaVW5ABYJKwYBBAHaRw8BAQdA3Go+Mh5npUO5QWxMgOgMviF/ceo39GOoZkOI
mhxq2220EWFsaWNlQGV4YW1wbGUub3JniJAEExYIADgWIQTWpEXAYm8QQTDIOlww
h4RwH42VBwUCaVW5AAIbAwULCQgHAgYVCgkICwIEFgIDAQIeAQIXgAAKCRAwh4Rw
H42VB0bZAQChYqNrw+EMHFISekpmKWHY+d1m3CgOxjWUxZ8lH4RLFAD+OcwRfNKH
NUeEV1hLSbNAuiBSHiRuSAbN8cKboMddBQ8=
=rX7U
-----END PGP PUBLIC KEY BLOCK-----
""",
    BOB: """\
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEaVW5ABYJKwYBBAHaRw8BAQdAvNPQUFhuiYd/Glke0xRm+QkgxDcdCnivdlC+
D94uTSq0D2JvYkBleGFtcGxlLm9yZ4iQBBMWCAA4FiEEyaXTh9GGOWpeVh9wif9r
jjaUPD4FAmlVuQACGwMFCwkIBwIGFQoJCAsCBBYCAwECHgECF4AACgkQif9rjjaU
PD5Z6wEAsT7MkjnOM+MK3QVGxkMUHZeDRgfjlPLRU66LFsxQQUkBAKI+gI4833Mt
Ytyrj6vaPhyFAfRKmCm50AxcAeSVV5oF
=Jhay
-----END PGP PUBLIC KEY BLOCK-----
""",
}


def person(name: str, *keys: str, more: str = "") -> str:
    """An item of `endorsers:` or `principals:`; keys in flow style, such as `{type: ssh, key: …}`."""
    head = f"- name: {name}\n  full_name: {name.title()} Example\n  email: {name}@example.org\n  keys:\n"
    return head + "".join(f"  - {key}\n" for key in keys) + indent(dedent(more), "  ")


def openpgp(fingerprint: str, file: str) -> str:
    """A key with its file."""
    return f"{{type: openpgp, fingerprint: {fingerprint}, file: {file}}}"


def ssh(key: str = SSH) -> str:
    """An SSH key."""
    return f"{{type: ssh, key: {key}}}"


def endorsers(*people: str, head: str = "") -> str:
    """The text of an endorser list."""
    return f"title: A list\ncommunity: science\npolicy: We looked.\n{dedent(head)}endorsers:\n{''.join(people) or '  []'}"


def policy(*people: str, quorum: int = 1, more: str = "") -> str:
    """The text of a policy."""
    return f"title: A policy\nquorum: {quorum}\nprincipals:\n{''.join(people)}{dedent(more)}"
