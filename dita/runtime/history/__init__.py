"""What was traded and what happened, out of the journal: trades, events, and one trade's story.

`index` keeps it in a file beside the journal that follows from it and can be deleted at any time;
commands ask through it, while serve runs and when it does not.
"""
