/** The chat protocol's frames, as docs/protocol.md has them. */

import type { Action } from "./actions";

export interface EventFrame {
  thread_id: string;
  /** The fact's number; null for all but the last event of a fact, and for live tokens. */
  seq: number | null;
  at: string | null;
  /** Live tokens only: characters of the message before this piece. */
  offset?: number | null;
  event: AgentEvent;
}
export interface AckFrame {
  ack: {
    thread_id: string;
    message_id: string;
    /** Null for what a lead wrote. */
    turn_id: string | null;
    status: "open" | "queued" | "duplicate" | "to_person" | "to_customer";
  };
}
export interface ResumedFrame {
  resumed: { thread_id: string; last_seq: number };
}
/** What the client has of this thread is not in the log: the whole past follows. */
export interface ResetFrame {
  reset: { thread_id: string; reason: "unknown" | "too_old" };
}
export interface ErrorFrame {
  error: {
    code: string;
    message: string;
    /** What to do about it; older servers do not say. */
    action?: Action;
    correlation_id: string;
    /** Seconds until the same thing may be tried again. */
    retry_after?: number | null;
    /** The message or approval it is about. */
    ref?: string | null;
  };
}
export interface ReadyFrame {
  ready: {
    /** The version of docs/protocol.md; older servers do not say. */
    protocol?: number;
    person: { id: string; role: string; name: string };
    offline_model: boolean;
    /** What works less well just now, in words for people. */
    degraded?: string[];
  };
}
/** What works less well has changed since `ready`, or since the last of these; empty: nothing. */
export interface DegradedFrame {
  degraded: string[];
}
/** The turn of the thread has to wait until it can be answered: so many others come first. */
export interface WaitingFrame {
  waiting: { thread_id: string; run_id: string; before: number };
}
export interface PongFrame {
  pong: Record<string, never>;
}
export type ServerFrame =
  | EventFrame
  | AckFrame
  | ResumedFrame
  | ResetFrame
  | ErrorFrame
  | ReadyFrame
  | DegradedFrame
  | WaitingFrame
  | PongFrame;

export interface ApprovalAsked {
  approval_id: string;
  tool_call_id: string;
  title: string;
  method: string;
  url: string;
  fields: { name: string; value: string }[];
  expires_at: string;
  audience?: "customer" | "lead";
  arguments?: Record<string, unknown> | null;
  standing?: boolean;
}

/** A person's answer to a question for approval. */
export type ApprovalAnswer =
  | { decision: "approve"; standing?: boolean }
  | { decision: "reject" }
  | { decision: "respond"; reason: string }
  | { decision: "edit"; arguments: Record<string, unknown> };

export type CustomEvent =
  | { name: "attempt"; value: { tool_call_id: string; number: number; outcome: string } }
  | { name: "approval_asked"; value: ApprovalAsked }
  | {
      name: "approval_decided";
      value: { approval_id: string; tool_call_id: string; decision: string; by: string };
    }
  | { name: "call_resolved"; value: { tool_call_id: string; resolution: string } }
  | { name: "consent_given"; value: { consent_id: string; title: string; expires_at: string } }
  | { name: "consent_revoked"; value: { consent_id: string } }
  | { name: "model_switched"; value: { stand_by: boolean } }
  | { name: "agent_changed"; value: { tool_call_id: string; before: string; after: string } }
  | {
      name: "connection_asked";
      value: { tool_call_id: string; spec_id: string; scheme: string; title: string };
    }
  | { name: "turn_resumed"; value: { run_id: string } }
  | { name: "handoff"; value: { reason: string; note: string } }
  | { name: "person_joined"; value: { person: string } }
  | { name: "person_left"; value: { person: string } }
  | { name: "thread_status"; value: { status: string } };

/** The AG-UI 1.0 events that the server sends. */
export type AgentEvent =
  | {
      type: "TEXT_MESSAGE_START";
      messageId: string;
      role: "user" | "assistant";
      /** `person`: the name of the support lead who wrote it. */
      metadata?: { person?: string | null } | null;
    }
  | { type: "TEXT_MESSAGE_CONTENT"; messageId: string; delta: string }
  | { type: "TEXT_MESSAGE_END"; messageId: string }
  | { type: "RUN_STARTED"; threadId: string; runId: string }
  | {
      type: "RUN_FINISHED";
      threadId: string;
      runId: string;
      outcome?: { type: "success" | "cancelled" | "interrupt" };
    }
  | { type: "RUN_ERROR"; message: string; code?: string }
  | {
      type: "TOOL_CALL_START";
      toolCallId: string;
      toolCallName: string;
      metadata?: { title?: string | null; operation?: string | null; access?: string | null };
    }
  | { type: "TOOL_CALL_ARGS"; toolCallId: string; delta: string }
  | { type: "TOOL_CALL_END"; toolCallId: string }
  | { type: "TOOL_CALL_RESULT"; toolCallId: string; messageId: string; content: string }
  | ({ type: "CUSTOM" } & CustomEvent);

export type ClientFrame =
  | { type: "hello"; token: string }
  | { type: "resume"; thread_id: string; last_seq: number }
  | { type: "send"; thread_id: string; message_id: string; text: string }
  | { type: "cancel"; thread_id: string }
  | ({ type: "decide"; approval_id: string } & ApprovalAnswer)
  | { type: "ping" };

const KEYS = [
  "event",
  "ready",
  "resumed",
  "reset",
  "ack",
  "error",
  "degraded",
  "waiting",
  "pong",
] as const;

/** The frame in `text`, or null for one that this version does not know. */
export function parseFrame(text: unknown): ServerFrame | null {
  if (typeof text !== "string") return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null) return null;
  const frame = value;
  return KEYS.some((key) => key in frame) ? (frame as ServerFrame) : null;
}
