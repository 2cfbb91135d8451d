/**
 * What the customer sees, as a pure function of the frames.
 *
 * The rules are those of docs/protocol.md. They make resuming exact: a client that was cut off
 * anywhere and resumes from `lastSeq` ends with the same items as one that was never cut off.
 */

import type {
  AckFrame,
  AgentEvent,
  CustomEvent,
  ErrorFrame,
  EventFrame,
  ResetFrame,
  ResumedFrame,
  WaitingFrame,
} from "../api/frames";
import {
  type ApprovalItem,
  type CallItem,
  callStateOf,
  type Item,
  type MessageItem,
  WORDS,
} from "../ui/transcript/items";

/** A message of the customer's that the log has not shown yet. */
export interface Outgoing {
  id: string;
  text: string;
  /**
   * `sending`: no word from the server; `stored`: acknowledged; `queued`: stored, waits its turn;
   * `to_person`: stored, a person will answer.
   */
  state: "sending" | "stored" | "queued" | "to_person" | "refused";
  error: { message: string; code: string; correlationId: string } | null;
}

export interface Transcript {
  threadId: string;
  /** The largest seq seen; what `resume` asks to go on from. */
  lastSeq: number;
  items: readonly Item[];
  outbox: readonly Outgoing[];
  /** The turn being answered. */
  openRun: string | null;
  /** How many come before the turn that waits to be answered; null when none has to wait. */
  before: number | null;
  status: "open" | "handed_off" | "resolved" | "abandoned";
  /** What the customer has allowed once for the whole conversation. */
  consents: readonly { id: string; title: string; expiresAt: string }[];
  /** The past has arrived; what comes now is news. */
  live: boolean;
}

export type TranscriptFrame =
  | EventFrame
  | AckFrame
  | ResumedFrame
  | ResetFrame
  | WaitingFrame
  | ErrorFrame;

/** How many messages may wait for the server. */
export const OUTBOX_LIMIT = 20;

export function emptyTranscript(threadId: string): Transcript {
  return {
    threadId,
    lastSeq: 0,
    items: [],
    outbox: [],
    openRun: null,
    before: null,
    status: "open",
    consents: [],
    live: false,
  };
}

/** Apply one frame. A frame about another thread, or about nothing known, changes nothing. */
export function receive(transcript: Transcript, frame: TranscriptFrame): Transcript {
  if ("event" in frame) {
    if (frame.thread_id !== transcript.threadId) return transcript;
    const next = apply(transcript, frame.event, frame);
    return frame.seq !== null && frame.seq > next.lastSeq ? { ...next, lastSeq: frame.seq } : next;
  }
  if ("ack" in frame) {
    const { thread_id, message_id, status } = frame.ack;
    if (thread_id !== transcript.threadId) return transcript;
    const state = status === "queued" || status === "to_person" ? status : "stored";
    return outgoing(transcript, message_id, (message) => ({ ...message, state, error: null }));
  }
  if ("resumed" in frame) {
    if (frame.resumed.thread_id !== transcript.threadId) return transcript;
    const lastSeq = Math.max(transcript.lastSeq, frame.resumed.last_seq);
    return { ...transcript, lastSeq, live: true };
  }
  if ("reset" in frame) {
    if (frame.reset.thread_id !== transcript.threadId) return transcript;
    return { ...emptyTranscript(transcript.threadId), outbox: transcript.outbox };
  }
  if ("waiting" in frame) {
    const { thread_id, before } = frame.waiting;
    // The log can be ahead of what was told.
    if (thread_id !== transcript.threadId || transcript.openRun !== null) return transcript;
    return { ...transcript, before };
  }
  const { ref, code, message, correlation_id } = frame.error;
  return outgoing(transcript, ref ?? "", (waiting) => ({
    ...waiting,
    state: "refused",
    error: { code, message, correlationId: correlation_id },
  }));
}

/** Show a message at once, before the server knows it. */
export function post(transcript: Transcript, id: string, text: string): Transcript {
  const message: Outgoing = { id, text, state: "sending", error: null };
  return { ...transcript, outbox: [...transcript.outbox, message] };
}

/** Try a refused message again, under its own id: it cannot become two. */
export function repost(transcript: Transcript, id: string): Transcript {
  return outgoing(transcript, id, (message) => ({ ...message, state: "sending", error: null }));
}

export function withdraw(transcript: Transcript, id: string): Transcript {
  return { ...transcript, outbox: transcript.outbox.filter((message) => message.id !== id) };
}

/** The socket is gone: the past has to be asked for again. */
export function cut(transcript: Transcript): Transcript {
  return { ...transcript, live: false, before: null };
}

function outgoing(
  transcript: Transcript,
  id: string,
  change: (message: Outgoing) => Outgoing,
): Transcript {
  if (!transcript.outbox.some((message) => message.id === id)) return transcript;
  const outbox = transcript.outbox.map((message) =>
    message.id === id ? change(message) : message,
  );
  return { ...transcript, outbox };
}

function apply(transcript: Transcript, event: AgentEvent, frame: EventFrame): Transcript {
  const at = frame.at;
  switch (event.type) {
    case "TEXT_MESSAGE_START":
      return startMessage(transcript, event, at);
    case "TEXT_MESSAGE_CONTENT":
      return editMessage(transcript, event.messageId, (message) =>
        addText(message, event.delta, frame.offset ?? null),
      );
    case "TEXT_MESSAGE_END":
      return finishMessage(transcript, event.messageId, at);
    case "RUN_STARTED":
      return { ...transcript, openRun: event.runId, before: null };
    case "RUN_FINISHED": {
      const outcome = event.outcome?.type ?? "success";
      if (outcome === "interrupt") return { ...transcript, openRun: null };
      // A queued turn can be closed, unanswered, while another is being answered.
      const other = transcript.openRun !== null && transcript.openRun !== event.runId;
      const ended = other ? transcript : endRun(transcript, outcome === "cancelled");
      return outcome === "cancelled" ? notice(ended, "info", WORDS.stopped, null, frame) : ended;
    }
    case "RUN_ERROR":
      return notice(endRun(transcript, true), "error", event.message, event.code ?? null, frame);
    case "TOOL_CALL_START":
      return startCall(transcript, event, at);
    case "TOOL_CALL_ARGS":
      return editCall(transcript, event.toolCallId, (call) => ({
        ...call,
        args: call.args + event.delta,
      }));
    case "TOOL_CALL_RESULT":
      return editCall(transcript, event.toolCallId, (call) => ({
        ...call,
        state: callStateOf(outcomeIn(event.content)),
      }));
    case "CUSTOM":
      return applyCustom(transcript, event, frame);
    default:
      return transcript;
  }
}

function applyCustom(transcript: Transcript, event: CustomEvent, frame: EventFrame): Transcript {
  switch (event.name) {
    case "attempt":
      return editCall(transcript, event.value.tool_call_id, (call) => ({
        ...call,
        attempts: Math.max(call.attempts, event.value.number),
      }));
    case "approval_asked": {
      const { approval_id, tool_call_id, expires_at, title, method, url, fields } = event.value;
      const asked = put(transcript, {
        kind: "approval",
        id: approval_id,
        callId: tool_call_id,
        title,
        method,
        url,
        fields,
        expiresAt: expires_at,
        audience: event.value.audience ?? "customer",
        arguments: event.value.arguments ?? null,
        standing: event.value.standing ?? false,
        decision: null,
        by: null,
        at: frame.at,
      });
      return editCall(asked, tool_call_id, (call) => ({ ...call, state: "waiting" }));
    }
    case "approval_decided": {
      const { approval_id, tool_call_id, decision, by } = event.value;
      const decided = edit(transcript, "approval", approval_id, (approval) => ({
        ...approval,
        decision: decision as ApprovalItem["decision"],
        by,
      }));
      // Where several are asked, the call goes on when all have said yes.
      const others = decided.items.some(
        (item) =>
          item.kind === "approval" && item.callId === tool_call_id && item.decision === null,
      );
      if (decision !== "approved" || others) return decided;
      return editCall(decided, tool_call_id, (call) => ({ ...call, state: "running" }));
    }
    case "connection_asked": {
      const { tool_call_id, spec_id, scheme, title } = event.value;
      return put(transcript, {
        kind: "connection",
        id: tool_call_id,
        specId: spec_id,
        scheme,
        title,
        at: frame.at,
      });
    }
    case "call_resolved": {
      const { tool_call_id, resolution } = event.value;
      const done = resolution === "done";
      const call = transcript.items.find(({ kind, id }) => kind === "call" && id === tool_call_id);
      const title = call?.kind === "call" ? call.title : "";
      const words = WORDS.found[done ? "done" : "not_done"](title);
      return notice(
        editCall(transcript, tool_call_id, (item) => ({
          ...item,
          state: done ? "done" : "failed",
        })),
        "info",
        words,
        null,
        frame,
      );
    }
    case "handoff":
      return {
        ...notice(transcript, "handoff", WORDS.handoff, null, frame),
        status: "handed_off",
      };
    case "person_joined":
      return {
        ...notice(transcript, "handoff", WORDS.joined(event.value.person), null, frame),
        status: "handed_off",
      };
    case "person_left":
      return {
        ...notice(transcript, "handoff", WORDS.left(event.value.person), null, frame),
        status: transcript.status === "handed_off" ? "open" : transcript.status,
      };
    case "thread_status": {
      const status = event.value.status === "abandoned" ? "abandoned" : "resolved";
      return { ...notice(transcript, "resolved", WORDS[status], null, frame), status };
    }
    case "consent_given": {
      const { consent_id: id, title, expires_at: expiresAt } = event.value;
      const told = notice(transcript, "info", WORDS.consent(title), null, frame);
      const others = transcript.consents.filter((consent) => consent.id !== id);
      return { ...told, consents: [...others, { id, title, expiresAt }] };
    }
    case "consent_revoked": {
      const told = notice(transcript, "info", WORDS.consentRevoked, null, frame);
      const { consent_id: id } = event.value;
      return { ...told, consents: transcript.consents.filter((consent) => consent.id !== id) };
    }
    case "model_switched":
      return notice(transcript, "info", WORDS.standBy, null, frame);
    case "agent_changed":
    case "turn_resumed":
      return transcript;
    default:
      event satisfies never;
      return transcript;
  }
}

/** Words still being spoken stand where they began; a message begun before begins anew there. */
function startMessage(
  transcript: Transcript,
  event: Extract<AgentEvent, { type: "TEXT_MESSAGE_START" }>,
  at: string | null,
): Transcript {
  const { messageId: id, role } = event;
  const person = event.metadata?.person ?? null;
  const fresh: MessageItem = {
    kind: "message",
    id,
    role,
    person,
    text: "",
    state: "streaming",
    at,
  };
  const started = put(withdraw(transcript, id), fresh);
  const reopened = role === "user" && transcript.status !== "handed_off";
  return reopened ? { ...started, status: "open" } : started;
}

/** A finished message stands where the log has it: after whatever happened while it was spoken. */
function finishMessage(transcript: Transcript, id: string, at: string | null): Transcript {
  const spoken = transcript.items.find((item) => item.kind === "message" && item.id === id);
  if (spoken?.kind !== "message" || spoken.state !== "streaming") return transcript;
  const rest = transcript.items.filter((item) => item !== spoken);
  const finished: MessageItem = { ...spoken, state: "finished", at: at ?? spoken.at };
  return { ...transcript, items: [...rest, finished] };
}

function startCall(
  transcript: Transcript,
  event: Extract<AgentEvent, { type: "TOOL_CALL_START" }>,
  at: string | null,
): Transcript {
  return put(transcript, {
    kind: "call",
    id: event.toolCallId,
    title: event.metadata?.title ?? event.toolCallName,
    operation: event.metadata?.operation ?? null,
    access: event.metadata?.access ?? null,
    args: "",
    state: "running",
    attempts: 0,
    at,
  });
}

/** A token's `offset` says where it belongs; the pieces of a fact have none and follow each other. */
function addText(message: MessageItem, delta: string, offset: number | null): MessageItem {
  if (offset === null) return { ...message, text: message.text + delta };
  const place = placeOf(message.text, offset);
  // A late token must not undo the finished text, and after a gap only the snapshot can help.
  if (message.state !== "streaming" || place === null) return message;
  return { ...message, text: message.text.slice(0, place) + delta };
}

/** Where the character with this number begins; characters are Unicode's, not UTF-16's halves. */
function placeOf(text: string, offset: number): number | null {
  if (!/[\ud800-\udbff]/.test(text)) return offset <= text.length ? offset : null;
  let place = 0;
  for (let character = 0; character < offset; character += 1) {
    const code = text.codePointAt(place);
    if (code === undefined) return null;
    place += code > 0xffff ? 2 : 1;
  }
  return place;
}

function endRun(transcript: Transcript, cutShort: boolean): Transcript {
  const items = transcript.items.flatMap((item): Item[] => {
    if (item.kind === "message" && item.state === "streaming")
      return cutShort && item.text !== "" ? [{ ...item, state: "stopped" }] : [];
    if (item.kind === "call" && item.state === "running") return [{ ...item, state: "stopped" }];
    return [item];
  });
  return { ...transcript, items, openRun: null, before: null };
}

function notice(
  transcript: Transcript,
  tone: "info" | "error" | "handoff" | "resolved",
  text: string,
  code: string | null,
  frame: EventFrame,
): Transcript {
  const id = `notice-${frame.seq ?? `after-${transcript.lastSeq}`}`;
  return put(transcript, { kind: "notice", id, tone, text, code, at: frame.at });
}

/** Put an item in the place of its earlier self, or at the end. */
function put(transcript: Transcript, item: Item): Transcript {
  const place = transcript.items.findIndex(({ kind, id }) => kind === item.kind && id === item.id);
  const items = [...transcript.items];
  if (place === -1) items.push(item);
  else items[place] = item;
  return { ...transcript, items };
}

function edit<Kind extends Item["kind"]>(
  transcript: Transcript,
  kind: Kind,
  id: string,
  change: (item: Extract<Item, { kind: Kind }>) => Item,
): Transcript {
  // What changes is nearly always near the end.
  const place = transcript.items.findLastIndex((item) => item.kind === kind && item.id === id);
  const found = transcript.items[place];
  if (found === undefined) return transcript;
  const items = [...transcript.items];
  items[place] = change(found as Extract<Item, { kind: Kind }>);
  return { ...transcript, items };
}

const editMessage = (
  transcript: Transcript,
  id: string,
  change: (message: MessageItem) => MessageItem,
) => edit(transcript, "message", id, change);

const editCall = (transcript: Transcript, id: string, change: (call: CallItem) => CallItem) =>
  edit(transcript, "call", id, change);

function outcomeIn(content: string): unknown {
  try {
    const value: unknown = JSON.parse(content);
    return typeof value === "object" && value !== null && "outcome" in value ? value.outcome : null;
  } catch {
    return null;
  }
}
