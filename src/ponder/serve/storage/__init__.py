"""Where the server keeps what must not be lost: SQLite or PostgreSQL."""
