"""What an MP4 or a WebM file is made of, as far as it must be known: that it is one whole, what it is coded in, and which of
its pieces say who filmed it where.

Nothing is decoded. MP4 is a row of boxes (ISO/IEC 14496-12, 4.2), WebM a tree of elements (RFC 8794 and RFC 9559); a file is
one of them when its pieces fill it from the first byte to the last, so that nothing else hides before, between or behind.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

# A film of minutes has some thousand pieces; a file of more is made to keep somebody busy.
MOST_PIECES: Final = 50_000
# The table of contents of an MP4 file; that of an hour's film is smaller.
LARGEST_INDEX: Final = 16 * 1024 * 1024

BRANDS: Final = {
    b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"M4V ", b"M4VH", b"M4VP", b"MSNV", b"dash",
}  # fmt: skip
TOP_BOXES: Final = {
    b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"meta", b"udta", b"pdin", b"sidx", b"ssix", b"styp",
    b"moof", b"mfra", b"emsg", b"prft",
}  # fmt: skip
# Where places, names and devices are written: user data, tags, and the makers' own boxes.
TELLING: Final = {b"udta", b"meta", b"uuid"}
# H.264, VP8, VP9 and AV1: what every phone of the last years plays. H.265 is not among them.
MP4_CODES: Final = {b"avc1", b"avc3", b"vp08", b"vp09", b"av01"}
WEBM_CODES: Final = {b"V_VP8", b"V_VP9", b"V_AV1"}
# Picture, sound, and both in one.
WEBM_SHOWN: Final = {1, 2, 3}
HELD_SHOWN: Final = {b"vide", b"soun", b"hint"}
# Tracks of programs that cut and pack films: counted time and the order of things, and never a place.
HARMLESS: Final = {b"tmcd", b"odsm", b"sdsm"}

# Subtitles: their words are read, each of them, and a track that cannot be read to its end is not taken.
TEXT: Final = {b"text", b"sbtl", b"subt"}
TEXT_CODES: Final = {b"tx3g", b"text"}
# What may stand behind the words of one subtitle: how they look, and which of them are sung (3GPP TS 26.245, 5.17).
LOOKS: Final = {b"styl", b"hlit", b"hclr", b"krok", b"dlay", b"tbox", b"blnk", b"twrp", b"encd"}
MOST_WORDS: Final = 512 * 1024
# So many languages; each of the tracks could point at the same words, which are read once for each.
MOST_TEXTS: Final = 20
LARGEST_SUBTITLE: Final = 4 * 1024
# A word that cameras write before a place, a degree sign behind a number, two numbers with three and more decimals one after
# the other, or a place as ISO 6709 spells it.
PLACE: Final = re.compile(
    r"gps|latitude|longitude|altitude|\bl(?:at|ng|on)\b\W{0,3}\d|\blong\s*[:=]\W?\d|geo:|[经纬]度|海拔|坐标|\d\s*[°º˚]"
    r"|\d\.\d{3,}\D{1,20}\d+\.\d{3,}|[+-]\d{2,}\.\d+[+-]\d{2,}\.\d+",
    re.IGNORECASE,
)

EBML, DOC_TYPE, SEGMENT = 0x1A45DFA3, 0x4282, 0x18538067
SEEK_HEAD, VOID, CRC, INFO, TRACKS = 0x114D9B74, 0xEC, 0xBF, 0x1549A966, 0x1654AE6B
CLUSTER, CUES, CHAPTERS, TAGS, ATTACHMENTS = 0x1F43B675, 0x1C53BB6B, 0x1043A770, 0x1254C367, 0x1941A469
TRACK_ENTRY, TRACK_TYPE, CODEC_ID = 0xAE, 0x83, 0x86
IN_SEGMENT: Final = {SEEK_HEAD, VOID, CRC, INFO, TRACKS, CLUSTER, CUES, CHAPTERS, TAGS, ATTACHMENTS}
# Timestamp, SilentTracks, Position, PrevSize, SimpleBlock, BlockGroup, EncryptedBlock, and what may stand anywhere.
IN_CLUSTER: Final = {0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, VOID, CRC}


class Broken(ValueError):
    """No whole MP4 or WebM file with a moving picture in it."""


class UnplayableCode(ValueError):
    """A whole file that most phones cannot play: it is coded as the argument says."""


class TellingTrack(ValueError):
    """A whole file with a track beside picture and sound, of the kind that the argument names.

    Cameras write their path into such tracks (GoPro, Android, drones also as subtitles), sample by sample among the film
    itself, so that emptying the track's table would leave every place in the file. Subtitles of an MP4 file are read and taken
    where no place is among their words.
    """


@dataclass(frozen=True)
class Blank:
    """A piece that is to be made empty where it stands, so that nothing after it moves: `head` at `at`, then zeros until `until`."""

    at: int
    head: bytes
    until: int


@dataclass(frozen=True)
class Container:
    """`ending` is how the file's name ends. `blanks` are its pieces that tell more than the film."""

    ending: str
    blanks: tuple[Blank, ...]


def look_into(stream: IO[bytes], size: int) -> Container:
    """What a file of `size` bytes is. Reads heads and tables, never the film itself.

    Raises `Broken`, `UnplayableCode` and `TellingTrack`.
    """
    start = _read(stream, 0, min(size, 12))
    if start[4:8] == b"ftyp":
        return _mp4(stream, size)
    if start[:4] == EBML.to_bytes(4):
        return _webm(stream, size)
    raise Broken


def _read(stream: IO[bytes], at: int, length: int) -> bytes:
    stream.seek(at)
    found = stream.read(length)
    if len(found) != length:
        raise Broken
    return found


# ── MP4 ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Box:
    kind: bytes
    at: int
    head: int
    until: int

    @property
    def inside(self) -> int:
        return self.at + self.head


def _boxes(stream: IO[bytes], at: int, until: int, last_may_be_open: bool = False) -> Iterator[_Box]:
    """The boxes that fill a stretch, one after the other."""
    for _piece in range(MOST_PIECES):
        if at == until:
            return
        length = int.from_bytes(_read(stream, at, 4))
        kind, head = _read(stream, at + 4, 4), 8
        if length == 1:
            length, head = int.from_bytes(_read(stream, at + 8, 8)), 16
        elif length == 0 and last_may_be_open:
            length = until - at
        if length < head or at + length > until:
            raise Broken
        yield _Box(kind, at, head, at + length)
        at += length
    raise Broken


def _blank(box: _Box, stream: IO[bytes]) -> Blank:
    """A box made a `free` one: its length stays, its name and what is inside go."""
    length = _read(stream, box.at, box.head)
    return Blank(box.at, length[:4] + b"free" + length[8:], box.until)


def _mp4(stream: IO[bytes], size: int) -> Container:
    blanks: list[Blank] = []
    codes: list[bytes] = []
    kinds: set[bytes] = set()
    texts: list[tuple[bytes, _Box]] = []
    for box in _boxes(stream, 0, size, last_may_be_open=True):
        if box.kind not in TOP_BOXES or (box.kind == b"ftyp") != (box.at == 0):
            raise Broken
        kinds.add(box.kind)
        if box.kind == b"ftyp":
            _check_brands(stream, box)
        elif box.kind in TELLING:
            blanks.append(_blank(box, stream))
        elif box.kind == b"moov":
            if box.until - box.at > LARGEST_INDEX or codes:
                raise Broken
            for inner in _boxes(stream, box.inside, box.until):
                if inner.kind in TELLING:
                    blanks.append(_blank(inner, stream))
                elif inner.kind == b"trak":
                    blanks += _track(stream, inner, codes, texts)
    for handler, table in texts:
        # Fragments have samples of their own, which no table of the index leads to.
        if len(texts) > MOST_TEXTS or b"moof" in kinds or _tells(stream, size, table):
            raise TellingTrack(handler.decode("latin-1").strip())
    if not codes or b"mdat" not in kinds:
        raise Broken
    unknown = [code for code in codes if code not in MP4_CODES]
    if unknown:
        raise UnplayableCode(unknown[0].decode("latin-1").strip())
    return Container("mp4", tuple(blanks))


def _check_brands(stream: IO[bytes], box: _Box) -> None:
    if not 16 <= box.until - box.at <= 1_024:
        raise Broken
    words = _read(stream, box.inside, box.until - box.inside)
    # The second word is a version, not a brand.
    if not BRANDS & {words[i : i + 4] for i in range(0, len(words) - 3, 4) if i != 4}:
        raise Broken


def _track(stream: IO[bytes], track: _Box, codes: list[bytes], texts: list[tuple[bytes, _Box]]) -> list[Blank]:
    """What is to be made empty of a track: what tells, or all of it where it only counts. Raises `TellingTrack`.

    How its pictures are coded comes to `codes`, the table of its subtitles to `texts`: these are still to be judged.
    """
    found: list[Blank] = []
    handler = b""
    tables: list[_Box] = []
    for box in _boxes(stream, track.inside, track.until):
        if box.kind in TELLING:
            found.append(_blank(box, stream))
        elif box.kind == b"mdia":
            for inner in _boxes(stream, box.inside, box.until):
                if inner.kind in TELLING:
                    found.append(_blank(inner, stream))
                elif inner.kind == b"hdlr":
                    handler = _read(stream, inner.inside + 8, 4)
                elif inner.kind == b"minf":
                    tables += [one for one in _boxes(stream, inner.inside, inner.until) if one.kind == b"stbl"]
    if handler in HARMLESS:
        return [_blank(track, stream)]
    if handler in TEXT and len(tables) == 1:
        texts.append((handler, tables[0]))
        return found
    if handler not in HELD_SHOWN:
        raise TellingTrack(handler.decode("latin-1").strip())
    if handler == b"vide":
        codes += [_code(stream, table) for table in tables]
    return found


def _code(stream: IO[bytes], table: _Box) -> bytes:
    """How the pictures of a track are coded: the name of its first sample entry."""
    for box in _boxes(stream, table.inside, table.until):
        if box.kind == b"stsd" and box.until - box.inside >= 16:
            return _read(stream, box.inside + 12, 4)
    raise Broken


def _tells(stream: IO[bytes], size: int, table: _Box) -> bool:
    """Whether the subtitles of a track in a file of `size` bytes name a place, or cannot be judged: each of its samples is read,
    in one pass."""
    try:
        parts = {box.kind: box for box in _boxes(stream, table.inside, table.until)}
        if _code(stream, table) not in TEXT_CODES or parts[b"stsd"].until - parts[b"stsd"].at > LARGEST_SUBTITLE:
            return True
        words = [_words(sample) for sample in _samples(stream, size, parts)]
    except (Broken, KeyError, UnicodeDecodeError, struct.error):
        return True
    # A place may be spread over the lines of one moment and the next.
    return not words or PLACE.search(" ".join(words)) is not None


def _numbers(stream: IO[bytes], box: _Box, at: int, count: int, form: str = "I") -> tuple[int, ...]:
    """Numbers of a table that stand `at` bytes behind its version; more of them than it holds are `Broken`."""
    length = count * struct.calcsize(form)
    if count > MOST_PIECES or box.inside + 4 + at + length > box.until:
        raise Broken
    return struct.unpack(f">{count}{form}", _read(stream, box.inside + 4 + at, length))


def _samples(stream: IO[bytes], end: int, parts: dict[bytes, _Box]) -> Iterator[bytes]:
    """The samples of a track where its tables say that they lie (ISO/IEC 14496-12, 8.7). What is not there is `Broken`."""
    same, count = _numbers(stream, parts[b"stsz"], 0, 2)
    if count > MOST_PIECES:
        raise Broken
    sizes = (same,) * count if same else _numbers(stream, parts[b"stsz"], 8, count)
    wide = b"co64" in parts
    offsets = parts[b"co64" if wide else b"stco"]
    [number_of_chunks] = _numbers(stream, offsets, 0, 1)
    chunks = _numbers(stream, offsets, 4, number_of_chunks, "Q" if wide else "I")
    [runs] = _numbers(stream, parts[b"stsc"], 0, 1)
    rows = _numbers(stream, parts[b"stsc"], 4, 3 * runs)
    in_chunk = {first: many for first, many, _entry in zip(rows[::3], rows[1::3], rows[2::3], strict=True)}
    if sum(sizes) > MOST_WORDS or max(sizes, default=0) > LARGEST_SUBTITLE or not in_chunk or 1 not in in_chunk:
        raise Broken
    left, many = iter(sizes), 0
    for number, at in enumerate(chunks, 1):
        many = in_chunk.get(number, many)
        for _sample in range(min(many, count)):
            size = next(left, None)
            if size is None or at + size > end:
                raise Broken
            yield _read(stream, at, size)
            at += size
    if next(left, None) is not None:
        raise Broken


def _words(sample: bytes) -> str:
    """The words of a subtitle: their length, UTF-8 or, after a mark, UTF-16, and boxes about their looks (3GPP TS 26.245)."""
    [length] = struct.unpack(">H", sample[:2])
    text, at = sample[2 : 2 + length], 2 + length
    if len(text) != length:
        raise Broken
    while at < len(sample):
        size, kind = struct.unpack(">I4s", sample[at : at + 8])
        if kind not in LOOKS or size < 8 or at + size > len(sample):
            raise Broken
        at += size
    return text.decode("utf-16" if text[:2] in (b"\xfe\xff", b"\xff\xfe") else "utf-8")


# ── WebM ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Element:
    id: int
    at: int
    inside: int
    # None: it goes on until something that does not belong into it.
    until: int | None


def _element(stream: IO[bytes], at: int, limit: int) -> _Element:
    """The element that begins at a place."""
    first = _read(stream, at, 1)[0]
    width = 9 - first.bit_length()
    if width > 4:
        raise Broken
    name = int.from_bytes(_read(stream, at, width))
    first = _read(stream, at + width, 1)[0]
    wide = 9 - first.bit_length()
    if wide > 8:
        raise Broken
    length = int.from_bytes(_read(stream, at + width, wide)) & ((1 << 7 * wide) - 1)
    inside = at + width + wide
    if length == (1 << 7 * wide) - 1:
        return _Element(name, at, inside, None)
    if inside + length > limit:
        raise Broken
    return _Element(name, at, inside, inside + length)


def _elements(stream: IO[bytes], at: int, until: int) -> Iterator[_Element]:
    """The elements that fill a stretch, each of a known length."""
    for _piece in range(MOST_PIECES):
        if at == until:
            return
        found = _element(stream, at, until)
        if found.until is None:
            raise Broken
        yield found
        at = found.until
    raise Broken


def _webm(stream: IO[bytes], size: int) -> Container:
    head = _element(stream, 0, size)
    if head.until is None or head.until > 1_024:
        raise Broken
    kinds = [
        _read(stream, one.inside, (one.until or 0) - one.inside).rstrip(b"\0")
        for one in _elements(stream, head.inside, head.until)
        if one.id == DOC_TYPE
    ]
    segment = _element(stream, head.until, size)
    if kinds != [b"webm"] or segment.id != SEGMENT or segment.until not in (None, size):
        raise Broken
    blanks: list[Blank] = []
    codes: list[bytes] = []
    films = 0
    at = segment.inside
    for _piece in range(MOST_PIECES):
        if at == size:
            break
        found = _element(stream, at, size)
        if found.id not in IN_SEGMENT or (found.until is None and found.id != CLUSTER):
            raise Broken
        if found.id == TRACKS:
            codes += _codes(stream, found.inside, found.until or 0)
        elif found.id in (TAGS, ATTACHMENTS):
            blanks.append(_void(found.at, found.until or 0))
        films += found.id == CLUSTER
        at = _end_of_cluster(stream, found.inside, size) if found.until is None else found.until
    else:
        raise Broken
    if not codes or not films:
        raise Broken
    unknown = [code for code in codes if code not in WEBM_CODES]
    if unknown:
        raise UnplayableCode(unknown[0].decode("latin-1").removeprefix("V_"))
    return Container("webm", tuple(blanks))


def _end_of_cluster(stream: IO[bytes], at: int, size: int) -> int:
    """Where a cluster of unknown length ends (as browsers record it): before the first element that belongs into none."""
    for _piece in range(MOST_PIECES):
        if at == size:
            return at
        found = _element(stream, at, size)
        if found.id not in IN_CLUSTER:
            return at
        if found.until is None:
            raise Broken
        at = found.until
    raise Broken


def _codes(stream: IO[bytes], at: int, until: int) -> list[bytes]:
    """How each track with a moving picture is coded. Raises `TellingTrack` where one is neither picture nor sound."""
    found = []
    for track in _elements(stream, at, until):
        if track.id != TRACK_ENTRY:
            continue
        said = {
            one.id: _read(stream, one.inside, (one.until or 0) - one.inside)
            for one in _elements(stream, track.inside, track.until or 0)
            if one.id in (TRACK_TYPE, CODEC_ID) and (one.until or 0) - one.inside <= 64
        }
        kind = int.from_bytes(said.get(TRACK_TYPE, b""))
        if kind not in WEBM_SHOWN:
            raise TellingTrack(str(kind))
        if kind == 1:
            found.append(said.get(CODEC_ID, b"").rstrip(b"\0"))
    return found


def _void(at: int, until: int) -> Blank:
    """An element made a Void one of the same length: one byte of name, the length, zeros."""
    total = until - at
    wide = 8 if total >= 9 else 1
    return Blank(at, bytes([VOID]) + ((1 << 7 * wide) | (total - 1 - wide)).to_bytes(wide), until)
