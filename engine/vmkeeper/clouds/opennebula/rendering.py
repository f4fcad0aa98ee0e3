"""A site's templates of OpenNebula attributes: Jinja2 that makes a YAML mapping. Pure.

Values never become structure: what an expression prints is put in only after the YAML was read. There are no calls, attributes of
objects, macros, arithmetic or filters that multiply, so that a template's work is at most its length times that of its values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, nodes
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from vmkeeper.clouds.opennebula.marks import Attributes, plain
from vmkeeper.errors import UserError

MAX_OUTPUT = 1 << 18
MAX_DEPTH = 3
_FILTERS = frozenset(("default", "d", "lower", "upper", "trim", "int", "length", "first", "last"))
_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.If,
    nodes.For, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Concat, nodes.Test, nodes.Tuple, nodes.List,
    nodes.Keyword,
)  # fmt: skip
_MARK = "vmk{:x}kmv"
_MARKED = re.compile("vmk([0-9a-f]+)kmv")
_HINT = "see the template variables in docs/opennebula.md"


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox with less: a map's values are all that can be reached."""

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, autoescape=False, optimized=False)
        self.globals = {}
        self.filters = {name: function for name, function in self.filters.items() if name in _FILTERS}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A map's value."""
        return obj[attribute] if isinstance(obj, Mapping) and attribute in obj else self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """A map's value."""
        return self.getattr(obj, str(argument))

    def is_safe_callable(self, obj: Any) -> bool:
        """What no template can name."""
        return isinstance(obj, _PutOff)


class _PutOff:
    """Keeps what is printed, and prints a mark of it instead."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, value: Any) -> str:
        if not isinstance(value, str | int | float):
            str(value)  # an undefined name says so
            raise TypeError(f"a {type(value).__name__} is printed, not a text or number")
        self.texts.append(plain(str(value)))
        return _MARK.format(len(self.texts) - 1)


def render(text: str, values: Mapping[str, Any], where: str) -> Attributes:
    """The attributes that a template makes, names in capitals, all values texts. Raises UserError that names `where`."""
    size, parts, put_off = 0, [], _PutOff()
    try:
        for part in _compiled(text).generate({**values, "_put_off": put_off}):
            size += len(part)
            if size > MAX_OUTPUT:
                raise UserError("the template makes too much", where=where, why=f"more than {MAX_OUTPUT} characters")
            parts.append(part)
        tree = _tree("".join(parts))
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise UserError("the template cannot be rendered", where=where, why=f"{f'line {line}: ' if line else ''}{error}", hint=_HINT) from None
    except (TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
        raise UserError("the template cannot be rendered", where=where, why=str(error), hint=_HINT) from None
    except YAMLError as error:
        raise UserError("the template does not make YAML", where=where, why=" ".join(str(error).split())[:300]) from None
    made = _filled(tree, put_off.texts, where, MAX_DEPTH)
    if not isinstance(made, dict):
        raise UserError("the template does not make a mapping", where=where, hint="write lines such as CPU: 1")
    return made


def check_template(text: str, where: str) -> None:
    """Raises UserError for a template that uses what is not allowed or cannot be parsed."""
    try:
        _compiled(text)
    except TemplateError as error:
        raise UserError("the template cannot be used", where=where, why=str(error), hint=_HINT) from None


@lru_cache(maxsize=16)
def _compiled(text: str) -> Template:
    """Every printed expression goes through `_put_off`. Raises TemplateError."""
    environment = _Sandbox()
    tree = environment.parse(text)
    for node in _all(tree):
        if not isinstance(node, _NODES):
            raise TemplateError(f"line {getattr(node, 'lineno', '?')}: {type(node).__name__} is not allowed")
        if isinstance(node, nodes.For) and (node.recursive or sum(isinstance(inner, nodes.For) for inner in _all(node)) > 1):
            raise TemplateError(f"line {node.lineno}: a loop within a loop is not allowed")
    for output in tree.find_all(nodes.Output):
        output.nodes = [
            one if isinstance(one, nodes.TemplateData) else nodes.Call(nodes.Name("_put_off", "load"), [one], [], None, None) for one in output.nodes
        ]
    return Template.from_code(environment, environment.compile(tree), {})


def _all(node: nodes.Node) -> list[nodes.Node]:
    return [node, *(inner for child in node.iter_child_nodes() for inner in _all(child))]


def _tree(text: str) -> Node | None:
    """The YAML's nodes; scalars are the texts that stand there. Raises YAMLError."""
    if any(isinstance(event, AliasEvent) for event in YAML(typ="safe", pure=True).parse(text)):
        raise YAMLError("aliases are not allowed")
    found: Node | None = YAML(typ="safe", pure=True).compose(text)
    return found


def _filled(node: Node | None, written: list[str], where: str, depth: int) -> Any:
    if depth < 0:
        raise UserError("the template's attributes are nested too deep", where=where, hint="OpenNebula has vectors, such as DISK, and nothing deeper")

    def fill(text: str) -> str:
        return _MARKED.sub(lambda found: written[int(found[1], 16)] if int(found[1], 16) < len(written) else "", text)

    if isinstance(node, ScalarNode):
        return plain(fill(node.value))
    if isinstance(node, MappingNode):
        made: dict[str, Any] = {}
        for key, value in node.value:
            name = fill(key.value).upper() if isinstance(key, ScalarNode) else ""
            if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,126}", name):
                raise UserError(f"{json.dumps(name)} is no name of an attribute", where=where, hint="use letters, digits and _")
            made[name] = _filled(value, written, where, depth - 1)
        return {name: value for name, value in made.items() if value not in ("", {}, [])}
    return [_filled(one, written, where, depth - 1) for one in node.value] if node is not None else None
