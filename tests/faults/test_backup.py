"""A shop that runs is backed up, restored into a new folder, and somebody signs in there; nothing that was said since is forgotten."""

from __future__ import annotations

import http.cookiejar
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request

import pytest
from sqlalchemy import func, select

from campaigns.channels import services as channels
from campaigns.channels.models import InboxMessage
from campaigns.pushes import jobs as push_jobs
from campaigns.pushes import services as pushes
from campaigns.pushes.models import Run, RunState
from kernel import clock, journal, restoring
from kernel import shop as settings
from kernel.db import db, transaction
from membership.members import queries, services
from membership.members.models import Channel, Contact, Member, Purpose
from membership.members.services import erasure, rights
from tests.live import LiveServer, eventually

pytestmark = pytest.mark.fault


def signs_in(shop: LiveServer, email: str, password: str) -> bool:
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    page = browser.open(f"{shop.url}/console/sign-in").read().decode()
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert token, page
    form = {"csrf_token": token[1], "email": email, "password": password}
    try:
        answer = browser.open(f"{shop.url}/console/sign-in", urllib.parse.urlencode(form).encode())
    except urllib.error.HTTPError as refusal:
        if refusal.code != 422:
            raise
        return False
    return not answer.url.endswith("/sign-in")


PHONES = {
    name: f"+86126000080{n:02}" for n, name in enumerate(("stops", "leaves", "returns", "erased", "stays", "later"))
}


def agreed(shop: LiveServer) -> set[str]:
    """Who may be written to by text message."""
    with shop.app.app_context():
        return {
            name
            for name, phone in PHONES.items()
            if (member := queries.find_by_phone(phone))
            and queries.has_consent(member.id, Contact.SMS, Purpose.MARKETING)
        }


def messages(shop: LiveServer) -> int:
    with shop.app.app_context():
        return db.session.scalar(select(func.count()).select_from(InboxMessage)) or 0


def written(shop: LiveServer) -> bool:
    """Whether all that was noted is in the journal."""
    with shop.app.app_context():
        return journal.waiting()[0] == 0


def test_a_shop_comes_back_in_a_new_folder_with_every_refusal_and_erasure_and_sends_nothing_twice(tmp_path):
    file, copy = tmp_path / "shop.tar", tmp_path / "copy"
    with LiveServer() as shop:
        assert signs_in(shop, shop.email, shop.password)
        assert not signs_in(shop, shop.email, "not the password")
        with shop.app.app_context(), transaction():
            ids = {name: services.find_or_make([(Channel.PHONE, PHONES[name])])[0].id for name in list(PHONES)[:5]}
            for member_id in ids.values():
                services.give_consent(member_id, Contact.SMS, source="test")
                services.give_consent(member_id, Contact.INBOX, source="test")
            # Nobody is held out of the push, whatever this shop's key is.
            settings.put("holdout.percent", 0)
            # Under way when the backup is made, but for the channel that stands still.
            inbox = channels.inbox_account()
            inbox.paused_at = clock.now()
            draft = {"subject": "Hello", "body": "Tea?", "audience": {"rules": []}, "account_id": inbox.id}
            _push, run = pushes.draft(None, name="Tea", **draft)
            pushes.schedule(run)
            assert pushes.start(run)
            while not pushes.fan_out(run.id).done:
                pass
            run_id = run.id
        assert "keep it safe" in shop.siyu("backup", str(file)).stdout
        refused = shop.siyu("restore", str(file), check=False)
        assert (refused.returncode, "not empty" in refused.stderr) == (1, True)
        with shop.app.app_context(), transaction():
            channels.inbox_account().paused_at = None
            rights.refuse_address(PHONES["stops"], Contact.SMS, "sms_reply")
            services.withdraw_marketing(ids["leaves"], "unsubscribe")
            services.withdraw_consent(ids["returns"], Contact.SMS, source="portal")
            rights.refuse_address(PHONES["later"], Contact.SMS, "sms_reply")
        eventually(lambda: written(shop), 60)
        shutil.copytree(shop.folder / "journal", copy)
        with shop.app.app_context(), transaction():
            services.give_consent(ids["returns"], Contact.SMS, source="portal")
        eventually(lambda: messages(shop), 60)
        with shop.app.app_context(), transaction():
            erasure.erase(ids["erased"], str(ids["erased"]))
        assert agreed(shop) == {"returns", "stays"}
        assert "journal" in shop.siyu("journal", "write").stdout
        shop.stop()

        forgetful = LiveServer(folder=tmp_path / "forgetful")
        assert "NOT known to this shop" in forgetful.siyu("restore", str(file)).stderr
        again = LiveServer(folder=tmp_path / "again")
        said = again.siyu("restore", str(file), "--journal", str(copy))
        assert "Pushes under way that stand still now: 1" in said.stdout, said.stdout + said.stderr
        assert "WARNING" not in said.stderr
        with again:
            assert again.settings.secret_key == shop.settings.secret_key
            assert again.password == ""
            assert signs_in(again, shop.email, shop.password)
            # Its teeth: what was said after the copy of the journal is not known, and only the pause holds the shop back.
            assert agreed(again) == {"erased", "stays"}
            with again.app.app_context():
                assert restoring.held()
            nothing = again.siyu("journal", "replay", str(tmp_path / "forgetful" / "files"), check=False)
            assert (nothing.returncode, "no journal in" in nothing.stderr) == (1, True)
            found = again.siyu("journal", "replay", str(shop.folder / "journal"))
            assert "People erased again: 1" in found.stdout, found.stdout + found.stderr
            assert "WARNING" not in found.stderr
            assert agreed(again) == {"returns", "stays"}
            with again.app.app_context(), transaction():
                assert db.session.get_one(Member, ids["erased"]).erased_at is not None
                run = db.session.get_one(Run, run_id)
                assert run.state is RunState.PAUSED
                assert pushes.tally(run_id) == {"unknown": 5}
                # Whoever came after the backup comes in again with an order, and has still said no.
                late = services.find_or_make([(Channel.PHONE, PHONES["later"])])[0].id
                assert late > max(ids.values()) + restoring.LEAP
                assert services.give_consent_many([late], Contact.SMS) == 0
                channels.inbox_account().paused_at = None
                restoring.release()
                pushes.resume(run)
                push_jobs.wake_run(run_id)

            def ended() -> bool:
                with again.app.app_context():
                    return db.session.get_one(Run, run_id).state is RunState.COMPLETED

            eventually(ended, 60)
            assert messages(again) == 0
