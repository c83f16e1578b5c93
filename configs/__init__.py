"""Settings, schemas and golden cases, as data. Installed as dita.configs; there is no code here.

Read a file with `importlib.resources.files("dita.configs") / "golden" / name`: that finds it in a
checkout and in an installed wheel alike. Nothing looks it up relative to `__file__` or the cwd.
"""
