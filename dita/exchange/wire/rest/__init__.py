"""The REST routes of the local exchange."""
