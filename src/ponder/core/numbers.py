"""Numbers that a user's code returns."""


def plain_number(value: object) -> object:
    """A number of numpy or torch, or their array of one, as Python's own; anything else as it is."""
    shape, item = getattr(value, "shape", None), getattr(value, "item", None)
    return item() if isinstance(shape, tuple) and all(size == 1 for size in shape) and callable(item) else value
