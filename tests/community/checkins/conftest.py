"""The groups, members and phones of the posts' tests."""

from __future__ import annotations

from tests.community.posts.conftest import make_group, make_member, phone_of

__all__ = ["make_group", "make_member", "phone_of"]
