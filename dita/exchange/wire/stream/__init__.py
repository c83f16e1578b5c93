"""The websocket streams of the local exchange."""
