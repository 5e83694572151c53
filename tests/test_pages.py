"""The pool of cache pages: who holds what, what a later prompt finds, what is given up first."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ponder.core.errors import GenerationError
from ponder.engine.pages import PagePool


def fill(pool: PagePool, tokens: list[int], account: str = "a", shared: int = 0) -> list[int]:
    """Pages as a sequence of these tokens would hold and index them, after a lookup."""
    size = pool.page_size
    pages = pool.lookup(tokens, len(tokens), account, shared)
    pool.hold(pages)
    for i in range(len(pages), -(-len(tokens) // size)):
        pages.append(pool.allocate())
        if (i + 1) * size <= len(tokens):
            owner = None if (i + 1) * size <= shared else account
            pages[i] = pool.index(pages[i], pages[i - 1] if i else None, owner, tokens[i * size : (i + 1) * size])
    return pages


def test_a_prefix_is_found_page_by_page_and_only_as_far_as_it_goes() -> None:
    pool = PagePool(8, 4)
    assert fill(pool, [1, 2, 3, 4, 5, 6, 7, 8, 9]) == [0, 1, 2]
    assert pool.lookup([1, 2, 3, 4, 5, 6, 7, 8, 9], 9, "a") == [0, 1]  # the third page is not full
    assert pool.lookup([1, 2, 3, 4, 5, 6, 7, 8], 7, "a") == [0]  # at most 7 tokens
    assert pool.lookup([1, 2, 3, 4, 0, 6, 7, 8], 8, "a") == [0]
    assert pool.lookup([5, 6, 7, 8], 4, "a") == []  # the same tokens at another place are another content
    assert pool.lookup([0, 2, 3, 4, 5, 6, 7, 8], 8, "a") == []
    pool.check([[0, 1, 2]])


def test_accounts_share_the_servers_own_prefix_and_nothing_else() -> None:
    pool = PagePool(16, 2)
    system, question = [1, 2, 3, 4, 5], [6, 7, 8]  # pages (1, 2), (3, 4) are the server's; (5, 6) is not wholly its own
    assert fill(pool, system + question, "ann", shared=5) == [0, 1, 2, 3]
    assert pool.lookup(system + question, 8, "ann", 5) == [0, 1, 2, 3]
    assert pool.lookup(system + question, 8, "bob", 5) == [0, 1]
    assert pool.lookup(system + question, 8, "bob", 0) == []  # bob typed it himself
    assert pool.lookup(system + question, 8, "ann", 0) == []
    assert fill(pool, [1, 2], "bob") == [4]  # held apart from the server's page 0
    pool.check([[0, 1, 2, 3], [4]])


def test_the_least_recently_used_goes_first_and_a_prefix_outlives_its_continuation() -> None:
    pool = PagePool(4, 2)
    old, new = fill(pool, [1, 2, 3, 4]), fill(pool, [5, 6, 7, 8])
    pool.release(old)
    pool.release(new)
    assert (pool.held, pool.idle, pool.available) == (0, 4, 4)
    assert fill(pool, [1, 2]) == [0]  # a hit makes page 0 the most recent
    pool.release([0])
    assert [pool.allocate() for _ in range(3)] == [1, 3, 2]  # (3, 4), then (7, 8) before (5, 6)
    assert pool.evictions == 3
    assert pool.lookup([1, 2, 3, 4], 4, "a") == [0]
    assert pool.allocate() == 0
    with pytest.raises(GenerationError, match="all 4 cache pages are held"):
        pool.allocate()


def test_free_pages_are_taken_before_any_prefix_is_given_up() -> None:
    pool = PagePool(3, 2)
    pool.release(fill(pool, [1, 2, 3]))  # page 0 indexed, page 1 not full
    assert (pool.idle, pool.available) == (1, 3)
    assert [pool.allocate(), pool.allocate()] == [1, 2]
    assert pool.evictions == 0
    assert pool.allocate() == 0
    assert pool.evictions == 1


def test_the_same_content_computed_twice_is_kept_once() -> None:
    pool = PagePool(4, 2)
    first, second = pool.allocate(), pool.allocate()
    assert pool.index(first, None, "a", [1, 2]) == 0
    assert pool.index(second, None, "a", [1, 2]) == 0  # the second sequence goes on with page 0
    assert (pool.references(0), pool.references(1)) == (2, 0)
    pool.check([[0], [0]])


def test_no_key_outlives_the_page_before_it() -> None:
    pool = PagePool(2, 1)
    pool.release(fill(pool, [1, 2]))
    pool.release(fill(pool, [3]))  # evicts (2) after (1), which is page 1
    assert pool.lookup([1, 2], 2, "a") == [0]
    pool.release(fill(pool, [4, 2]))  # evicts both others; (2) stands after (4) now
    assert pool.lookup([1, 2], 2, "a") == []
    assert len(pool.lookup([4, 2], 2, "a")) == 2
    pool.check([])


def test_what_is_forgotten_takes_its_continuations_along() -> None:
    pool = PagePool(8, 1)
    trunk = fill(pool, [1, 2, 3])
    branch = fill(pool, [1, 2, 4])
    other = fill(pool, [9])
    pool.release(branch)
    pool.forget([trunk[1]])
    assert pool.lookup([1, 2, 3], 3, "a") == trunk[:1]
    assert pool.lookup([9], 1, "a") == other
    assert pool.idle == 0
    pool.check([trunk, other])
    page = pool.allocate()
    assert pool.index(page, trunk[2], "a", [5]) == page  # nothing is indexed after a page that is not
    assert pool.idle == 0
    pool.release([*trunk, page])
    assert pool.idle == 1  # (1) alone
    pool.check([other])


def test_new_weights_forget_everything_and_free_what_nobody_holds() -> None:
    pool = PagePool(4, 2)
    held = fill(pool, [1, 2, 3, 4])
    pool.release(fill(pool, [5, 6]))
    pool.clear_index()
    assert pool.lookup([1, 2], 2, "a") == pool.lookup([5, 6], 2, "a") == []
    assert (pool.held, pool.idle, pool.available) == (2, 0, 2)
    pool.release(held)
    assert (pool.idle, pool.available) == (0, 4)


def test_misuse_is_refused() -> None:
    pool = PagePool(2, 2)
    page = pool.allocate()
    with pytest.raises(GenerationError, match="under 1 tokens"):
        pool.index(page, None, "a", [1])
    pool.release([page])
    with pytest.raises(GenerationError, match="released more often"):
        pool.release([page])
    with pytest.raises(GenerationError, match="holds nothing"):
        PagePool(0, 16)
    with pytest.raises(GenerationError, match=r"pages \[0\] have other reference counts"):
        pool.check([[0]])


class PoolMachine(RuleBasedStateMachine):
    """Sequences over two tokens come, grow, share, go; the pool always adds up, and finds only what is there."""

    PAGES, SIZE = 12, 2

    def __init__(self) -> None:
        super().__init__()
        self.pool = PagePool(self.PAGES, self.SIZE)
        self.held: list[tuple[list[int], list[int], str]] = []  # tokens, pages, account
        self.content: dict[int, tuple[object, ...]] = {}  # every page's whole prefix, as written

    @rule(tokens=st.lists(st.integers(0, 1), min_size=1, max_size=9), account=st.sampled_from("ab"))
    def enter(self, tokens: list[int], account: str) -> None:
        hits = self.pool.lookup(tokens, len(tokens), account)
        for i, page in enumerate(hits):
            assert self.content[page] == (account, *tokens[: (i + 1) * self.SIZE])
        self.pool.hold(hits)
        if self.pool.available < -(-len(tokens) // self.SIZE) - len(hits):
            self.pool.release(hits)
            return
        self.pool.release(hits)
        known = {page for _, pages, _ in self.held for page in pages} | set(hits)
        pages = fill(self.pool, tokens, account)
        for i, page in enumerate(pages):
            if page not in known:
                self.content[page] = (account, *tokens[: (i + 1) * self.SIZE])
        self.held.append((tokens, pages, account))

    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        if self.held:
            tokens, pages, account = data.draw(st.sampled_from(self.held))
            self.pool.hold(pages)
            self.held.append((tokens, list(pages), account))

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.held:
            i = data.draw(st.integers(0, len(self.held) - 1))
            self.pool.release(self.held.pop(i)[1])

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        if self.held:
            self.pool.forget(data.draw(st.sampled_from(self.held))[1])

    @rule()
    def new_weights(self) -> None:
        self.pool.clear_index()

    @invariant()
    def adds_up(self) -> None:
        self.pool.check([pages for _, pages, _ in self.held])

    def teardown(self) -> None:
        for _, pages, _ in self.held:
            self.pool.release(pages)
        self.pool.check([])
        assert self.pool.available == self.PAGES


PoolMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
TestPool = PoolMachine.TestCase


def test_ten_thousand_random_operations_leak_nothing() -> None:
    rng, pool = random.Random(0), PagePool(64, 4)
    held: list[list[int]] = []
    for operation in range(10_000):
        kind = rng.random()
        if kind < 0.5:
            tokens = [rng.randrange(3) for _ in range(rng.randrange(1, 30))]
            if pool.available >= -(-len(tokens) // 4):
                held.append(fill(pool, tokens, rng.choice("abc"), shared=rng.choice([0, 8]) if len(tokens) > 8 else 0))
        elif kind < 0.98 and held:
            pool.release(held.pop(rng.randrange(len(held))))
        elif kind < 0.995 and held:
            pool.forget(rng.choice(held))
        elif kind > 0.999:
            pool.clear_index()
        if operation % 10 == 0:
            pool.check(held)
    assert pool.evictions > 1000
    for pages in held:
        pool.release(pages)
    pool.check([])
    assert (pool.held, pool.available) == (0, 64)
