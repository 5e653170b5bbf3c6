"""The pictures of packs: kept as they came, drawn by a worker once the questions are taken in, one at a time, each once."""

from __future__ import annotations

import base64
import io
import json
import re

import pytest
from PIL import Image
from sqlalchemy import delete, select

from community.answers import jobs, queries, services
from community.answers.models import Intent, PackImport, PackPicture, PictureState
from community.answers.rules import BotSettings, Routing
from community.answers.services import packs, pictures
from community.conversations import services as talks
from community.conversations.models import Message, Sender
from kernel import files
from kernel.db import transaction
from tests.community.tickets.conftest import make_member
from tests.conftest import english

__all__ = ["make_member"]


def drawn(colour="green", cut=None):
    """A picture as a camera makes it; `cut` leaves only so many bytes of it."""
    made = io.BytesIO()
    Image.effect_noise((400, 300), 90).convert("RGB").save(made, "PNG") if cut else Image.new(
        "RGB", (40, 30), colour
    ).save(made, "PNG")
    return made.getvalue()[:cut]


def pack(*contents):
    """A JSON pack of a question for each picture (None for none), with keys k0, k1, …"""
    entries = [
        {"key": f"k{n}", "question": f"第{n}个问题？", "answer": f"答{n}", "phrasings": [f"问问{'甲乙丙丁戊己'[n]}号"]}
        | ({"picture": packs.PICTURE + base64.b64encode(content).decode()} if content else {})
        for n, content in enumerate(contents)
    ]
    return json.dumps({"name": "图", "intents": entries}).encode()


def taken_in(*contents):
    """A pack that was looked at and taken in, nothing of it drawn."""
    with transaction():
        found = services.preview("x.json", pack(*contents), None)
        services.take_in(found.id)
    return found.id


def states(db, import_id):
    rows = db.session.execute(
        select(PackPicture.state, PackPicture.reason).where(PackPicture.import_id == import_id).order_by(PackPicture.id)
    )
    return [(state.value, reason) for state, reason in rows]


def shown(key):
    found = queries.find_by_key(key)
    return found.picture


def stored(app):
    """The files of pictures that anybody could ask for."""
    return {path.name for path in files._folder().glob("??/*.webp")}


def kept(key):
    return files.read_raw(key, 0, 1) is not None


def test_a_pack_is_taken_in_at_once_and_its_pictures_follow(app, db, known, monkeypatch):
    with transaction():
        own = files.save_picture(io.BytesIO(drawn()))
        services.edit(known[9].id, services.Draft("能开发票吗？", "能开。", picture=own))
    key, content = known[9].key, services.exported("json")
    assert [one["key"] for one in json.loads(content)["intents"] if one.get("picture")] == [key]
    with transaction():
        services.delete(db.session.scalars(select(Intent.id)).all())

    def never(*_arguments, **_named):
        raise AssertionError("a picture was drawn while somebody waits")

    with monkeypatch.context() as held:
        held.setattr(files, "save_picture", never)
        with transaction():
            looked = services.preview("x.json", content, None)
        # Looked at and not yet taken in, what came is not swept away, and no question needs it.
        raw = looked.raw
        assert queries.raw_in_use([raw, "other"]) == {raw}
        assert kept(raw)
        assert pictures.left_undrawn() == []
        with transaction():
            services.take_in(looked.id)
    assert (shown(key), queries.drawings([looked.id])) == (None, {looked.id: queries.Drawing(1, 0, 0)})
    assert pictures.left_undrawn() == [looked.id]
    jobs.draw_pictures(import_id=looked.id)
    db.session.expire_all()
    new = shown(key)
    assert new not in (None, own)
    assert Image.open(io.BytesIO(files.read_picture(new, 1 << 20))).size == (40, 30)
    assert queries.find_by_key(known[7].key).picture is None
    # What came is needed no more.
    assert (db.session.get(PackImport, looked.id).raw, kept(raw), pictures.left_undrawn()) == (None, False, [])
    # Tables carry none, and more in all than a pack may carry stays behind.
    assert b"base64" not in services.exported("csv")
    monkeypatch.setattr(packs, "MOST_PICTURES", 10)
    assert b"base64" not in services.exported("json")


def test_what_is_no_picture_or_too_large_keeps_its_line_out(db, monkeypatch):
    monkeypatch.setattr(packs, "LARGEST_PICTURE", 400)
    head = packs.PICTURE
    for odd, reason in (
        (head + base64.b64encode(b"MZ no picture").decode(), "no_picture"),
        (head + "%%%", "no_picture"),
        ("https://shop.example/a.png", "no_picture"),
        (7, "no_picture"),
        (head + "A" * 4_000, "picture_too_large"),
        (head + base64.b64encode(b"\0" * 401).decode(), "picture_too_large"),
    ):
        one = {"question": "新的吗？", "answer": "新的。", "picture": odd}
        looked = services.preview("x.json", json.dumps({"intents": [one]}).encode(), None)
        assert (looked.rows, looked.errors, looked.raw) == ([], [[1, "picture", reason]], None)


def test_one_that_cannot_be_drawn_is_named_and_the_rest_goes_on(app, db):
    broken = drawn(cut=2_000)
    import_id = taken_in(drawn("red"), broken, None, drawn("blue"), drawn("white"), drawn("black"))
    with transaction():
        # Meanwhile a question is deleted, the shop chooses its own picture for another, and one has killed its workers.
        services.delete([queries.find_by_key("k3").id])
        own = files.save_picture(io.BytesIO(drawn("pink")))
        queries.find_by_key("k4").picture = own
        row = db.session.scalars(select(PackPicture).order_by(PackPicture.id.desc()).limit(1)).one()
        row.tries = pictures.TRIES
    before = stored(app)
    jobs.draw_pictures(import_id=import_id)
    jobs.draw_pictures(import_id=import_id)
    db.session.expire_all()
    assert states(db, import_id) == [("drawn", ""), ("failed", "no_picture"), ("own", ""), ("failed", "gave_up")]
    assert [(words, reason) for _id, words, reason in queries.not_drawn(import_id)] == [
        ("第1个问题？", "no_picture"),
        ("第5个问题？", "gave_up"),
    ]
    assert (shown("k1"), shown("k2"), shown("k4"), shown("k5")) == (None, None, own, None)
    # Each was drawn once, and what the shop's own picture was quicker than is gone again.
    assert stored(app) - before == {shown("k0")}
    assert queries.drawings([import_id]) == {import_id: queries.Drawing(4, 4, 2)}


def test_two_workers_at_one_picture_and_a_pack_that_is_gone_do_no_harm(app, db, clock):
    import_id = taken_in(drawn("red"), drawn("blue"))
    before = stored(app)
    with transaction():
        assert pictures.begin(import_id)
        assert not pictures.begin(import_id)
        first = pictures.take_next(import_id)
    slow = pictures.draw(first)
    # Its worker seems to be gone, and is not.
    clock.move(seconds=61)
    assert pictures.left_undrawn() == [import_id]
    jobs.draw_pictures(import_id=import_id)
    with transaction():
        pictures.record(first, slow)
    db.session.expire_all()
    assert states(db, import_id) == [("drawn", "")] * 2
    # Both drew the same file.
    assert slow.key == shown("k0")
    assert stored(app) - before == {shown("k0"), shown("k1")}
    with transaction():
        queries.find_by_key("k0").picture = None
    with transaction():
        pictures.record(first, slow)
    assert stored(app) - before == {shown("k1")}
    assert pictures.draw(first).reason == "gone"
    # A pack that is deleted in the middle.
    with transaction():
        db.session.execute(delete(Intent))
    other = taken_in(drawn("red"), drawn("blue"))
    with transaction():
        pictures.begin(other)
        lost = pictures.take_next(other)
    result = pictures.draw(lost)
    with transaction():
        db.session.execute(delete(PackImport).where(PackImport.id == other))
    with transaction():
        pictures.record(lost, result)
    assert result.key not in stored(app)
    assert queries.find_by_key("k0").picture is None
    jobs.draw_pictures(import_id=other)
    # With every question of a pack gone nothing waits, and what came with it goes.
    with transaction():
        db.session.execute(delete(Intent))
    again = taken_in(drawn("red"), None)
    raw = db.session.get(PackImport, again).raw
    with transaction():
        db.session.execute(delete(Intent))
    assert pictures.left_undrawn() == [again]
    jobs.draw_pictures(import_id=again)
    assert (pictures.left_undrawn(), kept(raw)) == ([], False)


def test_what_a_dead_worker_drew_is_drawn_over_or_goes(app, db):
    import_id = taken_in(drawn("red"), drawn("blue"), drawn("white"), drawn("black"))
    before = stored(app)
    left = []
    for _worker in range(4):
        with transaction():
            taken = pictures.take_next(import_id)
        assert pictures.draw(taken).key == taken.key
        left.append(taken.key)
    assert stored(app) - before == set(left)
    # One question is deleted, one picture turns out to be none, and one kills whoever draws it.
    with transaction():
        services.delete([queries.find_by_key("k0").id])
    assert stored(app) - before == set(left[1:])
    with transaction():
        again = pictures.take_next(import_id)
        assert again.key == left[1]
        pictures.record(again, pictures.Drawn(reason="gone"))
    assert stored(app) - before == set(left[2:])
    with transaction():
        row = db.session.scalar(select(PackPicture).where(PackPicture.picture == left[2]))
        row.tries = pictures.TRIES
        pictures.give_back(import_id)
    jobs.draw_pictures(import_id=import_id)
    db.session.expire_all()
    assert states(db, import_id) == [("failed", "gone"), ("failed", "gave_up"), ("drawn", "")]
    assert stored(app) - before == {shown("k3")} == {left[3]}


def test_neither_members_nor_the_bot_show_what_is_not_drawn(app, db, make_member, run_jobs, client):
    services.save_settings(BotSettings(routing=Routing.BOT_FIRST))
    import_id = taken_in(drawn("red"))
    intent = queries.find_by_key("k0")
    member = make_member()

    def said():
        talks.ask(member.id, "问问甲号")
        return db.session.scalars(
            select(Message).where(Message.sender == Sender.BOT).order_by(Message.id.desc())
        ).first()

    assert (said().body, said().shown) == ("答0", None)
    assert "<img" not in client.get(f"/faq/{intent.public_id}").text.partition("<main")[2]
    raw = db.session.get(PackImport, import_id).raw
    assert client.get(f"/pictures/{raw}").status_code == 404
    jobs.resume_pictures()
    assert "community.answers.jobs.draw_pictures" in run_jobs()
    assert said().shown == shown("k0")
    assert shown("k0") in client.get(f"/faq/{intent.public_id}").text


def test_a_slice_of_time_ends_and_the_next_one_goes_on(db, monkeypatch, run_jobs):
    monkeypatch.setattr(jobs, "SLICE_SECONDS", -1)
    import_id = taken_in(drawn("red"), drawn("blue"))
    run_jobs()
    jobs.draw_pictures(import_id=import_id)
    assert [state for state, _reason in states(db, import_id)] == ["drawn", "waiting"]
    assert run_jobs() == ["community.answers.jobs.draw_pictures"] * 2
    assert [state for state, _reason in states(db, import_id)] == ["drawn"] * 2


def key_of(page, address=""):
    """The key that a form of a page carries, the one that is sent to an address where there are several."""
    forms = [form for form in page.split("<form")[1:] if address in form and 'name="once"' in form]
    return re.search(r'name="once" value="([^"]+)"', forms[0])[1]


@pytest.fixture
def agent(staff_client):
    return english(staff_client("manager"))


def test_the_page_of_a_pack_shows_how_far_its_pictures_are(app, db, agent, run_jobs, staff_client):
    content = pack(drawn("red"), drawn(cut=2_000))
    key = key_of(agent.get("/console/answers/packs").text)

    def sent():
        return agent.post("/console/answers/packs", data={"once": key, "file": (io.BytesIO(content), "x.json")})

    address = sent().location
    # The same form twice is one file that was looked at, and the same pack is taken in once.
    assert sent().location == "/console/answers/packs#lately"
    assert "Nothing was done a second time" in agent.get("/console/answers/packs").text
    assert len(queries.lately_read()) == 1
    page = agent.get(address).text
    assert page.count("with a picture") == 2
    take = {"once": key_of(page, "/take")}
    assert agent.post(f"{address}/take", data=take).location == address
    assert agent.post(f"{address}/take", data=take).location == address
    assert agent.post(f"{address}/take").status_code == 409
    page = agent.get(address).text
    assert "Drawing the pictures" in page
    assert "0 / 2" in page
    progress = agent.get(f"{address}/progress")
    assert ("HX-Refresh" in progress.headers, "0 / 2" in progress.text) == (False, True)
    assert "drawing the pictures" in agent.get("/console/answers/packs").text
    red, broken = queries.find_by_key("k0"), queries.find_by_key("k1")
    editor = agent.get(f"/console/answers/{red.id}").text
    assert "is being drawn" in editor
    run_jobs()
    assert agent.get(f"{address}/progress").headers["HX-Refresh"] == "true"
    page = agent.get(address).text
    assert "One picture could not be drawn" in page
    assert f'href="/console/answers/{broken.id}"' in page
    assert "pictures missing" in agent.get("/console/answers/packs").text
    assert "could not be drawn: is no picture" in agent.get(f"/console/answers/{broken.id}").text
    # Whoever opened the question before its picture was drawn is not overtaken by it, and takes it away from nobody.
    drawn_key = shown("k0")
    assert drawn_key
    marks = dict(re.findall(r'name="(edition|awaited|picture)"[^>]*value="([^"]*)"', editor))
    typed = {"question": "新的问题？", "answer": "新的", "phrasings": "问问甲号", "enabled": "y"}
    assert marks["awaited"] == "1"
    assert agent.post(f"/console/answers/{red.id}", data=typed | marks).status_code == 302
    db.session.expire_all()
    assert (red.question, red.picture) == ("新的问题？", drawn_key)
    # Opened with it, and said to be without it, it goes.
    again = dict(
        re.findall(
            r'name="(edition|awaited|picture)"[^>]*value="([^"]*)"', agent.get(f"/console/answers/{red.id}").text
        )
    )
    assert agent.post(f"/console/answers/{red.id}", data=typed | again | {"drop_picture": "y"}).status_code == 302
    db.session.expire_all()
    assert red.picture is None
    assert staff_client("viewer").get(f"{address}/progress").status_code == 403
    assert agent.get("/console/answers/packs/0/progress").status_code == 404


def test_a_new_question_whose_form_is_sent_twice_is_written_once(db, agent):
    typed = {"question": "能送礼盒吗？", "answer": "能。", "enabled": "y"}
    typed["once"] = key_of(agent.get("/console/answers/new").text)
    assert agent.post("/console/answers/new", data=typed | {"answer": ""}).status_code == 422
    assert agent.post("/console/answers/new", data=typed).location != "/console/answers"
    assert agent.post("/console/answers/new", data=typed).location == "/console/answers"
    assert len(db.session.scalars(select(Intent)).all()) == 1
    # The empty list offers the forty questions with a key, too.
    db.session.execute(delete(Intent))
    key = key_of(agent.get("/console/answers").text, "/answers/packs")
    addresses = [agent.post("/console/answers/packs", data={"shipped": "1", "once": key}).location for _time in "12"]
    assert addresses[1] == "/console/answers/packs#lately"
    assert len(queries.lately_read()) == 1
    assert PictureState.WAITING not in db.session.scalars(select(PackPicture.state)).all()
