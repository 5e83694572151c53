"""Who may use the server: people, their passwords, sessions and API keys."""
