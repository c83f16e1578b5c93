"""What `serve --demo` needs: a strategy, a tape, an exchange."""
