"""Conversations: what members ask, and the inbox in which staff answer."""
