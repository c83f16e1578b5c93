"""`python -m dita.commands`: the same as pink-ctl, for where scripts are not on the PATH."""

from .app import main

main()
