"""The kinds of documents a repository holds, and where each lies. The one registry; nothing is guessed from content."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from vmkeeper.errors import Place, Problem
from vmkeeper.model.appliance import Appliance
from vmkeeper.model.base import Document
from vmkeeper.model.cluster import Cluster
from vmkeeper.model.context import Context
from vmkeeper.model.endorser import EndorserList
from vmkeeper.model.imagelist import ImageList
from vmkeeper.model.lock import PackagesLock
from vmkeeper.model.policy import Policy
from vmkeeper.model.release import Release
from vmkeeper.model.site import Site
from vmkeeper.values import NAME_PATTERN, visible


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of document: `path` is where it lies, with `*` for its name; without, there is one, called as its file is.

    `written_by` is a command, or "" for people. `taken` are names that the documents of another kind have in the same folder.
    """

    name: str
    title: str
    model: type[Document]
    path: str
    written_by: str = ""
    taken: tuple[str, ...] = ()

    def subject(self, path: str) -> str | None:
        """The name of the document at `path` (the appliance's for all files of its folder); None for another kind's path."""
        if "*" not in self.path:
            return PurePosixPath(path).stem if path == self.path else None
        before, after = self.path.split("*")
        name = path[len(before) : len(path) - len(after)]
        if path == f"{before}{name}{after}" and re.fullmatch(NAME_PATTERN, name) and name not in self.taken:
            return name
        return None

    def path_of(self, subject: str) -> str:
        """Where the document of that name lies."""
        return self.path.replace("*", subject)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("appliance", "Appliance", Appliance, "appliances/*/appliance.yaml"),
        Kind("lock", "Packages lock", PackagesLock, "appliances/*/packages.lock", written_by="vmkeeper refresh"),
        Kind("release", "Release", Release, "appliances/*/release.yaml", written_by="vmkeeper apply"),
        Kind("imagelist", "Image list", ImageList, "imagelists/*.yaml"),
        Kind("policy", "Policy", Policy, "endorsers/policy.yaml"),
        Kind("endorsers", "Endorser list", EndorserList, "endorsers/*.yaml", taken=("policy",)),
        Kind("site", "Site", Site, "sites/*.yaml"),
        Kind("cluster", "Cluster", Cluster, "clusters/*.yaml"),
        Kind("context", "Context", Context, "clusters/contexts/*.yaml"),
    )
}

_NAME_WORDS = "use 1 to 64 of a-z 0-9 . _ -, beginning and ending with a letter or digit"
_FOLDERS = tuple(sorted({kind.path.split("/")[0] for kind in KINDS.values()}))
_ALSO = (
    "appliances/*/files/**",
    "appliances/*/provision/**",
    "appliances/*/tests/**",
    "appliances/*/keyrings/**",
    "appliances/*/provenance.json",
    "appliances/*/*.asc",
    "appliances/*/*.gpg",
    "endorsers/keys/**",
    "endorsers/certs/**",
    "endorsers/sources/*/pins.yaml",
    "endorsers/sources/*/list.yaml",
    "endorsers/sources/*/keys/**",
    "**/*.md",
    "**/.gitignore",
    "**/.gitattributes",
    "**/.gitkeep",
)
"""What may lie beside the documents; `**` stands for anything, slashes included."""


def kind_of(path: str) -> Kind | None:
    """The kind of document that lies at a path of the repository; None where it is none."""
    if not path.startswith(_FOLDERS):
        return None
    return next((kind for kind in KINDS.values() if kind.subject(path) is not None), None)


def misplaced(path: str) -> Problem | None:
    """What is wrong with a file in one of the documents' folders that is no document and nothing that belongs beside one."""
    folder, _, rest = path.partition("/")
    if not rest:
        return None
    if folder not in _FOLDERS:
        return _misspelt_folder(path, folder)
    if kind_of(path) is not None:
        return None
    bad = [part for part in path.split("/") if not re.fullmatch(r"[A-Za-z0-9._-]+", part)]
    if bad:
        what = f"the name {visible(bad[0])[:80]} has characters that do not belong in file names"
        return _problem(path, what, "use letters, digits and . _ - only")
    if any(_matches(path, pattern) for pattern in _ALSO) and not _ill_named(path):
        return None
    return _problem(path, *_advice(path))


def _matches(path: str, pattern: str) -> bool:
    if "**" in pattern:
        return fnmatchcase(path, pattern.replace("**/", "*/").replace("**", "*"))
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(fnmatchcase(*pair) for pair in zip(parts, wanted, strict=True))


def _problem(path: str, what: str, hint: str) -> Problem:
    return Problem(Place(visible(path)), what, hint)


def _ill_named(path: str) -> bool:
    """A folder of an appliance, or of a source of endorser lists, whose name is no name."""
    return _folder_name(path) is not None and not re.fullmatch(NAME_PATTERN, str(_folder_name(path)))


def _folder_name(path: str) -> str | None:
    """The name that a path gives an appliance or a source by a folder."""
    parts = path.split("/")
    if parts[0] == "appliances" and len(parts) > 2:
        return parts[1]
    return parts[2] if parts[:2] == ["endorsers", "sources"] and len(parts) > 3 else None


def _advice(path: str) -> tuple[str, str]:
    parts = path.split("/")
    if _ill_named(path):
        return f"{_folder_name(path)} is no name for {'an appliance' if parts[0] == 'appliances' else 'a source'}", _NAME_WORDS
    near = _nearest(path)
    if near is not None:
        return "no document is read from here", f"did you mean {near}?"
    if path.endswith((".yaml", ".yml")) and parts[0] != "appliances":
        return "no document is read from here", f"documents lie at {_where(parts[0])}; for NAME {_NAME_WORDS}"
    return "this file does not belong here", f"documents lie at {_where(parts[0])}; beside them only {_beside(parts[0])}"


def _nearest(path: str) -> str | None:
    """The document path that was probably meant."""
    parts = path.split("/")
    stem = re.sub(r"\.(ya?ml|json|lock)$", "", path, flags=re.IGNORECASE)
    if parts[0] == "clusters" and len(parts) == 3 and get_close_matches(parts[1].lower(), ["contexts"], n=1, cutoff=0.7):
        stem = f"clusters/contexts/{stem.split('/')[-1]}"
    candidates = [f"{stem.lower()}.yaml", f"{path}.yaml", path.lower(), re.sub(r"\s+", "-", f"{stem.lower()}.yaml")]
    if path.endswith((".asc", ".gpg", ".pub")) and parts[0] == "endorsers":
        return f"endorsers/keys/{parts[-1]}"
    for candidate in candidates:
        if candidate != path and re.search(r"\.(ya?ml|json)$", path, re.IGNORECASE) and kind_of(candidate):
            return candidate
    if parts[0] == "appliances" and len(parts) >= 3:
        names = ("appliance.yaml", "packages.lock", "release.yaml", "provenance.json", "files", "provision", "tests", "keyrings")
        found = get_close_matches(parts[2].lower(), names, n=1, cutoff=0.75)
        if found and (len(parts) > 3) == ("." not in found[0]):
            return "/".join([*parts[:2], found[0], *parts[3:]])
    if parts[0] == "appliances" and len(parts) == 2:
        return f"{stem.lower()}/appliance.yaml" if path.lower().endswith((".yaml", ".yml")) else None
    return None


def _where(folder: str) -> str:
    return " and ".join(kind.path.replace("*", "NAME") for kind in KINDS.values() if kind.path.startswith(f"{folder}/"))


def _beside(folder: str) -> str:
    own = [pattern.replace("*/", "NAME/", 1).removesuffix("**") for pattern in _ALSO if pattern.startswith(f"{folder}/") and pattern.endswith("**")]
    return ", ".join([*own, "README.md"])


def _misspelt_folder(path: str, folder: str) -> Problem | None:
    """A folder whose name is nearly one of ours and that holds YAML."""
    near = get_close_matches(folder.lower(), _FOLDERS, n=1, cutoff=0.8)
    if near and path.lower().endswith((".yaml", ".yml")):
        return _problem(path, f"no document is read from the folder {visible(folder)}", f"did you mean {near[0]}/?")
    return None
