"""Signed links: only what was made for a purpose is read for it."""

from __future__ import annotations

import dataclasses
import string
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel import links

PARTS = st.lists(st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=12), max_size=4)


@pytest.fixture
def inside(app, clock):
    with app.app_context():
        yield clock


def refused(purpose, token):
    with pytest.raises(links.LinkInvalid):
        links.read(purpose, token)


@settings(max_examples=50)
@given(parts=PARTS)
def test_what_was_made_is_read(app, parts):
    with app.app_context():
        assert links.read("probe", links.make("probe", *parts)) == tuple(parts)


def test_numbers_come_back_as_text(inside):
    assert links.read("probe", links.make("probe", 7, "a-b_C")) == ("7", "a-b_C")


def test_every_change_of_a_single_character_is_refused(inside):
    token = links.make("probe", 41, "welcome", expires_at=inside.now() + timedelta(days=1))
    for place in range(len(token)):
        for letter in string.ascii_letters + string.digits + "-_.=%/ ":
            if letter != token[place]:
                refused("probe", token[:place] + letter + token[place + 1 :])


def test_leaving_out_and_putting_in_is_refused(inside):
    token = links.make("probe", 41)
    for place in range(len(token)):
        refused("probe", token[:place])
        refused("probe", token[:place] + token[place + 1 :])
        for letter in "0A.=-":
            refused("probe", token[:place] + letter + token[place:])


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c",
        "....",
        "é.0.x",
        "\x00.0.x",
        "x" * 5_000,
        "pO-m.zzzzzzzzzzzzzzzzzzzz.1.x",
        "a.-1.1.x",
    ],
)
def test_nonsense_is_refused(inside, token):
    refused("probe", token)


@pytest.mark.parametrize("other", ["prob", "probe ", "probe2", "", "PROBE"])
def test_purposes_are_not_interchangeable(inside, other):
    refused(other, links.make("probe", 41))


def test_parts_cannot_be_moved_over_their_borders(inside):
    assert links.make("probe", "a", "b") != links.make("probe", "ab")
    token = links.make("probe", "1", "23")
    refused("probe", token.replace("1.23", "12.3"))


@pytest.mark.parametrize("part", ["", "a.b", "a b", "é", "x" * 65, "a/b"])
def test_parts_are_short_and_plain(inside, part):
    with pytest.raises(ValueError, match="short and plain"):
        links.make("probe", part)


def test_a_link_works_until_its_very_end(inside):
    token = links.make("probe", 41, expires_at=inside.now() + timedelta(seconds=10))
    inside.move(seconds=9)
    assert links.read("probe", token) == ("41",)
    inside.move(seconds=1)
    with pytest.raises(links.LinkExpired):
        links.read("probe", token)


def test_a_tampered_link_that_has_also_expired_is_called_tampered(inside):
    token = links.make("probe", 41, expires_at=inside.now() + timedelta(seconds=10))
    inside.move(days=1)
    refused("probe", token[:-1] + ("A" if token[-1] != "A" else "B"))


def test_a_link_without_an_end_stays(inside):
    token = links.make("probe", 41)
    inside.move(days=36_500)
    assert links.read("probe", token) == ("41",)


@pytest.fixture
def rekeyed(app, inside):
    """`rekeyed(secret, *former)` goes on with another secret key."""
    before = app.extensions["settings"]

    def change(secret, *former):
        app.extensions["settings"] = dataclasses.replace(before, secret_key=secret, previous_secret_keys=former)

    yield change
    app.extensions["settings"] = before


def test_another_key_reads_nothing(inside, rekeyed):
    token = links.make("probe", 41)
    rekeyed(b"x" * 32)
    refused("probe", token)


def test_former_keys_go_on_reading_and_the_new_one_writes(app, inside, rekeyed):
    old = app.extensions["settings"].secret_key
    token = links.make("probe", 41)
    rekeyed(b"x" * 32, b"y" * 32, old)
    assert links.read("probe", token) == ("41",)
    fresh = links.make("probe", 41)
    assert fresh.split(".")[0] != token.split(".")[0]
    rekeyed(b"x" * 32)
    assert links.read("probe", fresh) == ("41",)
    refused("probe", token)


def test_the_address_follows_the_configured_site_alone(app, clock):
    with app.test_request_context(headers={"Host": "elsewhere.example", "X-Forwarded-Host": "elsewhere.example"}):
        assert links.absolute("/g/x") == "http://localhost/g/x"


def test_a_qr_code_is_drawn_without_style_or_script():
    svg = links.qr_svg("http://localhost/g/x")
    assert svg.startswith("<svg")
    assert "style=" not in svg
    assert "<script" not in svg
    assert links.qr_png("http://localhost/g/x").startswith(b"\x89PNG\r\n")
