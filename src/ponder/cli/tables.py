"""Tables whose figures stay whole, however narrow the terminal is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

FOLDED = 16  # characters that a name, or a word of a heading, has at least before it is folded


@dataclass(frozen=True)
class _Layout:
    """One way to set a table."""

    intervals_below: bool  # "87.3 % [85.1, 89.2]" on two lines
    tight: bool  # one space between columns


_LAYOUTS = (_Layout(False, False), _Layout(True, False), _Layout(True, True))


class FigureTable(Table):
    """A table with columns of figures (`no_wrap`) and of names.

    Where the terminal is too narrow for it, names and headings fold; then intervals stand below their figures; then
    every row becomes a list, a line for each of its columns. No figure is cut.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for layout in _LAYOUTS:
            table = self._fitted(layout, console, options)
            if table is not None:
                break
        if self.title:
            yield Text(str(self.title), self.title_style or "table.title")
        yield from self._lists() if table is None else [table]
        if table is None or not table.show_edge:
            yield Text()  # as the lower edge of a table that has one
        if self.caption:
            yield Text(str(self.caption), self.caption_style or "table.caption")

    def _fitted(self, layout: _Layout, console: Console, options: ConsoleOptions) -> Table | None:
        """The table with as many characters for every column as there is room for; None where there are too few."""
        cells = [[_text(cell, layout) for cell in column.cells] for column in self.columns]
        spans = [_span(column, texts) for column, texts in zip(self.columns, cells, strict=True)]
        unlimited = options.update_width(sum(most for _, most in spans) + 100 * (len(spans) + 1))
        least = self._set(layout, cells, [least for least, _ in spans])
        room = options.max_width - Measurement.get(console, unlimited, least).maximum
        if room < 0:
            return None
        widths = []
        for fewest, most in spans:  # what is left goes to the first columns, which are names
            more = min(most - fewest, room)
            widths.append(fewest + more)
            room -= more
        return self._set(layout, cells, widths)

    def _set(self, layout: _Layout, cells: Sequence[Sequence[Text]], widths: Sequence[int]) -> Table:
        table = Table(
            box=self.box,
            show_header=self.show_header,
            padding=0 if layout.tight else self.padding,
            pad_edge=self.pad_edge,
            show_edge=self.show_edge and not layout.tight,
        )
        for column, width in zip(self.columns, widths, strict=True):
            table.add_column(column.header, justify=column.justify, overflow="fold", width=width)
        for row, texts in zip(self.rows, zip(*cells, strict=True), strict=True):
            table.add_row(*texts, style=row.style, end_section=row.end_section)
        return table

    def _lists(self) -> Iterator[RenderableType]:
        headings = [str(column.header) for column in self.columns]
        longest = max(map(cell_len, headings))
        whole = _Layout(intervals_below=False, tight=False)
        for row in zip(*(column.cells for column in self.columns), strict=True):
            label, *figures = (_text(cell, whole) for cell in row)
            yield Text.assemble("\n", f"{headings[0]} " if headings[0] and label else "", label, style="bold")
            for heading, figure in zip(headings[1:], figures, strict=True):
                if figure:
                    yield Text.assemble("  ", heading.ljust(longest), "  " if heading else "", figure, overflow="fold")


def _text(cell: RenderableType, layout: _Layout) -> Text:
    text = cell if isinstance(cell, Text) else Text(str(cell))
    if not layout.intervals_below:
        return text
    return Text(text.plain.replace(" [", "\n["), text.style)


def _span(column: Column, texts: Sequence[Text]) -> tuple[int, int]:
    """The fewest characters that a column can do with, and the most that it can use."""
    heading = str(column.header)
    cells = max((cell_len(line) for text in texts for line in text.plain.splitlines()), default=0)
    word = max(map(cell_len, heading.split()), default=0)
    fewest = max(cells if column.no_wrap else min(cells, FOLDED), min(word, FOLDED), 1)
    return fewest, max(cells, cell_len(heading), 1)
