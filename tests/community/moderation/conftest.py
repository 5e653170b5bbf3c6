"""The groups, members, posts and phones of the posts' tests."""

from __future__ import annotations

from tests.community.posts.conftest import draft, make_group, make_member, phone_of, published

__all__ = ["draft", "make_group", "make_member", "phone_of", "published"]
