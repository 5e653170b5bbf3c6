"""Check D1's hostile texts, and putting them into every text of a shop that somebody has typed."""

from __future__ import annotations

from sqlalchemy import Enum, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError

from kernel.db import db

# `ran()` is the visitor's own (see `WATCH`); whatever becomes an element of a page is found by its mark.
ELEMENTS = (
    "<script data-planted>ran()</script>", "<img data-planted src=x onerror=ran()>", "<svg data-planted onload=ran()>",
    "<svg data-planted><script>ran()</script></svg>", "<svg data-planted><animate onbegin=ran() attributeName=x dur=1s>",
    "<iframe data-planted srcdoc='<script>parent.ran()</script>'>", "<iframe data-planted src=javascript:parent.ran()>",
    "<a data-planted href=javascript:ran()>x</a>", "<details data-planted open ontoggle=ran()>x</details>",
    "<input data-planted autofocus onfocus=ran()>", "<video data-planted><source onerror=ran()></video>",
    "<audio data-planted src=x onerror=ran()>", "<body data-planted onload=ran()>", "<object data-planted data=javascript:ran()>",
    "<embed data-planted src=javascript:ran()>", "<marquee data-planted onstart=ran()>x</marquee>", "<base data-planted href=//e.example/>",
    "<form data-planted action=javascript:ran()><button>x</button></form>", "<button data-planted formaction=javascript:ran()>x</button>",
    "<style data-planted>@import'//e.example/x.css'</style>", "<link data-planted rel=stylesheet href=//e.example/x.css>",
    "<meta data-planted http-equiv=refresh content='0;url=//e.example/'>", "<p data-planted style=background:url(//e.example/x)>x</p>",
    "<math data-planted><mtext><mglyph><style><img src onerror=ran()>", "<template data-planted shadowrootmode=open><script>ran()</script>",
    "<p data-planted hx-get=/console/ hx-trigger=load hx-on::load=ran()>x</p>", "<p data-planted onpointerover=ran()>x</p>",
    "<select data-planted autofocus onfocus=ran()>",
    "<textarea data-planted autofocus onfocus=ran()>", "<x data-planted tabindex=1 onfocus=ran()>",
)  # fmt: skip
# What a text may have to break out of first.
AROUND = ("", '">', "'>", "</textarea>", "</title></head><body>", "-->", "</script>")
OTHERS = (
    '" data-planted onmouseover="ran()', "' data-planted onmouseover='ran()", "` data-planted onmouseover=ran() ",
    "x data-planted onclick=ran()",
    "[x](javascript:ran())", "[x](JaVaScRiPt:ran())", "[x](data:text/html,<script>ran()</script>)", "![x](javascript:ran())",
    "<javascript:ran()>", "[x]: javascript:ran()", "[x](vbscript:ran())", "[x](java&#x0A;script:ran())", "javascript:ran()//",
    "{{constructor.constructor('ran()')()}}", "${ran()}", "{{ran()}}", "<%=ran()%>", "#{ran()}",
    "\\u003cscript\\u003eran()\\u003c/script\\u003e",
    "&lt;img data-planted src=x onerror=ran()&gt;", "%3Cscript%3Eran()%3C/script%3E", "＜script＞ran()＜/script＞",
    "';ran();'", '";ran();"',
    "\\';ran();//", "</script><script data-planted>ran()</script>", "]]><script data-planted>ran()</script>", "<<b data-planted>b",
)  # fmt: skip
PAYLOADS = [*(before + element for before in AROUND for element in ELEMENTS), *OTHERS]

# For texts inside JSON, whose lengths and placeholders are looked at when they are read.
SHORT = [one for one in PAYLOADS if len(one) <= 45 and "{" not in one]

# Runs before anything of the page.
WATCH = "window.ran = () => { window.hasRun = true; }"
# What of the texts has become more than a text.
RISEN = """() => {
  const found = [...document.querySelectorAll("[data-planted]")].map((one) => `an element: ${one.outerHTML.slice(0, 120)}`);
  for (const one of document.querySelectorAll("[href], [src], [action], [formaction], [data]"))
    for (const name of ["href", "src", "action", "formaction", "data"])
      if (/^\\s*(javascript|vbscript|data:text)/i.test(one.getAttribute(name) ?? "")) found.push(`an address: ${one.getAttribute(name)}`);
  if (window.hasRun) found.push("a script that ran");
  return found;
}"""

# Texts that the demo shop leaves empty or says in one word.
BESIDE = {
    "api_key.name", "audience.name", "audit_entry.actor", "call_task.outcome_note", "channel_account.name", "claim_link.name",
    "code_pool.name", "contact_task.note", "conversation.satisfaction_note", "feed_entry.note", "festival.name", "import_reject.value",
    "import_run.filename", "journey.name", "member_note.author", "member_note.body", "moderation_case.note", "moderation_case.word",
    "offer_version.item_title", "order_connection.name", "outside_code.name", "push.name", "sanction.reason", "saved_view.title",
    "staff.name", "stop_word.word", "tag.name", "ticket.satisfaction_note", "webhook_endpoint.description",
}  # fmt: skip
# Plans whose every text is judged again when they are read.
JUDGED = {"journey.draft"}
# Text that people have typed: Chinese, or several words.
TYPED = "[一-鿿]|[[:alpha:]][,.!?]? [[:alpha:]]"


def plant() -> dict[str, int]:
    """Put a hostile text in place of every one that a person has typed, in columns and inside JSON; returns how many rows of
    each `table.column` were changed. Commits. What a table itself refuses stays as it is: a name that must be the only one."""
    done: dict[str, int] = {}
    db.session.execute(text("CREATE TEMPORARY TABLE planted (number int PRIMARY KEY, words text)"))
    db.session.execute(
        text("INSERT INTO planted VALUES (:number, :words)"),
        [{"number": number, "words": words} for number, words in enumerate(PAYLOADS)]
        + [{"number": -1 - number, "words": words} for number, words in enumerate(SHORT)],
    )
    for table in db.metadata.sorted_tables:
        for column in table.columns:
            name = f"{table.name}.{column.name}"
            if name in JUDGED or column.primary_key or column.foreign_keys or column.computed is not None:
                continue
            value = f't."{column.name}"'
            # Rows take turns; the name of the column is in it, lest all texts of a row be the same.
            place = f"abs(hashtext(t.ctid::text || '{name}')::bigint)"
            turn = f"(SELECT words FROM planted WHERE number = {place} % {len(PAYLOADS)})"
            if isinstance(column.type, String) and not isinstance(column.type, Enum):
                new = f"left({turn}, {column.type.length or 1000})"
                where = "true" if name in BESIDE else f"{value} ~ '{TYPED}'"
            elif isinstance(column.type, JSONB):
                # What is inside the quotes of a JSON string, and then of a replacement.
                turn = f"(SELECT words FROM planted WHERE number = -1 - {place} % {len(SHORT)})"
                new = f"replace(regexp_replace(to_json({turn})::text, '^.|.$', '', 'g'), '\\', '\\\\')"
                new = f"regexp_replace({value}::text, '[一-鿿]\"(?=[],}}])', {new} || '\"', 'g')::jsonb"
                where = f"{value}::text ~ '[一-鿿]\"[],}}]'"
            else:
                continue
            try:
                with db.session.begin_nested():
                    query = f'UPDATE "{table.name}" t SET "{column.name}" = {new} WHERE {where}'
                    changed = db.session.connection().exec_driver_sql(query.replace("%", "%%"))
            except IntegrityError:
                continue
            if changed.rowcount:
                done[name] = changed.rowcount
    db.session.commit()
    return done
