"""Storing a message, with its limits, as one statement.

Locks: none. Down: drops the function, and nothing that is stored.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_RECEIVE_MESSAGE = """
    CREATE FUNCTION receive_message(of_thread uuid, new_turn uuid, client_id text, words text,
      process bigint, fact jsonb, most integer, within double precision, queue integer)
    RETURNS TABLE (outcome text, wait double precision, turn turns, event_seq bigint,
      event_at timestamptz)
    LANGUAGE plpgsql AS $$
    DECLARE
      person boolean;
      moment timestamptz;
      stamp timestamptz;
      waiting integer;
      busy boolean;
    BEGIN
      SELECT t.with_person INTO person FROM threads t WHERE t.id = of_thread FOR UPDATE;
      SELECT * INTO turn FROM turns t WHERE t.thread_id = of_thread AND t.message_id = client_id;
      IF FOUND THEN
        outcome := 'known';
        RETURN NEXT;
        RETURN;
      END IF;
      SELECT count(*) FILTER (WHERE t.status = 'queued'), count(*) > 0 INTO waiting, busy
        FROM turns t WHERE t.thread_id = of_thread AND t.status IN ('open', 'queued');
      IF waiting >= queue THEN
        outcome := 'full';
        RETURN NEXT;
        RETURN;
      END IF;
      moment := clock_timestamp();
      SELECT t.received_at INTO stamp FROM turns t
        WHERE t.thread_id = of_thread
          AND abs(extract(epoch FROM moment - t.received_at)) < within
        ORDER BY t.received_at DESC OFFSET most - 1 LIMIT 1;
      IF FOUND THEN
        outcome := 'limited';
        wait := within - extract(epoch FROM moment - stamp);
        RETURN NEXT;
        RETURN;
      END IF;
      INSERT INTO turns AS t (id, thread_id, message_id, text, status, owner, epoch, queued_at,
          received_at)
        SELECT new_turn, of_thread, client_id, words, s.status,
          CASE WHEN s.status = 'open' THEN process END,
          CASE WHEN s.status = 'open' THEN
            (SELECT l.epoch FROM event_logs l WHERE l.thread_id = of_thread) END,
          moment, moment
        FROM (SELECT CASE WHEN person THEN 'done' WHEN busy THEN 'queued' ELSE 'open' END) AS s
          (status)
        RETURNING t.* INTO turn;
      UPDATE event_logs l SET last_seq = l.last_seq + 1 WHERE l.thread_id = of_thread
        RETURNING l.last_seq INTO STRICT event_seq;
      event_at := clock_timestamp();
      INSERT INTO events (thread_id, seq, at, type, payload)
        VALUES (of_thread, event_seq, event_at, 'message_received',
          fact || jsonb_build_object('to_person', person));
      outcome := 'stored';
      RETURN NEXT;
    END $$
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(sa.DDL(_RECEIVE_MESSAGE.replace("%", "%%")))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(
        "DROP FUNCTION receive_message(uuid, uuid, text, text, bigint, jsonb, integer,"
        " double precision, integer)"
    )
