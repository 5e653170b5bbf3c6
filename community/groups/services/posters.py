"""A group's poster: cover, name, what it is, and the QR code of a join link, as a PNG to print or to send."""

from __future__ import annotations

import io
import unicodedata
from functools import cache
from pathlib import Path

import segno
from flask import current_app
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from kernel import links, shop
from kernel.i18n import ROOT
from kernel.i18n import gettext as _
from kernel.staff import services as staff_services
from membership.members.models import Member

from .. import labels
from ..models import FriendLink, Group, JoinLink
from .doors import masked_name

SIZE = (1080, 1520)
PAPER, INK, QUIET, ACCENT = "#fbf7f2", "#2b2320", "#7a6c64", "#c8402f"
MARGIN = 72
QR_SIDE = 400
# Fonts that hold Chinese, the first that is there wins; a poster without one leaves Chinese lines out.
FONT_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "C:/Windows/Fonts",
)
FONT_FILES = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "PingFang.ttc",
    "msyh.ttc",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "simhei.ttf",
    "DroidSansFallbackFull.ttf",
)


@cache
def chinese_font() -> str | None:
    """The path of a font with Chinese characters on this machine, or None."""
    there = {
        path.name: path
        for folder in FONT_FOLDERS
        if Path(folder).is_dir()
        for path in Path(folder).rglob("*.[to]t[fc]")
    }
    return next((str(there[name]) for name in FONT_FILES if name in there), None)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    path = chinese_font()
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


@cache
def _has_glyph(character: str) -> bool:
    """Whether the font draws a character; what it does not know, such as most emoji, would stand there as an empty box."""
    font = _font(36)
    unknown = font.getmask("\U0010ffff")
    mask = font.getmask(character)
    return (mask.size, bytes(mask)) != (unknown.size, bytes(unknown))


def _drawable(words: str) -> str:
    """The words without what the font cannot draw, and nothing where that is the whole alphabet."""
    if not chinese_font() and not words.isascii():
        return ""
    joined = "".join(c for c in words if unicodedata.category(c) not in ("Cf", "Mn") and _has_glyph(c))
    return " ".join(joined.split())


def _lines(draw: ImageDraw.ImageDraw, words: str, size: int, width: int, most: int) -> list[str]:
    """Words cut into at most so many lines that fit; an overlong last line ends in an ellipsis."""
    font = _font(size)
    lines: list[str] = []
    rest = " ".join(words.split())
    while rest and len(lines) < most:
        cut = len(rest)
        while cut > 1 and draw.textlength(rest[:cut], font=font) > width:
            cut -= 1
        if cut < len(rest) and rest[cut - 1].isascii() and " " in rest[:cut].strip():
            cut = rest.rindex(" ", 0, cut) + 1
        lines.append(rest[:cut].strip())
        rest = rest[cut:].strip()
    if rest and lines:
        lines[-1] = lines[-1][:-1] + "…"
    return lines


def _cover(group: Group) -> Image.Image | None:
    if not group.cover:
        return None
    if group.cover.startswith("demo/"):
        path = ROOT / "static" / "img" / group.cover
    else:
        path = Path(current_app.extensions["settings"].files_dir) / group.cover[:2] / group.cover
    try:
        return Image.open(path).convert("RGB")
    except (OSError, UnidentifiedImageError):
        return None


def poster(group: Group, link: JoinLink) -> bytes:
    """The poster of a group for one of its links, as PNG (1080 × 1520 pixels)."""
    invites = staff_services.names([link.staff_id]).get(link.staff_id) if link.staff_id else None
    lowest = _("%(name)s of %(shop)s invites you", name=invites, shop=shop.shop_name()) if invites else shop.shop_name()
    return _poster(group, f"/j/{link.token}", str(lowest))


def friend_poster(group: Group, link: FriendLink, member: Member) -> bytes:
    """The poster with which a member brings friends: as `poster`, with what they call themselves."""
    return _poster(group, f"/f/{link.token}", str(_("Your friend %(name)s invites you", name=masked_name(member))))


def _poster(group: Group, path: str, lowest: str) -> bytes:
    sheet = Image.new("RGB", SIZE, PAPER)
    draw = ImageDraw.Draw(sheet)
    cover = _cover(group)
    if cover is not None:
        sheet.paste(ImageOps.fit(cover, (SIZE[0], 608)), (0, 0))
    else:
        draw.rectangle((0, 0, SIZE[0], 608), fill=ACCENT)
    y = 608 + 56
    kind = _drawable(str(labels.KINDS[group.kind]))
    draw.text((MARGIN, y), kind, font=_font(34), fill=ACCENT)
    y += 56
    for line in _lines(draw, _drawable(group.name), 72, SIZE[0] - 2 * MARGIN, 2):
        draw.text((MARGIN, y), line, font=_font(72), fill=INK)
        y += 92
    for line in _lines(draw, _drawable(group.intro), 36, SIZE[0] - 2 * MARGIN, 3):
        draw.text((MARGIN, y), line, font=_font(36), fill=QUIET)
        y += 54
    code = io.BytesIO()
    made = segno.make(links.absolute(path), error="m", micro=False)
    made.save(code, kind="png", scale=12, border=2, light=PAPER)
    square = Image.open(code).convert("RGB").resize((QR_SIDE, QR_SIDE), Image.Resampling.NEAREST)
    bottom = SIZE[1] - MARGIN - QR_SIDE
    sheet.paste(square, (MARGIN, bottom))
    x = MARGIN + QR_SIDE + 48
    for offset, (words, size, colour) in enumerate(((_("Scan to join"), 48, INK), (lowest, 36, QUIET))):
        for line in _lines(draw, _drawable(str(words)), size, SIZE[0] - x - MARGIN, 2):
            draw.text((x, bottom + QR_SIDE // 2 - 60 + 84 * offset), line, font=_font(size), fill=colour)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def qr_file(link: JoinLink) -> str:
    """The QR code of a link as an SVG document of its own, black on white, to be printed."""
    out = io.BytesIO()
    made = segno.make(links.absolute(f"/j/{link.token}"), error="m", micro=False)
    made.save(out, kind="svg", scale=10, border=4, light="#ffffff")
    return out.getvalue().decode()
