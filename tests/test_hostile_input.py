"""Check D2: what somebody writes into a search, a filter, an order or a cursor is words, never a part of a statement.

Every list that is opened with GET is found in the map of addresses, and what it reads from its address is found by watching
it read. Each place gets hostile words in turn, so that together they get all of them; `--long` gives each place each word.
The list of members is asked for every word, and its answer compared with what plain Python finds.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, literal_column
from werkzeug.datastructures import ImmutableMultiDict, MultiDict

from kernel import api_keys
from kernel.auth import Role, policy_of
from kernel.db import db as database
from membership.members import listing, queries, services
from membership.members.forms import filter_from
from membership.members.models import Channel

# ── The words ───────────────────────────────────────────────────────────────────────────────────────────────────────

SEEDS = {
    "sql": [
        "' OR '1'='1", "' OR 1=1 --", '" OR ""="', "') OR ('1'='1", "'; DROP TABLE member; --", "'; SELECT pg_sleep(5); --",
        "1; COMMIT; --", "1 UNION SELECT NULL", "' UNION SELECT version() --", "$$; DROP TABLE member; $$", "\\'; --", "''", "'",
        "/* */", "--", ";", "id DESC; --", "(SELECT 1)", "1/0", "CASE WHEN 1=1 THEN 1 ELSE 1/0 END", "E'\\x27'", "U&'\\0027'",
        "pg_read_file('/etc/passwd')", "COPY member TO PROGRAM 'id'", "%(id)s", ":id", "$1", "?", "{id}", "current_user",
        "nextval('member_id_seq')", "set_config('role','x',false)", "1::int", "NULL", "null", "true", "DEFAULT", "ctid", "xmin",
    ],
    "like": ["%", "_", "%%", "\\", "\\%", "\\\\", "%_%", "__", "a%b", "[a-z]", "^", "*", "**", "?*", "%' ESCAPE '!"],
    "json": [
        "$.*", "$[*]", "$.a ? (@ == 1)", '{"$ne": null}', '{"$gt": ""}', "[]", "{}", '["a"]', '{"a": {"b": 1}}', "@.a", "strict $",
        '"', '\\"', "\\u0000", "\\ud800", "a.b", "a->>'b'", "#>>'{a}'", "[1,2",
    ],
    "regex": ["(a+)+$", "(", ")", "[", "]", "{1,99999}", "(?i)a", "(?=a)", "\\1", "\\d+", ".*.*.*=.*", "a{0,65535}", "|", "^$", "+"],
    "number": [
        "-1", "0", "00", "1e309", "NaN", "Infinity", "-Infinity", "9223372036854775807", "9223372036854775808",
        "-9223372036854775809", "99999999999999999999999", "1.5", "1,5", "0x10", "１２", "١٢", "²", "1_000", "+1", " 1", "1 ",
        "0-", "-0", "1-0", "99999999-999999999", "-", "--1", "1e5", "0-99999999999999999999", "30-90-120",
    ],
    "time": [
        "0001-01-01", "9999-12-31", "2026-02-30", "2026-13-01", "10000-01-01", "2026-03-03T25:00", "2026-03-03T00:00+99:00", "infinity",
        "epoch", "now", "yesterday", "2026-W01", "-2026-01-01", "2026-3-3", "20260303", "24:00", "2026-03-03T23:59:60",
    ],
    "text": [
        "\x00", "a\x00b", "\r\n", "\t", "\x1b[31m", "\u200b", "\u202e", "\ufeff", "𠮷", "👩‍👩‍👧", "é", "İ", "ß", "ﬀ", "\uffff", "<script>",
        "{{7*7}}", "${7*7}", "<%= 7 %>", "../../etc/passwd", "//e.example", "javascript:alert(1)", "x" * 5_000, "王" * 2_000, "%00", "%ZZ",
    ],
}  # fmt: skip
# What broke most often elsewhere: every place gets these, whatever else.
ALWAYS = ("\x00", "a'\\", "%_", "9223372036854775808", "²", "9999-12-31")
WRAPS = ("{}", "王{}", "{}王", "1{}")


def words() -> list[str]:
    """At least five hundred hostile words, each once."""
    seeds = [seed for kind in SEEDS.values() for seed in kind]
    return list(dict.fromkeys(wrap.format(seed) if wrap != "{}" else seed for wrap in WRAPS for seed in seeds))


def cursors() -> list[str]:
    """What a cursor might hold that no page of ours gave."""
    odd: list[Any] = [
        [], {}, None, 1, "n", ["n"], ["n", 1], ["p", "1"], ["n", None], ["n", "x", 1], ["n", 2**63], ["n", -(2**70), 1], ["x", 1],
        ["n", True], ["n", [1]], ["n", {"a": 1}], ["n", 1.5, 1], ["n", "2026-03-03", 1], ["n", "2026-03-03T00:00:00", 1],
        ["n", "0001-01-01T00:00:00+23:59", 1], ["n", "9999-12-31T23:59:59-23:59", 1], ["n", "a\x00", 1], ["n", "\ud800", 1],
        ["n", 1, 1], ["n", 1, 1, 1], ["p", "'; --", 1],
    ]  # fmt: skip
    packed = [base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in odd]
    return [*packed, "=", "a", "é", "bm9", base64.urlsafe_b64encode(b"\xff\xfe").decode()]


def test_there_are_five_hundred_words() -> None:
    assert len(words()) >= 500


# ── The places ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Watched(ImmutableMultiDict[str, str]):
    """A request's arguments that remember what was asked for."""

    seen: set[str] = set()

    def __getitem__(self, key: str) -> str:
        self.seen.add(key)
        return super().__getitem__(key)

    def get(self, key: str, *args: Any, **values: Any) -> Any:
        self.seen.add(key)
        return super().get(key, *args, **values)

    def getlist(self, key: str, *args: Any, **values: Any) -> Any:
        self.seen.add(key)
        return super().getlist(key, *args, **values)


@pytest.fixture
def watched(app: Flask, monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    class Seen(Watched):
        seen: set[str] = set()

    monkeypatch.setattr(app.request_class, "parameter_storage_class", Seen)
    return Seen


@pytest.fixture
def faults() -> Iterator[list[str]]:
    """Every error that the database answered with."""
    found: list[str] = []

    def note(context: Any) -> None:
        found.append(f"{type(context.original_exception).__name__}: {context.original_exception}"[:200])

    event.listen(database.engine, "handle_error", note)
    yield found
    event.remove(database.engine, "handle_error", note)


def lists(app: Flask) -> list[tuple[str, str]]:
    """Every address that is opened with GET and names no single thing, with the kind of its policy."""
    found = []
    for rule in app.url_map.iter_rules():
        policy = policy_of(app.view_functions[rule.endpoint])
        if "GET" in (rule.methods or ()) and not rule.arguments and policy is not None:
            found.append((rule.rule, policy.kind))
    return sorted(found)


@pytest.fixture
def readers(app: Flask, db: Any, staff_client: Callable[..., FlaskClient]) -> dict[str, Callable[..., Any]]:
    """For each kind of policy, how somebody who may look sends a request."""
    owner = staff_client(Role.OWNER)
    services.find_or_make([(Channel.SHOP, "hostile")], "王伟")
    scopes = [
        rule.scope for rule in map(policy_of, app.view_functions.values()) if rule and getattr(rule, "scope", None)
    ]
    _row, token = api_keys.create("hostile", sorted({*scopes}) or ["members:read"])
    db.session.commit()
    program = app.test_client()
    return {
        "staff": owner.get,
        "signed_in": owner.get,
        "public": app.test_client().get,
        "api": lambda path, **said: program.get(path, headers={"Authorization": f"Bearer {token}"}, **said),
    }


def keys_of(watched: type[Watched], get: Callable[..., Any], path: str) -> list[str]:
    """What an address reads from its query, found by opening it until nothing new is asked for."""
    watched.seen.clear()
    said: dict[str, str] = {}
    while True:
        get(path, query_string=said)
        if watched.seen <= said.keys():
            return sorted(said)
        said |= dict.fromkeys(watched.seen - said.keys(), "1")


def test_check_d2_words_stay_words_in_every_list(
    app: Flask,
    db: Any,
    watched: type[Watched],
    readers: dict[str, Callable[..., Any]],
    faults: list[str],
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> None:
    every = request.config.getoption("--long")
    hostile, odd_cursors = itertools.cycle(words()), itertools.cycle(cursors())
    asked, places, wrong = 0, 0, []
    caplog.set_level(logging.WARNING)
    for path, kind in lists(app):
        get = readers.get(kind)
        if get is None:
            continue
        for key in keys_of(watched, get, path):
            places += 1
            if key == "cursor":
                tried = cursors() if every else [next(odd_cursors) for _ in range(8)]
            else:
                tried = words() if every else [*ALWAYS, *(next(hostile) for _ in range(6))]
            for word in tried:
                answer = get(path, query_string={key: word})
                asked += 1
                if answer.status_code >= 500 or "cannot be stored" in caplog.text:
                    wrong.append(f"{path}?{key}={word!r:.80} → {answer.status_code}")
                    caplog.clear()
    assert not wrong, "\n".join([*wrong, *faults])
    assert faults == []
    assert places > 20
    assert asked >= 500


# ── The list of members, word by word ───────────────────────────────────────────────────────────────────────────────

NAMES = (
    "王伟",
    "100%",
    "a_b",
    "a\\b",
    "O'Brien",
    '"quoted"',
    "{王}",
    "(a+)+$",
    "$.*",
    "--",
    "1/0",
    "null",
    "[a-z]",
    "é",
)


@pytest.fixture
def people(db: Any) -> list[Any]:
    found = []
    for n, name in enumerate(NAMES):
        member, _made = services.find_or_make([(Channel.SHOP, f"hostile-{n}")], name, source="shop")
        member.source = "shop"
        found.append(member)
    services.tag([found[0].id], "送礼%")
    db.session.flush()
    return found


def plain(text: str) -> str:
    # PostgreSQL makes one small letter of one capital; Python makes two of this one.
    return text.replace("İ", "i").lower().replace(" ", "")


def literally(members: list[Any], q: str) -> set[str]:
    """The names that hold the words, as plain Python finds them."""
    said = queries.plain_words(q)
    digits = [c for c in said if c.isdigit()]
    if not plain(said) or (len(digits) >= queries.TAIL and not any(c.isalpha() for c in said)):
        return set()
    return {m.name for m in members if plain(said) in plain(f"{m.name}|{m.nickname}")}


def found_by(query: dict[str, str]) -> tuple[bool, set[str]]:
    wanted = filter_from(MultiDict(query))
    page, _count = listing.page_of(wanted, query.get("sort", ""), query.get("cursor"))
    assert page is not None
    return wanted == filter_from(MultiDict()), {member.name for member in page.rows}


def test_check_d2_a_search_finds_the_words_and_nothing_else(people: list[Any], faults: list[str]) -> None:
    tried = [*words(), *NAMES]
    for word in tried:
        unfiltered, found = found_by({"q": word})
        said = filter_from(MultiDict({"q": word})).q
        assert (word, found) == (word, set(NAMES) if unfiltered else literally(people, said))
    assert len(tried) >= 500
    assert faults == []


@pytest.mark.parametrize("key", ["tag", "source"])
def test_check_d2_a_filter_compares_whole_words(people: list[Any], faults: list[str], key: str) -> None:
    for word in words():
        unfiltered, found = found_by({key: word})
        assert (word, found) == (word, set(NAMES) if unfiltered else set())
    assert found_by({"tag": "送礼%"})[1] == {"王伟"}
    assert found_by({"tag": "送礼_"})[1] == set()
    assert faults == []


@pytest.mark.parametrize("key", ["sort", "cursor"])
def test_check_d2_orders_and_cursors_that_are_none_show_the_first_page(
    people: list[Any], faults: list[str], key: str
) -> None:
    for word in [*words(), *(cursors() if key == "cursor" else [])]:
        _unfiltered, found = found_by({key: word})
        assert found <= set(NAMES)
        if key == "sort":
            assert found == set(NAMES)
    assert faults == []


def test_check_d2_has_teeth(people: list[Any], faults: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the escaping off, words of LIKE are no longer literal, and the search finds what does not hold them."""
    monkeypatch.setattr(queries, "escaped", lambda words: words)
    monkeypatch.setattr(queries, "_PIECES", literal_column("ARRAY['a_b', 'a%', '%b', 'a', '%', 'b']"))
    assert found_by({"q": "a%b"})[1] != literally(people, "a%b")
