"""The rule of the draw is fair and can be recomputed; prices and phases are what they should be."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta
from math import perm

import pytest
from hypothesis import given
from hypothesis import strategies as st

from community.activities import rules
from community.activities.models import LotteryState, SaleKind
from community.activities.rules import Phase
from membership.coupons.models import OfferState

NOW = datetime(2026, 3, 3, 4, 0, tzinfo=UTC)
tickets_of = st.sets(
    st.text(rules.TICKET_CHARACTERS, min_size=rules.TICKET_LENGTH, max_size=rules.TICKET_LENGTH), max_size=12
)
seeds = st.binary(min_size=rules.SEED_BYTES, max_size=rules.SEED_BYTES)


@pytest.mark.parametrize(("tickets", "places"), [(1, 1), (2, 1), (3, 3), (4, 2), (5, 3), (5, 5)])
def test_every_outcome_is_reached_by_equally_many_numbers(tickets, places):
    """Exhaustive: of all rows of remainders, each order of winners comes from exactly one."""
    listed = [f"T{n}" for n in range(tickets)]
    remainders = itertools.product(*(range(tickets - place) for place in range(places)))
    found = Counter(tuple(rules.pick(listed, numbers)) for numbers in remainders)
    assert set(found) == set(itertools.permutations(listed, places))
    assert (len(found), set(found.values())) == (perm(tickets, places), {1})


@given(start=st.integers(0, 2**256 - 100), left=st.integers(1, 100))
def test_numbers_in_a_row_pick_each_ticket_once(start, left):
    """Whatever stretch of the numbers one looks at; so of all 2**256 each ticket is picked by as many, or by one more."""
    listed = [f"T{n}" for n in range(left)]
    picked = [ticket for number in range(start, start + left) for ticket in rules.pick(listed, [number])]
    assert sorted(picked) == sorted(listed)


def test_a_number_may_be_any_of_256_bits():
    """No bit of it is always the same, and another seed, list or place makes another number."""
    asked = [(bytes([n]) * rules.SEED_BYTES, f"{n % 5}" * 64, place) for n in range(16) for place in range(1, 5)]
    asked += [(bytes(rules.SEED_BYTES), "another list", 1), (bytes(rules.SEED_BYTES), "another list", 11)]
    numbers = [rules.number_of(*one) for one in asked]
    ones = [sum(number >> bit & 1 for number in numbers) for bit in range(256)]
    assert (len(set(numbers)), max(numbers) < 2**256) == (len(asked), True)
    assert min(ones) > 0
    assert max(ones) < len(numbers)


def test_a_pick_takes_what_is_left():
    assert [*rules.pick("ABC", [5, 1, 0])] == ["C", "B", "A"]
    assert [*rules.pick("AB", [0, 0, 0, 0])] == ["A", "B"]
    assert [*rules.pick([], [3])] == []


@given(seed=seeds, tickets=tickets_of, places=st.integers(1, 6), several=st.integers(0, 3))
def test_anybody_recomputes_a_draw_from_what_is_shown(tmp_path_factory, seed, tickets, places, several):
    """The lines of the page, run on the file of the page, print the commitment, the list's hash and the winners."""
    listed = rules.in_order(list(tickets))
    void = listed[1::2][:several]
    first, freed = rules.winners(seed, listed, places, void), []
    # Holders who turn out to be another winner, one after the other; of the next tickets every other one is somebody's.
    for ticket in first[1::2]:
        found = rules.next_up(seed, listed, places, void, freed, set(listed[::2]) - set(void))
        freed += [ticket, *found[:-1]] if found else []
    folder = tmp_path_factory.mktemp("draw")
    (folder / "tickets.csv").write_text(
        "\ufeffnumber,ticket\r\n" + "".join(f"{n},{t}\r\n" for n, t in enumerate(listed, 1)), encoding="utf-8"
    )
    code = rules.recipe(seed, places, void, freed).replace('open("tickets.csv"', f'open("{folder / "tickets.csv"}"')
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, "recipe", "exec"), {})  # noqa: S102 - the lines of the page are what is tested
    lines = said.getvalue().splitlines()
    won = rules.winners(seed, listed, places, void, freed)
    assert lines == [
        f"commitment {rules.commitment_of(seed)}",
        f"list {rules.listed_as(listed)}",
        *(f"{place} {ticket}" for place, ticket in enumerate(won, 1)),
    ]
    assert len(won) == len(set(won)) == min(places, len(listed) - len(void))
    assert set(won) <= tickets - set(void)
    # Who was passed over changes nothing but that the others move up.
    whole = [ticket for ticket in rules.winners(seed, listed, len(listed)) if ticket not in void]
    assert first == whole[:places]
    # Whoever kept their place has it; the others are the next ones of the seed's order, each where one was freed.
    assert [new for old, new in zip(first, won, strict=True) if old != new and old not in freed] == []
    assert (
        rules.winners(seed, listed, places, void, rules.freed(seed, listed, places, void, dict(enumerate(won, 1))))
        == won
    )
    taken = [new for old, new in zip(first, won, strict=True) if old != new]
    assert taken == [ticket for ticket in whole[places : places + len(freed)] if ticket not in freed]
    assert all(ticket in listed[::2] for ticket in taken)


@given(seed=seeds, other=seeds, tickets=tickets_of)
def test_neither_seed_nor_list_can_be_another(seed, other, tickets):
    listed = rules.in_order(list(tickets))
    assert (rules.commitment_of(seed) == rules.commitment_of(other)) == (seed == other)
    assert rules.in_order(reversed(listed)) == listed
    assert rules.listed_as(listed) != rules.listed_as([*listed, "22222222"])


def test_a_known_draw_stays_what_it_was():
    """Were the rule changed, what members have noted down would not recompute any more."""
    listed = ["AAAA2222", "BBBB3333", "CCCC4444", "DDDD5555"]
    seed = bytes(range(64, 96))
    assert rules.winners(seed, listed, 3) == ["DDDD5555", "BBBB3333", "AAAA2222"]


def test_the_first_places_get_the_first_prize():
    assert [rules.prize_of(place, [1, 2, 3]) for place in range(1, 7)] == [0, 1, 1, 2, 2, 2]
    with pytest.raises(ValueError, match="place"):
        rules.prize_of(7, [1, 2, 3])


@given(price=st.integers(2, 10_000_000))
def test_a_group_price_lies_between_half_and_four_fifths(price):
    lowest, highest = rules.price_range(SaleKind.GROUP_PRICE, price)
    assert lowest * 1000 >= price * 500
    assert lowest <= highest
    assert highest * 1000 <= price * 800 or highest == lowest
    assert rules.price_range(SaleKind.FLASH_SALE, price) == (1, price - 1)


def test_the_clock_says_what_a_draw_is():
    before, after = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    cases = {
        (LotteryState.DRAFT, None, after): Phase.DRAFT,
        (LotteryState.OPEN, after, after + timedelta(1)): Phase.COMING,
        (LotteryState.OPEN, None, after): Phase.RUNNING,
        (LotteryState.OPEN, NOW, after): Phase.RUNNING,
        (LotteryState.OPEN, None, NOW): Phase.DRAWING,
        (LotteryState.FROZEN, None, before): Phase.DRAWING,
        (LotteryState.DRAWN, None, before): Phase.DRAWN,
        (LotteryState.CANCELLED, None, before): Phase.CANCELLED,
    }
    assert {case: rules.lottery_phase(*case, NOW) for case in cases} == cases


def test_the_offer_says_what_a_sale_is():
    before, after = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    cases = {
        (OfferState.DRAFT, None, after, 3, 0): Phase.DRAFT,
        (OfferState.ACTIVE, after, after + timedelta(1), 3, 0): Phase.COMING,
        (OfferState.ACTIVE, before, after, 3, 2): Phase.RUNNING,
        (OfferState.ACTIVE, None, after, None, 999): Phase.RUNNING,
        (OfferState.ACTIVE, before, after, 3, 3): Phase.SOLD_OUT,
        (OfferState.PAUSED, before, after, 3, 0): Phase.PAUSED,
        (OfferState.ACTIVE, before, NOW, 3, 3): Phase.OVER,
        (OfferState.ENDED, before, after, 3, 0): Phase.OVER,
    }
    assert {case: rules.sale_phase(*case, NOW) for case in cases} == cases
