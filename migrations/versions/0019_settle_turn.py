"""Closing or parking a turn, with its last events and what follows it, as one statement.

Locks: none. Down: drops the function, and nothing that is stored.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_SETTLE_TURN = """
    CREATE FUNCTION settle_turn(of_thread uuid, of_turn uuid, after text, types text[],
      payloads jsonb[], fence bigint, process bigint, open_next boolean)
    RETURNS TABLE (outcome text, seq_before bigint, stamps timestamptz[], following turns)
    LANGUAGE plpgsql AS $$
    DECLARE
      state text;
    BEGIN
      PERFORM FROM threads h WHERE h.id = of_thread FOR UPDATE;
      SELECT t.status INTO state FROM turns t WHERE t.id = of_turn AND t.thread_id = of_thread;
      IF state IS DISTINCT FROM 'open' THEN
        outcome := 'not_open';
        RETURN NEXT;
        RETURN;
      END IF;
      IF cardinality(types) > 0 THEN
        UPDATE event_logs l SET last_seq = l.last_seq + cardinality(types)
          WHERE l.thread_id = of_thread AND l.epoch = coalesce(fence, l.epoch)
          RETURNING l.last_seq - cardinality(types) INTO seq_before;
        IF NOT FOUND THEN
          outcome := 'replaced';
          RETURN NEXT;
          RETURN;
        END IF;
        WITH stored AS (
          INSERT INTO events (thread_id, seq, at, type, payload)
            SELECT of_thread, seq_before + new.place, clock_timestamp(), new.type, new.payload
            FROM unnest(types, payloads) WITH ORDINALITY AS new (type, payload, place)
            RETURNING seq, at
        )
        SELECT array_agg(s.at ORDER BY s.seq) INTO stamps FROM stored s;
      END IF;
      UPDATE turns t SET status = after, owner = NULL,
          closed_at = CASE WHEN after <> 'parked' THEN now() END
        WHERE t.id = of_turn;
      IF open_next THEN
        UPDATE turns t SET status = 'open', owner = process, opened_at = clock_timestamp(),
            epoch = (SELECT l.epoch FROM event_logs l WHERE l.thread_id = of_thread)
          WHERE t.id = (
            SELECT q.id FROM turns q WHERE q.thread_id = of_thread AND q.status = 'queued'
            ORDER BY q.queued_at, q.id LIMIT 1
          )
          RETURNING t.* INTO following;
      END IF;
      outcome := 'settled';
      RETURN NEXT;
    END $$
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(sa.DDL(_SETTLE_TURN.replace("%", "%%")))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(
        "DROP FUNCTION settle_turn(uuid, uuid, text, text[], jsonb[], bigint, bigint, boolean)"
    )
