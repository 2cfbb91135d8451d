/** Logs to test with: one of each fact by hand, and random ones that a server could have written. */

import type { Fact, ReplayEvent } from "../src/api/client";
import { type LivePiece, livePieces } from "./wire";

export const THREAD = "0193a5c0-0000-7000-8000-000000000001";
const START = Date.parse("2026-11-23T18:00:00Z");

/** Numbers the facts, one second apart. */
export function logOf(facts: readonly Fact[], step = 1_000): ReplayEvent[] {
  return facts.map((fact, index) => ({
    seq: index + 1,
    at: new Date(START + index * step).toISOString(),
    fact,
  }));
}

/** A generator of numbers in [0, 1), the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export const fact = {
  wrote: (id: string, text: string, turn = "t1", toPerson = false): Fact => ({
    type: "message_received",
    turn_id: turn,
    message_id: id,
    text,
    to_person: toPerson,
  }),
  opened: (turn = "t1", run = 1): Fact => ({
    type: "turn_opened",
    turn_id: turn,
    run,
    agent: "orders",
    versions: { model: "offline-1" },
    correlation_id: "cor-1",
  }),
  called: (call = "c1", more: Partial<Extract<Fact, { type: "tool_called" }>> = {}): Fact => ({
    type: "tool_called",
    turn_id: "t1",
    tool_call_id: call,
    tool: "get_order",
    operation_id: "op-1",
    operation: "GET /orders/{order_id}",
    title: "Look up an order",
    access: "read",
    arguments: { order_id: "1001", token: "[redacted: secret]" },
    ...more,
  }),
  attempt: (
    call: string,
    number: number,
    more: Partial<Extract<Fact, { type: "attempt_made" }>> = {},
  ): Fact => ({
    type: "attempt_made",
    turn_id: "t1",
    tool_call_id: call,
    number,
    started_at: "2026-11-23T18:00:02Z",
    duration_ms: 120,
    waited_ms: number === 1 ? 0 : 2_000,
    request: "GET /orders/1001",
    status: 200,
    category: null,
    outcome: "done",
    error: null,
    ...more,
  }),
  refused: (call: string, number: number): Fact =>
    fact.attempt(call, number, { status: 503, category: "retryable", outcome: "rejected" }),
  returned: (call = "c1", outcome: "done" | "failed" | "declined" | "unknown" = "done"): Fact => ({
    type: "tool_returned",
    turn_id: "t1",
    tool_call_id: call,
    outcome,
    content: '{"status": "in transit"}',
    code: outcome === "failed" ? "UPSTREAM_UNAVAILABLE" : null,
  }),
  asked: (
    approval = "a1",
    call = "c1",
    more: Partial<Extract<Fact, { type: "approval_asked" }>> = {},
  ): Fact => ({
    type: "approval_asked",
    turn_id: "t1",
    tool_call_id: call,
    approval_id: approval,
    title: "Refund order 1002",
    method: "POST",
    url: "http://127.0.0.1:9100/refunds",
    fields: [
      { name: "order_id", value: "1002" },
      { name: "amount", value: "49.90" },
    ],
    expires_at: "2099-01-01T00:00:00Z",
    audience: "customer",
    why: null,
    arguments: { order_id: "1002", body: { amount: 49.9 } },
    standing: false,
    ...more,
  }),
  decided: (
    decision: Extract<Fact, { type: "approval_decided" }>["decision"],
    approval = "a1",
    call = "c1",
  ): Fact => ({
    type: "approval_decided",
    turn_id: "t1",
    tool_call_id: call,
    approval_id: approval,
    decision,
    by: "cus_ada",
    reason: null,
  }),
  parked: (approvals = ["a1"], turn = "t1", run = 1): Fact => ({
    type: "turn_parked",
    turn_id: turn,
    run,
    approval_ids: approvals,
  }),
  answered: (id: string, text: string): Fact => ({
    type: "message_finished",
    turn_id: "t1",
    message_id: id,
    text,
    agent: "orders",
  }),
  changed: (call = "c1"): Fact => ({
    type: "agent_changed",
    turn_id: "t1",
    tool_call_id: call,
    before: "support",
    after: "orders",
    reason: "It is about an order",
  }),
  connection: (callId = "c1"): Fact => ({
    type: "connection_asked",
    turn_id: "t1",
    tool_call_id: callId,
    spec_id: "0197a4c6-5b3e-7cc8-9d21-000000000001",
    scheme: "login",
    title: "Look up an order",
  }),
  handoff: (by: "agent" | "customer" = "agent"): Fact => ({
    type: "handoff_asked",
    turn_id: by === "agent" ? "t1" : null,
    reason: "customer_request",
    note: "Wants to talk about order 1002",
    by,
  }),
  tookOver: (name = "Kim Osei"): Fact => ({ type: "person_took_over", by: "lead_kim", name }),
  personSaid: (id: string, text: string, name = "Kim Osei"): Fact => ({
    type: "person_answered",
    message_id: id,
    text,
    by: "lead_kim",
    name,
  }),
  gaveBack: (remark = "", name = "Kim Osei"): Fact => ({
    type: "given_back",
    by: "lead_kim",
    name,
    remark,
  }),
  closed: (status: "done" | "failed" | "cancelled" = "done", turn = "t1", run = 1): Fact => ({
    type: "turn_closed",
    turn_id: turn,
    run,
    status,
    duration_ms: 4_100,
    first_token_ms: status === "done" ? 800 : null,
    model_calls: 2,
    input_tokens: 900,
    output_tokens: 100,
    code: status === "failed" ? "UPSTREAM_UNAVAILABLE" : null,
    message: status === "failed" ? "The order system is not available right now." : null,
    correlation_id: "cor-1",
  }),
  resolved: (): Fact => ({ type: "thread_resolved", by: "customer" }),
  abandoned: (): Fact => ({ type: "thread_abandoned", idle_seconds: 86_400 }),
};

const TEXTS = [
  "On its way.",
  "Order **1001** left yesterday 📦 and arrives on 25 Nov.",
  "😀😀 ok",
  "A longer answer that goes on for a while, so that it can be cut in many places.",
  "",
];

/** What a server could have done: events, and live text before the answers that it became. */
export function randomTimeline(random: () => number): (ReplayEvent | LivePiece)[] {
  const timeline: (ReplayEvent | LivePiece)[] = [];
  let seq = 0;
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  const commit = (next: Fact) => {
    seq += 1;
    timeline.push({ seq, at: new Date(START + seq * 700).toISOString(), fact: next });
  };
  for (let turn = 0; turn < 1 + random() * 4; turn += 1) {
    const id = `t${turn}`;
    let run = 1;
    commit(fact.wrote(`m${turn}`, pick(TEXTS) || "?", id));
    commit(fact.opened(id));
    for (let call = 0; call < random() * 3; call += 1) {
      const callId = `c${turn}-${call}`;
      commit(fact.called(callId));
      if (random() < 0.3) {
        const approval = `a${turn}-${call}`;
        commit(fact.asked(approval, callId));
        commit(fact.parked([approval], id, run));
        if (random() < 0.3) commit(fact.wrote(`m${turn}-${call}`, "and?", `q${turn}`));
        const decision = pick(["approved", "rejected", "expired"] as const);
        commit(fact.decided(decision, approval, callId));
        run += 1;
        commit(fact.opened(id, run));
        if (decision !== "approved") {
          commit(fact.returned(callId, "declined"));
          continue;
        }
      }
      for (let number = 1; number <= 1 + random() * 2; number += 1)
        commit(random() < 0.5 ? fact.refused(callId, number) : fact.attempt(callId, number));
      if (random() < 0.9) commit(fact.returned(callId, pick(["done", "failed", "unknown"])));
    }
    if (random() < 0.2) commit(fact.connection(`c${turn}-0`));
    if (random() < 0.2) commit(fact.changed(`c${turn}-0`));
    const end = random();
    const text = pick(TEXTS);
    const pieces = livePieces(`r${turn}`, text, 1 + Math.floor(random() * 9));
    const spoken = end < 0.7 ? pieces.length : Math.floor(random() * pieces.length);
    for (const piece of pieces.slice(0, spoken)) {
      timeline.push(piece);
      if (random() < 0.08) commit(fact.wrote(`w${turn}-${seq}`, "one more thing", `q${turn}`));
    }
    if (end < 0.7) commit(fact.answered(`r${turn}`, text));
    const asked = random() < 0.2;
    if (asked) {
      commit(fact.handoff());
      if (random() < 0.5) commit(fact.closed("done", `q${turn}`));
    }
    commit(fact.closed(end < 0.7 ? "done" : end < 0.85 ? "failed" : "cancelled", id, run));
    if (!asked && random() < 0.8) continue;
    if (!asked && random() < 0.5) commit(fact.handoff("customer"));
    if (random() < 0.4) commit(fact.wrote(`p${turn}`, "Hello?", `p${turn}`, true));
    if (random() < 0.8) commit(fact.tookOver());
    for (let said = 0; said < random() * 3; said += 1) {
      commit(fact.personSaid(`d${turn}-${said}`, pick(TEXTS) || "Hello."));
      if (random() < 0.5) commit(fact.wrote(`p${turn}-${said}`, "I see", `p${turn}-${said}`, true));
    }
    if (random() < 0.3) commit(fact.resolved());
    else commit(fact.gaveBack(pick(["", "Be kind."])));
  }
  if (random() < 0.3) commit(random() < 0.5 ? fact.resolved() : fact.abandoned());
  return timeline;
}
