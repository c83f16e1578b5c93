"""pink-ctl, the operator's commands: one file per command. Installed as dita.commands.

A command parses its options, calls one function of dita and shows the result; it holds no domain
logic and knows nothing of the kernel. The folder must not be imported by its own name: that would
make a second copy of every module when the working directory happens to be the checkout.
"""

if __name__ != "dita.commands":
    raise ImportError(f"expected to be imported as dita.commands, was {__name__}: use that name")
