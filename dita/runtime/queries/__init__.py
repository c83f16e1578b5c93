"""Queries to the venue: which, when, one at a time per kind, and what the answers become."""
