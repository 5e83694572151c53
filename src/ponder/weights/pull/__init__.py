"""Fetching a published model whole, checked, and without doing it twice."""
