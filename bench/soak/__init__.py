"""``make soak``: many sessions, killed children, slow clients and restarts for half an hour, and nothing may grow.

``growth`` the rule · ``ledger`` what must hold of events and turns · ``host`` what /proc tells · ``daemon`` its lives ·
``readers`` subscribers of all sorts · ``work`` turns and kills · ``run`` the whole of it
"""
