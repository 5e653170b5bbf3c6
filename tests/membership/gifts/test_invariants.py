"""G1 and G2 as a state machine: whatever happens to gifts in whatever order, the pieces add up and come back once."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from kernel import clock
from kernel.errors import Refusal
from membership.gifts import rules, services
from membership.gifts.models import GiftKind, GiftState
from membership.members.models import Member

ADDRESS = ("青柠", "12600001234", "杭州市西湖区样例路一号三楼")
STOCK, CODES, PEOPLE = 3, 3, 5
HOLDING = frozenset(GiftState) - rules.GIVEN_BACK


@pytest.mark.parametrize("kind", [GiftKind.PHYSICAL, GiftKind.DIGITAL, GiftKind.RED_PACKET])
def test_inv_g1_g2_pieces_add_up_and_come_back_once(db, kind):
    class Gifts(RuleBasedStateMachine):
        """The model keeps what each claim holds: its state by name, its code, and how many codes were ever spoilt."""

        @initialize()
        def begin(self):
            self.savepoint = db.session.begin_nested()
            now = clock.now()
            self.people = [Member(stage_since=now, created_at=now) for _ in range(PEOPLE)]
            db.session.add_all(self.people)
            db.session.flush()
            digital = kind == GiftKind.DIGITAL
            self.gift = services.create(services.Draft("Thing", kind, stock=None if digital else STOCK, value=100))
            if digital:
                services.add_codes(self.gift.id, [f"C{n}" for n in range(CODES)])
            self.claims: dict[int, GiftState] = {}
            self.codes: dict[int, str] = {}
            self.benefits: set[tuple[int, int]] = set()

        @property
        def held(self):
            return sum(state in HOLDING for state in self.claims.values())

        @property
        def spoilt(self):
            return sum(self.claims[claim_id] not in HOLDING for claim_id in self.codes)

        @property
        def total(self):
            return CODES - self.spoilt if kind == GiftKind.DIGITAL else STOCK

        @rule(person=st.integers(0, PEOPLE - 1), benefit=st.integers(0, 1))
        def offer(self, person, benefit):
            key = (person, benefit)
            claim = services.offer_gift(self.gift.id, self.people[person].id, f"tier:{benefit}")
            if key in self.benefits:
                assert claim is not None
                assert claim.id in self.claims
            elif self.held < self.total:
                assert claim is not None
                assert claim.id not in self.claims
                self.claims[claim.id] = GiftState.OFFERED
                self.benefits.add(key)
            else:
                assert claim is None

        @rule(
            data=st.data(),
            act=st.sampled_from(["claim", "address", "ship", "deliver", "fail", "return", "cancel", "queue"]),
        )
        def act(self, data, act):
            if not self.claims:
                return
            claim_id = data.draw(st.sampled_from(sorted(self.claims)))
            found = services.get_claim(claim_id, lock=True)
            before = self.claims[claim_id]
            verbs = {
                "claim": lambda: services.claim(claim_id, found.member_id),
                "address": lambda: services.give_address(found, *ADDRESS),
                "ship": lambda: services.ship(claim_id, "Carrier", f"N{claim_id}"),
                "deliver": lambda: services.deliver(claim_id, "X"),
                "fail": lambda: services.fail(claim_id, "why"),
                "return": lambda: services.come_back(claim_id, "why"),
                "cancel": lambda: services.cancel(claim_id, "why"),
                "queue": lambda: services.queue_again(claim_id),
            }
            try:
                with db.session.begin_nested():
                    verbs[act]()
            except Refusal:
                assert services.get_claim(claim_id, lock=True).state == before
                return
            found = services.get_claim(claim_id, lock=True)
            if found.state != before:
                at_once = (before, found.state) == (GiftState.OFFERED, GiftState.DELIVERED)
                assert (before, found.state) in rules.TRANSITIONS or (kind == GiftKind.DIGITAL and at_once)
            if found.content.startswith("C"):
                assert self.codes.setdefault(claim_id, found.content) == found.content
            self.claims[claim_id] = found.state

        @invariant()
        def pieces_add_up(self):
            if not hasattr(self, "gift"):
                return
            assert services.given(self.gift.id) == self.held
            assert self.held <= self.total
            db.session.refresh(self.gift)
            assert self.gift.stock == self.total
            assert len(set(self.codes.values())) == len(self.codes)
            if kind == GiftKind.DIGITAL:
                assert services.free_codes(self.gift.id) == CODES - len(self.codes)

        def teardown(self):
            if hasattr(self, "savepoint"):
                self.savepoint.rollback()

    run_state_machine_as_test(Gifts, settings=settings(max_examples=40, stateful_step_count=25, deadline=None))
