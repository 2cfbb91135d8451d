/**
 * A stand-in for the backend, to look at the page: `npm run build && npm run fake`.
 *
 * It speaks the real protocol from memory: "refund" asks for an approval, "fail" fails after three
 * attempts, "long" writes a long answer; anything else looks an order up.
 * Tokens are the roles' own names: /sign-in#token=customer, lead, operator.
 */

import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";
import { livePieces, speaker } from "./wire.js";

const STATIC = fileURLToPath(new URL("../../backend/smart_support/static/", import.meta.url));
const TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};
const CSP =
  "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self' ws: wss:";
const PEOPLE = {
  customer: { id: "cus_ada", role: "customer", name: "Ada Park", email: "ada@example.com" },
  lead: { id: "lead_kim", role: "lead", name: "Kim Osei", email: null },
  operator: { id: "op_lu", role: "operator", name: "Lu Marin", email: null },
};

const threads = new Map();
const sockets = new Set();
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

function newThread(ageMs = 0) {
  const at = new Date(Date.now() - ageMs).toISOString();
  const thread = {
    id: randomUUID(),
    title: "",
    status: "opened",
    customer: { id: "cus_ada", name: "Ada Park" },
    opened_at: at,
    last_event_at: at,
    turns: 0,
    tool_calls: 0,
    errors: 0,
  };
  const kept = { thread, events: [], seen: new Set(), clock: ageMs, waiting: new Map() };
  threads.set(thread.id, kept);
  return kept;
}

function record(kept, fact) {
  const at = new Date(Date.now() - kept.clock).toISOString();
  const event = { seq: kept.events.length + 1, at, fact };
  const { thread } = kept;
  kept.events.push(event);
  thread.last_event_at = at;
  if (fact.type === "message_received") thread.title ||= fact.text.slice(0, 80);
  if (fact.type === "turn_opened" && fact.run === 1) thread.turns += 1;
  if (fact.type === "tool_called") thread.tool_calls += 1;
  if (fact.type === "turn_closed" && fact.status === "failed") thread.errors += 1;
  if (fact.type === "approval_asked") thread.status = "waiting";
  if (fact.type === "handoff_asked") thread.status = "handed_off";
  if (fact.type === "thread_resolved") thread.status = "resolved";
  if (fact.type === "approval_decided" || fact.type === "message_received")
    thread.status = "opened";
  publish(kept, event);
}

function publish(kept, item) {
  for (const socket of sockets)
    for (const frame of socket.follows.get(kept.thread.id)?.(item) ?? []) say(socket, frame);
}

const say = (socket, frame) => socket.readyState === 1 && socket.send(JSON.stringify(frame));

const closing = (turn_id, more = {}) => ({
  type: "turn_closed",
  turn_id,
  run: 1,
  status: "done",
  duration_ms: 1834.2,
  first_token_ms: 412.5,
  model_calls: 2,
  input_tokens: 1204,
  output_tokens: 96,
  code: null,
  message: null,
  correlation_id: "01JD8Q7T2M4V",
  ...more,
});

async function answer(kept, turn_id, text, wait) {
  const message_id = randomUUID();
  for (const piece of livePieces(message_id, text)) {
    publish(kept, piece);
    await wait(25);
  }
  record(kept, { type: "message_finished", turn_id, message_id, text, agent: "orders" });
}

const attempt = (turn_id, tool_call_id, number, request, more = {}) => ({
  type: "attempt_made",
  turn_id,
  tool_call_id,
  number,
  started_at: new Date().toISOString(),
  duration_ms: 84.3 + 211 * (number - 1),
  waited_ms: [0, 134.5, 2000][number - 1] ?? 0,
  request,
  status: 200,
  category: null,
  outcome: "done",
  error: null,
  ...more,
});

async function turn(kept, message_id, text, wait = pause) {
  const turn_id = randomUUID();
  const tool_call_id = `call_${randomUUID().slice(0, 8)}`;
  const order = /\d{4}/.exec(text)?.[0] ?? "1001";
  record(kept, { type: "message_received", turn_id, message_id, text, to_person: false });
  await wait(150);
  record(kept, {
    type: "turn_opened",
    turn_id,
    run: 1,
    agent: "orders",
    versions: { model: "offline-1", prompt: "2026-11-20" },
    correlation_id: "01JD8Q7T2M4V",
  });
  await wait(500);
  const call = (more) => ({
    type: "tool_called",
    turn_id,
    tool_call_id,
    tool: "get_order",
    operation_id: "0193-op",
    operation: "GET /orders/{order_id}",
    title: "Look up an order",
    access: "read",
    arguments: { order_id: order, include: ["items", "shipment"], api_token: "[redacted: secret]" },
    ...more,
  });
  if (/refund/i.test(text)) {
    const approval_id = randomUUID();
    record(
      kept,
      call({
        tool: "create_refund",
        operation: "POST /refunds",
        title: "Refund an order",
        access: "write",
        arguments: { body: { order_id: order, amount: "49.90", currency: "EUR" } },
      }),
    );
    record(kept, {
      type: "approval_asked",
      turn_id,
      tool_call_id,
      approval_id,
      title: `Refund order ${order}`,
      method: "POST",
      url: "http://127.0.0.1:9100/refunds",
      fields: [
        { name: "order_id", value: order },
        { name: "amount", value: "49.90" },
        { name: "currency", value: "EUR" },
        { name: "reason", value: "Arrived damaged: the lid of the jar is broken" },
      ],
      expires_at: new Date(Date.now() - kept.clock + 900_000).toISOString(),
    });
    record(kept, { type: "turn_parked", turn_id, run: 1, approval_ids: [approval_id] });
    kept.waiting.set(approval_id, { turn_id, tool_call_id, order });
    return;
  }
  record(kept, call({}));
  await wait(400);
  const request = `GET /orders/${order}`;
  if (/fail/i.test(text)) {
    for (const number of [1, 2, 3]) {
      await wait(300);
      const failure = { status: 503, category: "retryable", outcome: "rejected" };
      record(kept, attempt(turn_id, tool_call_id, number, request, failure));
    }
    record(kept, {
      type: "tool_returned",
      turn_id,
      tool_call_id,
      outcome: "failed",
      content: JSON.stringify({ error: "The order system does not answer.", status: 503 }),
      code: "UPSTREAM_UNAVAILABLE",
    });
    const message = "The order system is not available right now. Please try again in a moment.";
    record(kept, closing(turn_id, { status: "failed", code: "UPSTREAM_UNAVAILABLE", message }));
    return;
  }
  const failed = { status: null, category: "timeout", outcome: "unknown", error: "ReadTimeout" };
  record(kept, attempt(turn_id, tool_call_id, 1, request, failed));
  await wait(300);
  record(kept, attempt(turn_id, tool_call_id, 2, request));
  record(kept, {
    type: "tool_returned",
    turn_id,
    tool_call_id,
    outcome: "done",
    content: JSON.stringify({ id: order, status: "in transit", card: "[redacted: card]" }),
    code: null,
  });
  await wait(300);
  const said = `Your order **${order}** is on its way. It left our warehouse yesterday.\n\n| Step | When |\n|---|---|\n| Packed | 21 Nov |\n| Handed to the carrier | 22 Nov |\n| Expected | 25 Nov |\n\nYou can follow it [with the carrier](https://example.com/track/${order}).`;
  await answer(kept, turn_id, /long/i.test(text) ? Array(12).fill(said).join("\n\n") : said, wait);
  record(kept, closing(turn_id));
}

async function decide(approvalId, decision, wait = pause) {
  for (const kept of threads.values()) {
    const asked = kept.waiting.get(approvalId);
    if (asked === undefined) continue;
    kept.waiting.delete(approvalId);
    const { turn_id, tool_call_id, order } = asked;
    const approved = decision === "approve";
    record(kept, {
      type: "approval_decided",
      turn_id,
      tool_call_id,
      approval_id: approvalId,
      decision: approved ? "approved" : "rejected",
      by: "cus_ada",
      reason: null,
    });
    record(kept, {
      type: "turn_opened",
      turn_id,
      run: 2,
      agent: "orders",
      versions: {},
      correlation_id: "01JD8Q7T2M4W",
    });
    await wait(500);
    if (approved) {
      record(kept, attempt(turn_id, tool_call_id, 1, "POST /refunds", { status: 201 }));
      await wait(400);
    }
    record(kept, {
      type: "tool_returned",
      turn_id,
      tool_call_id,
      outcome: approved ? "done" : "declined",
      content: JSON.stringify(approved ? { refund: "rf_2041", order } : { declined: true }),
      code: null,
    });
    const said = approved
      ? `Done: **49.90 EUR** for order ${order} is on its way back to you.`
      : "All right, I have not refunded anything.";
    await answer(kept, turn_id, said, wait);
    record(kept, closing(turn_id, { run: 2 }));
    return;
  }
}

function onFrame(socket, frame) {
  if (frame.type === "ping") return say(socket, { pong: {} });
  if (frame.type === "hello") {
    const person = PEOPLE[frame.token];
    if (person === undefined) return socket.close(4401, "not signed in");
    socket.person = person;
    return say(socket, { ready: { person, offline_model: true } });
  }
  const kept = threads.get(frame.thread_id);
  if (frame.type === "decide") return void decide(frame.approval_id, frame.decision);
  if (kept === undefined) return say(socket, { error: problem("VAL_NOT_FOUND", "Not found.") });
  if (frame.type === "resume") {
    const frames = speaker(kept.thread.id);
    for (const event of kept.events.slice(frame.last_seq))
      for (const each of frames(event)) say(socket, each);
    socket.follows.set(kept.thread.id, frames);
    say(socket, { resumed: { thread_id: kept.thread.id, last_seq: kept.events.length } });
  }
  if (frame.type === "send") {
    const { message_id } = frame;
    const known = kept.seen.has(message_id);
    const recent = (kept.times ?? []).filter((time) => Date.now() - time < 10_000);
    if (!known && recent.length >= 10) {
      const refusal = problem("RATE_LIMITED", "That was a little fast. Please wait a moment.");
      return say(socket, { error: { ...refusal, retry_after: 8, ref: message_id } });
    }
    const ack = { thread_id: frame.thread_id, message_id, turn_id: "t" };
    say(socket, { ack: { ...ack, status: known ? "duplicate" : "open" } });
    if (known) return;
    kept.times = [...recent, Date.now()];
    kept.seen.add(message_id);
    void turn(kept, message_id, frame.text);
  }
}

const problem = (code, message) => ({ code, message, correlation_id: "01JD8Q7T2M4V" });

function rest(request, path, query) {
  if (path === "/api/health")
    return {
      status: "ready",
      version: "0.1.0",
      reasons: [],
      model: { name: "offline", offline: true },
    };
  const person = PEOPLE[(request.headers.authorization ?? "").replace("Bearer ", "")];
  if (person === undefined) return null;
  if (path === "/api/me") return person;
  if (path === "/api/connections") return { connections: [] };
  if (path === "/api/threads" && request.method === "POST") return newThread().thread;
  if (path === "/api/threads") {
    const status = query.get("status");
    const words = query.get("query")?.toLowerCase() ?? "";
    const all = [...threads.values()]
      .map(({ thread }) => thread)
      .filter((thread) => !status || thread.status === status)
      .filter(({ title, customer }) => `${title} ${customer.name}`.toLowerCase().includes(words))
      .sort((one, other) => other.last_event_at.localeCompare(one.last_event_at));
    const from = Number(query.get("cursor") ?? 0);
    const to = from + Number(query.get("limit") ?? 50);
    return { threads: all.slice(from, to), next_cursor: to < all.length ? String(to) : null };
  }
  const [, id, action] = /^\/api\/threads\/([^/]+)\/?(\w*)$/.exec(path) ?? [];
  const kept = threads.get(id);
  if (kept === undefined) return undefined;
  if (action === "resolve") record(kept, { type: "thread_resolved", by: person.id });
  if (action !== "replay") return kept.thread;
  const after = Number(query.get("after") ?? 0);
  const limit = Number(query.get("limit") ?? 50);
  const events = kept.events.slice(after, after + limit);
  const next = after + events.length;
  return {
    thread: kept.thread,
    events,
    next_after: next < kept.events.length ? next : null,
  };
}

const server = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://page");
  if (pathname.startsWith("/api/")) {
    const body = rest(request, pathname, searchParams);
    const status = body === null ? 401 : body === undefined ? 404 : 200;
    const code = status === 401 ? "AUTH_NOT_SIGNED_IN" : "VAL_NOT_FOUND";
    const failure = {
      type: "about:blank",
      title: code,
      status,
      code,
      detail: "",
      correlation_id: "x",
    };
    response.writeHead(request.method === "POST" && status === 200 ? 201 : status, {
      "content-type": status === 200 ? "application/json" : "application/problem+json",
    });
    response.end(JSON.stringify(body ?? failure));
    return;
  }
  const name = extname(pathname) === "" ? "index.html" : pathname;
  try {
    const file = await readFile(join(STATIC, name));
    const type = TYPES[extname(name)] ?? "application/octet-stream";
    response.writeHead(200, { "content-type": type, "content-security-policy": CSP });
    response.end(file);
  } catch {
    response.writeHead(404).end();
  }
});

new WebSocketServer({ server, path: "/api/chat" }).on("connection", (socket) => {
  socket.follows = new Map();
  sockets.add(socket);
  socket.on("message", (data) => onFrame(socket, JSON.parse(String(data))));
  socket.on("close", () => sockets.delete(socket));
});

// A past to look at: some conversations of every kind, and one with ten thousand events.
const atOnce = () => Promise.resolve();
const QUESTIONS = [
  "Where is my order 1001?",
  "I want a refund for order 1002",
  "My order 1003 lookup should fail please",
  "When does 1004 arrive? I moved house last week and I am not sure that you have the new address",
];
for (let index = 0; index < 64; index += 1) {
  const kept = newThread((index + 1) * 5_400_000);
  await turn(kept, randomUUID(), QUESTIONS[index % 4], atOnce);
  kept.clock -= 200_000;
  const [approvalId] = kept.waiting.keys();
  if (approvalId !== undefined && index % 8 === 1) await decide(approvalId, "approve", atOnce);
  if (index % 5 === 0) record(kept, { type: "thread_resolved", by: "cus_ada" });
  if (index % 11 === 3)
    record(kept, {
      type: "handoff_asked",
      turn_id: "t",
      reason: "The order system does not answer",
      note: "Three lookups failed; the customer waits for a delivery date.",
    });
}
const long = newThread(600_000);
while (long.events.length < 10_000)
  await turn(long, randomUUID(), QUESTIONS[[0, 0, 0, 0, 2][long.events.length % 5]], atOnce);

const port = Number(process.env.PORT ?? 0);
server.listen(port, "127.0.0.1", () => {
  const { port: open } = server.address();
  for (const role of Object.keys(PEOPLE))
    console.log(`http://127.0.0.1:${open}/sign-in#token=${role}`);
  console.log(`long thread: ${long.thread.id}`);
});
