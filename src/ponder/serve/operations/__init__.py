"""What an operator sees of the server: whether it is well, what it does, and how it is stopped."""
