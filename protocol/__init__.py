"""The messages that every side may send. Pure: no I/O, no clock, no loop.

``rpc`` frames · ``errors`` names · ``worker`` daemon↔child · ``model`` nouns · ``methods`` verbs · ``events`` kinds.
``rpc``, ``errors`` and ``worker`` import no pydantic: workers and the quick verbs of the CLI live on them.
"""
