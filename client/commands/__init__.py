"""One file per verb: ``arguments`` builds its parser, ``run`` asks, shows, and gives the exit status.

A verb's docstring is its help, and names in its first line the methods it stands for.
"""
