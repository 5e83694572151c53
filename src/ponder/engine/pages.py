"""The pool of cache pages: who holds which, and which hold the beginning of a later prompt.

A page keeps the cache of `page_size` neighbouring positions, in every layer. It is in one of three states:

    free    nobody holds it and its content means nothing
    held    some sequences read it (its reference count says how many); only a sole holder may write it
    idle    nobody holds it, but the prefix index knows its content; the least recently used goes first

The prefix index finds full pages by what they hold: the page before, the account and the page's own tokens, compared
one by one (a dictionary of tuples; no hash is trusted alone). Since a page's key names the page before it, equal keys
mean equal prefixes from token 0 on. A page is indexed only after it was computed, and is never written again.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from ponder.core.errors import GenerationError

# the serial of the page before (0 at the beginning of a prompt), whose it is (None: the server's own), its tokens
PageKey = tuple[int, str | None, tuple[int, ...]]


class PagePool:
    """A fixed number of pages with reference counts and a prefix index. Not thread-safe."""

    def __init__(self, pages: int, page_size: int) -> None:
        if pages < 1 or page_size < 1:
            raise GenerationError(f"a cache of {pages} pages of {page_size} positions holds nothing; both must be >= 1")
        self.pages, self.page_size = pages, page_size
        self.evictions = 0  # idle pages whose content was given up for new content
        self._references = [0] * pages
        self._free = list(range(pages - 1, -1, -1))  # a stack; page 0 is taken first
        self._idle: OrderedDict[int, None] = OrderedDict()  # least recently used first; a page stands before its parent
        self._index: dict[PageKey, int] = {}
        self._keys: list[PageKey | None] = [None] * pages  # the page's own key; None where it is not indexed
        self._serials = [0] * pages  # names an indexed page's content; never used twice, so no key outlives its parent
        self._last_serial = 0

    @property
    def available(self) -> int:
        """Pages that `allocate` can give: the free and the idle ones."""
        return len(self._free) + len(self._idle)

    @property
    def held(self) -> int:
        """Pages that somebody holds."""
        return self.pages - self.available

    @property
    def idle(self) -> int:
        """Pages that nobody holds but a later prompt may hit."""
        return len(self._idle)

    def references(self, page: int) -> int:
        """How many hold the page."""
        return self._references[page]

    def allocate(self) -> int:
        """A page with one holder and no content; evicts the least recently used idle page where none is free."""
        if self._free:
            page = self._free.pop()
        elif self._idle:
            page, _ = self._idle.popitem(last=False)
            self._unindex(page)
            self.evictions += 1
        else:
            raise GenerationError(f"all {self.pages} cache pages are held; release some first")
        self._references[page] = 1
        return page

    def hold(self, pages: Iterable[int]) -> None:
        """One holder more for each of the pages, which are held or idle."""
        for page in pages:
            if self._references[page] == 0:
                del self._idle[page]
            self._references[page] += 1

    def release(self, pages: Sequence[int]) -> None:
        """One holder less for each page of a sequence, given in its order. The last pages become idle first, so that
        a prefix outlives what follows it.
        """
        for page in reversed(pages):
            if self._references[page] < 1:
                raise GenerationError(f"cache page {page} was released more often than held")
            self._references[page] -= 1
            if self._references[page] == 0:
                if self._keys[page] is None:
                    self._free.append(page)
                else:
                    self._idle[page] = None

    def lookup(self, tokens: Sequence[int], limit: int, account: str, shared: int = 0) -> list[int]:
        """The longest run of indexed pages that hold the first tokens, in order and at most `limit` tokens.

        Pages within the first `shared` tokens are looked up as the server's own, all others as the account's.
        Holds nothing: call `hold` before anything else is asked of the pool.
        """
        found: list[int] = []
        size, parent = self.page_size, 0
        for end in range(size, limit + 1, size):
            key = (parent, None if end <= shared else account, tuple(tokens[end - size : end]))
            page = self._index.get(key)
            if page is None:
                break
            found.append(page)
            parent = self._serials[page]
        return found

    def index(self, page: int, before: int | None, account: str | None, tokens: Sequence[int]) -> int:
        """Make a held, full and computed page known. `before` is the page before it (None for a prompt's first),
        `account` None for a page of the server's own prefix.

        Returns the page that the caller holds from now on: the same, or one indexed earlier with the same content,
        which takes the place of this one. Where the page before is not indexed, neither is this one.
        """
        if before is not None and self._keys[before] is None:
            return page
        key = (0 if before is None else self._serials[before], account, tuple(tokens))
        if len(key[2]) != self.page_size:
            raise GenerationError(f"a page of {self.page_size} positions cannot be indexed under {len(key[2])} tokens")
        known = self._index.get(key)
        if known is not None:
            if known != page:
                self.hold([known])
                self.release([page])
            return known
        self._last_serial += 1
        self._index[key], self._keys[page], self._serials[page] = page, key, self._last_serial
        return page

    def forget(self, pages: Iterable[int]) -> None:
        """Take pages out of the index, with all that build on them: what they hold is not to be trusted."""
        for page in pages:
            if self._keys[page] is not None:
                self._drop(page)
        known = {0} | {self._serials[page] for page in self._index.values()}
        for page in sorted(self._index.values(), key=self._serials.__getitem__):  # parents are older: one pass
            key = self._keys[page]
            if key is not None and key[0] not in known:
                known.discard(self._serials[page])
                self._drop(page)

    def clear_index(self) -> None:
        """Forget every prefix, because the weights changed. Held pages stay held."""
        for page in list(self._index.values()):
            self._drop(page)

    def _drop(self, page: int) -> None:
        self._unindex(page)
        if self._references[page] == 0:
            del self._idle[page]
            self._free.append(page)

    def _unindex(self, page: int) -> None:
        key = self._keys[page]
        if key is not None:
            del self._index[key]
            self._keys[page] = None

    def check(self, holders: Iterable[Sequence[int]]) -> None:
        """Raise `GenerationError` unless every page is in exactly one state, the counts are those of `holders` (the
        page lists of all sequences) and nothing in the index stands on a page that is gone. For tests: O(pages).
        """
        counts = [0] * self.pages
        for pages in holders:
            for page in pages:
                counts[page] += 1
        wrong = [page for page in range(self.pages) if counts[page] != self._references[page]]
        if wrong:
            raise GenerationError(f"cache pages {wrong[:8]} have other reference counts than holders")
        unheld = sorted(page for page in range(self.pages) if not counts[page])
        if unheld != sorted([*self._free, *self._idle]):
            raise GenerationError("the free and the idle cache pages are not those that nobody holds")
        if any(self._keys[page] is not None for page in self._free) or any(self._keys[p] is None for p in self._idle):
            raise GenerationError("a free cache page is indexed, or an idle one is not")
        if {page: key for key, page in self._index.items()} != {
            page: key for page, key in enumerate(self._keys) if key is not None
        }:
            raise GenerationError("the prefix index and the pages' keys differ")
        age = {page: i for i, page in enumerate(self._idle)}
        page_of = {self._serials[page]: page for page in self._index.values()}
        for page in self._index.values():
            key = self._keys[page]
            parent = key[0] if key is not None else 0
            if parent and parent not in page_of:
                raise GenerationError(f"cache page {page} is indexed after a page that is gone")
            if parent and age.get(page_of[parent], self.pages) < age.get(page, self.pages):
                raise GenerationError(f"cache page {page} would outlive the page before it")
