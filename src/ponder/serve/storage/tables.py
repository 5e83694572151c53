"""What all tables share. Each package defines its own tables on `metadata`, in a module `tables`.

Times are whole milliseconds since 1970 (`BigInteger`, names in `_ms`), money is whole micro-units (`BigInteger`), ids
are random texts. Both databases hold the same values then, and comparisons need no time zone.
"""

from sqlalchemy import BigInteger, Integer, MetaData

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    }
)

# A primary key that counts up by itself. SQLite counts only a column whose type is exactly INTEGER.
CountingKey = BigInteger().with_variant(Integer, "sqlite")
