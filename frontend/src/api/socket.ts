/** One signed-in socket that comes back by itself, and says when. */

import ReconnectingWebSocket from "partysocket/ws";
import { type ClientFrame, parseFrame, type ServerFrame } from "./frames";

export type Connection =
  | { state: "connecting" }
  | { state: "ready" }
  /** `until`: epoch milliseconds of the next attempt. */
  | { state: "waiting"; until: number; attempt: number }
  | { state: "closed"; why: "signed_out" | "no_chat" };

export interface ChatSocket {
  /** False when the socket is not ready: the frame was not sent and is not kept. */
  send(frame: ClientFrame): boolean;
  /** Connect at once instead of waiting for the next attempt. */
  retryNow(): void;
  close(): void;
}

export interface SocketOptions {
  url: string;
  token: string;
  onFrame(frame: ServerFrame): void;
  onConnection(connection: Connection): void;
  WebSocket?: unknown;
  random?: () => number;
  now?: () => number;
  /** Milliseconds before the first reconnection, without jitter. */
  firstDelay?: number;
  /** Milliseconds between signs of life; a silent peer is left after two of them. */
  pingEvery?: number;
}

const GROWTH = 1.7;
const LONGEST_DELAY = 20_000;
const SIGNED_OUT = 4401;
const NO_CHAT = 4403;

export type OpenSocket = (options: SocketOptions) => ChatSocket;

/** Connect, say hello, and keep connecting until closed or refused. */
export const openSocket: OpenSocket = (options) => {
  const { url, token, onFrame, onConnection, pingEvery = 20_000 } = options;
  const now = options.now ?? Date.now;
  // Clients that were cut off together must not come back together.
  const firstDelay = (options.firstDelay ?? 800) * (0.75 + (options.random ?? Math.random)() * 0.5);

  let socket: ReconnectingWebSocket | null = null;
  let ready = false;
  let heard = true;
  let life: ReturnType<typeof setInterval> | undefined;

  const start = () => {
    onConnection({ state: "connecting" });
    const mine = new ReconnectingWebSocket(url, [], {
      ...(options.WebSocket === undefined ? {} : { WebSocket: options.WebSocket }),
      minReconnectionDelay: firstDelay,
      maxReconnectionDelay: LONGEST_DELAY,
      reconnectionDelayGrowFactor: GROWTH,
      connectionTimeout: 8_000,
      minUptime: 3_000,
      // Nothing may go before hello; what waits is kept by who sends it.
      maxEnqueuedMessages: 0,
      shouldReconnectOnClose: ({ code }: { code: number }) =>
        code !== SIGNED_OUT && code !== NO_CHAT,
    });
    socket = mine;
    mine.addEventListener("open", () => {
      heard = true;
      mine.send(JSON.stringify({ type: "hello", token } satisfies ClientFrame));
    });
    mine.addEventListener("message", ({ data }) => {
      if (socket !== mine) return;
      heard = true;
      const frame = parseFrame(data);
      if (frame === null || "pong" in frame) return;
      if ("ready" in frame) {
        ready = true;
        onConnection({ state: "ready" });
      }
      onFrame(frame);
    });
    mine.addEventListener("close", ({ code }) => {
      if (socket !== mine) return;
      ready = false;
      if (code === SIGNED_OUT) onConnection({ state: "closed", why: "signed_out" });
      else if (code === NO_CHAT) onConnection({ state: "closed", why: "no_chat" });
      else {
        const attempt = Math.max(mine.retryCount, 1);
        const delay = Math.min(firstDelay * GROWTH ** (attempt - 1), LONGEST_DELAY);
        onConnection({ state: "waiting", until: now() + delay, attempt });
      }
    });
  };

  const stop = () => {
    const old = socket;
    socket = null;
    ready = false;
    old?.close();
  };

  const restart = () => {
    stop();
    start();
  };

  const beat = () => {
    if (socket?.readyState !== WebSocket.OPEN) return;
    if (!heard) return restart();
    heard = false;
    socket.send(JSON.stringify({ type: "ping" } satisfies ClientFrame));
  };

  start();
  life = setInterval(beat, pingEvery);

  return {
    send(frame) {
      if (!ready || socket === null) return false;
      return socket.send(JSON.stringify(frame));
    },
    retryNow: restart,
    close() {
      clearInterval(life);
      life = undefined;
      stop();
    },
  };
};

/** The chat's address on the host that served the page. */
export function chatUrl(location: Pick<Location, "protocol" | "host">): string {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/chat`;
}
