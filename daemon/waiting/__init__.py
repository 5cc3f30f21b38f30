"""How work waits.

1. A wait for a child, a client, a thread or a file has a deadline; what is late is abandoned, never awaited.
2. A caller that leaves ends only its waiting: the work belongs to its owner and goes on.
3. A bug ends the session, the connection or the sweeper that it is in, and nothing else.
4. Nothing polls: a task waits for a change, or for a time.

``guard`` around a task · ``mailbox`` of jobs for one task · ``errands`` without a task · ``deadline`` for a wait or a
thread · ``patience`` with file systems · ``awaited`` changes.
"""
