"""The state directory: where it is, who holds it, and what is kept in it."""
