"""Threads and turns. The index on open turns is what keeps a thread to one answer at a time."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from smart_support.database import metadata

threads = sa.Table(
    "threads",
    metadata,
    sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("customer_id", sa.Text, nullable=False),
    sa.Column("customer_name", sa.Text, nullable=False),
    sa.Column("customer_email", sa.Text),
    # A person answers, and nobody else, from the handoff on until it is given back.
    sa.Column("with_person", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("assigned_to", sa.Text),
    sa.Column("assigned_name", sa.Text),
    sa.Column(
        "opened_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
    ),
    sa.Index("ix_threads_customer_id_id", "customer_id", "id"),
)

turns = sa.Table(
    "turns",
    metadata,
    sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column(
        "thread_id",
        sa.Uuid(as_uuid=False),
        sa.ForeignKey("threads.id", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("run", sa.Integer, nullable=False, server_default="1"),
    # The process that answers; its advisory lock is free once it is gone.
    sa.Column("owner", sa.BigInteger),
    # The thread's epoch in which its owner got it; in a later one that owner writes no more.
    sa.Column("epoch", sa.BigInteger),
    sa.Column("recoveries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()")),
    # What the limit of messages counts. Unlike queued_at it never changes.
    sa.Column(
        "received_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()")
    ),
    sa.Column(
        "queued_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
    ),
    sa.Column("closed_at", sa.DateTime(timezone=True)),
    sa.UniqueConstraint("thread_id", "message_id"),
    sa.CheckConstraint(
        "status in ('queued', 'open', 'parked', 'done', 'failed', 'cancelled')", name="status"
    ),
    sa.CheckConstraint("run > 0", name="run"),
    sa.Index(
        "one_open_turn_per_thread",
        "thread_id",
        unique=True,
        postgresql_where=sa.text("status = 'open'"),
    ),
    sa.Index(
        "ix_turns_unfinished",
        "thread_id",
        "queued_at",
        postgresql_where=sa.text("status in ('queued', 'open', 'parked')"),
    ),
    sa.Index(
        "ix_turns_interrupted",
        "closed_at",
        "id",
        postgresql_where=sa.text("status = 'failed' and recoveries > 0"),
    ),
)

conversation_states = sa.Table(
    "conversation_states",
    metadata,
    # No foreign key: all of it can be dropped and derived again from the log.
    sa.Column("thread_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("applied", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("answering", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("last_event_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("closed_at", sa.DateTime(timezone=True)),
    sa.Column("agent", sa.Text),
    sa.Column("handoff_reason", sa.Text),
    sa.Column("turns", sa.Integer, nullable=False),
    sa.Column("tool_calls", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("errors", sa.Integer, nullable=False),
    sa.Column("approvals_asked", sa.Integer, nullable=False),
    sa.Column("approvals_approved", sa.Integer, nullable=False),
    sa.Column("approvals_rejected", sa.Integer, nullable=False),
    sa.CheckConstraint("applied > 0", name="applied"),
    sa.CheckConstraint(
        "status in ('opened', 'waiting', 'handed_off', 'resolved', 'abandoned')", name="status"
    ),
    sa.Index("ix_conversation_states_newest", "opened_at", "thread_id"),
    sa.Index("ix_conversation_states_status_newest", "status", "opened_at", "thread_id"),
    sa.Index(
        "ix_conversation_states_silent",
        "last_event_at",
        postgresql_where=sa.text("status = 'waiting'"),
    ),
)

HAS_NUMBER = "'[0-9]{4}'"
"""What a title of the index of numbers is known by, as SQL writes it."""

thread_titles = sa.Table(
    "thread_titles",
    metadata,
    # Once per thread, beside the row that every turn writes anew, so that its index is not.
    sa.Column("thread_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Index("ix_thread_titles_trigrams", sa.text("trigrams(title)"), postgresql_using="gin"),
    sa.Index(
        "ix_thread_titles_numbers",
        sa.text("numbers(title)"),
        postgresql_using="gin",
        postgresql_where=sa.text(f"title ~ {HAS_NUMBER}"),
    ),
)

# Every three characters in a row: a text is found in those titles alone that have all of its own.
TRIGRAMS = """
CREATE FUNCTION trigrams(words text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT coalesce(array_agg(DISTINCT substr(l.words, place, 3)), '{}')
  FROM (SELECT lower(words)) l (words), generate_series(1, length(l.words) - 2) place
$$
"""
sa.event.listen(thread_titles, "before_create", sa.DDL(TRIGRAMS))  # type: ignore[no-untyped-call]

# Every four digits in a row: all order numbers of years have the same few three in common.
NUMBERS = """
CREATE FUNCTION numbers(words text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
  SELECT coalesce(array_agg(DISTINCT substr(words, place, 4)), '{}')
  FROM generate_series(1, length(words) - 3) place
  WHERE substr(words, place, 4) ~ '^[0-9]{4}$'
$$
"""
sa.event.listen(thread_titles, "before_create", sa.DDL(NUMBERS))  # type: ignore[no-untyped-call]

thread_memories = sa.Table(
    "thread_memories",
    metadata,
    # No foreign key: it can be dropped and made again from the log.
    sa.Column("thread_id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("covers", sa.BigInteger, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("facts", JSONB, nullable=False),
    sa.Column("made_by", sa.Text, nullable=False),
    sa.Column("made_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
)

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("thread_id", sa.Uuid(as_uuid=False), nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("payload", JSONB, nullable=False),
    sa.Column(
        "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
    ),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    # Also the lease of who is delivering it: a process that dies leaves it to the next.
    sa.Column("due_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("delivered_at", sa.DateTime(timezone=True)),
    sa.Column("given_up_at", sa.DateTime(timezone=True)),
    sa.Column("last_error", sa.Text),
    sa.Index(
        "ix_webhook_deliveries_due",
        "due_at",
        postgresql_where=sa.text("delivered_at is null and given_up_at is null"),
    ),
)

# All that storing a message needs, so that the lock on its thread is held for as long as that
# takes PostgreSQL, and not while words go to and fro to a process that may be busy: messages of
# one thread pass the lock one by one. What comes after the lock sees what was stored before it,
# since each statement of a volatile function looks anew.
# What seems to be of the far future was stored before the clock was set back.
RECEIVE_MESSAGE = """
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
_receive = sa.DDL(RECEIVE_MESSAGE.replace("%", "%%"))  # type: ignore[no-untyped-call]
sa.event.listen(metadata, "after_create", _receive)

# The same for the end of a turn: its state, its last events, and the message that is next in line.
# One that another process has taken over is not touched.
SETTLE_TURN = """
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
_settle = sa.DDL(SETTLE_TURN.replace("%", "%%"))  # type: ignore[no-untyped-call]
sa.event.listen(metadata, "after_create", _settle)
