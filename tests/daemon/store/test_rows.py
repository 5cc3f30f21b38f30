"""Records as rows make them: equal to checked ones, and small."""

import sys

from roost.daemon.store.rows import SESSIONS
from roost.protocol.model import After, EngineKind, Session


def session() -> Session:
    return Session(
        id="s-1",
        engine="shell",
        kind=EngineKind.worker,
        workspace="/",
        after=After(),
        created_at=1,
        updated_at=1,
        active_at=1,
    )


def test_a_changed_record_is_what_a_checked_copy_would_be() -> None:
    before = session()
    after = SESSIONS.changed(before, seq=7, name="build")
    assert after == before.model_copy(update={"seq": 7, "name": "build"}) != before
    assert after.to_wire() == before.to_wire() | {"seq": 7, "name": "build"}
    assert before == session()


def test_records_share_what_is_the_same_in_all_of_them() -> None:
    records = [SESSIONS.changed(session(), seq=number) for number in range(2)]
    one, other = (record.model_fields_set for record in records)
    assert one is other
    assert len(one) == len(Session.model_fields)
    assert sys.getsizeof(one) > sys.getsizeof(records[0].__dict__)  # why it matters
