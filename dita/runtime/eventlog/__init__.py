"""What happens, in words: the log of a running serve, its alerts, and the night told afterwards.

One vocabulary: `teller` turns an input and its outcome into events, live and out of the journal, so
that the log and `pink-ctl events` say the same.  The log and the alerts only listen: nothing that
happens to them changes what is traded.
"""
