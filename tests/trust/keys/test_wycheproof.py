"""Wycheproof's vectors through our own primitives: what is valid is taken, what is invalid is not, and nothing is left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vmkeeper.trust.keys.primitives import verify_ecdsa, verify_ed25519, verify_rsa

FOLDER = Path(__file__).parents[2] / "fixtures" / "wycheproof"
CURVES = {("secp256r1", "SHA-256"): b"nistp256", ("secp384r1", "SHA-384"): b"nistp384"}
RSA = {"SHA-256": b"rsa-sha2-256", "SHA-512": b"rsa-sha2-512"}
REFUSED_THOUGH_ACCEPTABLE = {(file, 8): "MissingNull" for file in ("rsa_2048_sha256", "rsa_2048_sha512", "rsa_3072_sha256", "rsa_4096_sha512")}
"""Vectors that an implementation may take or not. We take none: a digest without the NULL of its algorithm is no PKCS#1 v1.5."""
COUNTS = {
    "ecdsa_secp256r1_sha256": {"valid": 174, "invalid": 310},
    "ecdsa_secp384r1_sha384": {"valid": 194, "invalid": 310},
    "ed25519": {"valid": 88, "invalid": 63},
    "rsa_2048_sha256": {"valid": 9, "invalid": 249, "acceptable": 1},
    "rsa_2048_sha512": {"valid": 8, "invalid": 250, "acceptable": 1},
    "rsa_3072_sha256": {"valid": 8, "invalid": 250, "acceptable": 1},
    "rsa_4096_sha512": {"valid": 7, "invalid": 251, "acceptable": 1},
}
Verify = Callable[[bytes, bytes], bool]


def verifier(group: dict[str, Any]) -> Verify:
    """What checks a message and a signature with a group's key, its parameters being ones that we know."""
    key = group["publicKey"]
    match group["type"]:
        case "EddsaVerify":
            assert key["curve"] == "edwards25519"
            return lambda message, signature: verify_ed25519(bytes.fromhex(key["pk"]), message, signature)
        case "EcdsaVerify":
            curve, point = CURVES[key["curve"], group["sha"]], bytes.fromhex(key["uncompressed"])
            return lambda message, signature: verify_ecdsa(curve, point, message, signature)
        case "RsassaPkcs1Verify":
            exponent, modulus, algorithm = int(key["publicExponent"], 16), int(key["modulus"], 16), RSA[group["sha"]]
            return lambda message, signature: verify_rsa(exponent, modulus, algorithm, message, signature)
    raise AssertionError(group["type"])


@pytest.mark.parametrize("name", COUNTS)
def test_every_vector_is_judged_as_wycheproof_does(name: str) -> None:
    (file,) = FOLDER.glob(f"{name.replace('rsa_', 'rsa_signature_')}_test.json")
    document = json.loads(file.read_text())
    seen: Counter[str] = Counter()
    mismatches = []
    for group in document["testGroups"]:
        verify = verifier(group)
        for test in group["tests"]:
            seen[test["result"]] += 1
            taken = verify(bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))
            if test["result"] == "acceptable":
                assert REFUSED_THOUGH_ACCEPTABLE[name, test["tcId"]] in test["flags"]
            if taken != (test["result"] == "valid"):
                mismatches.append((test["tcId"], test["result"], test["comment"]))
    assert mismatches == []
    assert seen == COUNTS[name]
    assert seen.total() == document["numberOfTests"]


def test_no_file_is_left_out() -> None:
    assert len(list(FOLDER.glob("*.json"))) == len(COUNTS)
    assert sum(sum(counts.values()) for counts in COUNTS.values()) == 2175
