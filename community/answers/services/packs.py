"""Packs: questions with their phrasings and answers as a file, in and out, and the one that comes with Siyu."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy import text as sql

from community.posts.rules import link_allowed
from kernel import audit, clock, files
from kernel.db import changed, db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from kernel.pages import csv_text, plain_cell

from .. import queries, rules, sheets, words
from ..models import Intent, PackImport, Source
from . import pictures
from .knowledge import Draft, new_intents, touch

SHIPPED: Final = Path(__file__).parents[1] / "packs" / "after_sale_zh.json"
FIELDS: Final = (
    "key",
    "topic",
    "question",
    "question_en",
    "answer",
    "answer_en",
    "link_url",
    "link_label",
    "voice_group",
    "voice_wecom",
    "voice_agent",
    "enabled",
    "related",
    "phrasings",
)
VOICES: Final = {f"voice_{channel}": channel for channel in rules.CHANNELS}
LONGEST: Final = {
    "key": 60, "topic": 40, "question": rules.LONGEST_QUESTION, "question_en": 160, "answer": rules.LONGEST_ANSWER,
    "answer_en": rules.LONGEST_ANSWER, "link_url": 500, "link_label": 40,
    **dict.fromkeys(VOICES, rules.LONGEST_ANSWER),
}  # fmt: skip
# A picture stands in a JSON pack as a data address (RFC 2397); tables carry none. As this house keeps pictures, one is far smaller.
PICTURE: Final = "data:image/webp;base64,"
_PICTURE: Final = re.compile(r"data:image/[a-z+.-]{1,20};base64,")
LARGEST_PICTURE: Final = 1 << 20
MOST_PICTURES: Final = 16 << 20
# What the column `enabled` says of a question that is switched off; empty, or any other word, is on.
OFF: Final = ("0", "no", "off", "false", "否", "停用")
MOST_INTENTS: Final = 2_000
# So many phrasings are added by one statement.
PORTION: Final = 5_000
# What several texts in one cell stand apart by.
_APART = re.compile(r"[\n|]+")


class FileUnusable(Refusal):
    status = 422
    label = _l("The file cannot be read: choose a JSON, CSV or XLSX file of questions, with a heading for each column.")
    field = "file"


class TakenAlready(Refusal):
    status = 409
    label = _l("This file has been imported already.")


def shipped() -> dict[str, Any]:
    """The pack that comes with Siyu: forty after-sale questions."""
    found: dict[str, Any] = json.loads(SHIPPED.read_text(encoding="utf-8"))
    return found


def _text(value: Any) -> str:
    """A value as text that the database can keep: JSON may spell NULs and halves of characters."""
    return str(value).replace("\x00", "").encode("utf-8", "ignore").decode()


def _rows_of(filename: str, content: bytes) -> tuple[str, list[tuple[int, dict[str, Any]]]]:
    """The pack's name (empty in tables), and its entries with the line each stands on. Raises `FileUnusable`."""
    ending = filename.rsplit(".", 1)[-1].lower()
    try:
        if ending == "json":
            said = json.loads(sheets.text_of(content))
            entries = said.get("intents") if isinstance(said, dict) else said
            if not isinstance(entries, list):
                raise FileUnusable
            name = said.get("name", "") if isinstance(said, dict) else ""
            return _text(name)[:60], [(i + 1, one) for i, one in enumerate(entries) if isinstance(one, dict)]
        if ending == "xlsx":
            table = sheets.xlsx_rows(content)
        else:
            table = [[plain_cell(cell) for cell in row] for row in sheets.csv_rows(content)]
    except (sheets.Unreadable, ValueError, RecursionError) as wrong:
        raise FileUnusable from wrong
    heads = [cell.strip().lower() for cell in table[0]] if table else []
    if "question" not in heads or "answer" not in heads:
        raise FileUnusable
    return "", [
        (i, {head: cell for head, cell in zip(heads, row, strict=False) if head in FIELDS})
        for i, row in enumerate(table[1:], 2)
        if any(cell.strip() for cell in row)
    ]


def _listed(value: Any) -> list[str]:
    parts = value if isinstance(value, list) else _APART.split(str(value or ""))
    return list(dict.fromkeys(text for one in parts if (text := " ".join(_text(one).split()))))


def _entry(said: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """An entry as it is kept, and what is wrong with it: column and reason (a key of `labels.ROW_ERRORS`)."""
    row: dict[str, Any] = {name: _text(said.get(name) or "").strip() for name in LONGEST}
    row["enabled"] = str(said.get("enabled", "")).strip().lower() not in OFF
    row["related"], row["phrasings"] = (
        _listed(said.get("related"))[: rules.MOST_RELATED],
        _listed(said.get("phrasings")),
    )
    wrong = [(name, "missing") for name in ("question", "answer") if not row[name]]
    wrong += [(name, "too_long") for name, most in LONGEST.items() if len(row[name]) > most]
    wrong += [("phrasings", "too_long")] if any(len(t) > rules.LONGEST_PHRASING for t in row["phrasings"]) else []
    wrong += [("phrasings", "too_many")] if len(row["phrasings"]) > rules.MOST_PHRASINGS else []
    if row["link_url"] and not link_allowed(row["link_url"]):
        wrong.append(("link_url", "no_link"))
    return row, wrong


def _picture_of(said: Any, room: int) -> tuple[bytes, str]:
    """The picture that an entry carries, of at most `room` bytes (none is empty), and what is wrong with it."""
    text = said.get("picture")
    if not text:
        return b"", ""
    head = _PICTURE.match(text) if isinstance(text, str) else None
    if head is None:
        return b"", "no_picture"
    if len(text) > LARGEST_PICTURE * 4 // 3 + 64:
        return b"", "picture_too_large"
    try:
        found = base64.b64decode(text[head.end() :], validate=True)
    except ValueError:
        return b"", "no_picture"
    if len(found) > min(room, LARGEST_PICTURE):
        return b"", "picture_too_large"
    try:
        files.look_at_picture(io.BytesIO(found))
    except files.FileRefused:
        return b"", "no_picture"
    return found, ""


def preview(filename: str, content: bytes, staff_id: int | None) -> PackImport:
    """Read a file without taking anything in: what is wrong is kept by line and column, and a wrong line comes alone. Its
    pictures are kept as they came.

    Refuses with `FileUnusable`.
    """
    filename = _text(filename)
    name, entries = _rows_of(filename, content)
    if not entries or len(entries) > MOST_INTENTS:
        raise FileUnusable
    rows: list[dict[str, Any]] = []
    errors: list[list[Any]] = []
    keys: set[str] = set()
    said_by: dict[str, str] = {}
    raw = bytearray()
    for line, said in entries:
        row, wrong = _entry(said)
        row["key"] = row["key"] or "q-" + words.fold(row["question"])[:50]
        if row["key"] in keys:
            wrong.append(("key", "twice"))
        for text in row["phrasings"]:
            if said_by.setdefault(words.fold(text), row["key"]) != row["key"]:
                wrong.append(("phrasings", "twice"))
                break
        picture, reason = _picture_of(said, MOST_PICTURES - len(raw))
        if reason:
            wrong.append(("picture", reason))
        elif picture and not wrong:
            row["raw"] = [len(raw), len(picture)]
            raw += picture
        errors += [[line, column, reason] for column, reason in wrong]
        if not wrong:
            keys.add(row["key"])
            rows.append(row)
    found = PackImport(
        name=name or Path(filename).stem[:60] or "pack",
        filename=filename[:120],
        rows=rows,
        errors=errors[:500],
        raw=files.keep_raw(bytes(raw)) if raw else None,
        staff_id=staff_id,
        created_at=clock.now(),
    )
    db.session.add(found)
    db.session.flush()
    return found


def preview_shipped(staff_id: int | None) -> PackImport:
    """The pack that comes with Siyu, ready to be taken in."""
    return preview("after-sale.json", SHIPPED.read_bytes(), staff_id)


def take_in(import_id: int) -> tuple[int, int, int]:
    """Take in what a preview shows: questions known by their key get what is new of the phrasings and keep their answers;
    the others are added, and their pictures wait to be drawn. Returns how many were added, how many known, and how many
    phrasings came.

    A phrasing that another question has already stays there. Refuses with `TakenAlready`.
    """
    done = db.session.execute(
        update(PackImport)
        .where(PackImport.id == import_id, PackImport.taken_at.is_(None))
        .values(taken_at=clock.now())
        .execution_options(synchronize_session="fetch")
    )
    if not changed(done):
        queries.get_import(import_id)
        raise TakenAlready
    found = queries.get_import(import_id)
    named = select(Intent.key, Intent.id).where(Intent.key.in_([row["key"] for row in found.rows]))
    known = {row.key: row.id for row in db.session.execute(named)}
    drafts = []
    for row in found.rows:
        if row["key"] not in known:
            texts = {name: row[name] for name in LONGEST if name not in VOICES}
            # A file that was looked at before packs said these things has none of them.
            voices = {channel: row.get(name, "") for name, channel in VOICES.items()}
            # A file that was looked at before pictures waited has its own drawn already; nobody took it in for long: swept away.
            picture = row.get("picture") if files.picture_size(row.get("picture", "")) else None
            drafts.append(Draft(**texts, voices=voices, enabled=row.get("enabled", True), picture=picture))
    fresh = new_intents(drafts, found.name)
    # A colleague may have brought some, or deleted some, at this very moment.
    everyone = {row.key: row.id for row in db.session.execute(named)}
    _relate(
        {
            fresh[row["key"]]: [everyone[key] for key in row["related"] if key in everyone and key != row["key"]]
            for row in found.rows
            if row["key"] in fresh
        }
    )
    there = [row for row in found.rows if row["key"] in everyone]
    came = _add_phrasings([(everyone[row["key"]], text) for row in there for text in row["phrasings"]])
    pictures.wait_for(found, fresh)
    touch()
    audit.record(
        "pack.taken_in",
        "intent",
        None,
        after={"name": found.name, "questions": len(fresh), "known": len(everyone) - len(fresh), "phrasings": came},
    )
    return len(fresh), len(everyone) - len(fresh), came


def _relate(related: dict[int, list[int]]) -> None:
    """Write down what is asked next (ids of intents, by that of the question)."""
    rows = [{"id": intent_id, "related": others} for intent_id, others in related.items() if others]
    if rows:
        db.session.execute(update(Intent), rows)


def _add_phrasings(said: list[tuple[int, str]]) -> int:
    """Add phrasings (id of the intent, text) that nobody has yet; of two that read alike the question of the first has
    them. Returns how many came."""
    rows: dict[str, tuple[int, str]] = {}
    for intent_id, text in said:
        if folded := words.fold(text):
            rows.setdefault(folded, (intent_id, text))
    waiting, came = list(rows.items()), 0
    for start in range(0, len(waiting), PORTION):
        portion = waiting[start : start + PORTION]
        put = sql("""
            INSERT INTO phrasing (intent_id, text, folded, source, created_at)
            SELECT intent_id, text, folded, :source, :now
            FROM unnest(CAST(:intents AS bigint[]), CAST(:texts AS text[]), CAST(:folded AS text[]))
                WITH ORDINALITY AS t (intent_id, text, folded, place)
            ORDER BY place
            ON CONFLICT (folded) DO NOTHING
        """)
        done = db.session.execute(
            put,
            {
                "source": Source.PACK.value,
                "now": clock.now(),
                "intents": [intent_id for _folded, (intent_id, _text) in portion],
                "texts": [text for _folded, (_intent_id, text) in portion],
                "folded": [folded for folded, _said in portion],
            },
        )
        came += changed(done)
    return came


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "\n".join(value) if isinstance(value, list) else str(value)


def exported(form: str, intent_ids: list[int] | None = None) -> bytes:
    """The questions (all, or those named) as a file that `preview` reads: `json`, `csv` or `xlsx`. JSON
    carries the pictures, each of at most `LARGEST_PICTURE` bytes and `MOST_PICTURES` together; what is beyond that stays behind."""
    intents = queries.exported(intent_ids)
    keys = {intent.id: intent.key for intent in intents}
    said = queries.phrasings_of([intent.id for intent in intents])
    rows = [
        {
            **{name: getattr(intent, name) for name in LONGEST if name not in VOICES},
            **{name: intent.voices.get(channel, "") for name, channel in VOICES.items()},
            "enabled": intent.enabled,
            "related": [keys[other] for other in intent.related if other in keys],
            "phrasings": said.get(intent.id, []),
        }
        for intent in intents
    ]
    audit.record("pack.exported", "intent", None, after={"questions": len(rows)})
    if form == "json":
        room = MOST_PICTURES
        for row, intent in zip(rows, intents, strict=True):
            content = files.read_picture(intent.picture, min(room, LARGEST_PICTURE)) if intent.picture else None
            if content:
                room -= len(content)
                row["picture"] = PICTURE + base64.b64encode(content).decode()
        return json.dumps({"name": "shop", "version": 1, "intents": rows}, ensure_ascii=False, indent=1).encode()
    table = [list(FIELDS)] + [[_cell(row[name]) for name in FIELDS] for row in rows]
    if form == "xlsx":
        return sheets.xlsx_of(table, "questions")
    return csv_text(table, opening=True).encode("utf-8")
