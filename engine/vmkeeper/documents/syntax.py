"""What the YAML parser complains about, in plain words with a way out."""

from __future__ import annotations

import re

from vmkeeper.values import visible

_QUOTE = "put the text in quotes"
_INDENT = "indent the lines of one list or map alike, with spaces"

_WORDS: tuple[tuple[str, str, str, str], ...] = (
    # part of the context, part of the problem (a regular expression), what is wrong, the way out
    ("", r"found character '\\t'", "a tab stands where indentation or a value begins", "use spaces"),
    ("", r"found character '%'", "text cannot begin with %", _QUOTE),
    ("", r"found character '(.)' that cannot start", "text cannot begin with {0}", _QUOTE),
    ("", "mapping values are not allowed", "a colon stands where no key can be", f"{_QUOTE}, or indent the line like its neighbours"),
    (
        "",
        "sequence entries are not allowed",
        "a list item begins where none can be",
        "begin each item on a line of its own, or put the text in quotes",
    ),
    ("", "could not find expected ':'", "the line is not `key: value`", "add the colon, or indent it more"),
    ("quoted scalar", "unexpected end of stream", "the quoted text that begins here does not end", "close the quote"),
    ("quoted scalar", "document separator", "the quoted text that begins here is cut by a line --- or ...", "close the quote"),
    ("double-quoted", "unknown escape character '(.*)'", "\\{0} is no escape in double quotes", "write \\\\ for a backslash, or use single quotes"),
    ("double-quoted", "expected escape sequence", "the escape has too few hexadecimal digits", "write \\\\ for a backslash, or use single quotes"),
    ("flow sequence", "expected ',' or", "the list that begins here is not closed by ]", "close it, and put a comma between its items"),
    ("flow mapping", "expected ',' or", "the map that begins here is not closed by }", "close it, and put a comma between its entries"),
    ("", "unexpected ':'", "a colon stands inside unquoted text", _QUOTE),
    ("block scalar", "expected", "| and > may only be followed by + - or a digit", "begin the text on the next line, or put it in quotes"),
    ("block mapping", "expected <block end>, but found '<block sequence start>'", "the list item is indented unlike its neighbours", _INDENT),
    ("", "expected <block end>", "the line is indented unlike its neighbours, or mixes a list with a map", _INDENT),
    ("", "expected '<document start>'", "something follows the end of the document", "keep one list or map in a file, all lines indented alike"),
    ("", "expected the node content", "a value is missing or has a bracket too many before here", "balance the brackets, or put the text in quotes"),
    ("alias", "", "text cannot begin with *", _QUOTE),
    ("anchor", "", "text cannot begin with &", _QUOTE),
    ("tag", "", "text cannot begin with !", _QUOTE),
    ("directive", "", "a line cannot begin with %", "delete it, or put the text in quotes"),
    ("", "YAML directive|incompatible YAML|tag handle", "a YAML directive is not allowed", "delete the line that begins with %"),
)

_AT_START = ("does not end", "is cut by", "that begins here is not closed")


def in_plain_words(problem: str, context: str) -> tuple[str, str, bool]:
    """What is wrong, the way out, and whether the place to show is where the construct began."""
    for where, pattern, what, hint in _WORDS:
        match = re.search(pattern, problem) if where in context else None
        if match is not None:
            text = what.format(*(visible(group) for group in match.groups())) if match.groups() else what
            return text, hint, any(words in what for words in _AT_START)
    return f"this is not YAML: {visible(problem)[:120]}", f"{_QUOTE}, or indent the line like its neighbours", False
