"""The sweep: each post is told once, however many workers sweep at the same time."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import delete, func, select

from community.posts import jobs, services
from community.posts.events import PostPublished
from community.posts.models import Post, PostKind, PostState
from kernel import clock
from kernel.db import db as database
from kernel.db import transaction
from kernel.events import EventRecord, publish

THREADS, POSTS = 8, 20


def told():
    return database.session.scalar(
        select(func.count()).select_from(EventRecord).where(EventRecord.name == "PostPublished")
    )


@pytest.fixture
def due_posts(app):
    """Posts that are really committed, a minute past their time; gone again after the test."""
    with app.app_context():
        with transaction():
            ids = [services.write(services.Draft(PostKind.TIP, f"第{i}条")).id for i in range(POSTS)]
            for post in database.session.scalars(select(Post).where(Post.id.in_(ids))):
                post.state, post.publish_at = PostState.SCHEDULED, clock.now() - timedelta(minutes=1)
        yield ids
        with transaction():
            database.session.execute(delete(Post).where(Post.id.in_(ids)))
            database.session.execute(delete(EventRecord).where(EventRecord.name == "PostPublished"))
        database.session.remove()


@pytest.mark.race
def test_eight_sweeps_at_once_tell_each_post_once(app, due_posts):
    start = threading.Barrier(THREADS)

    def sweep():
        with app.app_context():
            start.wait()
            jobs.publish_due_posts()
            database.session.remove()

    threads = [threading.Thread(target=sweep) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told() == POSTS


@pytest.mark.race
def test_the_race_has_teeth(app, due_posts):
    """Without the state in the UPDATE's condition, each sweep would tell every post again."""
    start = threading.Barrier(2)

    def careless():
        with app.app_context():
            with transaction():
                found = database.session.scalars(
                    select(Post).where(Post.id.in_(due_posts), Post.state == PostState.SCHEDULED)
                ).all()
                start.wait()
                for post in found:
                    post.state = PostState.PUBLISHED
                    publish(PostPublished(post_id=post.id, group_ids=[]))
            database.session.remove()

    threads = [threading.Thread(target=careless) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told() == 2 * POSTS
