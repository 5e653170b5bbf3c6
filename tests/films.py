"""Short videos as small as they can be: every piece in its place, and nothing to see."""

from __future__ import annotations

import struct


def box(kind: bytes, *inside: bytes) -> bytes:
    """A box of an MP4 file (ISO/IEC 14496-12, 4.2)."""
    content = b"".join(inside)
    return struct.pack(">I", 8 + len(content)) + kind + content


def track(handler: bytes = b"vide", code: bytes = b"avc1", *more: bytes) -> bytes:
    """A track with one sample entry."""
    table = box(b"stbl", box(b"stsd", bytes(4), struct.pack(">I", 1), box(code, bytes(78))))
    media = box(b"mdia", box(b"mdhd", bytes(24)), box(b"hdlr", bytes(8), handler, bytes(13)), box(b"minf", table))
    return box(b"trak", box(b"tkhd", bytes(84)), media, *more)


def mp4(
    *in_movie: bytes,
    tracks: bytes | None = None,
    film: bytes = b"\x00" * 500,
    brand: bytes = b"isom",
    after: bytes = b"",
) -> bytes:
    """An MP4 file with one picture track and one of sound, unless others are given."""
    both = track() + track(b"soun", b"mp4a") if tracks is None else tracks
    head = box(b"ftyp", brand, bytes(4), brand)
    return head + box(b"moov", box(b"mvhd", bytes(100)), both, *in_movie) + box(b"mdat", film) + after


def place(words: bytes = b"+31.2304+121.4737/") -> bytes:
    """Where a phone says that it filmed."""
    return box(b"udta", box(b"\xa9xyz", struct.pack(">HH", len(words), 0x15C7), words))


UNKNOWN = b"\x01" + b"\xff" * 7


def element(name: int, *inside: bytes, length: bytes | None = None) -> bytes:
    """An element of a WebM file (RFC 8794)."""
    content = b"".join(inside)
    head = name.to_bytes((name.bit_length() + 7) // 8)
    return head + (length or (1 << 56 | len(content)).to_bytes(8)) + content


def webm(
    code: bytes = b"V_VP8", kind: bytes = b"webm", recorded: bool = False, *more: bytes, film: bytes = b"\x00" * 200
) -> bytes:
    """A WebM file with one track; `recorded` as browsers record, without saying how long anything is."""
    head = element(0x1A45DFA3, element(0x4286, b"\x01"), element(0x4282, kind))
    tracks = element(0x1654AE6B, element(0xAE, element(0xD7, b"\x01"), element(0x83, b"\x01"), element(0x86, code)))
    length = UNKNOWN if recorded else None
    clusters = b"".join(
        element(0x1F43B675, element(0xE7, bytes([n])), element(0xA3, b"\x81\x00\x00\x80", film), length=length)
        for n in range(2)
    )
    return head + element(0x18538067, element(0x1549A966), tracks, *more, clusters, length=length)


def tags(words: bytes = b"LOCATION +31.2304+121.4737/") -> bytes:
    """What a program writes about a WebM file."""
    return element(0x1254C367, element(0x7373, element(0x67C8, element(0x4487, words))))


def subtitled(
    *lines: bytes,
    code: bytes = b"tx3g",
    handler: bytes = b"sbtl",
    looks: bytes = b"",
    lost: int = 0,
    tracks: int = 1,
    after: bytes = b"",
) -> bytes:
    """An MP4 file with a track of subtitles whose words lie at the end of the film, `lost` bytes from where the table says; or
    with so many `tracks` that say the same."""
    samples = [struct.pack(">H", len(line)) + line + looks for line in lines]
    film = bytes(500) + b"".join(samples)

    def whole(at: int) -> bytes:
        table = box(
            b"stbl",
            box(b"stsd", bytes(4), struct.pack(">I", 1), box(code, bytes(38))),
            box(b"stsz", bytes(8), struct.pack(f">{1 + len(samples)}I", len(samples), *map(len, samples))),
            box(b"stsc", bytes(4), struct.pack(">4I", 1, 1, len(samples), 1)),
            box(b"co64", bytes(4), struct.pack(">IQ", 1, at))
            if at >> 32
            else box(b"stco", bytes(4), struct.pack(">2I", 1, at)),
        )
        media = box(b"mdia", box(b"mdhd", bytes(24)), box(b"hdlr", bytes(8), handler, bytes(13)), box(b"minf", table))
        return mp4(tracks=track() + tracks * box(b"trak", box(b"tkhd", bytes(84)), media), film=film, after=after)

    return whole(whole(0).index(film) + 500 + lost)
