"""The laws of the house, as tests: floors, who commits, a policy on every route, the spelling of addresses, two languages."""

from __future__ import annotations

import ast
import io
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from babel.messages.extract import extract, extract_python
from babel.messages.pofile import read_po
from flask import Flask
from jinja2.ext import babel_extract

from kernel import api_keys
from kernel.auth import Policy, permissions, policy_of, public
from kernel.i18n import FLOORS, ROOT, catalogue_files

PRIVATE = {"console", "portal", "api", "forms", "jobs", "subscribers", "cli"}
PLACE = re.compile(r"%\((\w+)\)[sd]")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def sources() -> Iterator[tuple[str, Path]]:
    for floor in FLOORS:
        for path in sorted((ROOT / floor).rglob("*.py")):
            yield floor, path


def imported_names(path: Path, package: str) -> Iterator[str]:
    """Every module or name that a file imports, absolute."""
    parts = package.split(".")
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            module = ".".join(p for p in (base, node.module or "") if p)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def package_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parent.parts)


def floor_faults(floor: str, package: str, names: Iterator[str]) -> list[str]:
    height = FLOORS.index(floor)
    room = ".".join(package.split(".")[:2])
    faults = []
    for name in names:
        top, *rest = name.split(".")
        if top not in FLOORS:
            continue
        if FLOORS.index(top) > height:
            faults.append(f"imports upward: {name}")
        elif top != "kernel" and not name.startswith(room + ".") and name != room and PRIVATE & set(rest[1:3]):
            faults.append(f"imports another room's private module: {name}")
    return faults


def test_a_floor_imports_only_itself_and_the_floors_below() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} {fault}"
        for floor, path in sources()
        for fault in floor_faults(floor, package_of(path), imported_names(path, package_of(path)))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("floor", "package", "name"),
    [
        ("kernel", "kernel", "membership.members.models.Member"),
        ("membership", "membership.orders", "community.groups.services"),
        ("membership", "membership.orders", "membership.members.console"),
        ("campaigns", "campaigns.pushes", "membership.coupons.jobs.expire"),
    ],
)
def test_the_floor_law_has_teeth(floor: str, package: str, name: str) -> None:
    assert floor_faults(floor, package, iter([name]))


def test_only_the_kernel_commits() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for floor, path in sources()
        if floor != "kernel"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"commit", "rollback"}
    ]
    assert wrong == []


def test_rules_are_pure() -> None:
    banned = {"flask", "sqlalchemy", "kernel.db", "kernel.clock"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for _, path in sources()
        if path.name == "rules.py"
        for name in imported_names(path, package_of(path))
        if any(name == b or name.startswith(b + ".") for b in banned)
    ]
    assert wrong == []


def test_views_hold_no_query_and_no_try_around_the_session() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for _, path in sources()
        if path.name in {"console.py", "portal.py", "api.py"} or path.parent.name in {"console", "portal", "api"}
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
        and node.attr == "session"
        and isinstance(node.value, ast.Name)
        and node.value.id == "db"
    ]
    assert wrong == []


def test_the_clock_is_asked_in_one_place() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for _, path in sources()
        if path != ROOT / "kernel" / "clock.py"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"now", "utcnow", "today"}
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"datetime", "date"}
    ]
    assert wrong == []


def policy_faults(app: Flask) -> list[str]:
    faults = []
    for rule in app.url_map.iter_rules():
        policy = policy_of(app.view_functions[rule.endpoint])
        if policy is None:
            faults.append(f"{rule.rule} {sorted(rule.methods or ())} declares no policy")
        elif policy.kind == "staff" and policy.detail and policy.detail not in permissions():
            faults.append(f"{rule.rule} asks for {policy.detail}, which no role holds")
        elif policy.kind == "api" and policy.detail not in api_keys.SCOPES:
            faults.append(f"{rule.rule} asks for the unknown scope {policy.detail}")
        elif rule.rule.startswith("/console") and policy.kind not in ("staff", "public"):
            faults.append(f"{rule.rule} lies in the console but is for {policy.kind}")
        elif rule.rule.startswith("/api/") and policy.kind != "api" and rule.endpoint != "openapi.describe":
            faults.append(f"{rule.rule} lies in the API but is for {policy.kind}")
    return faults


def test_check_a1_every_route_declares_its_policy(app: Flask) -> None:
    assert policy_faults(app) == []


def test_check_a1_has_teeth() -> None:
    app = Flask("bare")
    app.add_url_rule("/console/bare", "bare", lambda: "")
    public("pictures")(app.view_functions["static"])
    assert policy_faults(app) == ["/console/bare ['GET', 'HEAD', 'OPTIONS'] declares no policy"]


def test_each_route_takes_either_reading_or_writing(app: Flask) -> None:
    """GET changes nothing, so a view that also takes POST would hide which of the two it does."""
    wrong = [
        rule.rule
        for rule in app.url_map.iter_rules()
        if "GET" in (rule.methods or ()) and (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}
    ]
    assert wrong == []


def test_addresses_are_kebab_case_and_lead_without_a_slash_at_the_end(app: Flask) -> None:
    wrong = [
        rule.rule
        for rule in app.url_map.iter_rules()
        if re.search(r"[A-Z_]", re.sub(r"<[^>]*>", "", rule.rule))
        or (rule.rule.endswith("/") and rule.rule not in {"/", "/console/", "/me/"})
    ]
    assert wrong == []


def test_no_public_address_counts_through_the_rows(app: Flask) -> None:
    """Behind the sign-in of staff and the keys of programs, rows may have their numbers."""
    wrong = [
        rule.rule
        for rule in app.url_map.iter_rules()
        if "<int:" in rule.rule and not rule.rule.startswith(("/console/", "/api/"))
    ]
    assert wrong == []


def test_templates_hold_no_inline_script_or_style() -> None:
    pattern = re.compile(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|javascript:", re.I)
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for floor in FLOORS
        for path in (ROOT / floor).rglob("templates/**/*.html")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert wrong == []


def test_no_argument_of_an_address_becomes_one_of_a_function() -> None:
    """`?endpoint=x` would be a fault, `?_scheme=…` would change where a link leads, and of several values one would be left."""
    wrong = [
        str(path.relative_to(ROOT))
        for floor in FLOORS
        for pattern in ("*.py", "*.html")
        for path in (ROOT / floor).rglob(pattern)
        if "**request.args" in path.read_text()
    ]
    assert wrong == []


# ── Two languages ───────────────────────────────────────────────────────────────────────────────────────────────────


KEYWORDS = {
    "_": None,
    "_l": None,
    "gettext": None,
    "lazy_gettext": None,
    "ngettext": (1, 2),
    "_n": (1, 2),
    "lazy_ngettext": (1, 2),
}


@cache
def used_messages() -> dict[object, set[str]]:
    """Every text in the code that is to be translated, with where it stands."""
    found: dict[object, set[str]] = defaultdict(set)
    for floor in FLOORS:
        for path in sorted((ROOT / floor).rglob("*.py")) + sorted((ROOT / floor).rglob("*.html")):
            method = extract_python if path.suffix == ".py" else babel_extract
            source = io.BytesIO(path.read_bytes())
            for _line, message, _comments, _context in extract(method, source, keywords=KEYWORDS):
                found[message].add(str(path.relative_to(ROOT)))
    found.pop("", None)
    return found


@cache
def chinese() -> dict[object, list[tuple[object, str]]]:
    found: dict[object, list[tuple[object, str]]] = defaultdict(list)
    for path in catalogue_files("zh_Hans"):
        with path.open("rb") as file:
            for message in read_po(file, locale="zh_Hans"):
                if message.id:
                    found[message.id].append((message.string, str(path.relative_to(ROOT))))
    return found


def test_every_text_is_translated() -> None:
    missing = {
        str(message): sorted(places)
        for message, places in used_messages().items()
        if not any(all(string) if isinstance(string, tuple) else string for string, _ in chinese().get(message, ()))
    }
    assert missing == {}


def test_no_translation_is_left_over() -> None:
    # A singular may stand alone in one place and with its plural in another.
    used = used_messages().keys()
    left = {
        str(message): [place for _, place in entries] for message, entries in chinese().items() if message not in used
    }
    assert left == {}


def test_rooms_do_not_contradict_each_other_in_chinese() -> None:
    apart = {
        str(message): entries for message, entries in chinese().items() if len({string for string, _ in entries}) > 1
    }
    assert apart == {}


def test_translations_keep_the_places_of_the_original() -> None:
    wrong = []
    for message, entries in chinese().items():
        original = message if isinstance(message, tuple) else (message,)
        wanted = set().union(*(PLACE.findall(str(text)) for text in original))
        for string, place in entries:
            texts = string if isinstance(string, tuple) else (string,)
            if any(not set(PLACE.findall(text)) <= wanted for text in texts):
                wrong.append(f"{place}: {message}")
            if not isinstance(message, tuple) and set(PLACE.findall(str(string))) != wanted:
                wrong.append(f"{place}: {message}")
    assert wrong == []


def test_policy_is_a_plain_value() -> None:
    assert Policy("staff", "members.view") == Policy("staff", "members.view")
