/** A server for the pages under test: answers at the edge of the client, on the test's command. */

import type {
  Credentials,
  ImportResult,
  Person,
  ReplayEvent,
  Role,
  SchemeCredential,
  Thread,
} from "../src/api/client";
import type { ClientFrame, ServerFrame } from "../src/api/frames";
import type { OpenSocket, SocketOptions } from "../src/api/socket";
import type { Upload } from "../src/api/upload";
import { THREAD } from "./logs";
import { operationOf, type ReviewDesk, reviewDesk, SPEC } from "./review";
import { type LivePiece, speaker } from "./wire";

export const PEOPLE: Record<Role, Person> = {
  customer: { id: "cus_ada", role: "customer", name: "Ada Park", email: "ada@example.com" },
  lead: { id: "lead_kim", role: "lead", name: "Kim Osei", email: null },
  operator: { id: "op_lu", role: "operator", name: "Lu Marin", email: null },
};

export function threadOf(more: Partial<Thread> = {}): Thread {
  return {
    id: THREAD,
    title: "Where is my order 1001?",
    status: "opened",
    customer: { id: "cus_ada", name: "Ada Park" },
    opened_at: "2026-11-23T18:00:00Z",
    last_event_at: "2026-11-23T18:05:00Z",
    turns: 1,
    tool_calls: 1,
    errors: 0,
    agent: null,
    ...more,
  };
}

/** Who has a conversation: nobody yet, or the lead with this id and name. */
export function handed(by: string | null = null, name: string | null = null): Partial<Thread> {
  const handling = {
    with_person: true,
    assigned_to: by,
    assigned_name: name,
    reason: "customer_request",
  };
  return { status: "handed_off", handling };
}

export function json(body: unknown, status = 200): Response {
  const type = status < 400 ? "application/json" : "application/problem+json";
  return new Response(JSON.stringify(body), { status, headers: { "content-type": type } });
}

export function problem(status: number, code: string, title: string): Response {
  return json({ type: "about:blank", title, status, code, correlation_id: "cor-9" }, status);
}

type Answer = (url: URL, request: Request) => Response | Promise<Response>;

/** A credential that nobody has set yet. */
export function schemeOf(more: Partial<SchemeCredential> = {}): SchemeCredential {
  return {
    name: "shop-key",
    type: "apiKey",
    place: "header",
    parameter: "X-Api-Key",
    description: "",
    flows: [],
    operations: 12,
    scopes: [],
    state: "missing",
    reason: null,
    hint: null,
    client_id: null,
    flow: null,
    token_server: null,
    origins: [],
    connected: 0,
    set_by: null,
    set_at: null,
    ...more,
  };
}

export function ringOf(more: Partial<Credentials> = {}): Credentials {
  return {
    environment: "live",
    environments: [{ name: "live", base_url: "https://api.shop.test", active: true }],
    schemes_read: true,
    schemes: [],
    headers: [],
    trouble: null,
    ...more,
  };
}

export function fakeServer(role: Role) {
  const log: ReplayEvent[] = [];
  const sent: ClientFrame[] = [];
  const asked: string[] = [];
  let threads: Thread[] = [];
  let socket: SocketOptions | null = null;
  let ready = false;
  let opened = 0;
  let say: ReturnType<typeof speaker> | null = null;
  let desk: ReviewDesk = reviewDesk([]);
  const uploads: Parameters<Upload>[0][] = [];

  const routes: Record<string, Answer> = {
    "GET /api/health": () =>
      json({
        status: "ready",
        version: "0.1.0",
        reasons: [],
        model: { name: "offline", offline: true },
      }),
    "GET /api/me": () => json(PEOPLE[role]),
    "POST /api/me/sign-out": () => json({ ended_at: "2026-11-23T18:06:00Z" }),
    "POST /api/threads": () => {
      threads = [threadOf({ title: "" })];
      return json(threads[0], 201);
    },
    "GET /api/threads": (url) => {
      const status = url.searchParams.get("status");
      const words = url.searchParams.get("query") ?? "";
      const found = threads.filter(
        (thread) => (!status || thread.status === status) && thread.title.includes(words),
      );
      const from = found.findIndex(({ id }) => id === url.searchParams.get("cursor")) + 1;
      const page = found.slice(from, from + Number(url.searchParams.get("limit")));
      const more = from + page.length < found.length;
      return json({ threads: page, next_cursor: more ? page.at(-1)?.id : null });
    },
    "GET /api/threads/*": (url) => {
      const found = threads.find(({ id }) => url.pathname.endsWith(id));
      return found ? json(found) : problem(404, "VAL_NOT_FOUND", "I could not find that.");
    },
    "GET /api/connections": () => json({ connections: [] }),
    "GET /api/connections/counts": () => json({ services: [] }),
    "GET /api/approvals": () => json({ approvals: [] }),
    "GET /api/tool-calls/unknown": () => json({ calls: [] }),
    "GET /api/turns/interrupted": () => json({ turns: [], next_cursor: null }),
    "POST /api/threads/*/handoff": () => json(threadOf({ status: "handed_off" })),
    "POST /api/threads/*/resolve": () => json(threadOf({ status: "resolved" })),
    "GET /api/threads/*/replay": (url) => {
      const after = Number(url.searchParams.get("after") ?? 0);
      const limit = Number(url.searchParams.get("limit"));
      const events = log.slice(after, after + limit);
      const next = events.length === limit ? events.at(-1)?.seq : null;
      return json({ thread: threads[0] ?? threadOf(), events, next_after: next });
    },
  };

  Object.assign(routes, {
    "GET /api/specs": () => json({ specs: desk.all().length > 0 ? [desk.spec()] : [] }),
    "GET /api/specs/*": (url: URL) =>
      url.pathname.endsWith(SPEC)
        ? json(desk.spec())
        : problem(404, "VAL_NOT_FOUND", "I could not find that."),
    "GET /api/advice": () => json({ offered: false }),
    "GET /api/specs/*/credentials": () => json(ringOf()),
    "PUT /api/specs/*/base-url": () => json(desk.spec()),
    "GET /api/specs/*/operations": (url: URL) => {
      const from = desk.all().findIndex(({ key }) => key === url.searchParams.get("after")) + 1;
      const limit = Number(url.searchParams.get("limit"));
      const operations = desk.all().slice(from, from + limit);
      const more = operations.length === limit;
      return json({ operations, next_after: more ? operations.at(-1)?.key : null });
    },
    "GET /api/specs/*/decisions": () => json({ batches: desk.batches() }),
    "POST /api/specs/*/decisions": async (_: URL, request: Request) => {
      const { decisions } = await request.json();
      const made = desk.decide(decisions);
      if (!Array.isArray(made)) return json(made);
      const title = "Somebody else changed this in the meantime.";
      const refused = { title, code: "CONF_REVIEW_CONFLICT", correlation_id: "cor-9" };
      return json({ ...refused, type: "about:blank", status: 409, conflicts: made }, 409);
    },
    "POST /api/reviews/*/undo": (url: URL) => json(desk.undo(url.pathname.split("/")[3] ?? "")),
    "GET /api/operations/*": (url: URL) => json(desk.detail(url.pathname.split("/")[3] ?? "")),
    "POST /api/operations/*/dry-run": async (url: URL, request: Request) => {
      const { path, method } = desk.get(url.pathname.split("/")[3] ?? "") ?? operationOf(0);
      const { arguments: given } = (await request.json()) as { arguments: object | null };
      const all = { ...(given ?? { thing_id: "made up" }), customer_id: "customer-1" };
      return json({
        method,
        url: `https://api.shop.example${path}`,
        headers: [{ name: "Accept", value: "application/json" }],
        body: JSON.stringify(all),
        body_bytes: 10,
        arguments: given ?? { thing_id: "made up" },
        filled: all,
      });
    },
    "GET /api/operations/*/evidence": (url: URL) =>
      json(desk.evidence(url.pathname.split("/")[3] ?? "")),
  });

  const fetch = async (request: Request): Promise<Response> => {
    const url = new URL(request.url);
    const path = url.pathname.replace(
      /\/(threads|specs|operations|reviews|approvals|imports|tool-calls|stops)\/(?!from-url|unknown)[^/]+/,
      "/$1/*",
    );
    asked.push(`${request.method} ${url.pathname}${url.search}`);
    if (request.headers.get("authorization") !== "Bearer good")
      return problem(401, "AUTH_NOT_SIGNED_IN", "Please sign in again.");
    const answer = routes[`${request.method} ${path}`];
    return answer ? answer(url, request) : problem(404, "VAL_NOT_FOUND", "No.");
  };

  const openSocket: OpenSocket = (options) => {
    socket = options;
    opened += 1;
    ready = false;
    options.onConnection({ state: "connecting" });
    return {
      send(frame) {
        if (!ready) return false;
        sent.push(frame);
        if (frame.type === "resume") resume(frame.last_seq);
        return true;
      },
      retryNow: () => connect(),
      close: () => {
        ready = false;
      },
    };
  };

  const frame = (each: ServerFrame) => socket?.onFrame(each);
  const resume = (lastSeq: number) => {
    say = speaker(THREAD);
    for (const event of log.slice(lastSeq)) for (const each of say(event)) frame(each);
    frame({ resumed: { thread_id: THREAD, last_seq: log.length } });
  };
  const connect = () => {
    ready = true;
    socket?.onConnection({ state: "ready" });
  };

  /** Uploads wait for the test to answer: `uploads[n].onProgress`, `answer`. */
  const answers: { resolve: (result: ImportResult) => void; reject: (why: unknown) => void }[] = [];
  const upload: Upload = (options) => {
    uploads.push(options);
    return new Promise((resolve, reject) => {
      answers.push({ resolve, reject });
      options.signal.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
    });
  };

  return {
    fetch,
    openSocket,
    upload,
    uploads,
    answers,
    review(next: ReviewDesk) {
      desk = next;
    },
    routes,
    sent,
    asked,
    log,
    opened: () => opened,
    connect,
    drop(milliseconds: number) {
      ready = false;
      socket?.onConnection({ state: "waiting", until: Date.now() + milliseconds, attempt: 1 });
    },
    refuse(why: "signed_out" | "no_chat") {
      ready = false;
      socket?.onConnection({ state: "closed", why });
    },
    frame,
    threads(...next: Thread[]) {
      threads = next;
    },
    /** Commit these, and tell whoever follows. */
    happen(...items: (ReplayEvent["fact"] | LivePiece)[]) {
      for (const item of items) {
        if ("live" in item) for (const each of say?.(item) ?? []) frame(each);
        else {
          const seq = log.length + 1;
          const at = new Date(Date.parse("2026-11-23T18:00:00Z") + seq * 1_000).toISOString();
          log.push({ seq, at, fact: item });
          if (ready) for (const each of say?.({ seq, at, fact: item }) ?? []) frame(each);
        }
      }
    },
  };
}

export type FakeServer = ReturnType<typeof fakeServer>;
