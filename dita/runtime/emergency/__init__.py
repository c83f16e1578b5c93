"""The way out when serve cannot run."""
