"""The pages for who is on call, as data. Installed as dita.runbooks; there is no code here.

`pink-ctl runbook NAME` prints one, so that they are at hand where there is no checkout.
"""
