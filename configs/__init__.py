"""Settings, schemas and golden cases, as data. Installed as dita.configs; nothing here is imported.

What is in examples/ is code to read and to run, and stays out of an installed program.

Read a file with `importlib.resources.files("dita.configs") / "golden" / name`: that finds it in a
checkout and in an installed wheel alike. Nothing looks it up relative to `__file__` or the cwd.
"""
