"""Settings that all tests share."""

from hypothesis import settings

from databases import database, database_url  # noqa: F401  # fixtures

# The same examples on every machine, and no verdict that depends on how busy it is.
settings.register_profile("ponder", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("ponder")
