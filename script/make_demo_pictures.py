"""Draws the demo shop's four pictures: covers of three groups and the picture of a post.

For developers only. Usage: python script/make_demo_pictures.py

They are still lifes of flat shapes, drawn by this program and nobody else's. Everything is drawn three times as large
on a plane of 1,200 × 630 points and made smaller at the end, which smooths the edges.
"""

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

TARGET = Path(__file__).resolve().parent.parent / "static" / "img" / "demo"
WIDTH, HEIGHT, SCALE = 1200, 630, 3
LARGEST = 40_000  # bytes
QUALITY = 78

Point = tuple[float, float]

CREAM, SAND, PEACH, APRICOT = "#fbf1e4", "#f4e0c8", "#f7cfb0", "#f0a678"
VERMILION, BRICK, WINE, INK = "#de4c2e", "#b83a20", "#6b211a", "#43251f"
GOLD, HONEY, SAGE, PINE, MIST, WHITE = "#e3ab4d", "#f2cd84", "#9db196", "#57745f", "#c9d6cd", "#fffaf3"


class Sheet:
    """A sheet of paper on which shapes are laid; places are in points, colours as #rrggbb, opacity from 0 to 1."""

    def __init__(self, ground: str) -> None:
        self.image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), ground)

    def shape(self, points: Sequence[Point], colour: str, opacity: float = 1.0) -> None:
        """A filled polygon."""
        scaled = [(x * SCALE, y * SCALE) for x, y in points]
        if opacity >= 1:
            ImageDraw.Draw(self.image).polygon(scaled, fill=colour)
            return
        mask = Image.new("L", self.image.size, 0)
        ImageDraw.Draw(mask).polygon(scaled, fill=round(255 * opacity))
        self.image.paste(Image.new("RGB", self.image.size, colour), (0, 0), mask)

    def oval(
        self, x: float, y: float, rx: float, ry: float, colour: str, opacity: float = 1.0, turn: float = 0
    ) -> None:
        """An ellipse around a point, turned by degrees."""
        self.shape(oval_points(x, y, rx, ry, turn), colour, opacity)

    def box(self, left: float, top: float, right: float, bottom: float, colour: str, round_by: float = 0) -> None:
        """A rectangle with rounded corners."""
        scaled = [left * SCALE, top * SCALE, right * SCALE, bottom * SCALE]
        ImageDraw.Draw(self.image).rounded_rectangle(scaled, round_by * SCALE, fill=colour)

    def curve(self, points: Sequence[Point], width: float, colour: str, thin_to: float | None = None) -> None:
        """A line through the points, smooth, growing thinner towards its end when asked."""
        draw = ImageDraw.Draw(self.image)
        path = smooth(points, closed=False)
        for place, (x, y) in enumerate(path):
            end = width if thin_to is None else thin_to
            radius = (width + (end - width) * place / len(path)) / 2
            draw.ellipse(
                [(x - radius) * SCALE, (y - radius) * SCALE, (x + radius) * SCALE, (y + radius) * SCALE], colour
            )

    def blob(self, points: Sequence[Point], colour: str, opacity: float = 1.0) -> None:
        """A smooth closed shape through the points."""
        self.shape(smooth(points, closed=True), colour, opacity)

    def turned(self, x: float, profile: Sequence[Point], colour: str, part: tuple[float, float] = (-1, 1)) -> None:
        """Something thrown on a wheel: `profile` is (half width, height on the sheet) from top to bottom, around `x`.

        `part` cuts a stripe out of it, from -1 for its left edge to 1 for its right edge.
        """
        side = smooth(profile, closed=False)
        left = [(x + half * part[0], y) for half, y in side]
        right = [(x + half * part[1], y) for half, y in reversed(side)]
        self.shape(left + right, colour)

    def leaf(self, x: float, y: float, length: float, breadth: float, turn: float, colour: str, vein: str = "") -> None:
        """A leaf that grows from a point in a direction in degrees (0 to the right, 90 down)."""
        angle = math.radians(turn)
        upper = [(t / 20 * length, -breadth / 2 * math.sin(math.pi * (t / 20) ** 0.8)) for t in range(21)]
        lower = [(along, -across) for along, across in reversed(upper)]

        def placed(along: float, across: float) -> Point:
            return (
                x + along * math.cos(angle) - across * math.sin(angle),
                y + along * math.sin(angle) + across * math.cos(angle),
            )

        self.shape([placed(*point) for point in upper + lower], colour)
        if vein:
            self.curve([placed(0, 0), placed(length * 0.5, 0), placed(length * 0.86, 0)], 2.2, vein, 0.8)

    def save(self, name: str) -> None:
        """Make the sheet smaller and write it as WebP; too large a file is refused."""
        small = self.image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).convert("RGB")
        content = io.BytesIO()
        small.save(content, "WEBP", quality=QUALITY, method=6)
        if content.tell() > LARGEST:
            raise SystemExit(f"{name}: {content.tell():,} bytes are more than {LARGEST:,}")
        (TARGET / f"{name}.webp").write_bytes(content.getvalue())
        print(f"{name}.webp: {content.tell():,} bytes")


def oval_points(x: float, y: float, rx: float, ry: float, turn: float = 0) -> list[Point]:
    """The outline of an ellipse."""
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    angles = [math.tau * step / 180 for step in range(180)]
    return [
        (x + rx * math.cos(a) * cos - ry * math.sin(a) * sin, y + rx * math.cos(a) * sin + ry * math.sin(a) * cos)
        for a in angles
    ]


def smooth(points: Sequence[Point], closed: bool) -> list[Point]:
    """A Catmull-Rom curve through the points, in small steps."""
    known = list(points)
    around = [known[-1], *known, known[0], known[1]] if closed else [known[0], *known, known[-1]]
    path = []
    for before, start, end, after in zip(around, around[1:], around[2:], around[3:], strict=False):
        steps = max(8, round(math.dist(start, end) / 1.5))
        for step in range(steps):
            t = step / steps
            path.append(
                (
                    _between(before[0], start[0], end[0], after[0], t),
                    _between(before[1], start[1], end[1], after[1], t),
                )
            )
    if not closed:
        path.append(known[-1])
    return path


def _between(before: float, start: float, end: float, after: float, t: float) -> float:
    return 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t * t
        + (3 * start - before - 3 * end + after) * t**3
    )


def persimmon(sheet: Sheet, x: float, y: float, size: float, colour: str, shade: str) -> None:
    """A fruit seen from the side, with its four leaves on top."""
    sheet.oval(x, y, size, size * 0.84, shade)
    sheet.blob(
        [(x - size * 0.98, y), (x - size * 0.6, y - size * 0.72), (x + size * 0.25, y - size * 0.8),
         (x + size * 0.72, y - size * 0.3), (x + size * 0.5, y + size * 0.5), (x - size * 0.4, y + size * 0.74)],
        colour,
    )  # fmt: skip
    sheet.oval(x - size * 0.45, y - size * 0.3, size * 0.16, size * 0.1, WHITE, 0.55, -35)
    for turn in (-160, -115, -65, -20):
        sheet.leaf(x, y - size * 0.72, size * 0.5, size * 0.26, turn, PINE)
    sheet.curve([(x, y - size * 0.74), (x + size * 0.04, y - size * 1.0)], size * 0.1, INK)


def table() -> Sheet:
    """A vase with a branch, a bowl of persimmons: the cover of an ordinary group."""
    sheet = Sheet(CREAM)
    sheet.oval(800, 250, 270, 270, PEACH)
    sheet.blob([(-60, 470), (220, 440), (620, 462), (1000, 440), (1260, 466), (1260, 700), (-60, 700)], SAND)
    sheet.oval(420, 548, 156, 18, APRICOT, 0.5)
    sheet.oval(806, 558, 176, 18, APRICOT, 0.5)
    sheet.oval(1050, 566, 62, 10, APRICOT, 0.5)
    # The branch stands behind the neck of the vase.
    sheet.curve([(410, 330), (402, 240), (352, 160), (268, 92)], 9, INK, 3)
    sheet.curve([(404, 250), (450, 170), (540, 112)], 7, INK, 2.5)
    sheet.curve([(366, 180), (376, 130), (402, 82)], 5.5, INK, 2)
    for x, y, turn, colour in (
        (270, 94, 205, PINE), (300, 120, 275, SAGE), (312, 132, 140, PINE), (352, 160, 170, SAGE),
        (402, 84, 285, PINE), (380, 118, 215, SAGE), (388, 106, 335, PINE), (540, 112, 330, PINE),
        (500, 132, 265, SAGE), (492, 142, 20, PINE), (440, 184, 15, SAGE), (436, 190, 250, PINE),
    ):  # fmt: skip
        sheet.leaf(x, y, 74, 34, turn, colour, MIST if colour == PINE else PINE)
    for x, y in ((330, 168), (346, 188), (470, 176), (486, 190), (372, 132)):
        sheet.oval(x, y, 12, 12, VERMILION)
        sheet.oval(x - 4, y - 4, 3.2, 3.2, WHITE, 0.7)
    vase = [(36, 322), (30, 350), (64, 392), (122, 452), (112, 520), (74, 552)]
    sheet.turned(420, vase, BRICK)
    sheet.turned(420, vase, VERMILION, (-1, 0.45))
    sheet.turned(420, [(116, 438), (123, 456), (123, 470)], PEACH)
    sheet.turned(420, [(123, 478), (122, 486)], PEACH)
    sheet.oval(420, 322, 36, 8, WINE)
    # Fruit first, then the bowl in front of it.
    persimmon(sheet, 884, 392, 62, APRICOT, "#e18a56")
    persimmon(sheet, 720, 392, 66, VERMILION, BRICK)
    persimmon(sheet, 804, 378, 72, "#ec7443", "#cf5a30")
    bowl = [(190, 414), (182, 462), (138, 520), (70, 550)]
    sheet.turned(804, bowl, "#ead9c6")
    sheet.turned(804, bowl, WHITE, (-1, 0.5))
    sheet.turned(804, [(188, 434), (186, 446)], VERMILION)
    sheet.turned(804, [(184, 456), (182, 461)], VERMILION)
    sheet.box(744, 546, 864, 560, "#ead9c6", 5)
    persimmon(sheet, 1050, 526, 50, GOLD, "#cc9238")
    return sheet


def parcel(sheet: Sheet, left: float, top: float, right: float, bottom: float, colours: tuple[str, str, str]) -> None:
    """A wrapped box with a lid and a ribbon; the colours are paper, shade and ribbon."""
    paper, shade, ribbon = colours
    middle, lid = (left + right) / 2, top + (bottom - top) * 0.24
    sheet.box(left, top, right, bottom, paper, 5)
    sheet.shape([(right - (right - left) * 0.22, lid), (right, lid), (right, bottom - 4), (right - 4, bottom),
                 (right - (right - left) * 0.22, bottom)], shade)  # fmt: skip
    sheet.box(left - 9, top, right + 9, lid, paper, 5)
    sheet.shape([(left - 6, lid), (right + 6, lid), (right, lid + 7), (left, lid + 7)], shade)
    sheet.box(middle - 15, top, middle + 15, bottom, ribbon)


def bow(sheet: Sheet, x: float, y: float, size: float, colour: str, shade: str) -> None:
    """A bow that stands on a point."""
    loop = [(0, 0), (0.5, -0.62), (1, -0.55), (0.95, -0.12), (0.4, 0.02)]
    inside = [(0.16, -0.1), (0.52, -0.4), (0.78, -0.36), (0.7, -0.15)]
    for side in (-size, size):
        sheet.blob([(x + side * across, y + size * up) for across, up in loop], colour)
        sheet.blob([(x + side * across, y + size * up) for across, up in inside], shade)
    sheet.oval(x, y - size * 0.08, size * 0.17, size * 0.2, colour)


def parcels() -> Sheet:
    """Wrapped boxes and an hourglass on vermilion: the cover of a flash group."""
    sheet = Sheet(VERMILION)
    sheet.oval(610, 640, 560, 500, "#e66242")
    sheet.oval(610, 660, 410, 370, "#ee7c57")
    sheet.blob([(-60, 532), (300, 516), (700, 528), (1260, 510), (1260, 700), (-60, 700)], BRICK)
    sheet.oval(472, 570, 270, 16, WINE, 0.4)
    sheet.oval(884, 574, 130, 15, WINE, 0.4)
    parcel(sheet, 230, 372, 474, 566, (CREAM, SAND, GOLD))
    parcel(sheet, 490, 414, 716, 568, (PEACH, APRICOT, WINE))
    parcel(sheet, 330, 226, 566, 372, (WINE, "#551812", APRICOT))
    bow(sheet, 448, 228, 82, APRICOT, "#d98352")
    bow(sheet, 603, 416, 60, WINE, "#551812")
    # The hourglass: posts, glass, sand, caps.
    for x in (802, 966):
        sheet.box(x - 6, 246, x + 6, 560, HONEY, 4)
    glass = [(66, 262), (68, 316), (42, 366), (8, 404), (42, 442), (68, 494), (66, 546)]
    sheet.turned(884, glass, "#f9dfcd")
    sheet.turned(884, glass, CREAM, (-1, 0.5))
    sheet.turned(884, [(54, 340), (38, 370), (5, 402)], GOLD)
    sheet.shape([(881, 400), (887, 400), (887, 520), (881, 520)], GOLD)
    sheet.blob([(820, 544), (842, 516), (884, 484), (926, 516), (948, 544)], GOLD)
    sheet.box(776, 228, 992, 258, GOLD, 10)
    sheet.box(776, 546, 992, 576, GOLD, 10)
    sheet.box(776, 228, 992, 239, HONEY, 6)
    sheet.box(776, 546, 992, 557, HONEY, 6)
    for x, y, size, colour in (
        (120, 150, 13, GOLD), (214, 84, 9, CREAM), (300, 160, 8, PEACH), (452, 92, 12, CREAM), (598, 120, 9, GOLD),
        (676, 214, 12, PEACH), (742, 90, 11, CREAM), (884, 134, 12, GOLD), (1016, 92, 9, PEACH), (1090, 182, 13, CREAM),
        (150, 300, 9, CREAM), (1070, 330, 10, GOLD), (90, 420, 8, PEACH), (1128, 430, 9, PEACH), (700, 330, 8, GOLD),
    ):  # fmt: skip
        if colour == GOLD:
            sheet.shape([(x, y - size * 1.5), (x + size, y), (x, y + size * 1.5), (x - size, y)], colour)
        else:
            sheet.oval(x, y, size, size, colour)
    return sheet


def cup(sheet: Sheet, x: float, y: float, size: float, colours: tuple[str, str]) -> None:
    """A tea bowl without a handle that stands on a point."""
    profile = [
        (size, y - size * 1.05),
        (size * 0.96, y - size * 0.6),
        (size * 0.7, y - size * 0.16),
        (size * 0.5, y - 8),
    ]
    sheet.turned(x, profile, colours[1])
    sheet.turned(x, profile, colours[0], (-1, 0.45))
    sheet.box(x - size * 0.5, y - 10, x + size * 0.5, y, colours[1], 3)
    sheet.oval(x, y - size * 1.05, size, size * 0.2, colours[1])
    sheet.oval(x, y - size * 1.03, size * 0.88, size * 0.14, GOLD)


def tea() -> Sheet:
    """A teapot, two bowls and the moon: the cover of the group for the highest tiers."""
    sheet = Sheet("#571a15")
    sheet.oval(806, 214, 246, 246, "#63201a")
    sheet.oval(806, 214, 190, 190, "#722a20")
    sheet.oval(806, 214, 138, 138, HONEY)
    sheet.oval(806, 214, 138, 138, GOLD, 0.25)
    sheet.blob([(-80, 470), (120, 372), (300, 352), (470, 424), (660, 440), (860, 392), (1060, 352), (1280, 430),
                (1280, 720), (-80, 720)], "#7c2a1e")  # fmt: skip
    sheet.blob([(-80, 520), (180, 462), (420, 452), (700, 494), (960, 452), (1280, 486), (1280, 720), (-80, 720)],
               "#963522")  # fmt: skip
    sheet.box(0, 540, 1200, 630, "#3a130f")
    sheet.box(0, 540, 1200, 549, "#4a1a14")
    # The branch comes in from above and hangs over the moon.
    sheet.curve([(1210, 40), (1100, 66), (1000, 110), (900, 118), (842, 150)], 11, "#2f0f0c", 3)
    sheet.curve([(1064, 82), (1020, 40), (960, 22)], 7, "#2f0f0c", 2.5)
    sheet.curve([(1000, 110), (968, 160), (950, 196)], 6, "#2f0f0c", 2)
    for x, y, size in ((842, 150, 19), (900, 116, 15), (950, 198, 17), (962, 24, 17), (1026, 50, 13), (1010, 100, 19),
                       (1098, 66, 17), (976, 150, 12)):  # fmt: skip
        for turn in range(0, 360, 72):
            angle = math.radians(turn - 90)
            sheet.oval(
                x + math.cos(angle) * size * 0.62,
                y + math.sin(angle) * size * 0.62,
                size * 0.52,
                size * 0.52,
                "#ec7a58",
            )
        sheet.oval(x, y, size * 0.36, size * 0.36, HONEY)
    sheet.oval(430, 556, 250, 14, "#240a08", 0.6)
    # The pot: handle over the top, spout to the right, body, lid.
    sheet.curve([(306, 372), (316, 250), (430, 196), (544, 250), (554, 372)], 17, "#2f0f0c")
    sheet.shape(smooth([(560, 478), (622, 440), (650, 374), (688, 352)], False)
                + smooth([(706, 368), (686, 420), (656, 470), (560, 506)], False), BRICK)  # fmt: skip
    body = [(92, 352), (150, 388), (174, 446), (150, 512), (96, 546)]
    sheet.turned(430, body, BRICK)
    sheet.turned(430, body, VERMILION, (-1, 0.5))
    sheet.turned(430, [(171, 428), (174, 444), (173, 456)], PEACH)
    sheet.turned(430, [(171, 466), (169, 474)], PEACH)
    sheet.box(334, 540, 526, 554, BRICK, 6)
    sheet.blob([(334, 358), (352, 338), (430, 322), (508, 338), (526, 358), (430, 366)], BRICK)
    sheet.blob([(336, 356), (354, 337), (420, 323), (466, 336), (468, 362), (420, 364)], "#ea6342")
    sheet.oval(430, 316, 17, 15, HONEY)
    sheet.oval(788, 552, 104, 9, "#240a08", 0.6)
    sheet.oval(970, 556, 90, 9, "#240a08", 0.6)
    cup(sheet, 788, 550, 82, (CREAM, "#e4cfb8"))
    cup(sheet, 970, 554, 68, (PEACH, APRICOT))
    for x, y, high in ((768, 450, 88), (806, 452, 108), (968, 470, 84)):
        sheet.curve([(x, y), (x + 15, y - high * 0.3), (x - 11, y - high * 0.62), (x + 7, y - high)], 6.5, CREAM, 1.5)
    return sheet


def mug(sheet: Sheet, x: float, bottom: float, wide: float, high: float, colours: tuple[str, str], hand: int) -> None:
    """A mug with a handle on its right (1) or left (-1)."""
    middle = bottom - high * 0.52
    edge = x + hand * wide / 2
    handle = [(-4 / wide, -0.24), (0.27, -0.2), (0.29, 0.16), (-4 / wide, 0.26)]
    sheet.curve([(edge + hand * wide * out, middle + high * down) for out, down in handle], 12, colours[1])
    sheet.box(x - wide / 2, bottom - high, x + wide / 2, bottom, colours[1], 14)
    sheet.box(x - wide / 2, bottom - high, x + wide * 0.22, bottom, colours[0], 14)
    sheet.shape([(x - wide * 0.1, bottom - high), (x + wide * 0.22, bottom - high), (x + wide * 0.22, bottom),
                 (x - wide * 0.1, bottom)], colours[0])  # fmt: skip


def shelf() -> Sheet:
    """Two shelves with cups, plates and a plant: the picture of a post with a tip."""
    sheet = Sheet("#f8e3cf")
    sheet.oval(240, 150, 330, 330, CREAM)
    sheet.oval(1010, 560, 300, 300, PEACH)
    for x in (250, 950):
        for y in (306, 566):
            sheet.shape([(x - 9, y), (x + 9, y), (x + 9, y + 44), (x - 9, y + 30)], WINE)
    for y in (290, 550):
        sheet.box(110, y, 1090, y + 20, "#a5502f", 6)
        sheet.box(110, y, 1090, y + 8, "#c06a43", 4)
    # The upper shelf: standing plates, a stack of bowls, a jar with dry flowers, a mug.
    for x, size, colour, rim in ((250, 92, WHITE, VERMILION), (356, 76, APRICOT, BRICK)):
        sheet.oval(x, 290 - size, size, size, rim)
        sheet.oval(x, 290 - size, size * 0.9, size * 0.9, colour)
        sheet.oval(x, 290 - size, size * 0.6, size * 0.6, rim, 0.5)
        sheet.oval(x, 290 - size, size * 0.57, size * 0.57, colour)
    for x, y, turn in ((250, 198, -90), (250, 198, -18), (250, 198, 54), (250, 198, 126), (250, 198, 198)):
        sheet.leaf(x, y, 40, 19, turn, VERMILION)
    for step, colours in enumerate(((VERMILION, BRICK), (CREAM, "#e6d2ba"), (GOLD, "#c98f37"), (WINE, "#551812"))):
        bottom, half = 290 - step * 27, 88 - step * 4
        profile = [(half, bottom - 48), (half * 0.92, bottom - 24), (half * 0.5, bottom - 1)]
        sheet.turned(578, profile, colours[1])
        sheet.turned(578, profile, colours[0], (-1, 0.5))
    for points, width in (([(776, 200), (762, 120), (736, 58)], 4), ([(780, 200), (782, 110), (796, 44)], 4),
                          ([(784, 200), (806, 130), (852, 82)], 4)):  # fmt: skip
        sheet.curve(points, width, PINE, 2)
    for x, y, size in ((736, 58, 21), (796, 44, 24), (852, 82, 20), (760, 96, 13), (822, 112, 13)):
        for turn in range(0, 360, 45):
            sheet.leaf(x, y, size, size * 0.5, turn, VERMILION if size > 14 else APRICOT)
        sheet.oval(x, y, size * 0.32, size * 0.32, GOLD)
    jar = [(26, 192), (24, 206), (56, 236), (58, 268), (40, 290)]
    sheet.turned(780, jar, PINE)
    sheet.turned(780, jar, SAGE, (-1, 0.45))
    mug(sheet, 958, 290, 96, 94, (WINE, "#551812"), 1)
    sheet.box(910, 232, 979, 246, APRICOT)
    # The lower shelf: mugs, a teapot-round jar with a lid, a trailing plant.
    mug(sheet, 216, 550, 110, 108, (VERMILION, BRICK), -1)
    mug(sheet, 372, 550, 104, 124, (SAGE, PINE), 1)
    for y in (452, 474, 496):
        sheet.box(320, y, 395, y + 8, CREAM)
    pot = [(54, 428), (92, 454), (106, 494), (92, 532), (66, 550)]
    sheet.turned(598, pot, "#c98f37")
    sheet.turned(598, pot, GOLD, (-1, 0.5))
    sheet.turned(598, [(105, 486), (106, 496), (104, 506)], CREAM)
    sheet.blob([(536, 432), (552, 414), (598, 404), (644, 414), (660, 432), (598, 438)], WINE)
    sheet.oval(598, 400, 13, 12, WINE)
    planter = [(76, 446), (72, 500), (54, 550)]
    for points in ([(860, 446), (830, 396), (776, 384), (748, 420), (744, 476)],
                   [(880, 446), (884, 384), (852, 344)],
                   [(900, 446), (934, 388), (992, 386), (1022, 440), (1020, 520), (1034, 590)],
                   [(890, 446), (912, 396), (930, 352)]):  # fmt: skip
        sheet.curve(points, 5, PINE, 2.5)
        path = smooth(points, closed=False)
        for place in range(30, len(path) - 4, 26):
            (x, y), (nx, ny) = path[place], path[place + 3]
            along = math.degrees(math.atan2(ny - y, nx - x))
            sheet.leaf(x, y, 42, 25, along + 52, SAGE, PINE)
            sheet.leaf(x, y, 42, 25, along - 52, PINE, SAGE)
        sheet.leaf(
            *path[-1], 42, 24, math.degrees(math.atan2(path[-1][1] - path[-6][1], path[-1][0] - path[-6][0])), SAGE
        )
    sheet.turned(880, planter, "#cf5a30")
    sheet.turned(880, planter, "#ec7443", (-1, 0.45))
    sheet.box(796, 440, 964, 466, "#cf5a30", 6)
    sheet.box(796, 440, 918, 466, "#ec7443", 6)
    return sheet


PICTURES: dict[str, Callable[[], Sheet]] = {"table": table, "parcels": parcels, "tea": tea, "shelf": shelf}


def main() -> None:
    """Draw and write all of them."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        draw().save(name)


if __name__ == "__main__":
    main()
