"""Members by REST: found and made by identity, masked unless revealed, changed field by field."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from kernel import api_keys
from kernel.audit import AuditEntry
from membership.members import queries, services
from membership.members.models import Channel, Contact, Member, MemberIdentity

PHONE = "+8612600001234"


def test_somebody_new_is_made_and_found_again_by_any_of_their_identities(db, program):
    call = program("members:write")
    body = {
        "identities": [{"channel": "phone", "id": "126 0000 1234"}, {"channel": "shop", "id": "B-1"}],
        "nickname": "青柠",
    }
    first = call("POST", "/members", json=body)
    assert (first.status_code, first.json["made"]) == (201, True)
    again = call("POST", "/members", json={"identities": [{"channel": "shop", "id": "B-1"}]})
    assert (again.status_code, again.json) == (200, {"id": first.json["id"], "made": False})
    member = db.session.get(Member, first.json["id"])
    assert (member.phone, member.nickname, member.source, member.enrolled_at) == (PHONE, "青柠", "api", None)


def test_who_agreed_at_the_counter_is_enrolled_at_once(db, program):
    body = {"identities": [{"channel": "phone", "id": PHONE}], "enrol": True}
    made = program("members:write")("POST", "/members", json=body)
    assert db.session.get(Member, made.json["id"]).enrolled_at is not None


@pytest.mark.parametrize(
    ("identities", "code"),
    [
        ([], "input_invalid"),
        ([{"channel": "phone", "id": "12"}], "phone_invalid"),
        ([{"channel": "email", "id": "no"}], "email_invalid"),
        ([{"channel": "shop", "id": "\u200b"}], "identity_empty"),
        ([{"channel": "pigeon", "id": "1"}], "input_invalid"),
        ([{"channel": "shop", "id": "B", "member_id": 1}], "input_invalid"),
    ],
)
def test_what_is_no_identity_is_refused(db, program, identities, code):
    answer = program("members:write")("POST", "/members", json={"identities": identities})
    assert (answer.status_code, answer.json["code"]) == (422, code)
    assert db.session.scalars(select(Member)).all() == []


def test_personal_fields_go_out_masked(db, program, make_person):
    number = make_person(PHONE, name="李青柠", address="杭州市西湖区样例路一号")
    shown = program("members:read")("GET", f"/members/{number}").json
    assert (shown["phone"], shown["name"], shown["address"], shown["masked"]) == (
        "126****1234",
        "李**",
        "杭州市西****",
        True,
    )
    text = str(shown)
    assert PHONE not in text
    assert "样例路" not in text
    assert "buyer-1" not in text


def test_revealing_needs_its_own_scope_and_is_noted(db, program, make_person):
    number = make_person(PHONE, name="李青柠")
    refused = program("members:read")("GET", f"/members/{number}?reveal=true")
    assert (refused.status_code, refused.json["code"]) == (403, "api_scope_missing")
    assert db.session.scalars(select(AuditEntry)).all() == []
    call = program("members:read", "members:reveal")
    assert call("GET", f"/members/{number}").json["masked"]
    assert call("GET", f"/members/{number}?reveal=true").json["phone"] == PHONE
    assert call("GET", "/members?reveal=true").json["items"][0]["name"] == "李青柠"
    seen = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "members.revealed")).all()
    assert [entry.after for entry in seen] == [{"members": [number]}] * 2
    assert seen[0].actor == "API: program 2"


def test_the_list_is_narrowed_and_paged(db, program, make_person):
    numbers = [make_person() for _ in range(5)]
    services.tag(numbers[:3], "regular")
    services.enrol(numbers[0], "shop")
    call = program("members:read")

    def found(query: str) -> list[int]:
        return [one["id"] for one in call("GET", f"/members?{query}").json["items"]]

    assert found("") == numbers[::-1]
    assert found("tag=regular") == numbers[:3][::-1]
    assert found("enrolled=true") == [numbers[0]]
    assert found("channel=shop&identity=buyer-2") == [numbers[1]]
    assert found("channel=shop&identity=nobody") == []
    assert found("spend_from=1") == []
    first = call("GET", "/members?limit=2").json
    second = call("GET", f"/members?limit=2&cursor={first['next_cursor']}").json
    assert [one["id"] for one in first["items"] + second["items"]] == numbers[::-1][:4]
    assert call("GET", "/members?channel=shop").json["errors"][0]["param"] == "identity"


def test_details_change_field_by_field(db, program, make_person):
    number = make_person(name="Li", city="Hangzhou")
    call = program("members:write")
    answer = call("PATCH", f"/members/{number}", json={"birthday": "1990-02-28", "customer_type": "rational"})
    assert (answer.status_code, answer.json["birthday"]) == (200, "****-02-28")
    member = db.session.get(Member, number)
    assert (member.name, member.city, str(member.birthday)) == ("Li", "Hangzhou", "1990-02-28")
    assert call("PATCH", f"/members/{number}", json={"birthday": None, "city": ""}).status_code == 200
    assert (member.birthday, member.city) == (None, "")
    assert call("PATCH", f"/members/{number}", json={"city": None}).status_code == 422


@pytest.mark.parametrize(
    "field", ["id", "rank", "spend", "orders_count", "stage", "phone", "enrolled_at", "merged_into_id", "value_index"]
)
def test_check_a4_no_other_column_can_be_written(db, program, make_person, field):
    number = make_person()
    before = {c.name: getattr(db.session.get(Member, number), c.name) for c in Member.__table__.columns}
    assert program("members:write")("PATCH", f"/members/{number}", json={field: 1}).status_code == 422
    assert before == {c.name: getattr(db.session.get(Member, number), c.name) for c in Member.__table__.columns}


def test_tags_are_put_on_and_taken_off(db, program, make_person):
    number = make_person()
    write = program("members:write")
    assert write("POST", f"/members/{number}/tags", json={"tag": "regular"}).json == {"tags": ["regular"]}
    assert program("members:read")("GET", f"/members/{number}/tags").json == {"tags": ["regular"]}
    assert write("POST", f"/members/{number}/tags/remove", json={"tag": "regular"}).json == {"tags": []}


def test_the_latest_word_of_consent_rules(db, program, make_person):
    number = make_person(PHONE)
    call = program("members:write")
    said = {"channel": "sms", "granted": True, "source": "counter form"}
    assert call("POST", f"/members/{number}/consents", json=said).json["items"][0]["granted"]
    assert queries.has_consent(number, Contact.SMS)
    call("POST", f"/members/{number}/consents", json={**said, "granted": False})
    assert not queries.has_consent(number, Contact.SMS)
    [item] = program("members:read")("GET", f"/members/{number}/consents").json["items"]
    assert (item["granted"], item["source"]) == (False, "counter form")


def test_an_identity_belongs_to_one_person(db, program, make_person):
    first, second = make_person(), make_person()
    call = program("members:write")
    assert call("POST", f"/members/{first}/identities", json={"channel": "phone", "id": PHONE}).status_code == 201
    assert (
        call("POST", f"/members/{first}/identities", json={"channel": "phone", "id": "12600001234"}).status_code == 200
    )
    assert db.session.get(Member, first).phone == PHONE
    taken = call("POST", f"/members/{second}/identities", json={"channel": "phone", "id": PHONE})
    assert (taken.status_code, taken.json["code"]) == (409, "identity_taken")
    assert PHONE not in taken.text


def test_an_opt_out_follows_its_phone_to_whoever_has_it_next(db, program, make_person):
    first, second = make_person(PHONE), make_person()
    services.withdraw_consent(first, Contact.SMS)
    db.session.execute(MemberIdentity.__table__.delete().where(MemberIdentity.external_id == PHONE))
    db.session.get(Member, first).phone = None
    services.give_consent(second, Contact.SMS)
    call = program("members:write")
    assert call("POST", f"/members/{second}/identities", json={"channel": "phone", "id": PHONE}).status_code == 201
    assert not queries.has_consent(second, Contact.SMS)


def test_an_absorbed_record_answers_as_the_one_person(db, program, make_person):
    survivor, absorbed = make_person(), make_person()
    db.session.get(Member, absorbed).merged_into_id = survivor
    db.session.commit()
    shown = program("members:read")("GET", f"/members/{absorbed}").json
    assert (shown["id"], shown["merged_from"]) == (survivor, absorbed)
    assert program("members:read")("GET", f"/members/{survivor}").json["merged_from"] is None


def test_an_erased_person_cannot_be_written_to(db, program, make_person, clock):
    number = make_person()
    db.session.get(Member, number).erased_at = clock.now()
    db.session.commit()
    for path, body in (("tags", {"tag": "x"}), ("identities", {"channel": "shop", "id": "B-9"})):
        answer = program("members:write")("POST", f"/members/{number}/{path}", json=body)
        assert (answer.status_code, answer.json["code"]) == (409, "member_gone")


def test_reading_does_not_write_and_writing_does_not_read(db, program, make_person):
    number = make_person()
    assert program("members:write")("GET", f"/members/{number}").status_code == 403
    assert program("members:read")("PATCH", f"/members/{number}", json={}).status_code == 403
    assert program("products:read")("GET", "/members").status_code == 403


def test_check_a8_a_key_is_hashed_never_taken_from_an_address_and_dead_when_revoked(app, db, make_person):
    row, token = api_keys.create("till", ["members:read"])
    db.session.commit()
    assert token not in str({c.name: getattr(row, c.name) for c in row.__table__.columns})
    client = app.test_client()
    for place in (f"?api_key={token}", f"?access_token={token}", f"?Authorization=Bearer {token}"):
        assert client.get(f"/api/v1/members{place}").status_code == 401
    assert client.get("/api/v1/members", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    api_keys.revoke(row.id)
    db.session.commit()
    assert client.get("/api/v1/members", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_a_repeated_call_makes_one_person(db, program):
    call, body = program("members:write"), {"identities": [{"channel": "shop", "id": "B-1"}]}
    first, again = (call("POST", "/members", json=body, key="k1") for _ in range(2))
    assert (first.status_code, again.status_code, first.json) == (201, 201, again.json)
    assert again.headers["Idempotent-Replay"] == "true"
    assert db.session.scalars(select(MemberIdentity.channel)).all() == [Channel.SHOP]


def in_chinese(client, token, path, body):
    headers = {"Authorization": f"Bearer {token}", "Accept-Language": "zh-CN"}
    return client.post(f"/api/v1{path}", json=body, headers=headers)


def test_mistakes_are_told_in_the_callers_language(app, db):
    _row, token = api_keys.create("zh", ["members:write"])
    body = {"identities": [{"channel": "pigeon", "id": 7, "x": 1}], "nickname": "x" * 101, "enrol": "yes"}
    answer = in_chinese(app.test_client(), token, "/members", body)
    told = {one["param"]: one["detail"] for one in answer.json["errors"]}
    assert told["identities.0.id"] == "这里要填文本。"
    assert told["identities.0.channel"].startswith("这里只能是以下之一：taobao、tmall")
    assert told["identities.0.x"] == "没有这个字段。"
    assert told["nickname"] == "最多 100 个字符。"
    assert told["enrol"] == "这里要填 true 或 false。"
    answer = in_chinese(app.test_client(), token, "/members", {})
    assert ("identities", "缺少这一项。") in [(one["param"], one["detail"]) for one in answer.json["errors"]]


@pytest.mark.parametrize(
    ("identity", "code"), [(("phone", "138****0000"), "phone_invalid"), (("email", "lime"), "email_invalid")]
)
def test_identity_that_cannot_be_read_is_named(program, db, identity, code):
    call = program("members:write")
    identities = [{"channel": "shop", "id": "7"}, {"channel": identity[0], "id": identity[1]}]
    answer = call("POST", "/members", json={"identities": identities, "source": "counter"})
    assert (answer.status_code, answer.json["code"]) == (422, code)
    assert [one["param"] for one in answer.json["errors"]] == ["identities.1.id"]
