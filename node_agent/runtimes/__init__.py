"""Makes runtimes: built-in ones from Debian packages, and added ones from any image.

Owns the recipes' form, the trees they are built from and the builder. Knows no project.
"""
