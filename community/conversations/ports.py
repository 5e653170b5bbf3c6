"""What conversations ask of the rooms above them. Whoever keeps the answers fills these; unfilled, everything goes to people."""

from __future__ import annotations

from collections.abc import Sequence

from kernel.ports import Port

from .rules import Asked, Reply, Suggestion, Welcome

# What a bot says to a member's words. None: a person is to answer (no bot, or people come first at this hour and load).
answer: Port[[Asked], Reply | None] = Port("conversations.answer")
# What the Ask page shows before the first word; the argument is the member's language. None: a plain greeting.
welcome: Port[[str], Welcome | None] = Port("conversations.welcome")
# What a person at the desk may send instead of typing (assist), the likeliest first: the member's words that nobody has
# answered yet, the latest first, and the conversation they stand in (0: none).
suggest: Port[[Sequence[str], int], Sequence[Suggestion]] = Port("conversations.suggest")
