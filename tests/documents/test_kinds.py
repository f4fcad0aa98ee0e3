"""Which path holds which kind of document, and what is said about files that hold none."""

from __future__ import annotations

import pytest

from vmkeeper.documents.kinds import KINDS, kind_of, misplaced


@pytest.mark.parametrize(
    ("path", "kind", "subject"),
    [
        ("appliances/debian-12/appliance.yaml", "appliance", "debian-12"),
        ("appliances/debian-12/packages.lock", "lock", "debian-12"),
        ("appliances/debian-12/release.yaml", "release", "debian-12"),
        ("imagelists/example.yaml", "imagelist", "example"),
        ("endorsers/example.yaml", "endorsers", "example"),
        ("endorsers/policy.yaml", "policy", "policy"),
        ("sites/laptop.yaml", "site", "laptop"),
        ("clusters/demo.yaml", "cluster", "demo"),
        ("clusters/contexts/worker.yaml", "context", "worker"),
    ],
)
def test_each_kind_lies_in_its_place(path: str, kind: str, subject: str) -> None:
    found = kind_of(path)
    assert found is KINDS[kind]
    assert found.subject(path) == subject
    assert found.path_of(subject) == path
    assert misplaced(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "README.md", "docs/x.yaml", "engine/vmkeeper/values.py", ".github/workflows/x.yaml", "sites", "tests/sites/a.yml",
        "appliances/a/files/etc/motd", "appliances/a/files/x.yaml", "appliances/a/tests/10-x", "appliances/a/provision/10-x.sh",
        "appliances/a/keyrings/docker.gpg", "appliances/a/docker.asc", "appliances/a/README.md", "appliances/README.md",
        "appliances/a/provenance.json", "endorsers/keys/alice.asc", "endorsers/README.md", "sites/.gitkeep", "clusters/.gitignore",
    ],
)  # fmt: skip
def test_other_files_may_lie_beside(path: str) -> None:
    assert kind_of(path) is None
    assert misplaced(path) is None


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("appliances/a/appliance.yml", "did you mean appliances/a/appliance.yaml?"),
        ("appliances/a/Appliance.yaml", "did you mean appliances/a/appliance.yaml?"),
        ("appliances/a/APPLIANCE.YAML", "did you mean appliances/a/appliance.yaml?"),
        ("appliances/a/aplliance.yaml", "did you mean appliances/a/appliance.yaml?"),
        ("appliances/a/appliance.json", "did you mean appliances/a/appliance.yaml?"),
        ("appliances/a/package.lock", "did you mean appliances/a/packages.lock?"),
        ("appliances/a/packages.lock.yaml", "did you mean appliances/a/packages.lock?"),
        ("appliances/a/releases.yaml", "did you mean appliances/a/release.yaml?"),
        ("appliances/a/provenances.json", "did you mean appliances/a/provenance.json?"),
        ("appliances/a/file/motd", "did you mean appliances/a/files/motd?"),
        ("appliances/a/test/10-x", "did you mean appliances/a/tests/10-x?"),
        ("appliances/a/provisions/x", "did you mean appliances/a/provision/x?"),
        ("appliances/a.yaml", "did you mean appliances/a/appliance.yaml?"),
        ("sites/a.yml", "did you mean sites/a.yaml?"),
        ("sites/Laptop.yaml", "did you mean sites/laptop.yaml?"),
        ("sites/a.YAML", "did you mean sites/a.yaml?"),
        ("imagelists/a.json", "did you mean imagelists/a.yaml?"),
        ("clusters/context/a.yaml", "did you mean clusters/contexts/a.yaml?"),
        ("clusters/contexts/a.yml", "did you mean clusters/contexts/a.yaml?"),
        ("endorsers/alice.asc", "did you mean endorsers/keys/alice.asc?"),
        ("endorsers/policy.yml", "did you mean endorsers/policy.yaml?"),
        ("endorsers/Policy.yaml", "did you mean endorsers/policy.yaml?"),
        ("endorsers/sources/Grid/pins.yaml", "use 1 to 64 of a-z 0-9 . _ -, beginning and ending with a letter or digit"),
        ("endorsers/sources/grid/other.yaml", "documents lie at endorsers/policy.yaml and endorsers/NAME.yaml"),
        ("endorsers/sources/list.yaml", "documents lie at endorsers/policy.yaml and endorsers/NAME.yaml"),
        ("endorsers/notes.txt", "beside them only endorsers/keys/, endorsers/certs/, endorsers/sources/NAME/keys/, README.md"),
        ("imagelist/a.yaml", "did you mean imagelists/?"),
        ("Sites/a.yaml", "did you mean sites/?"),
        ("site/a.yaml", "did you mean sites/?"),
        ("appliance/a/appliance.yaml", "did you mean appliances/?"),
        ("appliances/A/appliance.yaml", "use 1 to 64 of a-z 0-9 . _ -, beginning and ending with a letter or digit"),
        ("appliances/-a/files/x", "use 1 to 64 of a-z 0-9 . _ -, beginning and ending with a letter or digit"),
        ("sites/-a.yaml", "documents lie at sites/NAME.yaml"),
        ("sites/sub/a.yaml", "documents lie at sites/NAME.yaml"),
        ("sites/notes.txt", "documents lie at sites/NAME.yaml; beside them only README.md"),
        ("appliances/a/notes.txt", "appliances/NAME/files/"),
        ("appliances/a/appliance.yaml.orig", "did you mean appliances/a/appliance.yaml?"),
        ("sites/a b.yaml", "use letters, digits and . _ - only"),
        ("sites/a\u202e.yaml", "use letters, digits and . _ - only"),
        ("appliances/a/files/\x1b[31m", "use letters, digits and . _ - only"),
        (f"sites/{'a' * 65}.yaml", "documents lie at"),
    ],
)
def test_a_misplaced_file_is_told_where_it_belongs(path: str, hint: str) -> None:
    assert kind_of(path) is None
    problem = misplaced(path)
    assert problem is not None
    assert hint in problem.hint
    assert problem.what
    assert str(problem).replace("\n", "").isprintable()


def test_a_name_does_not_cross_folders() -> None:
    assert kind_of("sites/a/b.yaml") is None
    assert kind_of("appliances/a/b/appliance.yaml") is None
    assert kind_of("appliances/appliance.yaml") is None
    assert kind_of("xappliances/a/appliance.yaml") is None
    assert kind_of("sites/.yaml") is None
    assert kind_of("sites/a.yaml\n") is None


def test_the_policy_s_name_is_no_list_s() -> None:
    assert KINDS["endorsers"].subject("endorsers/policy.yaml") is None
    assert KINDS["policy"].subject("endorsers/example.yaml") is None
    assert KINDS["policy"].path_of("policy") == "endorsers/policy.yaml"
    assert KINDS["site"].subject("sites/policy.yaml") == "policy"
