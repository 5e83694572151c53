"""The places of running samples in the cache: a slot each, its pages, and its line of the page tables."""

from array import array
from collections.abc import Sequence

from ponder.core.errors import GenerationError
from ponder.engine.pages import PagePool
from ponder.engine.request import Sample


class CacheSlots:
    """Keeps samples, their pages and the page tables that the model reads in step with each other."""

    def __init__(self, pool: PagePool, slots: int, context: int) -> None:
        """`slots`: samples side by side. `context`: most positions of one."""
        self._pool, self._slots = pool, slots
        self._size = pool.page_size
        self._free = list(range(slots - 1, -1, -1))  # a stack; slot 0 is taken first
        self.table_width = min(self.pages_for(context), pool.pages)
        self.tables = array("i", [0]) * (slots * self.table_width)

    @property
    def free_slots(self) -> int:
        """How many more samples can enter."""
        return len(self._free)

    def pages_for(self, tokens: int) -> int:
        """Pages that so many tokens take."""
        return -(-tokens // self._size)

    def lookup(self, sample: Sample) -> list[int]:
        """Cached pages that the sample begins with; at least one token is left to run, for its logits."""
        request = sample.request
        return self._pool.lookup(sample.tokens, len(sample.tokens) - 1, request.account, request.shared_prefix)

    def enter(self, sample: Sample, pages: Sequence[int]) -> None:
        """A slot, and these full pages (found by `lookup`, or a sibling's) to begin with."""
        self._pool.hold(pages)
        sample.slot = self._free.pop()
        sample.pages, sample.capacity = list(pages), len(pages) * self._size
        start = sample.slot * self.table_width
        self.tables[start : start + len(pages)] = array("i", pages)

    def leave(self, sample: Sample) -> None:
        """Give up slot and pages. Indexed pages stay known until they are evicted."""
        self._pool.release(sample.pages)
        self._free.append(sample.slot)
        sample.slot, sample.pages, sample.capacity = -1, [], 0
        sample.computed = sample.indexed = 0
        sample.shared_tail = False

    def append_page(self, sample: Sample) -> None:
        """One page more. There must be one available."""
        page = self._pool.allocate()
        self.tables[sample.slot * self.table_width + len(sample.pages)] = page
        sample.pages.append(page)
        sample.capacity += self._size

    def must_copy_tail(self, sample: Sample) -> bool:
        """Whether the last page, partly filled, is held by siblings too; the last that asks may write it as it is."""
        if sample.shared_tail and self._pool.references(sample.pages[-1]) == 1:
            sample.shared_tail = False
        return sample.shared_tail

    def copy_tail(self, sample: Sample) -> tuple[int, int]:
        """Replace the shared last page by one of its own: (source, destination) of the copy to be made."""
        source, own = sample.pages[-1], self._pool.allocate()
        self._pool.release([source])
        self._set_page(sample, len(sample.pages) - 1, own)
        sample.shared_tail = False
        return source, own

    def index(self, sample: Sample) -> None:
        """Make known the pages that are full and computed by now."""
        size, pages, shared = self._size, sample.pages, sample.request.shared_prefix
        full = sample.computed // size
        for i in range(sample.indexed, full):
            end = (i + 1) * size
            account = None if end <= shared else sample.request.account
            page = self._pool.index(pages[i], pages[i - 1] if i else None, account, sample.tokens[end - size : end])
            if page != pages[i]:
                self._set_page(sample, i, page)
        sample.indexed = full

    def _set_page(self, sample: Sample, i: int, page: int) -> None:
        sample.pages[i] = self.tables[sample.slot * self.table_width + i] = page

    def check(self, samples: Sequence[Sample]) -> None:
        """Raise `GenerationError` unless these samples are all that is in the cache, and every table agrees."""
        self._pool.check([sample.pages for sample in samples])
        if sorted([*self._free, *(sample.slot for sample in samples)]) != list(range(self._slots)):
            raise GenerationError("a cache slot is lost or used twice")
        for sample in samples:
            start = sample.slot * self.table_width
            if self.tables[start : start + len(sample.pages)].tolist() != sample.pages:
                raise GenerationError(f"the page table of {sample!r} is not the list of its pages")
            if not sample.computed <= sample.capacity == len(sample.pages) * self._size:
                raise GenerationError(f"{sample!r} has tokens outside its pages")
