/** The chat of one signed-in customer: one socket, any number of threads, nothing lost between. */

import { actionOf } from "../api/actions";
import type { ApprovalAnswer, ClientFrame, ErrorFrame, ServerFrame } from "../api/frames";
import { type Connection, type OpenSocket, openSocket } from "../api/socket";
import { announcements } from "./announce";
import {
  cut,
  emptyTranscript,
  OUTBOX_LIMIT,
  post,
  receive,
  repost,
  type Transcript,
  withdraw,
} from "./transcript";

export interface ChatState {
  connection: Connection;
  offlineModel: boolean | null;
  /** What works less well just now, in words for people. */
  degraded: readonly string[];
  threads: ReadonlyMap<string, Transcript>;
  /** An error that is about no message and no approval. */
  error: ErrorFrame["error"] | null;
  /** Approvals whose answer is on its way. */
  deciding: ReadonlySet<string>;
  /** What went wrong with an answer, by approval. */
  decisionErrors: ReadonlyMap<string, string>;
  /** Epoch milliseconds until which no message will be taken. */
  limitedUntil: number;
  /** Why, in words for people. */
  limitedWhy: string | null;
  /** Text that was refused for its speed and belongs back in the composer, by thread. */
  returned: ReadonlyMap<string, string>;
  /** What was given back so last, by thread: sent next and unchanged, it keeps its id. */
  givenBack: ReadonlyMap<string, { id: string; text: string }>;
  announcement: string;
}

export interface Chat {
  subscribe(listener: () => void): () => void;
  state(): ChatState;
  open(): void;
  close(): void;
  /** Read this thread from its beginning, and stay with it. */
  follow(threadId: string): void;
  /** False when too many messages wait already. */
  send(threadId: string, text: string): boolean;
  resend(threadId: string, messageId: string): void;
  discard(threadId: string, messageId: string): void;
  cancel(threadId: string): void;
  decide(approvalId: string, answer: ApprovalAnswer): void;
  takeReturned(threadId: string): void;
  dismissError(): void;
  retryNow(): void;
}

export interface ChatOptions {
  url: string;
  token: string;
  onSignedOut(): void;
  openSocket?: OpenSocket;
  /** Runs `work` before the next picture is drawn. */
  nextFrame?: (work: () => void) => void;
  now?: () => number;
  newId?: () => string;
}

export function createChat(options: ChatOptions): Chat {
  const {
    url,
    token,
    onSignedOut,
    now = Date.now,
    newId = () => crypto.randomUUID(),
    nextFrame = beforeNextPicture,
  } = options;
  const listeners = new Set<() => void>();
  let socket: ReturnType<OpenSocket> | null = null;
  let inbox: ServerFrame[] = [];
  let current: ChatState = {
    connection: { state: "connecting" },
    offlineModel: null,
    degraded: [],
    threads: new Map(),
    error: null,
    deciding: new Set(),
    decisionErrors: new Map(),
    limitedUntil: 0,
    limitedWhy: null,
    returned: new Map(),
    givenBack: new Map(),
    announcement: "",
  };

  const set = (change: Partial<ChatState>) => {
    current = { ...current, ...change };
    for (const listener of listeners) listener();
  };

  const change = (threadId: string, edit: (transcript: Transcript) => Transcript) => {
    const transcript = current.threads.get(threadId) ?? emptyTranscript(threadId);
    set({ threads: new Map(current.threads).set(threadId, edit(transcript)) });
  };

  const sendFrame = (frame: ClientFrame) => socket?.send(frame) ?? false;

  const sendWaiting = (transcript: Transcript) => {
    for (const { id, text, state } of transcript.outbox)
      if (state === "sending")
        sendFrame({ type: "send", thread_id: transcript.threadId, message_id: id, text });
  };

  const onConnection = (connection: Connection) => {
    if (connection.state === "ready") {
      set({ connection, error: null });
      for (const { threadId, lastSeq } of current.threads.values())
        sendFrame({ type: "resume", thread_id: threadId, last_seq: lastSeq });
      return;
    }
    flush();
    const threads = new Map([...current.threads].map(([id, transcript]) => [id, cut(transcript)]));
    set({ connection, threads, deciding: new Set() });
    if (connection.state === "closed" && connection.why === "signed_out") onSignedOut();
  };

  const onFrame = (frame: ServerFrame) => {
    inbox.push(frame);
    if (inbox.length === 1) nextFrame(flush);
  };

  const flush = () => {
    const frames = inbox;
    if (frames.length === 0) return;
    inbox = [];
    const before = current;
    let next = before;
    const news: string[] = [];
    for (const frame of frames) {
      const earlier = next.threads;
      next = take(next, frame, now());
      for (const [id, transcript] of next.threads) {
        const old = earlier.get(id);
        if (old !== undefined && old !== transcript) news.push(...announcements(old, transcript));
      }
    }
    set(news.length === 0 ? next : { ...next, announcement: news.join(" ") });
    for (const frame of frames)
      if ("resumed" in frame) {
        const transcript = current.threads.get(frame.resumed.thread_id);
        if (transcript !== undefined) sendWaiting(transcript);
      }
  };

  return {
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    state: () => current,
    open() {
      socket = (options.openSocket ?? openSocket)({ url, token, onFrame, onConnection, now });
    },
    close() {
      socket?.close();
      socket = null;
    },
    follow(threadId) {
      if (current.threads.has(threadId)) return;
      change(threadId, (transcript) => transcript);
      sendFrame({ type: "resume", thread_id: threadId, last_seq: 0 });
    },
    send(threadId, text) {
      const waiting = current.threads.get(threadId)?.outbox.length ?? 0;
      if (waiting >= OUTBOX_LIMIT) return false;
      // A server that was busy may have stored it all the same: it must not become two.
      const before = current.givenBack.get(threadId);
      const id = before?.text === text ? before.id : newId();
      if (before !== undefined) set({ givenBack: dropped(current.givenBack, threadId) });
      if (current.threads.get(threadId)?.items.some((item) => item.id === id)) return true;
      change(threadId, (transcript) => post(transcript, id, text));
      // Before the past has arrived the message waits; `resumed` sends it.
      if (current.threads.get(threadId)?.live)
        sendFrame({ type: "send", thread_id: threadId, message_id: id, text });
      return true;
    },
    resend(threadId, messageId) {
      change(threadId, (transcript) => repost(transcript, messageId));
      const message = current.threads
        .get(threadId)
        ?.outbox.find((outgoing) => outgoing.id === messageId);
      if (message !== undefined)
        sendFrame({ type: "send", thread_id: threadId, message_id: messageId, text: message.text });
    },
    discard(threadId, messageId) {
      change(threadId, (transcript) => withdraw(transcript, messageId));
    },
    cancel(threadId) {
      sendFrame({ type: "cancel", thread_id: threadId });
    },
    decide(approvalId, answer) {
      if (!sendFrame({ type: "decide", approval_id: approvalId, ...answer })) return;
      const decisionErrors = new Map(current.decisionErrors);
      decisionErrors.delete(approvalId);
      set({ deciding: new Set(current.deciding).add(approvalId), decisionErrors });
    },
    takeReturned(threadId) {
      if (current.returned.has(threadId)) set({ returned: dropped(current.returned, threadId) });
    },
    dismissError: () => set({ error: null }),
    retryNow: () => socket?.retryNow(),
  };
}

/** Apply one frame to the whole. */
function take(state: ChatState, frame: ServerFrame, now: number): ChatState {
  if ("ready" in frame) {
    const { offline_model: offlineModel, degraded = [] } = frame.ready;
    return { ...state, offlineModel, degraded };
  }
  if ("pong" in frame) return state;
  if ("degraded" in frame) return { ...state, degraded: frame.degraded };
  if ("error" in frame) return takeError(state, frame, now);
  const threadId =
    "ack" in frame
      ? frame.ack.thread_id
      : "resumed" in frame
        ? frame.resumed.thread_id
        : "reset" in frame
          ? frame.reset.thread_id
          : "waiting" in frame
            ? frame.waiting.thread_id
            : frame.thread_id;
  const transcript = state.threads.get(threadId);
  if (transcript === undefined) return state;
  const threads = new Map(state.threads).set(threadId, receive(transcript, frame));
  if ("event" in frame && frame.event.type === "CUSTOM" && frame.event.name === "approval_decided")
    return { ...state, threads, deciding: without(state.deciding, frame.event.value.approval_id) };
  return { ...state, threads };
}

function takeError(state: ChatState, frame: ErrorFrame, now: number): ChatState {
  const { code, message, ref, retry_after } = frame.error;
  // Whatever says when there is room again is waited for; what waits without a time is resent.
  const waits =
    code === "RATE_LIMITED" || (actionOf(code) === "wait" && typeof retry_after === "number");
  const limitedUntil = waits
    ? Math.max(state.limitedUntil, now + (retry_after ?? 1) * 1000)
    : state.limitedUntil;
  const limitedWhy = waits ? message : state.limitedWhy;
  for (const [id, transcript] of state.threads) {
    const refused = transcript.outbox.find((outgoing) => outgoing.id === ref);
    if (refused !== undefined) {
      if (!waits)
        return { ...state, threads: new Map(state.threads).set(id, receive(transcript, frame)) };
      const text = [state.returned.get(id), refused.text].filter(Boolean).join("\n\n");
      return {
        ...state,
        limitedUntil,
        limitedWhy,
        threads: new Map(state.threads).set(id, withdraw(transcript, refused.id)),
        returned: new Map(state.returned).set(id, text),
        givenBack: new Map(state.givenBack).set(id, { id: refused.id, text: refused.text }),
      };
    }
    if (transcript.items.some((item) => item.kind === "approval" && item.id === ref))
      return {
        ...state,
        limitedUntil,
        limitedWhy,
        deciding: without(state.deciding, ref ?? ""),
        decisionErrors: new Map(state.decisionErrors).set(ref ?? "", message),
      };
  }
  return { ...state, limitedUntil, limitedWhy, error: waits ? state.error : frame.error };
}

function dropped<V>(map: ReadonlyMap<string, V>, key: string): ReadonlyMap<string, V> {
  const rest = new Map(map);
  rest.delete(key);
  return rest;
}

function without<T>(set: ReadonlySet<T>, value: T): ReadonlySet<T> {
  const rest = new Set(set);
  rest.delete(value);
  return rest;
}

/** A hidden tab draws no pictures; its frames are applied a little later all the same. */
function beforeNextPicture(work: () => void): void {
  let done = false;
  const once = () => {
    if (done) return;
    done = true;
    work();
  };
  requestAnimationFrame(once);
  setTimeout(once, 250);
}
