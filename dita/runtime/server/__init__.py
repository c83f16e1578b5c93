"""serve as a process: control socket, signals, exit codes, and the side that calls it."""
