/** What the customer saw of a thread, from its facts. Agrees with the chat's own transcript. */

import type { ReplayEvent } from "../api/client";
import {
  type ApprovalItem,
  type CallItem,
  callStateOf,
  type Item,
  type NoticeItem,
  WORDS,
} from "../ui/transcript/items";

export function asSeen(events: readonly ReplayEvent[]): Item[] {
  const items: Item[] = [];
  const places = new Map<string, number>();

  const put = (item: Item) => {
    const key = `${item.kind} ${item.id}`;
    const place = places.get(key);
    if (place !== undefined) items[place] = item;
    else {
      places.set(key, items.length);
      items.push(item);
    }
  };
  const call = (id: string, change: Partial<CallItem>) => {
    const item = items[places.get(`call ${id}`) ?? -1];
    if (item?.kind === "call") put({ ...item, ...change });
  };
  const approval = (id: string, change: Partial<ApprovalItem>) => {
    const item = items[places.get(`approval ${id}`) ?? -1];
    if (item?.kind === "approval") put({ ...item, ...change });
  };

  const titles = new Map<string, string>();
  // Calls of the open run, so that closing it need not look at everything.
  let running = new Set<string>();
  let open: string | null = null;

  for (const { seq, at, fact } of events) {
    const notice = (tone: NoticeItem["tone"], text: string, code: string | null = null) =>
      put({ kind: "notice", id: `notice-${seq}`, tone, text, code, at });
    switch (fact.type) {
      case "message_received":
      case "message_finished":
      case "person_answered":
        put({
          kind: "message",
          id: fact.message_id,
          role: fact.type === "message_received" ? "user" : "assistant",
          person: fact.type === "person_answered" ? fact.name : null,
          text: fact.text,
          state: "finished",
          at,
        });
        break;
      case "turn_opened":
        open = runOf(fact);
        break;
      case "turn_parked":
        open = null;
        break;
      case "tool_called":
        running.add(fact.tool_call_id);
        titles.set(fact.tool_call_id, fact.title);
        put({
          kind: "call",
          id: fact.tool_call_id,
          title: fact.title,
          operation: fact.operation,
          access: fact.access,
          args: JSON.stringify(fact.arguments),
          state: "running",
          attempts: 0,
          at,
        });
        break;
      case "attempt_made":
        call(fact.tool_call_id, { attempts: fact.number });
        break;
      case "tool_returned":
        running.delete(fact.tool_call_id);
        call(fact.tool_call_id, { state: callStateOf(fact.outcome) });
        break;
      case "call_resolved":
        call(fact.tool_call_id, { state: fact.resolution === "done" ? "done" : "failed" });
        notice("info", WORDS.found[fact.resolution](titles.get(fact.tool_call_id) ?? ""));
        break;
      case "approval_asked":
        running.delete(fact.tool_call_id);
        call(fact.tool_call_id, { state: "waiting" });
        put({
          kind: "approval",
          id: fact.approval_id,
          callId: fact.tool_call_id,
          title: fact.title,
          method: fact.method,
          url: fact.url,
          fields: fact.fields.map(({ name = "", value = "" }) => ({ name, value })),
          expiresAt: fact.expires_at,
          audience: fact.audience ?? "customer",
          arguments: (fact.arguments ?? null) as ApprovalItem["arguments"],
          standing: fact.standing ?? false,
          decision: null,
          by: null,
          at,
        });
        break;
      case "approval_decided":
        approval(fact.approval_id, { decision: fact.decision, by: fact.by });
        if (
          fact.decision === "approved" &&
          !items.some(
            (item) =>
              item.kind === "approval" &&
              item.callId === fact.tool_call_id &&
              item.decision === null,
          )
        ) {
          running.add(fact.tool_call_id);
          call(fact.tool_call_id, { state: "running" });
        }
        break;
      case "connection_asked":
        put({
          kind: "connection",
          id: fact.tool_call_id,
          specId: fact.spec_id,
          scheme: fact.scheme,
          title: fact.title,
          at,
        });
        break;
      case "handoff_asked":
        notice("handoff", WORDS.handoff);
        break;
      case "person_took_over":
        notice("handoff", WORDS.joined(fact.name));
        break;
      case "given_back":
        notice("handoff", WORDS.left(fact.name));
        break;
      case "consent_given":
        notice("info", WORDS.consent(fact.title));
        break;
      case "consent_revoked":
        notice("info", WORDS.consentRevoked);
        break;
      case "model_switched":
        notice("info", WORDS.standBy);
        break;
      case "agent_changed":
      case "turn_taken_over":
        break;
      case "turn_closed":
        // A queued turn can be closed, unanswered, while another is being answered.
        if (open === null || open === runOf(fact) || fact.status === "failed") {
          for (const id of running) call(id, { state: "stopped" });
          running = new Set();
          open = null;
        }
        if (fact.status === "cancelled") notice("info", WORDS.stopped);
        if (fact.status === "failed") notice("error", fact.message ?? "", fact.code);
        break;
      case "thread_resolved":
        notice("resolved", WORDS.resolved);
        break;
      case "thread_abandoned":
        notice("resolved", WORDS.abandoned);
        break;
      default:
        fact satisfies never; // a later version's; the chat leaves it out too
    }
  }
  return items;
}

const runOf = ({ turn_id, run }: { turn_id: string; run: number }) => `${turn_id} ${run}`;
