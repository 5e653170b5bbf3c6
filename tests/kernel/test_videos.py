"""Short videos: looked into, made silent about where they were filmed, stored as they are, played in pieces, and swept away.

Check D7 for what is uploaded: names that climb, scripts dressed as pictures, bombs, wrong beginnings; nothing is written
outside the store, and what is served cannot run.
"""

from __future__ import annotations

import io
import os
import struct
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kernel import containers, files
from kernel.db import commit, on_rollback, rollback
from kernel.files import (
    FileRefused,
    VideoCodeRefused,
    VideoRefused,
    VideoTells,
    VideoTooLarge,
    save_picture,
    save_video,
)
from tests.films import box, element, mp4, place, subtitled, tags, track, webm

FILM = bytes(range(256)) * 40
PLACE = b"+31.2304"


@pytest.fixture
def inside(app):
    with app.test_request_context():
        yield Path(app.extensions["settings"].files_dir)


def everything(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


def content_of(folder, video):
    return (folder / "videos" / video.key[:2] / video.key).read_bytes()


# ── What is taken ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "ending"),
    [
        (mp4(), "mp4"),
        (mp4(brand=b"mp42", after=box(b"free", b"x" * 9)), "mp4"),
        (mp4(after=struct.pack(">I4sQ", 1, b"mdat", 26) + b"0123456789"), "mp4"),
        (mp4(after=struct.pack(">I4s", 0, b"mdat") + b"to the end"), "mp4"),
        (mp4(tracks=track(code=b"vp09") + track(b"tmcd", b"tmcd")), "mp4"),
        (webm(), "webm"),
        (webm(b"V_VP9", b"webm", True), "webm"),
        (webm(b"V_AV1"), "webm"),
    ],
)
def test_a_whole_video_is_stored_as_it_is_under_a_random_name(inside, content, ending):
    first, second = save_video(io.BytesIO(content)), save_video(io.BytesIO(content))
    assert first.key != second.key
    assert (first.key.rpartition(".")[2], first.size) == (ending, len(content))
    if b"tmcd" not in content:
        assert content_of(inside, first) == content
    assert files.video_size(first.key) == len(content)


@pytest.mark.parametrize(
    "content",
    [
        mp4(place()),
        mp4(box(b"meta", place())),
        mp4(tracks=track(b"vide", b"avc1", place())),
        mp4(tracks=track() + track(b"tmcd", b"tmcd", place())),
        mp4(after=box(b"uuid", b"x" * 16, place())),
        mp4(after=place()),
        webm(b"V_VP8", b"webm", False, tags()),
        webm(b"V_VP8", b"webm", True, tags()),
        webm(b"V_VP8", b"webm", False, element(0x1941A469, place())),
    ],
)
def test_where_it_was_filmed_is_gone_and_nothing_else_moves(inside, content):
    assert PLACE in content
    video = save_video(io.BytesIO(content))
    stored = content_of(inside, video)
    assert PLACE not in stored
    assert len(stored) == len(content)
    # What is left is the same whole video, in which nothing tells any more.
    again = containers.look_into(io.BytesIO(stored), len(stored))
    assert again.blanks == ()
    assert stored.count(b"avc1") == content.count(b"avc1")
    assert stored.count(b"V_VP8") == content.count(b"V_VP8")


@pytest.mark.parametrize(
    ("content", "code"),
    [(mp4(tracks=track(code=b"hvc1")), "hvc1"), (webm(b"V_MPEGH/ISO/HEVC"), "MPEGH/ISO/HEVC")],
)
def test_a_coding_that_many_phones_cannot_play_is_named(inside, content, code):
    before = everything(inside)
    with pytest.raises(VideoCodeRefused, match=code):
        save_video(io.BytesIO(content))
    assert everything(inside) == before


SPOKEN = element(0x1654AE6B, element(0xAE, element(0x83, b"\x11"), element(0x86, b"S_TEXT/UTF8")))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        # GoPro, Android, and drones that write the path as subtitles: the samples lie in the film's own box.
        (mp4(tracks=track() + track(b"meta", b"gpmd"), film=b"\x00" * 300 + PLACE), "meta"),
        (mp4(tracks=track(b"camm", b"camm") + track(), film=b"\x00" * 300 + PLACE), "camm"),
        (mp4(tracks=track() + track(b"text", b"text"), film=b"\x00" * 300 + PLACE), "text"),
        (mp4(tracks=track() + track(b"sbtl", b"tx3g"), film=b"\x00" * 300 + PLACE), "sbtl"),
        (webm(b"V_VP8", b"webm", False, SPOKEN, film=PLACE), "17"),
    ],
)
def test_a_track_that_may_be_a_path_of_places_is_refused_and_leaves_nothing(inside, content, kind):
    before = everything(inside)
    with pytest.raises(VideoTells) as refused:
        save_video(io.BytesIO(content))
    assert f"({kind})" in str(refused.value) or f"（{kind}）" in str(refused.value)
    assert everything(inside) == before


STYLE = box(b"styl", struct.pack(">H", 0))


@pytest.mark.parametrize(
    "content",
    [
        subtitled("先温杯，再投茶。".encode(), b"", b"85 degrees, 3.5 minutes: not so long. 12.50 yuan", looks=STYLE),
        subtitled(b"\xfe\xff" + "八十五度".encode("utf-16-be"), code=b"text", handler=b"text"),
        subtitled(b"Hello", tracks=20),
    ],
)
def test_subtitles_in_which_no_place_stands_are_taken(inside, content):
    assert content_of(inside, save_video(io.BytesIO(content))) == content


@pytest.mark.parametrize(
    "content",
    [
        subtitled(b"Hello", b"31.2304, 121.4737"),
        subtitled(b"31.2304,", b"121.4737"),
        subtitled(b"F/2.8, GPS (121.4737,31.2304,10)"),
        subtitled("北纬 31°14′".encode()),
        subtitled("经度 121".encode()),
        subtitled(b"[lat: 31]"),
        subtitled(b"+31.23+121.47/"),
        subtitled(b"\xff\xfe" + "31.2304 121.4737".encode("utf-16-le")),
        # What cannot be judged: another coding, odd bytes, a piece of its own, tables that lead elsewhere, too much of it.
        subtitled(b"WEBVTT", code=b"wvtt"),
        subtitled(b"\x80\x81"),
        subtitled(b"Hello", looks=box(b"gps0", PLACE)),
        subtitled(b"Hello", looks=b"\0"),
        subtitled(b"Hello", lost=10_000),
        # Farther than any file goes, and than any number of the system.
        subtitled(b"Hello", lost=1 << 62),
        subtitled(b"Hello", lost=1 << 63),
        subtitled(b"Hello", tracks=21),
        subtitled(b"Hello", after=box(b"moof", box(b"mfhd", bytes(8)))),
        subtitled(b"a" * 5_000),
        subtitled(),
    ],
)
def test_subtitles_that_name_a_place_or_cannot_be_judged_are_refused(inside, content):
    before = everything(inside)
    with pytest.raises(VideoTells):
        save_video(io.BytesIO(content))
    assert everything(inside) == before


def test_a_video_that_is_too_large_is_refused_before_anything_is_read(inside, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_VIDEO", len(mp4()) - 1)
    with pytest.raises(VideoTooLarge):
        save_video(io.BytesIO(mp4()))


HTML = b"<html><script>alert(1)</script></html>"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"x", HTML, SVG, b"MZ\x90\x00" + bytes(900), b"%PDF-1.7" + mp4(), HTML + mp4(), b"\x00" + mp4(), mp4() + HTML,
        mp4() + b"\x00",
        mp4()[:-1], mp4()[: len(mp4()) // 2], mp4(brand=b"qt  "), mp4(brand=b"heic"), mp4(tracks=b""), mp4(tracks=track(b"soun", b"mp4a")),
        mp4(after=box(b"evil", HTML)), mp4(after=box(b"ftyp", b"isom" * 4)), box(b"ftyp", b"isom" * 4) + box(b"mdat", HTML),
        struct.pack(">I4s", 7, b"ftyp") + bytes(100), struct.pack(">I4s", 1, b"ftyp") + struct.pack(">Q", 2**63) + bytes(90),
        mp4(box(b"trak", struct.pack(">I4s", 900, b"mdia"))), webm()[:-1], webm() + HTML, webm(b"V_VP8", b"matroska"),
        webm(b"A_OPUS", b"html"),
        webm(b"V_VP8", b"webm", False, element(0x1254C368, HTML)), b"\x1aE\xdf\xa3" + b"\x00" * 50, b"\x1aE\xdf\xa3\xff" + HTML,
        b"\x1aE\xdf\xa3" + b"\x01" + b"\xff" * 7, webm(b"V_VP8", b"webm", True) + element(0xAE, HTML),
        b"RIFF\x24\x00\x00\x00AVI LIST" + bytes(50),
    ],
)  # fmt: skip
def test_check_d7_what_is_no_whole_video_is_refused_and_leaves_nothing(inside, content):
    before = everything(inside)
    with pytest.raises((VideoRefused, VideoCodeRefused)):
        save_video(io.BytesIO(content))
    assert everything(inside) == before


@given(st.data())
def test_check_d7_whatever_is_changed_in_a_video_is_taken_or_refused_in_good_order(data):
    """Some bytes of a good file changed, cut out or put in: never another fault, and what is made empty lies inside the file."""
    content = bytearray(data.draw(st.sampled_from([mp4(place()), webm(), webm(b"V_VP9", b"webm", True, tags())])))
    for _change in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=9))
    try:
        found = containers.look_into(io.BytesIO(bytes(content)), len(content))
    except (containers.Broken, containers.UnplayableCode, containers.TellingTrack):
        return
    assert all(one.at >= 0 and one.at + len(one.head) <= one.until <= len(content) for one in found.blanks)


def test_a_file_of_a_million_pieces_is_given_up_soon(monkeypatch):
    monkeypatch.setattr(containers, "MOST_PIECES", 50)
    with pytest.raises(containers.Broken):
        containers.look_into(io.BytesIO(content := mp4(after=box(b"free") * 60)), len(content))


# ── Pictures, check D7 ──────────────────────────────────────────────────────────────────────────────────────────────


def png(width, height, deflated=None):
    """A PNG that claims to be so large; by default with the few bytes that all of it in one colour needs."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * ((width + 7) // 8 + 1) * min(height, 3_000)) if deflated is None else deflated
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg(**values):
    buffer = io.BytesIO()
    Image.effect_noise((120, 90), 60).save(buffer, "JPEG", **values)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        png(30_000, 30_000), png(2_000_000_000, 1), png(1, 2_000_000_000), png(6_400, 6_400), SVG, b"<?xml version='1.0'?>" + SVG, HTML,
        b"GIF89a" + HTML, b"\xff\xd8\xff\xe0" + HTML, b"\x89PNG\r\n\x1a\n" + SVG, HTML + jpeg(), SVG + jpeg(), b"PK\x03\x04" + jpeg(),
        zlib.compress(bytes(10_000_000)), b"\x1f\x8b" + bytes(99), mp4(), webm(), b"BM" + bytes(60), b"II*\x00" + bytes(60),
        b"\x00\x00\x01\x00" + bytes(60), b"%!PS-Adobe-3.0 EPSF-3.0\n", b"8BPS\x00\x01" + bytes(60), b"",
    ],
)  # fmt: skip
def test_check_d7_pictures_that_are_none_are_refused_and_leave_nothing(inside, content):
    before = everything(inside)
    with pytest.raises(FileRefused):
        save_picture(io.BytesIO(content))
    assert everything(inside) == before


def test_check_d7_a_thousandfold_picture_is_made_small(inside):
    # 36 million pixels of one colour in some kilobytes: taken, but nothing of its size reaches the disk.
    source = png(6_000, 6_000, zlib.compress((b"\0" * 751) * 6_000))
    assert 500 * len(source) < 36_000_000 / 8
    key = save_picture(io.BytesIO(source))
    path = inside / key[:2] / key
    assert path.stat().st_size < 20_000
    assert Image.open(path).size == (1600, 1600)


@pytest.mark.parametrize("hidden", [HTML, SVG, b"<?php phpinfo(); ?>", b"PK\x03\x04" + bytes(200)])
@pytest.mark.parametrize("where", ["behind", "comment", "exif"])
def test_check_d7_a_script_in_a_picture_does_not_come_along(inside, hidden, where):
    exif = Image.Exif()
    exif[0x010E] = hidden.decode("latin-1") if where == "exif" else "x"
    exif[0x8825] = {1: "N", 2: (31.0, 13.0, 0.0), 3: "E", 4: (121.0, 28.0, 0.0)}
    content = jpeg(exif=exif, comment=hidden if where == "comment" else b"x")
    content += hidden if where == "behind" else b""
    key = save_picture(io.BytesIO(content))
    stored = (inside / key[:2] / key).read_bytes()
    assert not any(word in stored for word in (b"<script", b"<?php", b"PK\x03\x04", b"EXIF", b"Exif"))
    assert dict(Image.open(io.BytesIO(stored)).getexif()) == {}


NAMES = [
    "../../evil.webp",
    "..\\evil.webp",
    "/etc/evil.webp",
    "a/../../b.webp",
    "evil.webp\x00.html",
    "evil.php",
    "CON",
    ".htaccess",
    "x" * 300,
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["picture", "video"])
def test_check_d7_a_name_that_is_sent_is_no_part_of_a_path(app, owner_client, name, kind, tmp_path):
    store = Path(app.extensions["settings"].files_dir)
    before = everything(store)
    around = everything(store.parent) - before
    content = jpeg() if kind == "picture" else mp4()
    answer = owner_client.post(
        f"/console/posts/{kind}", data={"file": (io.BytesIO(content), name), "film": (io.BytesIO(content), name)}
    )
    assert answer.status_code == 200
    assert everything(store.parent) - everything(store) == around
    assert {path.suffix for path in everything(store) - before if path.is_file()} == {
        ".webp" if kind == "picture" else ".mp4"
    }


def test_check_d7_a_link_in_the_store_leads_nowhere(inside, client, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for folder, key, address in (
        (inside, "aaaaaaaaaaaaaaaa.webp", "/pictures/"),
        (inside / "videos", "aaaaaaaaaaaaaaaa.mp4", "/videos/"),
    ):
        (folder / "aa").mkdir(parents=True, exist_ok=True)
        link = folder / "aa" / key
        link.symlink_to(secret)
        assert client.get(address + key).status_code == 404
        link.unlink()


@pytest.mark.parametrize(
    "key",
    [
        "nothing.mp4",
        "..%2f..%2fsecret_key",
        "../secret_key",
        ".mp4",
        "x.svg",
        "x" * 16 + ".html",
        "%00.webm",
        "aaaaaaaaaaaaaaaa.mp4",
    ],
)
def test_nothing_else_is_played(client, key):
    assert client.get(f"/videos/{key}").status_code == 404


# ── How it is served ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def playing(inside, client):
    video = save_video(io.BytesIO(mp4(film=FILM)))
    whole = content_of(inside, video)

    def ask(**headers):
        return client.get(
            f"/videos/{video.key}", headers={k.replace("_", "-"): v for k, v in headers.items()}, buffered=True
        )

    return ask, whole, video


def test_a_video_is_served_whole_sealed_and_for_ever(playing, client):
    ask, whole, video = playing
    answer = ask()
    assert (answer.status_code, answer.mimetype, answer.data) == (200, "video/mp4", whole)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert "immutable" in answer.headers["Cache-Control"]
    assert "Set-Cookie" not in answer.headers
    assert ask(If_None_Match=answer.headers["ETag"]).status_code == 304
    assert client.head(f"/videos/{video.key}").headers["Content-Length"] == str(len(whole))


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-99", 0, 100), ("bytes=100-100", 100, 101), ("bytes=9000-", 9000, None), ("bytes=-500", -500, None), ("bytes=0-", 0, None),
     ("bytes=10-99999999", 10, None), ("bytes=-99999999", 0, None)],
)  # fmt: skip
def test_a_stretch_is_answered_with_206(playing, asked, start, stop):
    ask, whole, _video = playing
    answer = ask(Range=asked)
    assert (answer.status_code, answer.data) == (206, whole[start:stop])
    first = start if start >= 0 else len(whole) + start
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(answer.data) - 1}/{len(whole)}"
    assert answer.headers["Content-Length"] == str(len(answer.data))


@pytest.mark.parametrize("asked", ["bytes=0-1,5-9", "pages=1-2", "bytes=9-1", "bytes=x-y", "nonsense", "bytes="])
def test_what_cannot_be_read_as_one_stretch_gets_the_whole(playing, asked):
    ask, whole, _video = playing
    answer = ask(Range=asked)
    assert (answer.status_code, answer.data) == (200, whole)


def test_a_stretch_behind_the_end_is_416(playing):
    ask, whole, _video = playing
    for asked in (f"bytes={len(whole)}-", f"bytes={len(whole) + 7}-{len(whole) + 9}"):
        answer = ask(Range=asked)
        assert (answer.status_code, answer.data) == (416, b"")
        assert answer.headers["Content-Range"] == f"bytes */{len(whole)}"


def test_if_range_gives_a_stretch_of_the_same_video_alone(playing):
    ask, whole, _video = playing
    mark = ask().headers["ETag"]
    assert ask(Range="bytes=0-9", If_Range=mark).status_code == 206
    assert ask(Range="bytes=0-9", If_Range='"another"').data == whole


@pytest.mark.parametrize("end", ["", "99999999", "whole"])
def test_a_long_stretch_comes_in_pieces(playing, monkeypatch, end):
    ask, whole, _video = playing
    monkeypatch.setattr(files, "LARGEST_PIECE", 1_000)
    got = b""
    while len(got) < len(whole):
        answer = ask(Range=f"bytes={len(got)}-{len(whole) - 1 if end == 'whole' else end}")
        assert (answer.status_code, len(answer.data) <= 1_000) == (206, True)
        got += answer.data
    assert got == whole


# ── What is left behind ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_private_picture_goes_with_what_was_refused(inside):
    before = everything(inside)
    save_picture(io.BytesIO(jpeg()), private=True)
    public = save_picture(io.BytesIO(jpeg()))
    rollback()
    assert everything(inside) - before == {inside / public[:2] / public}


def test_a_private_picture_stays_with_what_was_kept(inside, db):
    before = everything(inside)
    save_picture(io.BytesIO(jpeg()), private=True)
    commit()
    rollback()
    assert len(everything(inside) - before) == 1


def test_what_fails_after_a_roll_back_does_not_stop_the_rest(inside):
    done = []
    on_rollback(lambda: 1 / 0)
    on_rollback(lambda: done.append(1))
    rollback()
    assert done == [1]
    rollback()
    assert done == [1]


def test_the_sweep_removes_old_files_that_nothing_names_and_no_others(inside, monkeypatch):
    named, orphan, young = (save_picture(io.BytesIO(jpeg()), private=True) for _n in range(3))
    film, lost = save_video(io.BytesIO(mp4())), save_video(io.BytesIO(webm()))
    public = save_picture(io.BytesIO(jpeg()))
    half = inside / "private" / "zz" / ".zzzzzzzzzzzzzzzz.webp.part"
    half.parent.mkdir(parents=True, exist_ok=True)
    half.write_bytes(b"half")
    now = time.time()
    paths = {key: inside / "private" / key[:2] / key for key in (named, orphan, young)}
    paths |= {video.key: inside / "videos" / video.key[:2] / video.key for video in (film, lost)}
    paths |= {public: inside / public[:2] / public, "half": half}
    for name, path in paths.items():
        os.utime(path, (now, now if name == young else now - 90_000))
    monkeypatch.setattr(files.private_in_use, "_answers", [lambda keys: {named} & set(keys)])
    monkeypatch.setattr(files.videos_in_use, "_answers", [lambda keys: {film.key} & set(keys)])
    assert files.sweep(now) >= 3
    assert {name for name, path in paths.items() if path.exists()} == {named, young, film.key, public}
    # Nobody says what is used: nothing goes.
    monkeypatch.setattr(files.private_in_use, "_answers", [])
    monkeypatch.setattr(files.videos_in_use, "_answers", [])
    assert files.sweep(now + 2 * 90_000) == 0
    assert paths[named].exists()


def test_each_room_says_once_which_files_it_names(app):
    for port in (files.private_in_use, files.public_in_use, files.videos_in_use):
        rooms = [answer.__module__.rpartition(".")[0] for answer in port._answers]
        assert rooms
        assert sorted(rooms) == sorted(set(rooms))


def test_a_full_disk_leaves_nothing_cut_off_and_says_so(app, owner_client, monkeypatch):
    before = everything(inside := Path(app.extensions["settings"].files_dir))

    def full(_number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for address, name in (("/console/posts/video", "film"), ("/console/posts/new", "film")):
        answer = owner_client.post(address, data={name: (io.BytesIO(mp4()), "a.mp4")})
        assert answer.status_code == 507
        assert "磁盘" in answer.text
    assert everything(inside) == before
