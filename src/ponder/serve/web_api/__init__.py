"""The API of the browser app: sessions, conversations, runs that go on without their reader, keys and usage."""
