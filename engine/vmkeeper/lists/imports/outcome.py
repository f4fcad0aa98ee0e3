"""What an import gives: files of the repository, what a person has to know or fill in, and the entry that a site would write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from vmkeeper.documents.dump import dump
from vmkeeper.documents.guard import UNSEEN
from vmkeeper.model.base import Document
from vmkeeper.model.foreign import ForeignList


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """Something about `field` of `subject` (an image, a list, a file) that was not carried over as it was, or is to be done by hand."""

    subject: str
    field: str
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.subject, self.field, self.what) if part)


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file of the repository, by its path; `document` is what it says where it is a document."""

    path: str
    data: bytes
    document: Document | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of one or several sources. `foreign`: how a site names the lists that it leaves to their publisher."""

    files: tuple[NewFile, ...] = ()
    notes: tuple[Note, ...] = ()
    foreign: tuple[ForeignList, ...] = ()


@dataclass(frozen=True, slots=True)
class Present:
    """What the repository has already: appliances by their UUID, image lists by theirs, names of endorser lists."""

    appliances: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, str] = field(default_factory=dict)
    endorsers: tuple[str, ...] = ()


def document_file(path: str, document: Document, comments: Iterable[str] = ()) -> NewFile:
    """A document as a file, with comments before it, one line each."""
    head = "".join(f"# {printable(comment)}\n" for comment in comments)
    return NewFile(path, head.encode() + dump(document), document)


def foreign_yaml(entries: Iterable[ForeignList]) -> str:
    """The entries as a site's file holds them, below `foreign:`."""

    def lines() -> Iterator[str]:
        yield "foreign:"
        for entry in entries:
            for number, line in enumerate(dump(entry).decode().splitlines()):
                yield f"  {'  ' if number else '- '}{line}"

    return "\n".join(lines())


def merged(outcomes: Iterable[Imported]) -> Imported:
    """Several outcomes as one; a note that is there twice is one."""
    outcomes = tuple(outcomes)
    return Imported(
        tuple(file for one in outcomes for file in one.files),
        tuple(dict.fromkeys(note for one in outcomes for note in one.notes)),
        tuple(entry for one in outcomes for entry in one.foreign),
    )


def printable(text: str) -> str:
    """Text as documents hold it: one line, without control and invisible characters."""
    return UNSEEN.sub("", " ".join(text.split()))
