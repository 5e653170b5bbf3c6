"""REST for people: find and make them, their details, tags, consents, and how the channels know them.

Phones, e-mail addresses, names, addresses and birthdays go out masked. A key that holds `members:reveal` may ask for them
with `reveal=true`; each such answer leaves a row in the audit trail.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from kernel import api_keys, clock
from kernel.auth import api_scope
from kernel.errors import InputInvalid, about
from kernel.http import (
    Amount,
    Day,
    Instant,
    Listed,
    Name,
    PageQuery,
    Strict,
    Words,
    api_blueprint,
    cursor_page,
    idempotent,
    operation,
)
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.openapi import describe_tag

from . import directory, queries, rules, services
from .models import Channel, Consent, Contact, CustomerType, Member, Purpose, Stage
from .services import ProfileChange
from .services.profile import TagInvalid
from .services.programs import (
    IdentityEmpty,
    IdentityTaken,
    MemberGone,
    add_identity,
    canonical,
    get_present,
    note_revealed,
)

bp = api_blueprint("members_api", __name__)
describe_tag("Members", _l("People: who they are on each channel, their details, tags and consents."))

REVEAL = "members:reveal"
api_keys.declare(REVEAL, _l("See phones, addresses and birthdays in full; each look is noted in the audit trail"))
Reveal = Annotated[bool, Field(description="Personal fields in full; the key needs members:reveal.")]
Source = Annotated[str, Field(max_length=32, pattern=r"^[a-z0-9][a-z0-9_-]*$")]
TagName = Annotated[
    str,
    Field(min_length=1, max_length=40, pattern=r"^[^\x00-\x1f\x7f\x85]*[^\s\x00-\x1f\x7f\x85][^\x00-\x1f\x7f\x85]*$"),
]
_FOUND = {"member": ("members.show", {"member_id": "$response.body#/id"})}
_OF_MEMBER = {"member": ("members.show", {"member_id": "$request.path.member_id"})}


class Identity(Strict):
    """How a channel knows a person. Phones may come in any spelling and are kept in E.164."""

    channel: Channel
    id: Name


class IdentityOut(Strict):
    channel: Channel
    id: str


class MemberOut(Strict):
    """`masked` says whether the personal fields are cut. `merged_from` is the number asked for, where that one was merged."""

    id: int
    name: str
    nickname: str
    phone: str | None
    email: str | None
    birthday: str | None
    city: str
    address: str
    customer_type: CustomerType | None
    hobbies: str
    source: str
    stage: Stage
    tier: int
    enrolled_at: Instant | None
    orders_count: int
    spend: int
    first_order_at: Instant | None
    last_order_at: Instant | None
    value_index: int
    tags: list[str]
    identities: list[IdentityOut]
    created_at: Instant
    masked: bool
    merged_from: int | None


class MembersQuery(PageQuery):
    stage: Stage | None = None
    tier: Annotated[int | None, Field(ge=0, le=4)] = None
    tag: TagName | None = None
    source: Source | None = None
    enrolled: bool | None = None
    consent: Annotated[Contact | None, Field(description="Only people who agreed to marketing on this channel.")] = None
    spend_from: Amount | None = None
    ordered_since: Instant | None = None
    channel: Annotated[Channel | None, Field(description="Find one person by an identity; give `identity` too.")] = None
    identity: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    reveal: Reveal = False


class MemberQuery(Strict):
    reveal: Reveal = False


class MemberIn(Strict):
    identities: Annotated[list[Identity], Field(min_length=1, max_length=20)]
    name: Annotated[Words, Field(max_length=100)] = ""
    nickname: Annotated[Words, Field(max_length=100)] = ""
    source: Source = "api"
    city: Annotated[Words, Field(max_length=100)] = ""
    enrol: Annotated[bool, Field(description="The person has agreed to be a member; benefits count from now.")] = False


class MemberMade(Strict):
    id: int
    made: bool


class ProfileIn(Strict):
    """Fields that are left out stay as they are."""

    name: Annotated[Words, Field(max_length=100)] | None = None
    nickname: Annotated[Words, Field(max_length=100)] | None = None
    birthday: Day | None = None
    hobbies: Annotated[Words, Field(max_length=200)] | None = None
    customer_type: CustomerType | None = None
    city: Annotated[Words, Field(max_length=100)] | None = None
    address: Annotated[Words, Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def words_are_not_null(self) -> ProfileIn:
        wrong = [
            n
            for n in ("name", "nickname", "hobbies", "city", "address")
            if n in self.model_fields_set and getattr(self, n) is None
        ]
        if wrong:
            raise ValueError(_("%(fields)s: an empty text empties the field, null does not.", fields=", ".join(wrong)))
        return self


class TagIn(Strict):
    tag: TagName


class TagsOut(Strict):
    tags: list[str]


class ConsentOut(Strict):
    """The word that rules for a channel and purpose; what is not listed was never given, which means no."""

    channel: Contact
    purpose: Purpose
    granted: bool
    source: str
    text_version: str
    at: Instant


class ConsentsOut(Strict):
    items: list[ConsentOut]


class ConsentIn(Strict):
    """`source` says where the person said so; `text_version` which words they read."""

    channel: Contact
    purpose: Purpose = Purpose.MARKETING
    granted: bool
    source: Annotated[Name, Field(max_length=100)]
    text_version: Annotated[Name, Field(max_length=60)] = "2026-01"


# ── Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _cut(channel: Channel, external_id: str) -> str:
    match channel:
        case Channel.PHONE:
            return rules.masked_phone(external_id)
        case Channel.EMAIL:
            return rules.masked_email(external_id)
        case _:
            return f"{external_id[:2]}****"


def _out(member: Member, beside: directory.Particulars, reveal: bool, asked: int | None = None) -> MemberOut:
    birthday = member.birthday.isoformat() if member.birthday is not None else None
    return MemberOut(
        id=member.id,
        name=member.name if reveal else f"{member.name[:1]}**" if member.name else "",
        nickname=member.nickname,
        phone=member.phone if reveal else rules.masked_phone(member.phone) or None,
        email=member.email if reveal else rules.masked_email(member.email) or None,
        # The year stays hidden: month and day are what a greeting needs.
        birthday=birthday if reveal or birthday is None else f"****{birthday[4:]}",
        city=member.city,
        address=member.address if reveal else rules.masked_address(member.address),
        customer_type=member.customer_type,
        hobbies=member.hobbies,
        source=member.source,
        stage=member.stage,
        tier=member.rank,
        enrolled_at=member.enrolled_at,
        orders_count=member.orders_count,
        spend=member.spend,
        first_order_at=member.first_order_at,
        last_order_at=member.last_order_at,
        value_index=member.value_index,
        tags=beside.tags,
        identities=[
            IdentityOut(channel=one.channel, id=one.external_id if reveal else _cut(one.channel, one.external_id))
            for one in beside.identities
        ],
        created_at=member.created_at,
        masked=not reveal,
        merged_from=asked if asked is not None and asked != member.id else None,
    )


@bp.get("/members")
@api_scope("members:read")
@operation(
    _l("List members"),
    tag="Members",
    query=MembersQuery,
    answers=Listed[MemberOut],
    refusals=[IdentityEmpty, rules.PhoneInvalid, rules.EmailInvalid],
)
def index(query: MembersQuery) -> Any:
    identity = None
    if (query.channel is None) != (query.identity is None):
        raise InputInvalid([("identity", _("Give channel and identity together."))])
    if query.channel is not None and query.identity is not None:
        with about("identity"):
            identity = canonical(query.channel, query.identity)
    api_keys.need(REVEAL, query.reveal)
    wanted = directory.Wanted(
        stage=query.stage,
        tier=query.tier,
        tag=query.tag,
        source=query.source,
        enrolled=query.enrolled,
        consent=query.consent,
        spend_from=query.spend_from,
        ordered_since=query.ordered_since,
        identity=identity,
    )
    page = cursor_page(directory.listed(wanted), directory.ORDER, query, lambda member: member)
    beside = directory.particulars([member.id for member in page.items])
    if query.reveal:
        note_revealed([member.id for member in page.items])
    shown = [_out(member, beside[member.id], query.reveal) for member in page.items]
    return Listed[MemberOut](items=shown, next_cursor=page.next_cursor)


@bp.get("/members/<int:member_id>")
@api_scope("members:read")
@operation(_l("Read one member"), tag="Members", query=MemberQuery, answers=MemberOut)
def show(member_id: int, query: MemberQuery) -> MemberOut:
    api_keys.need(REVEAL, query.reveal)
    member = queries.get_member(member_id)
    if query.reveal:
        note_revealed([member.id])
    return _out(member, directory.particulars([member.id])[member.id], query.reveal, asked=member_id)


# ── Writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.post("/members")
@api_scope("members:write")
@idempotent()
@operation(
    _l("Find a member by an identity, or make one"),
    tag="Members",
    takes=MemberIn,
    answers={201: MemberMade, 200: MemberMade},
    refusals=[IdentityEmpty, rules.PhoneInvalid, rules.EmailInvalid],
    description=_l(
        "Whoever has one of the identities is found, gets those that nobody has yet, and of the details those that are "
        "empty. Where several people have them, the one known longest is answered and nobody is merged."
    ),
    example={"identities": [{"channel": "phone", "id": "126 0000 1234"}], "nickname": "青柠", "source": "counter"},
    links=_FOUND,
)
def create(body: MemberIn) -> Any:
    identities = []
    for place, one in enumerate(body.identities):
        with about(f"identities.{place}.id"):
            identities.append(canonical(one.channel, one.id))
    person = services.Person(
        identities=tuple(identities),
        name=body.name.strip(),
        nickname=body.nickname.strip(),
        source=body.source,
        city=body.city.strip(),
    )
    ids, made = services.find_or_make_counted([person])
    if body.enrol:
        services.enrol(ids[0], body.source)
    return MemberMade(id=ids[0], made=ids[0] in made), 201 if ids[0] in made else 200


@bp.patch("/members/<int:member_id>")
@api_scope("members:write")
@idempotent()
@operation(
    _l("Change a member's details"),
    tag="Members",
    takes=ProfileIn,
    answers=MemberOut,
    refusals=[MemberGone],
    links=_OF_MEMBER,
)
def edit(member_id: int, body: ProfileIn) -> MemberOut:
    member = get_present(member_id)
    if body.birthday is not None and not (body.birthday.year >= 1900 and body.birthday <= clock.today()):
        raise InputInvalid([("birthday", _("A birthday lies between 1900 and today."))])
    wanted = {name: getattr(body, name) for name in body.model_fields_set}
    kept = {name: getattr(member, name) for name in ProfileChange.__dataclass_fields__}
    services.edit_profile(member, ProfileChange(**{**kept, **wanted}))
    return _out(member, directory.particulars([member.id])[member.id], False, asked=member_id)


@bp.post("/members/<int:member_id>/identities")
@api_scope("members:write")
@idempotent()
@operation(
    _l("Say how another channel knows a member"),
    tag="Members",
    takes=Identity,
    answers={200: MemberOut, 201: MemberOut},
    refusals=[IdentityEmpty, rules.PhoneInvalid, rules.EmailInvalid, IdentityTaken, MemberGone],
    links=_OF_MEMBER,
)
def identify(member_id: int, body: Identity) -> Any:
    member = get_present(member_id)
    with about("id"):
        new = add_identity(member.id, body.channel, body.id)
    return _out(member, directory.particulars([member.id])[member.id], False, asked=member_id), 201 if new else 200


@bp.get("/members/<int:member_id>/tags")
@api_scope("members:read")
@operation(_l("List a member's tags"), tag="Members", answers=TagsOut, links=_OF_MEMBER)
def tags(member_id: int) -> TagsOut:
    return TagsOut(tags=[tag.name for tag in queries.tags_of(queries.get_member(member_id).id)])


@bp.post("/members/<int:member_id>/tags")
@api_scope("members:write")
@idempotent()
@operation(
    _l("Put a tag on a member"),
    tag="Members",
    takes=TagIn,
    answers=TagsOut,
    refusals=[TagInvalid, MemberGone],
    links=_OF_MEMBER,
)
def tag(member_id: int, body: TagIn) -> TagsOut:
    member = get_present(member_id)
    services.tag([member.id], body.tag)
    return TagsOut(tags=[one.name for one in queries.tags_of(member.id)])


@bp.post("/members/<int:member_id>/tags/remove")
@api_scope("members:write")
@idempotent()
@operation(
    _l("Take a tag off a member"), tag="Members", takes=TagIn, answers=TagsOut, refusals=[MemberGone], links=_OF_MEMBER
)
def untag(member_id: int, body: TagIn) -> TagsOut:
    member = get_present(member_id)
    services.untag([member.id], body.tag)
    return TagsOut(tags=[one.name for one in queries.tags_of(member.id)])


def _consent(row: Consent) -> ConsentOut:
    return ConsentOut(
        channel=row.channel,
        purpose=row.purpose,
        granted=row.granted,
        source=row.source,
        text_version=row.text_version,
        at=row.at,
    )


def _consents(member_id: int) -> ConsentsOut:
    return ConsentsOut(items=[_consent(row) for row in directory.consents(member_id)])


@bp.get("/members/<int:member_id>/consents")
@api_scope("members:read")
@operation(_l("Read what a member agreed to"), tag="Members", answers=ConsentsOut, links=_OF_MEMBER)
def consents(member_id: int) -> ConsentsOut:
    return _consents(queries.get_member(member_id).id)


@bp.post("/members/<int:member_id>/consents")
@api_scope("members:write")
@idempotent()
@operation(
    _l("Write down that a member agreed, or took it back"),
    tag="Members",
    takes=ConsentIn,
    answers=ConsentsOut,
    refusals=[MemberGone],
    description=_l("Write only what the person did themselves; the latest word rules, and the history is kept."),
    example={"channel": "sms", "granted": True, "source": "counter form"},
    links=_OF_MEMBER,
)
def consent(member_id: int, body: ConsentIn) -> ConsentsOut:
    member = get_present(member_id)
    act = services.give_consent if body.granted else services.withdraw_consent
    act(member.id, body.channel, body.purpose, body.source, body.text_version)
    return _consents(member.id)
