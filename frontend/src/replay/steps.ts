/** The log of a thread as steps that a support lead can read. */

import type { FactOf, ReplayEvent } from "../api/client";
import { duration, plural } from "../ui/time";
import { unmarked } from "../ui/unmarked";

export type Tone = "plain" | "good" | "bad" | "wait" | "quiet";

export interface Step {
  seq: number;
  at: string;
  fact: ReplayEvent["fact"];
  title: string;
  detail: string;
  tone: Tone;
  /** Something went wrong here. */
  failed: boolean;
  /** How far inside the turn and the call. */
  depth: 0 | 1 | 2;
  /** Milliseconds; only of HTTP attempts. */
  bar: { waited: number; took: number } | null;
  /** Milliseconds since the first event. */
  offset: number;
  /** Milliseconds since the event before. */
  gap: number;
}

type Words = Pick<Step, "title" | "detail" | "tone" | "depth"> &
  Partial<Pick<Step, "failed" | "bar">>;

interface Known {
  calls: ReadonlyMap<string, FactOf<"tool_called">>;
  attempts: ReadonlyMap<string, number>;
  asked: ReadonlyMap<string, string>;
}

/** One step per event, in order. Total: a fact this version does not know is shown by its name. */
export function stepsOf(events: readonly ReplayEvent[]): Step[] {
  const known = knownFrom(events);
  const start = Date.parse(events[0]?.at ?? "");
  let before = start;
  return events.map((event) => {
    const at = Date.parse(event.at);
    const gap = Math.max(0, at - before);
    before = at;
    // An attempt is written down with the end of its call; what a reader looks for is its beginning.
    const began = event.fact.type === "attempt_made" ? Date.parse(event.fact.started_at) : at;
    const { failed = false, bar = null, ...words } = wordsFor(event, known);
    return {
      seq: event.seq,
      at: event.at,
      fact: event.fact,
      ...words,
      failed,
      bar,
      offset: Math.max(0, began - start),
      gap,
    };
  });
}

function knownFrom(events: readonly ReplayEvent[]): Known {
  const calls = new Map<string, FactOf<"tool_called">>();
  const attempts = new Map<string, number>();
  const asked = new Map<string, string>();
  for (const { fact, at } of events) {
    if (fact.type === "tool_called") calls.set(fact.tool_call_id, fact);
    if (fact.type === "attempt_made")
      attempts.set(fact.tool_call_id, Math.max(attempts.get(fact.tool_call_id) ?? 0, fact.number));
    if (fact.type === "approval_asked") asked.set(fact.approval_id, at);
  }
  return { calls, attempts, asked };
}

const RETURNED = {
  done: "Done",
  failed: "Failed",
  declined: "Declined",
  unknown: "Outcome unknown",
} as const;

const DECIDED = {
  approved: "Approved",
  rejected: "Not approved",
  expired: "Expired",
  answered: "Answered with a message",
  edited: "Changed and asked again",
} as const;

function wordsFor({ fact, at }: ReplayEvent, known: Known): Words {
  switch (fact.type) {
    case "message_received":
      return {
        title: fact.to_person ? "Customer wrote to the person" : "Customer wrote",
        detail: fact.text,
        tone: "plain",
        depth: 0,
      };
    case "turn_opened":
      return {
        title: fact.run === 1 ? "Turn opened" : `Turn went on (run ${fact.run})`,
        detail: `Agent ${fact.agent}`,
        tone: "quiet",
        depth: 0,
      };
    case "tool_called":
      return {
        title: fact.title,
        detail: [fact.operation, fact.access].filter(Boolean).join(" · ") || fact.tool,
        tone: "plain",
        depth: 1,
      };
    case "attempt_made": {
      const of = known.attempts.get(fact.tool_call_id) ?? fact.number;
      const parts = [fact.request, fact.status ?? fact.error, fact.category];
      return {
        title: `Attempt ${fact.number} of ${of}`,
        detail: parts.filter((part) => part !== null && part !== "").join(" · "),
        tone: fact.outcome === "done" ? "good" : "bad",
        failed: fact.outcome !== "done",
        depth: 2,
        bar: { waited: fact.waited_ms, took: fact.duration_ms },
      };
    }
    case "tool_returned": {
      const bad = fact.outcome === "failed" || fact.outcome === "unknown";
      const title = known.calls.get(fact.tool_call_id)?.title ?? "Tool call";
      return {
        title: `${RETURNED[fact.outcome]}: ${title}`,
        detail: fact.code ?? oneLine(fact.content),
        tone: bad ? "bad" : fact.outcome === "done" ? "good" : "wait",
        failed: bad,
        depth: 1,
      };
    }
    case "call_resolved": {
      const title = known.calls.get(fact.tool_call_id)?.title ?? "Tool call";
      const done = fact.resolution === "done";
      return {
        title: `${done ? "Found out: done" : "Found out: not done"}: ${title}`,
        detail: [`by ${fact.by}`, oneLine(fact.remark)].filter(Boolean).join(" · "),
        tone: done ? "good" : "wait",
        depth: 1,
      };
    }
    case "approval_asked":
      return {
        title: fact.audience === "lead" ? "Asked a lead for approval" : "Asked for approval",
        detail: [`${fact.title} · ${fact.method} ${fact.url}`, fact.why]
          .filter(Boolean)
          .join(" · "),
        tone: "wait",
        depth: 1,
      };
    case "approval_decided": {
      const asked = known.asked.get(fact.approval_id);
      const after =
        asked === undefined ? "" : ` after ${duration(Date.parse(at) - Date.parse(asked))}`;
      return {
        title: `${DECIDED[fact.decision]}${after}`,
        detail: [`by ${fact.by}`, fact.reason].filter(Boolean).join(" · "),
        tone: fact.decision === "approved" ? "good" : "wait",
        depth: 1,
      };
    }
    case "consent_given":
      return {
        title: "Standing consent given",
        detail: `${fact.title} · ${fact.operation}`,
        tone: "good",
        depth: 1,
      };
    case "consent_revoked":
      return {
        title: "Standing consent revoked",
        detail: `by ${fact.by}`,
        tone: "wait",
        depth: 1,
      };
    case "model_switched":
      return {
        title: "A stand-by model went on",
        detail: `${fact.before} → ${fact.after} · ${fact.code}`,
        tone: "wait",
        depth: 1,
      };
    case "turn_parked":
      return {
        title: "Turn waits",
        detail: `for ${plural(fact.approval_ids.length, "approval")}`,
        tone: "wait",
        depth: 0,
      };
    case "message_finished":
      return {
        title: "Agent answered",
        detail: shortened(unmarked(fact.text)),
        tone: "plain",
        depth: 0,
      };
    case "agent_changed":
      return {
        title: `${fact.before} handed over to ${fact.after}`,
        detail: oneLine(fact.reason),
        tone: "plain",
        depth: 1,
      };
    case "connection_asked":
      return {
        title: "Asked to connect their account",
        detail: `${fact.scheme} · for ${fact.title}`,
        tone: "wait",
        depth: 1,
      };
    case "handoff_asked":
      return {
        title: "Person asked for",
        detail: [fact.reason.replaceAll("_", " "), fact.note].filter(Boolean).join(" · "),
        tone: "wait",
        depth: 0,
      };
    case "person_took_over":
      return { title: `${fact.name} took over`, detail: "", tone: "wait", depth: 0 };
    case "person_answered":
      return {
        title: `${fact.name} answered`,
        detail: oneLine(fact.text),
        tone: "plain",
        depth: 0,
      };
    case "given_back":
      return {
        title: `${fact.name} gave back to the agents`,
        detail: oneLine(fact.remark),
        tone: "plain",
        depth: 0,
      };
    case "turn_closed": {
      const failed = fact.status === "failed";
      const tokens = plural(fact.input_tokens + fact.output_tokens, "token");
      const spent = `${duration(fact.duration_ms)} · ${plural(fact.model_calls, "model call")} · ${tokens}`;
      return {
        title: failed ? "Turn failed" : fact.status === "cancelled" ? "Turn stopped" : "Turn done",
        detail: failed
          ? [fact.code, fact.message, `ref ${fact.correlation_id}`, spent]
              .filter(Boolean)
              .join(" · ")
          : spent,
        tone: failed ? "bad" : "quiet",
        failed,
        depth: 0,
      };
    }
    case "thread_resolved":
      return { title: "Marked as resolved", detail: `by ${fact.by}`, tone: "good", depth: 0 };
    case "turn_taken_over":
      return {
        title: "Taken over by another process",
        detail: `for the ${fact.time}. time`,
        tone: "quiet",
        depth: 0,
      };
    case "thread_abandoned":
      return {
        title: "Closed after silence",
        detail: duration(fact.idle_seconds * 1000),
        tone: "quiet",
        depth: 0,
      };
    default:
      fact satisfies never;
      return {
        title: String((fact as { type: unknown }).type),
        detail: "",
        tone: "quiet",
        depth: 0,
      };
  }
}

function oneLine(text: string): string {
  return shortened(text.replace(/\s+/g, " ").trim());
}

function shortened(line: string): string {
  return line.length > 240 ? `${line.slice(0, 239)}…` : line;
}

/** The next failed step after (or before) the one with this seq; wraps around. Null without any. */
export function failureFrom(
  failures: readonly Step[],
  seq: number,
  direction: 1 | -1,
): Step | null {
  if (direction === 1) return failures.find((step) => step.seq > seq) ?? failures[0] ?? null;
  return failures.findLast((step) => step.seq < seq) ?? failures.at(-1) ?? null;
}

/**
 * `Failed at step 7 of 12: Refund an order, 503, 3 attempts, 4.1 s`; a call that ended well all
 * the same `Recovered after step 7 of 12: …`.
 */
export function failureLine(steps: readonly Step[], failure: Step, total: number): string {
  const callId = "tool_call_id" in failure.fact ? failure.fact.tool_call_id : null;
  const recovered = steps.some(
    ({ fact }) =>
      fact.type === "tool_returned" && fact.tool_call_id === callId && fact.outcome === "done",
  );
  const place = `${recovered ? "Recovered after" : "Failed at"} step ${failure.seq.toLocaleString("en-GB")} of ${total.toLocaleString("en-GB")}`;
  if (callId === null) return `${place}: ${failure.title}`;
  const tries = steps.flatMap(({ fact }) =>
    fact.type === "attempt_made" && fact.tool_call_id === callId ? [fact] : [],
  );
  const call = steps.find(
    ({ fact }) => fact.type === "tool_called" && fact.tool_call_id === callId,
  );
  const title = call?.title ?? failure.title;
  const last = tries.findLast((attempt) => attempt.outcome !== "done");
  if (last === undefined) return `${place}: ${title}`;
  const spent = tries.reduce((sum, { waited_ms, duration_ms }) => sum + waited_ms + duration_ms, 0);
  const why = last.status ?? last.category ?? last.outcome;
  return `${place}: ${title}, ${why}, ${plural(tries.length, "attempt")}, ${duration(spent)}`;
}
