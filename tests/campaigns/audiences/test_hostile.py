"""D2: whatever stands in a rule is a value. No payload finds anybody whom its letters do not name, and none breaks a statement."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, select, text

from campaigns.audiences import clauses, labels, queries, rules, services
from campaigns.audiences.models import Audience
from kernel.i18n import forced_locale
from membership.members.models import Member

ENDS = ("'", '"', "')", "'))", "\\'", "';", "%'", "$$", "{", "%(x)s", "%s", ":x", "\\", "`")
ACTS = (
    " OR 1=1 --",
    " OR '1'='1",
    "; DROP TABLE member; --",
    " UNION SELECT id FROM staff --",
    "; SELECT pg_sleep(9) --",
    "; COPY member TO PROGRAM 'id' --",
    " AND (SELECT 1 FROM pg_catalog.pg_user)",
    ")/**/OR/**/(1=1",
    "||chr(0x41)",
    "; SET statement_timeout = 0 --",
    "%00 OR true",
    "_%_%",
    ".*",
    "^$",
    "(?i)",
    "[[:alpha:]]",
    "$.a ? (@ == 1)",
    "$1",
    "{{7*7}}",
    "${7*7}",
    "{0.__class__}",
    "\r\n; DELETE FROM consent",
    "\u2019 OR 1=1",
    "\uff07 OR 1=1",
    "🍵' OR 1=1",
    "𠮷\\",
)
PAYLOADS = sorted(
    {start + act for start, act in product(ENDS, ACTS)}
    | {act + end for act, end in product(ACTS, ENDS)}
    | {*ENDS, *ACTS}
)


def asked(words: str) -> list[Any]:
    """Every rule that takes a text, with this one."""
    return [
        rules.BoughtRule(words=words),
        rules.CategoryRule(category=words, within_days=30),
        rules.OrderedOnRule(source=words),
        rules.OrdersRule(from_count=1, source=words),
        rules.SpendRule(from_fen=1, source=words),
        rules.CityRule(names=[words]),
        rules.CameFromRule(sources=[words]),
    ]


def test_check_d2_no_payload_in_a_rule_is_more_than_its_letters(db: Any, make_member: Any, make_order: Any) -> None:
    assert len(PAYLOADS) >= 500
    lime = make_member("Lime", city="杭州", source="shop")
    make_order(lime, sku="T-1", title="Green Tea", amount=100)
    seen: list[str] = []
    listen = lambda _c, _cursor, statement, *_rest: seen.append(statement)  # noqa: E731
    event.listen(db.engine, "before_cursor_execute", listen)
    try:
        for words in PAYLOADS:
            for rule in asked(words):
                definition = rules.Definition(rules=(rules.Nested(match="any", rules=(rule,)),))
                assert list(db.session.scalars(queries.member_ids(definition))) == [], words
    finally:
        event.remove(db.engine, "before_cursor_execute", listen)
    assert len(seen) >= 500
    # However many payloads, there is one text a rule: they only ever were parameters.
    assert len({statement for statement in seen if "FROM member" in statement}) == len(asked("x"))


@pytest.mark.parametrize("words", ["O'Neill %_\\ tea", "50% _off\\", '"x"', "龙井'; --"])
def test_check_d2_the_same_letters_are_found_where_they_stand(
    db: Any, make_member: Any, make_order: Any, words: str
) -> None:
    lime, plum = make_member("Lime", city=words, source=words), make_member("Plum")
    make_order(lime, sku=words, title=words, amount=100, source=words)
    db.session.execute(text("UPDATE product SET category = sku"))
    for rule in asked(words):
        ids = list(db.session.scalars(queries.member_ids(rules.Definition(rules=(rule,)))))
        assert ids == [lime.id], rule.kind
    assert plum.id


def test_check_d2_payloads_come_through_the_pages_as_letters(db: Any, owner_client: Any, make_member: Any) -> None:
    make_member("Lime")
    for words in PAYLOADS[::23]:
        typed = {"rules-0-kind": "bought", "rules-0-ever": "yes", "rules-0-words": words, "rules-0-within_days": "9"}
        assert owner_client.post("/console/audiences/count", data=typed).status_code == 200
        assert (
            owner_client.get("/console/audiences", query_string={"q": words, "sort": words, "kind": words}).status_code
            == 200
        )
        hostile = {f"rules-{words}-kind": words, "rules-0-kind": words, "build": words, "rules-add": words}
        assert owner_client.post("/console/audiences/build", data=hostile).status_code == 200
        assert owner_client.get("/console/audiences/new", query_string={"cell": words}).status_code == 200
    assert db.session.scalar(select(Member.nickname)) == "Lime"


_json: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(PAYLOADS),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["rules", "kind", "match", "ranks", "words", "negated", "audience_id", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(_json)
def test_whatever_is_stored_is_a_definition_or_refused(stored: Any) -> None:
    try:
        definition = rules.parse(stored)
    except rules.AudienceInvalid:
        return
    assert rules.parse(definition.dump()) == definition


def test_depth_without_end_is_refused_before_it_is_read() -> None:
    node: dict[str, Any] = {"kind": "tier", "ranks": [1]}
    for _level in range(50_000):
        node = {"kind": "of", "rules": [node]}
    with pytest.raises(rules.AudienceInvalid):
        rules.parse({"rules": [node]})
    # Taken apart from outside in, so that not the test itself falls over its depth.
    while "rules" in node:
        node = node["rules"].pop()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.text(min_size=1, max_size=40))
def test_any_text_is_said_in_words(db: Any, words: str) -> None:
    try:
        definition = rules.parse({"rules": [{"kind": "bought", "words": words, "ever": True, "within_days": None}]})
    except rules.AudienceInvalid:
        assert "\x00" in words
        return
    for locale in ("en", "zh_Hans"):
        with forced_locale(locale):
            assert words in labels.whole(definition)


# ── Audiences that are gone, circles, lists not yet there ───────────────────────────────────────────────────────────


def test_not_in_an_audience_that_is_gone_reaches_nobody_instead_of_everybody(db: Any, make_member: Any) -> None:
    make_member("Lime")
    definition = rules.Definition(rules=(rules.SavedRule(audience_id=77, inside=False),))
    with pytest.raises(rules.AudienceInvalid):
        queries.member_ids(definition)
    with forced_locale("en"):
        assert "gone" in labels.whole(definition)


def test_a_circle_made_behind_the_form_is_refused_when_it_is_asked(db: Any, make_member: Any) -> None:
    first = services.save("One", rules.Definition())
    second = services.save("Two", rules.Definition(rules=(rules.SavedRule(audience_id=first.id),)))
    first.definition = rules.Definition(rules=(rules.SavedRule(audience_id=second.id),)).dump()
    db.session.flush()
    with pytest.raises(clauses.InACircle):
        queries.member_ids(rules.parse(first.definition))
    assert queries.in_a_circle(rules.parse(first.definition), first.id)


def test_a_list_that_is_not_written_down_yet_is_nobody_to_write_to(db: Any, make_member: Any) -> None:
    audience = services.save("List", rules.Definition())
    services.freeze(audience)
    with pytest.raises(clauses.NotWrittenDownYet):
        queries.member_ids(rules.parse(audience.definition))
    assert db.session.scalar(select(Audience.refresh_asked_at)) is not None
