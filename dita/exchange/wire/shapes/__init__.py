"""The shapes of what the local exchange says: pure functions from records to JSON."""
