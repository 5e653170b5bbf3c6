"""A video that one editor takes out while another uses the post again is there for as long as a post names it."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import select, text

from community.posts import services
from community.posts.models import Post, PostKind
from kernel import files
from kernel.db import db, transaction
from tests.films import mp4

pytestmark = pytest.mark.race


def waits(app: Flask) -> bool:
    """Whether some transaction waits for a row that another one holds."""
    with app.app_context(), db.engine.connect() as connection:
        held = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return bool(connection.execute(text(held)).scalar())


def lost(app: Flask, use_again: Callable[[int], None]) -> int:
    """How many posts name a video that is gone, after one used a draft again while another took its video out.

    The one who uses it again commits once the other waits for them, or has come to an end without waiting.
    """
    with app.app_context(), transaction():
        key = files.save_video(io.BytesIO(mp4())).key
        post_id = services.write(services.Draft(PostKind.SHORT_VIDEO, "半分钟", video=key)).id
    copied, may_commit, raised = threading.Event(), threading.Event(), []

    def again() -> None:
        with app.app_context(), transaction():
            use_again(post_id)
            db.session.flush()
            copied.set()
            may_commit.wait(60)

    def take_out() -> None:
        copied.wait(60)
        with app.app_context(), transaction():
            services.edit(post_id, services.Draft(PostKind.SHORT_VIDEO, "没有了"))

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as fault:
            raised.append(fault)

    threads = [threading.Thread(target=run, args=(work,)) for work in (again, take_out)]
    for thread in threads:
        thread.start()
    pause = threading.Event()
    for _look in range(1_200):
        if (copied.is_set() and waits(app)) or not threads[1].is_alive():
            break
        pause.wait(0.05)
    may_commit.set()
    for thread in threads:
        thread.join(60)
    assert raised == []
    with app.app_context():
        named = db.session.scalars(select(Post.video).where(Post.video.is_not(None))).all()
        return sum(files.video_size(key) is None for key in named if key)


def test_a_post_that_is_used_again_meanwhile_keeps_its_video(committed: Flask) -> None:
    def use_again(post_id: int) -> None:
        services.use_again(post_id, None)

    assert lost(committed, use_again) == 0


def test_teeth_a_copy_that_holds_nothing_loses_it(committed: Flask) -> None:
    """Whoever reads the draft without holding it, and does not say what the copy comes from, is not waited for."""

    def careless(post_id: int) -> None:
        services.write(services.draft_of(db.session.get_one(Post, post_id)))

    assert lost(committed, careless) == 1
