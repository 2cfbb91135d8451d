/**
 * What the server sends for each fact, as docs/protocol.md has it. Used by the tests and by the
 * fake backend, so that the page can be tried without the real one.
 */

/** The AG-UI events of one fact; the last one carries its seq on the wire. */
export function eventsOf(fact, threadId) {
  const id = fact.message_id;
  const call = fact.tool_call_id;
  switch (fact.type) {
    case "message_received":
    case "message_finished": {
      const role = fact.type === "message_received" ? "user" : "assistant";
      return [
        { type: "TEXT_MESSAGE_START", messageId: id, role },
        { type: "TEXT_MESSAGE_CONTENT", messageId: id, delta: fact.text },
        { type: "TEXT_MESSAGE_END", messageId: id },
      ];
    }
    case "person_answered": {
      const metadata = { person: fact.name };
      return [
        { type: "TEXT_MESSAGE_START", messageId: id, role: "assistant", metadata },
        { type: "TEXT_MESSAGE_CONTENT", messageId: id, delta: fact.text },
        { type: "TEXT_MESSAGE_END", messageId: id },
      ];
    }
    case "turn_opened":
      return [{ type: "RUN_STARTED", threadId, runId: runOf(fact) }];
    case "tool_called":
      return [
        {
          type: "TOOL_CALL_START",
          toolCallId: call,
          toolCallName: fact.tool,
          metadata: { title: fact.title, operation: fact.operation, access: fact.access },
        },
        { type: "TOOL_CALL_ARGS", toolCallId: call, delta: JSON.stringify(fact.arguments) },
        { type: "TOOL_CALL_END", toolCallId: call },
      ];
    case "attempt_made":
      return [
        custom("attempt", { tool_call_id: call, number: fact.number, outcome: fact.outcome }),
      ];
    case "tool_returned":
      return [
        {
          type: "TOOL_CALL_RESULT",
          toolCallId: call,
          messageId: `${call}-result`,
          content: JSON.stringify({ outcome: fact.outcome, content: fact.content }),
        },
      ];
    case "approval_asked": {
      const { type: _, turn_id: __, ...value } = fact;
      return [custom("approval_asked", value)];
    }
    case "approval_decided": {
      const { approval_id, decision, by } = fact;
      return [custom("approval_decided", { approval_id, tool_call_id: call, decision, by })];
    }
    case "turn_parked": {
      const interrupts = fact.approval_ids.map((id) => ({ id, reason: "approval" }));
      return [finished(threadId, runOf(fact), { type: "interrupt", interrupts })];
    }
    case "consent_given": {
      const { consent_id, title, expires_at } = fact;
      return [custom("consent_given", { consent_id, title, expires_at })];
    }
    case "consent_revoked":
      return [custom("consent_revoked", { consent_id: fact.consent_id })];
    case "model_switched":
      return [custom("model_switched", { stand_by: true })];
    case "agent_changed":
      return [
        custom("agent_changed", { tool_call_id: call, before: fact.before, after: fact.after }),
      ];
    case "connection_asked": {
      const { spec_id, scheme, title } = fact;
      return [custom("connection_asked", { tool_call_id: call, spec_id, scheme, title })];
    }
    case "handoff_asked":
      return [custom("handoff", { reason: fact.reason, note: fact.note })];
    case "person_took_over":
      return [custom("person_joined", { person: fact.name })];
    case "given_back":
      return [custom("person_left", { person: fact.name })];
    case "turn_closed":
      if (fact.status === "failed")
        return [{ type: "RUN_ERROR", message: fact.message, code: fact.code }];
      return [
        finished(threadId, runOf(fact), {
          type: fact.status === "done" ? "success" : "cancelled",
        }),
      ];
    case "thread_resolved":
      return [custom("thread_status", { status: "resolved" })];
    case "thread_abandoned":
      return [custom("thread_status", { status: "abandoned" })];
    default:
      throw new Error(`no such fact: ${fact.type}`);
  }
}

const runOf = ({ turn_id, run }) => (run === 1 ? turn_id : `${turn_id}.${run}`);

const custom = (name, value) => ({ type: "CUSTOM", name, value });

const finished = (threadId, runId, outcome) => ({ type: "RUN_FINISHED", threadId, runId, outcome });

/** The frames of one committed event, all of it. */
export function framesOf(event, threadId) {
  return numbered(eventsOf(event.fact, threadId), event, threadId);
}

function numbered(events, { seq, at }, thread_id) {
  return events.map((event, index) => ({
    thread_id,
    seq: index === events.length - 1 ? seq : null,
    at,
    event,
  }));
}

/**
 * One connection's view of a thread: what of an unfinished answer it has had already, so that the
 * end brings only the rest. Takes events `{seq, at, fact}` and live text `{live, offset, text}`.
 */
export function speaker(threadId) {
  const shown = new Map();
  const finished = new Set();
  return (item) => {
    if ("live" in item) {
      const id = item.live;
      if (finished.has(id)) return [];
      const before = shown.get(id);
      const had = before ?? "";
      // Offsets count Unicode's characters.
      const text = [...item.text].slice(Math.max(0, [...had].length - item.offset)).join("");
      shown.set(id, had + text);
      const live = { thread_id: threadId, seq: null, at: null };
      const start = { type: "TEXT_MESSAGE_START", messageId: id, role: "assistant" };
      const content = { type: "TEXT_MESSAGE_CONTENT", messageId: id, delta: text };
      return [
        ...(before === undefined ? [{ ...live, event: start }] : []),
        ...(text === "" ? [] : [{ ...live, offset: [...had].length, event: content }]),
      ];
    }
    const { fact } = item;
    if (fact.type !== "message_finished") return framesOf(item, threadId);
    finished.add(fact.message_id);
    const had = shown.get(fact.message_id);
    if (had === undefined || !fact.text.startsWith(had)) return framesOf(item, threadId);
    const [, content, end] = eventsOf(fact, threadId);
    const rest = fact.text.slice(had.length);
    const events = rest === "" ? [end] : [{ ...content, delta: rest }, end];
    return numbered(events, item, threadId);
  };
}

/** A text in live pieces of `size` characters. */
export function livePieces(messageId, text, size = 6) {
  const characters = [...text];
  const pieces = [];
  for (let offset = 0; offset < characters.length; offset += size)
    pieces.push({
      live: messageId,
      offset,
      text: characters.slice(offset, offset + size).join(""),
    });
  return pieces;
}
