/** The figures whose conversations can be listed: their names, and what a part of them is. */

import type { components } from "../api/schema.gen";

export type FigureName = components["schemas"]["Listing"];

/** One figure of a range, narrowed to one operation, reason or code if there is a dimension. */
export interface CountedSearch {
  figure: FigureName;
  dimension?: string | undefined;
  start: string;
  end: string;
}

interface Words {
  title: string;
  /** One and many of what is counted; null where conversations themselves are. */
  parts: readonly [one: string, many: string] | null;
}

const conversations = (title: string): Words => ({ title, parts: null });
const counted = (title: string, one: string, many = `${one}s`): Words => ({
  title,
  parts: [one, many],
});

export const FIGURES: Record<FigureName, Words> = {
  conversations: conversations("Conversations opened"),
  handled: conversations("Handled by the agent"),
  answered: conversations("Answered by the agent"),
  resolved: conversations("Resolved"),
  resolved_alone: conversations("Resolved by the agent alone"),
  handed_off: conversations("Handed off"),
  abandoned: conversations("Abandoned"),
  reopened: conversations("Reopened"),
  conversations_opened: counted("Opened", "opening"),
  conversations_resolved: counted("Settled", "settlement"),
  conversations_abandoned: counted("Given up", "time given up", "times given up"),
  conversations_reopened: counted("Went on again", "reopening"),
  handoffs: counted("Handoffs", "handoff"),
  messages: counted("Messages", "message"),
  replies: counted("Answers", "answer"),
  response_ms: counted("Response time", "response"),
  turns: counted("Turns", "turn"),
  turns_done: counted("Turns done", "turn done", "turns done"),
  turns_failed: counted("Failed turns", "failed turn"),
  turns_cancelled: counted("Cancelled turns", "cancelled turn"),
  tool_calls: counted("Tool calls", "tool call"),
  tool_calls_done: counted("Tool calls done", "call done", "calls done"),
  tool_calls_failed: counted("Failed tool calls", "failed call"),
  tool_calls_declined: counted("Declined tool calls", "declined call"),
  tool_calls_unknown: counted("Tool calls with unknown outcome", "unknown outcome"),
  tool_errors: counted("Tool errors", "tool error"),
  attempts: counted("HTTP requests", "request"),
  retries: counted("Retries", "retry", "retries"),
  approvals_asked: counted("Approvals asked for", "approval asked for", "approvals asked for"),
  approvals_approved: counted("Approved", "approval"),
  approvals_rejected: counted("Declined", "declined approval"),
  approvals_expired: counted("Expired approvals", "expired approval"),
  input_tokens: counted("Input tokens", "input token"),
  output_tokens: counted("Output tokens", "output token"),
  tokens: counted("Tokens", "token"),
};

export function isFigure(name: unknown): name is FigureName {
  return typeof name === "string" && Object.hasOwn(FIGURES, name);
}

/** What the address asks for, or null if it names no figure. */
export function countedSearch(search: Record<string, unknown>): CountedSearch | null {
  const { figure, dimension, start, end } = search;
  if (!isFigure(figure)) return null;
  return {
    figure,
    // An empty dimension is one, too: errors without a code.
    dimension: dimension === undefined ? undefined : String(dimension),
    start: String(start ?? ""),
    end: String(end ?? ""),
  };
}

const SPAN = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});
const DAYS = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** `16 Nov, 20:00 – 23 Nov, 20:00`, or whole days as `1 Nov 2026 – 7 Nov 2026`. */
export function span(start: string, end: string): string {
  const first = new Date(start);
  const last = new Date(end);
  if (Number.isNaN(first.getTime()) || Number.isNaN(last.getTime())) return "no range";
  const midnight = (at: Date) => at.getHours() === 0 && at.getMinutes() === 0;
  if (!midnight(first) || !midnight(last)) return `${SPAN.format(first)} – ${SPAN.format(last)}`;
  const [from, to] = [DAYS.format(first), DAYS.format(new Date(last.getTime() - 1))];
  return from === to ? from : `${from} – ${to}`;
}
