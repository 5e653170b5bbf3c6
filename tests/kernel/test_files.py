"""Uploaded pictures: decoded and encoded anew, or refused."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from kernel.files import LARGEST_SIDE, FileRefused, picture_url, save_picture


@pytest.fixture
def inside(app):
    with app.test_request_context():
        yield Path(app.extensions["settings"].files_dir)


def encoded(picture, form, **values):
    buffer = io.BytesIO()
    picture.save(buffer, form, **values)
    buffer.seek(0)
    return buffer


def stored(folder, key):
    return Image.open(folder / key[:2] / key)


def files(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_picture_is_stored_as_webp_under_a_random_name(inside, form):
    source = Image.new("RGB", (64, 48), "red")
    first, second = save_picture(encoded(source, form)), save_picture(encoded(source, form))
    assert first != second
    assert first.endswith(".webp")
    found = stored(inside, first)
    assert (found.format, found.size) == ("WEBP", (64, 48))


def test_what_a_camera_wrote_into_it_is_gone(inside):
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    exif[0x8825] = {1: "N", 2: (31.0, 13.0, 0.0), 3: "E", 4: (121.0, 28.0, 0.0)}
    source = encoded(Image.new("RGB", (64, 48), "red"), "JPEG", exif=exif, comment=b"SecretPlace")
    assert b"SecretCamera" in source.getvalue()
    key = save_picture(source)
    content = (inside / key[:2] / key).read_bytes()
    assert dict(stored(inside, key).getexif()) == {}
    assert not any(word in content for word in (b"SecretCamera", b"SecretPlace", b"EXIF", b"XMP "))


def test_a_picture_that_was_held_sideways_stands_upright(inside):
    exif = Image.Exif()
    exif[0x0112] = 6
    key = save_picture(encoded(Image.new("RGB", (64, 48), "red"), "JPEG", exif=exif))
    assert stored(inside, key).size == (48, 64)


@pytest.mark.parametrize(
    ("size", "becomes"), [((4000, 2000), (1600, 800)), ((100, 4000), (40, 1600)), ((1600, 1600), (1600, 1600))]
)
def test_large_pictures_become_smaller(inside, size, becomes):
    assert max(becomes) <= LARGEST_SIDE
    assert stored(inside, save_picture(encoded(Image.new("RGB", size), "JPEG"))).size == becomes


def test_what_is_see_through_stays_so(inside):
    key = save_picture(encoded(Image.new("RGBA", (20, 20), (255, 0, 0, 0)), "PNG"))
    assert stored(inside, key).convert("RGBA").getpixel((5, 5))[3] == 0


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "I;16"])
def test_other_ways_of_writing_colours_are_read(inside, mode):
    form = "JPEG" if mode == "CMYK" else "PNG"
    assert stored(inside, save_picture(encoded(Image.new(mode, (20, 20)), form))).size == (20, 20)


def bomb():
    """A PNG of a few hundred bytes that claims 20,000 × 20,000 pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def cut(content, share=0.5):
    return content[: int(len(content) * share)]


JPEG = encoded(Image.effect_noise((200, 200), 80), "JPEG").getvalue()
PNG = encoded(Image.effect_noise((200, 200), 80), "PNG").getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"x", b"MZ\x90\x00", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", b"%PDF-1.7",
        b"<html><script>alert(1)</script></html>", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBP", cut(JPEG, 0.1), cut(PNG),
        JPEG[:2] + b"\x00" * 400, bomb(), encoded(Image.new("RGB", (9, 9)), "BMP").getvalue(),
        encoded(Image.new("RGB", (9, 9)), "TIFF").getvalue(),
        encoded(Image.new("RGB", (9, 9)), "ICO").getvalue(), PNG[:40] + b"\xff" * 60 + PNG[100:],
    ],
)  # fmt: skip
def test_what_is_no_whole_picture_is_refused_and_leaves_nothing(inside, content):
    before = files(inside)
    with pytest.raises(FileRefused):
        save_picture(io.BytesIO(content))
    assert files(inside) == before


def test_a_script_behind_a_picture_does_not_come_along(inside):
    key = save_picture(io.BytesIO(JPEG + b"<script>alert(1)</script>"))
    assert b"<script" not in (inside / key[:2] / key).read_bytes()


def test_a_stored_picture_is_served_for_ever(inside, client):
    key = save_picture(io.BytesIO(JPEG))
    assert picture_url(key) == f"/pictures/{key}"
    answer = client.get(f"/pictures/{key}")
    assert (answer.status_code, answer.mimetype) == (200, "image/webp")
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "key",
    [
        "nothing.webp",
        "..%2f..%2fsecret_key",
        "../secret_key",
        ".webp",
        "x.svg",
        "x" * 50 + ".webp",
        "%00.webp",
        "a/b.webp",
    ],
)
def test_nothing_else_is_served(client, key):
    assert client.get(f"/pictures/{key}").status_code == 404


def test_a_picture_that_is_not_there_has_no_address(inside):
    assert picture_url(None) is None
    assert picture_url("") is None
    assert picture_url("demo/tea.png").startswith("/static/img/demo/tea.png")
