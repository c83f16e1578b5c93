"""The kernel's rules once more, slow and plain, one file per idea: the compiled one's oracle."""
