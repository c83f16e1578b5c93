"""One moment of a small world: the kernel's state, the exchange's book, and what is on its way.

A scene is copied before it is changed; its parts are immutable.  Two scenes with one key are the
same moment: numbers that only count, and how old old things are, are no part of it.
"""

from __future__ import annotations

import marshal
from hashlib import blake2b
from typing import Any, NamedTuple

from dita._kernel import Images, age_code
from explore.book import ORIGIN_MS, Book


class Frame(NamedTuple):
    """A frame of the stream about one order."""

    own: int
    vid: int
    kind: int
    symbol: int
    side: int
    position_side: int
    filled: int
    price: int
    last_quantity: int
    last_price: int
    fee: int | None
    realized: int | None
    ms: int


class Post(NamedTuple):
    """A submit or a cancel that has left, or is about to."""

    submit: bool
    own: int
    trade: int
    role: int
    symbol: int
    side: int
    position_side: int
    reduce: bool
    limited: bool
    quantity: int
    vid: int
    heard: bool = True  # somebody waits for its answer: not after a crash


class Answer(NamedTuple):
    """An answer on its way to us: ``what`` says how to read ``data``."""

    what: str
    own: int
    data: tuple[Any, ...]


class Scene:
    """See the module."""

    __slots__ = (
        "account", "answers", "asking", "book", "calm", "closed", "entered", "fed", "image",
        "intents", "left", "looking", "posts", "rejected", "spent", "stage", "stream", "ticked",
        "told", "trades", "wanted",
    )  # fmt: skip

    def __init__(self, image: bytes, account: bytes, left: tuple[int, ...]) -> None:
        self.image = image
        self.account = account
        self.book = Book()
        self.stream: tuple[Frame, ...] = ()
        self.answers: tuple[Answer, ...] = ()
        self.posts: tuple[Post, ...] = ()
        #: Questions about orders: (own number, the absence proof's fence or 0).
        self.asking: tuple[tuple[int, int], ...] = ()
        self.looking = False
        #: What the runtime has told of strangers' orders: (venue id, quantity).
        self.told: tuple[tuple[int, int], ...] = ()
        #: What is left of each budget.
        self.left = left
        self.spent = 0
        self.entered = 0  # bits: entries of the world that were accepted
        self.trades: tuple[int, ...] = ()  # entry of each trade number, 1 first
        self.wanted: tuple[bool, ...] = ()  # by trade: an exit of all was accepted
        self.intents = 0
        self.ticked = False
        self.calm = 0  # jumps of time since something happened
        self.stage = 0  # how far the operator has gone
        self.rejected = 0  # exits refused since the last jump
        self.fed = self.closed = 0  # bits by trade: told to the sizer, record closed

    def copy(self) -> Scene:
        """Another one, with a book of its own."""
        new = Scene.__new__(Scene)
        new.image, new.account, new.book = self.image, self.account, self.book.copy()
        new.stream, new.answers, new.posts = self.stream, self.answers, self.posts
        new.asking, new.looking, new.told = self.asking, self.looking, self.told
        new.left, new.entered, new.trades = self.left, self.entered, self.trades
        new.wanted, new.intents, new.ticked = self.wanted, self.intents, self.ticked
        new.calm, new.stage, new.rejected = self.calm, self.stage, self.rejected
        new.fed, new.closed, new.spent = self.fed, self.closed, self.spent
        return new

    def key(self, images: Images) -> bytes:
        """Sixteen bytes that tell this moment from others; the kernel is in its state now."""
        now_ms = self.book.now_ms
        situation, numbers = images.situation(ORIGIN_MS, now_ms)
        place = {number: at for at, number in enumerate(numbers)}
        rest = (
            self.left, self.entered, self.trades, self.wanted, self.looking, self.told,
            self.ticked, self.calm, self.stage, self.rejected, self.fed, self.closed,
            tuple([(*frame[1:12], frame.ms % 1000) for frame in self.stream]),
            tuple([(place.get(post.own, -1), *post[2:]) for post in self.posts]),
            tuple([(place.get(own, -1), until and age_code(until, now_ms))
                   for own, until in self.asking]),
            tuple([(a.what, place.get(a.own, -1), a.data) for a in self.answers]),
            tuple([place.get(order.own, -1) for order in self.book.orders if order.own]),
            self.book.key(), self.account,
        )  # fmt: skip
        # Version 2 of the format says equal values in equal bytes; later ones look at references.
        return blake2b(marshal.dumps(rest, 2) + situation, digest_size=16).digest()
