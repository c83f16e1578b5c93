"""The operations that an operator asks for, on a running node."""
