"""Breaks trust/ in small ways, one at a time, and counts how many of the changes a test notices (docs/mutation.md).

    pip install mutmut==3.8.1
    python bench/mutants.py [MODULE…] [--folder FOLDER] [--texts] [--processes 2]

A MODULE is named as `policy` or `keys/packets`; none means all. Each runs with its own tests in a scratch copy under FOLDER, where
its result stays (`MODULE.json`); the table that is printed has all results found there. Mutants that change only words for people
are made and counted, but run only with --texts.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mutmut.configuration import reset_config
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.utils.format_utils import get_mutant_name

ROOT = Path(__file__).resolve().parent.parent
TRUST = ROOT / "engine/vmkeeper/trust"
COPIED = ("tests", "docs", "endorsers", "sites", "imagelists", "appliances", "clusters", "README.md")
MEMORY = 4 << 30
"""Bytes that a mutant may take; one that loops and collects ends there."""
BESIDE = {
    "canonical": ["test_provenance", "test_statement"],
    "consent": ["test_judge", "test_approval"],
    "dsse": ["test_provenance"],
    "enactment": ["test_revocation"],
    "history": ["test_enactment", "test_judge", "test_chain"],
    "judge": [
        "test_compared_before",
        "test_verify_provenance",
        "test_consent",
        "test_revocation",
        "test_revocation_edges",
        "test_consent_edges",
        "test_enactment_edges",
    ],
    "people": ["test_policy", "test_policy_edges", "test_signature"],
    "policy": ["test_derived"],
    "said": ["test_statement"],
    "slsa": ["test_provenance"],
    "verify": ["test_compared_before", "test_revocation"],
    "keys/armour": ["keys/test_packets"],
    "keys/certificates": ["keys/test_chains"],
    "keys/material": ["keys/test_batches"],
    "keys/openpgp": ["keys/test_batches", "keys/test_material"],
    "keys/primitives": ["keys/test_ssh", "keys/test_wycheproof"],
    "keys/public_form": ["keys/test_material", "keys/test_packets", "keys/test_ssh"],
    "keys/ssh": ["keys/test_material"],
    "keys/status": ["keys/test_openpgp"],
}
"""Tests of other modules that say something of this one, beside those of its own name."""
LEFT_OUT = ("no_changed_byte", "no_inserted_or_dropped_byte", "no_byte_of_the_file")
"""Parts of the names of tests that change each byte of something: what survived would cost minutes."""
PROFILE = """
from hypothesis import Phase

UNSHRUNK = (Phase.explicit, Phase.generate)
settings.register_profile("mutants", deadline=None, derandomize=True, database=None, max_examples=25, phases=UNSHRUNK)
settings.load_profile("mutants")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: any(name in item.fixturenames for name in ("gpg_home", "home", "openpgp", "pgp")))
"""
"""What the copy's conftest.py has beside: few examples, always the same, not made smaller; what asks gpg comes last."""
RULED, TOLD = {"Refused", "Refusal"}, {"UserError", "EnvironmentLacks", "Transient", "Inconsistent", "ValueError"}
WORDS = {"why", "hint", "package"}
"""Arguments that only say what a person may do; `package` is where a program that lacks is found."""
SENTENCE = re.compile(r"[A-Za-z,] [a-z]")
EQUIVALENT = {
    "approval": {
        r"again\.get\(said\.endorser, 1\)": "serials begin at 1",
        r"good\[max\(at - 2|at \+ 2\]": "what is looked at beside is farther away",
    },
    "canonical": {r"read_json\(data, 'XXXX'": "the name of the file stands only in words"},
    "dsse": {r"data = b'XXXX'": "neither bytes are those of the text that base64 refused"},
    "enactment": {
        r"number >= policies\[-1\]\.number": "the tags of the policy in force are taken out before",
        r"\(agreed, quorum, 'XXXX'\)": "whoever agreed was chosen for being a quorum",
    },
    "judge": {
        r"split\(b'\\n'(, 4)?\)\[2:3\]": "nothing behind the third line is looked at",
        r"serial <= one\.serial": "of two tags with one serial both are broken",
        r"highest = 1$": "policies are counted from 1",
        r"_proposed\(history\), \['XXXX'\]": "nobody can have either name",
        r"zip\(enactments\.policies, \[\*ends, None\](, strict=(None|False))?\)": "every policy but the last has one after it",
    },
    "memory": {r"len\(data\) >= _LARGEST": "read_json takes that many bytes too"},
    "people": {r"'compromised_since': None\}\)\] = ''": "only the names of the table are read"},
    "pins": {
        r"model_dump\(mode=(None|'XXjsonXX'|'JSON'), |model_dump\(exclude_none": "the fields of pins are texts and numbers in every mode",
        r"YAML\((typ=None, )?(pure=True|typ='rt'(, pure=(None|False))?)\)|yaml\.width": "the defaults of ruamel; long lines are read back",
    },
    "provenance": {r"zip\(provenance\.subject, wanted(, strict=(None|False))?\)": "their number was compared before"},
    "revocation": {r"if found or True else": "with nothing void, the forms of keys are looked up for nothing"},
    "signature": {r"model_dump\((mode=(None|'XXjsonXX'|'JSON'), )?exclude=": "the fields of a key that are left are texts in every mode"},
    "said": {r"model_dump\((mode=(None|'XXjsonXX'|'JSON'), )?include=": "statements write their times themselves, in every mode"},
    "slsa": {r"model_dump\((mode=(None|'XXjsonXX'|'JSON'), )?by_alias=": "statements write their times themselves, in every mode"},
    "statement": {
        r"model_dump\(mode=(None|'XXjsonXX'|'JSON')\)": "statements write their times themselves, in every mode",
        r"error\.errors\([a-z_=TrueFalse, ]*\)\[0\]": "only the place and the message of an error are read",
        r"read_json\(data, ": "no larger payload fits into a tag; the name of the file stands only in words",
    },
    "verify": {r"None, read\.sha512\), True": "a verdict without a statement is in no chain"},
    "keys/armour": {r"crc = .*2557874[78]|crc = byte|crc = None|range\((None|9)\)": "the table is made at import, before a mutant is switched on"},
    "keys/certificates": {r"^\+ parts = \[read\.subject": "what matters is that the parts are asked for"},
    "keys/chains": {
        r"anchor: Anchor='(XXrootXX|ROOT)'": "only `any` is asked for",
        r"zip\((chain, \(\*chain\[1:\], chain\[-1\]\)|lists, faults)(, strict=(None|False))?\)": "there is one of each for the other",
    },
    "keys/cms": {
        r"'19' if text > '5'": "the text has more digits than the one it is compared with",
        r"_element\(certificate, 0, 1\)": "no certificate that can be read nests so deep",
    },
    "keys/x509": {
        r"decode_signature\(None, ": "the kind tells only OpenPGP from the others, and stands in words",
        r"_certificate\(key, None\), files\[1\]": "for a file or a token gpgsm is not asked",
        r"_from_token\(files\[1\]\)": "the name of a token's key is that of its certificate",
        r"anchor: Anchor='(XXrootXX|ROOT)'": "only `any` is asked for",
        r"check=None": "as false as False",
    },
    "keys/openpgp": {
        r"zip\((files, messages|asked, answers)(, strict=(None|False))?\)": "there is an answer for each question",
        r"check=None": "as false as False",
    },
    "keys/packets": {
        r"_ISSUER_FINGERPRINT, b'XXXX'": "no fingerprint has four bytes, as none has nothing",
        r"\('', 1\)": "the size of a curve without a name is not read",
    },
    "keys/ssh": {
        r"rstrip\('XX=XX'\)": "43 digits of base64 for 32 bytes never end in X",
        r"prefix=|XXkey\.pubXX|KEY\.PUB": "the name of a temporary file",
        r"decode_signature\((None|'XXSSHXX'|'ssh'), ": "the kind tells only OpenPGP from the others, and stands in words",
    },
}
"""By module: mutants that cannot be told from the original, by their new lines, and why. Those that survive count as "same" in the table."""
NOTICED = ("killed", "timeout or crash")
OUTCOMES = {0: "survived", 1: "killed", 3: "killed", 33: "untested", None: "not run"}


@dataclass(frozen=True)
class Made:
    """A mutant: its name, the changed lines, what sort of change: "text" for words for people, "same" for another spelling, or ""."""

    name: str
    diff: str
    sort: str


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/vmkeeper-mutants"))
    parser.add_argument("--texts", action="store_true", help="run the mutants too that change only words for people")
    parser.add_argument("--left", action="store_true", help="run only those that were left, and trust the last result for the others")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(options.processes, max_tasks_per_child=1) as pool:
        list(pool.map(partial(run, folder=options.folder.resolve(), texts=options.texts, left=options.left), options.modules or sorted(modules())))
    print("\n".join(table(options.folder)))


def modules() -> Iterator[str]:
    """All modules of trust/ that hold code."""
    for file in TRUST.rglob("*.py"):
        if file.name != "__init__.py":
            yield str(file.relative_to(TRUST).with_suffix(""))


def tests_of(module: str) -> list[str]:
    """The test files that run for a module."""
    folder, _, name = module.rpartition("/")
    own = sorted((ROOT / "tests/trust" / folder).glob(f"test_{name}.py")) + sorted((ROOT / "tests/trust" / folder).glob(f"test_{name}_*.py"))
    beside = [ROOT / "tests/trust" / f"{test}.py" for test in BESIDE.get(module, [])]
    return [str(file.relative_to(ROOT)) for file in dict.fromkeys(own + beside)]


def run(module: str, folder: Path, *, texts: bool, left: bool) -> None:
    """Copy, make the mutants, let mutmut run them, keep the result."""
    copy = folder / module.replace("/", "-")
    file = Path("src/vmkeeper/trust") / f"{module}.py"
    prepare(copy, file, tests_of(module))
    made = mutants(copy, file)
    result = folder / f"{module.replace('/', '-')}.json"
    before = {(one["name"], one["diff"]): one["outcome"] for one in json.loads(result.read_text())["mutants"]} if left and result.exists() else {}
    kept = {one.name: before[one.name, one.diff] for one in made if before.get((one.name, one.diff)) in NOTICED}
    wanted = [one.name for one in made if (not one.sort or (texts and one.sort == "text")) and one.name not in kept]
    if wanted:
        with (copy / "log").open("w") as log:
            subprocess.run(
                [Path(sys.executable).with_name("mutmut"), "run", "--max-children", "1", *wanted],
                cwd=copy,
                env={**os.environ, "PYTHONPATH": str(copy / "mutants/src")},
                stdout=log,
                stderr=log,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
                check=False,
            )
    meta = copy / "mutants" / f"{file}.meta"
    codes = json.loads(meta.read_text())["exit_code_by_key"] if meta.exists() else {}
    outcomes = {name: OUTCOMES.get(code, "timeout or crash") for name, code in codes.items()} | kept
    found = []
    for one in made:
        outcome = outcomes.get(one.name, "not run")
        sort = one.sort or ("same" if outcome == "survived" and equivalent(module, one.diff) else "")
        found.append({"name": one.name, "sort": sort, "diff": one.diff, "outcome": outcome})
    result.write_text(json.dumps({"module": module, "mutants": found}, indent=1))
    print("\n".join(line(module, found)), flush=True)
    if any(one["outcome"] == "not run" and not one["sort"] for one in found):
        print(f"{module}: mutmut did not finish, see {copy / 'log'}", flush=True)
    else:
        shutil.rmtree(copy)


def prepare(copy: Path, file: Path, tests: list[str]) -> None:
    """A copy of the repository in the layout that mutmut reads, with one file made ready to be mutated."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT / "engine", copy / "src")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name)
        else:
            shutil.copy2(ROOT / name, copy / name)
    with (copy / "tests/conftest.py").open("a") as conftest:
        conftest.write(PROFILE)
    settings = {
        "source_paths": ["src"],
        "only_mutate": [str(file)],
        "pytest_add_cli_args_test_selection": tests,
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:xdist", "--tb=no", "-k", " and ".join(f"not {name}" for name in LEFT_OUT)],
        "also_copy": list(COPIED),
        "timeout_multiplier": 8,
        "timeout_constant": 2,
    }
    text = (ROOT / "pyproject.toml").read_text() + "\n[tool.mutmut]\n"
    text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    (copy / "pyproject.toml").write_text(text)
    (copy / file).write_text(undecorated((copy / file).read_text()))
    (copy / "mutants/src").mkdir(parents=True)  # Python forgets a folder of its path that is not there when it starts


def undecorated(source: str) -> str:
    """The module with decorators applied by assignment and caches left out: mutmut skips functions that are decorated."""
    lines = source.split("\n")
    for node in sorted(
        (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and len(node.decorator_list) == 1),
        key=lambda node: -node.lineno,
    ):
        decorator = ast.unparse(node.decorator_list[0])
        if decorator in ("classmethod", "staticmethod") or node.end_lineno is None:
            continue
        at, indent = node.decorator_list[0].lineno - 1, " " * node.col_offset
        if not decorator.startswith("lru_cache"):
            lines[node.lineno - 1] = lines[node.lineno - 1].replace(f"def {node.name}(", f"def plain_{node.name}(", 1)
            lines.insert(node.end_lineno, f"{indent}{node.name} = {decorator}(plain_{node.name})")
        del lines[at : node.lineno - 1]
    return "\n".join(lines)


def mutants(copy: Path, file: Path) -> list[Made]:
    """All that mutmut makes of a file."""
    os.chdir(copy)
    reset_config()
    made = mutate_file_contents(str(file), file.read_text())
    functions = {node.name: node for node in ast.walk(ast.parse(made.code)) if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name}
    found = []
    for name in made.mutant_names:
        original, changed = functions[name.partition("__mutmut_")[0] + "__mutmut_orig"], functions[name]
        found.append(Made(get_mutant_name(file, name), difference(original, changed), sort_of(original, changed)))
    return found


def difference(original: ast.FunctionDef, changed: ast.FunctionDef) -> str:
    """The lines that differ, old ones first."""
    old, new = ast.unparse(original).split("\n")[1:], ast.unparse(changed).split("\n")[1:]
    if ast.dump(original.args) != ast.dump(changed.args):
        old, new = [ast.unparse(original.args), *old], [ast.unparse(changed.args), *new]
    return "\n".join([f"- {line.strip()}" for line in old if line not in new] + [f"+ {line.strip()}" for line in new if line not in old])


def sort_of(original: ast.FunctionDef, changed: ast.FunctionDef) -> str:
    """As in `Made`."""
    if ast.dump(original.args) == ast.dump(changed.args):
        if same(original.body, changed.body):
            return "text"
        if ast.dump(Spelt().visit(deepcopy(original))).replace(original.name, changed.name) == ast.dump(Spelt().visit(deepcopy(changed))):
            return "same"
    return ""


def equivalent(module: str, diff: str) -> bool:
    """Whether it is one of those that are listed with a reason."""
    new = "\n".join(row for row in diff.split("\n") if row.startswith("+"))
    return any(re.search(pattern, new) for pattern in EQUIVALENT.get(module, {}))


class Spelt(ast.NodeTransformer):
    """One spelling for what means the same in Python: "big" is the byte order anyway, names of codecs have no case,
    and `usedforsecurity` changes no digest."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        node.keywords = [keyword for keyword in node.keywords if keyword.arg != "usedforsecurity"]
        match node:
            case ast.Call(func=ast.Attribute(attr="to_bytes" | "from_bytes"), args=[first, ast.Constant(value="big")]):
                node.args = [first]
            case ast.Call(func=ast.Attribute(attr="encode" | "decode"), args=[ast.Constant(value=str(name)), *_]):
                node.args[0] = ast.Constant(name.lower())
        return node


def same(old: object, new: object) -> bool:
    """Whether two pieces of syntax differ at most in words for people: sentences, and what is said beside a refusal's rule and evidence."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same, old, new))
    if type(old) is not type(new):
        return False
    if isinstance(old, ast.Constant) and isinstance(new, ast.Constant) and isinstance(old.value, str):
        return old.value == new.value or ((new.value is None or isinstance(new.value, str)) and SENTENCE.search(old.value) is not None)
    if isinstance(old, ast.Call) and isinstance(new, ast.Call) and isinstance(old.func, ast.Name) and old.func.id in RULED | TOLD:
        return same(data_of(old), data_of(new))
    if isinstance(old, ast.Call) and isinstance(new, ast.Call):
        named = [[keyword for keyword in call.keywords if keyword.arg not in WORDS] for call in (old, new)]
        return same(old.func, new.func) and same(old.args, new.args) and same(*named)
    if isinstance(old, ast.AST) and isinstance(new, ast.AST):
        return all(same(getattr(old, field, None), getattr(new, field, None)) for field in old._fields)
    return old == new


def data_of(call: ast.Call) -> list[object]:
    """What a program may read of an error: its class, rule and evidence, and how many texts it was given."""
    assert isinstance(call.func, ast.Name)
    ruled = call.func.id in RULED
    evidence = call.args[2:3] if call.func.id == "Refusal" else call.args[1:] if call.func.id == "Inconsistent" else []
    named = [keyword for keyword in call.keywords if keyword.arg not in WORDS]
    return [call.func.id, len(call.args[:2]), call.args[:1] if ruled else [], evidence, named]


def noticed(found: list[dict[str, str]]) -> int:
    """How many a test failed on, or did not end with."""
    return sum(one["outcome"] in NOTICED for one in found)


def line(module: str, found: list[dict[str, str]]) -> list[str]:
    """One row of the table."""
    texts, alike = ([one for one in found if one["sort"] == sort] for sort in ("text", "same"))
    rest = [one for one in found if not one["sort"]]
    killed = noticed(rest)
    score = f"{100 * killed / len(rest):.1f} %" if rest else "-"
    return [f"| {module} | {len(found)} | {noticed(found)} | {len(texts)} | {len(alike)} | {len(rest)} | {killed} | {len(rest) - killed} | {score} |"]


def table(folder: Path) -> list[str]:
    """All results in a folder."""
    results = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    rows = [row for result in results for row in line(result["module"], result["mutants"])]
    total = line("all", [one for result in results for one in result["mutants"]])
    head = "| module | mutants | killed of all | words | same | behaviour | killed | left | score |"
    return [head, "|---|" + "---:|" * 8, *rows, *total]


if __name__ == "__main__":
    main()
