import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { parseFrame } from "./frames";
import { type ChatSocket, type Connection, chatUrl, openSocket } from "./socket";

/** A server's end of sockets that never touch a network. */
class LoopbackSocket extends EventTarget {
  static made: LoopbackSocket[] = [];
  static readonly OPEN = 1;
  readyState = 0;
  binaryType = "blob";
  received: unknown[] = [];
  constructor(readonly url: string) {
    super();
    LoopbackSocket.made.push(this);
  }
  send(data: string) {
    this.received.push(JSON.parse(data));
  }
  close(code = 1000) {
    this.shut(code);
  }
  open() {
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
  }
  say(frame: unknown) {
    const data = typeof frame === "string" ? frame : JSON.stringify(frame);
    this.dispatchEvent(new MessageEvent("message", { data }));
  }
  shut(code: number) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.dispatchEvent(new CloseEvent("close", { code }));
  }
}

const READY = { ready: { person: { id: "a", role: "customer", name: "A" }, offline_model: true } };

describe("the socket", () => {
  const connections: Connection[] = [];
  const frames: unknown[] = [];
  let socket: ChatSocket;

  const latest = () => LoopbackSocket.made.at(-1) as LoopbackSocket;
  const states = () => connections.map(({ state }) => state);
  const open = async () => {
    socket = openSocket({
      url: "ws://127.0.0.1/api/chat",
      token: "secret",
      onFrame: (frame) => frames.push(frame),
      onConnection: (connection) => connections.push(connection),
      WebSocket: LoopbackSocket,
      random: () => 0.5,
      now: () => 1_000,
      firstDelay: 100,
      pingEvery: 10_000,
    });
    await vi.advanceTimersByTimeAsync(1);
  };

  beforeEach(() => {
    vi.useFakeTimers();
    LoopbackSocket.made = [];
    connections.length = 0;
    frames.length = 0;
  });
  afterEach(() => {
    socket.close();
    vi.useRealTimers();
  });

  test("says hello first, never in the address, and nothing else before it is ready", async () => {
    await open();
    expect(socket.send({ type: "ping" })).toBe(false);

    latest().open();
    expect(socket.send({ type: "ping" })).toBe(false);
    latest().say(READY);

    expect(latest().received).toEqual([{ type: "hello", token: "secret" }]);
    expect(latest().url).not.toContain("secret");
    expect(states()).toEqual(["connecting", "ready"]);
    expect(socket.send({ type: "cancel", thread_id: "t" })).toBe(true);
    expect(latest().received).toHaveLength(2);
  });

  test("hands frames on, and drops what it does not know", async () => {
    await open();
    latest().open();

    for (const frame of [READY, "not json", { pong: {} }, [1], { novelty: 1 }, null])
      latest().say(frame);

    expect(frames).toEqual([READY]);
  });

  test("comes back later and later, and says when", async () => {
    await open();
    latest().shut(1001);
    expect(connections.at(-1)).toEqual({ state: "waiting", until: 1_100, attempt: 1 });

    await vi.advanceTimersByTimeAsync(99);
    expect(LoopbackSocket.made).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(2);
    expect(LoopbackSocket.made).toHaveLength(2);

    latest().shut(1006);
    expect(connections.at(-1)).toEqual({ state: "waiting", until: 1_170, attempt: 2 });
    await vi.advanceTimersByTimeAsync(171);
    latest().open();
    latest().say(READY);

    expect(latest().received).toEqual([{ type: "hello", token: "secret" }]);
    expect(connections.at(-1)).toEqual({ state: "ready" });
  });

  test("never waits longer than twenty seconds", async () => {
    await open();
    for (let attempt = 0; attempt < 14; attempt += 1) {
      latest().shut(1006);
      await vi.advanceTimersByTimeAsync(20_001);
    }
    latest().shut(1006);

    expect(connections.at(-1)).toMatchObject({ state: "waiting", until: 21_000 });
  });

  test.each([
    [4401, "signed_out"],
    [4403, "no_chat"],
  ])("stays away after %i", async (code, why) => {
    await open();
    latest().open();
    latest().shut(code as number);
    await vi.advanceTimersByTimeAsync(60_000);

    expect(connections.at(-1)).toEqual({ state: "closed", why });
    expect(LoopbackSocket.made).toHaveLength(1);
  });

  test("can be told not to wait", async () => {
    await open();
    latest().shut(1006);

    socket.retryNow();
    await vi.advanceTimersByTimeAsync(1);
    latest().open();
    latest().say(READY);

    expect(LoopbackSocket.made).toHaveLength(2);
    expect(connections.at(-1)).toEqual({ state: "ready" });
  });

  test("leaves a peer that has fallen silent", async () => {
    await open();
    latest().open();
    latest().say(READY);

    await vi.advanceTimersByTimeAsync(10_000);
    expect(latest().received.at(-1)).toEqual({ type: "ping" });
    latest().say({ pong: {} });
    await vi.advanceTimersByTimeAsync(10_000);
    expect(LoopbackSocket.made).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(10_001);

    expect(LoopbackSocket.made).toHaveLength(2);
    expect(LoopbackSocket.made[0]?.readyState).toBe(3);
  });

  test("is over once closed", async () => {
    await open();
    latest().open();
    latest().say(READY);
    const before = connections.length;

    socket.close();
    await vi.advanceTimersByTimeAsync(60_000);

    expect(latest().readyState).toBe(3);
    expect(socket.send({ type: "ping" })).toBe(false);
    expect(connections).toHaveLength(before);
    expect(LoopbackSocket.made).toHaveLength(1);
  });
});

test("the address follows the page's", () => {
  expect(chatUrl({ protocol: "http:", host: "127.0.0.1:8000" })).toBe(
    "ws://127.0.0.1:8000/api/chat",
  );
  expect(chatUrl({ protocol: "https:", host: "help.example" })).toBe("wss://help.example/api/chat");
});

test.each([["{"], ["7"], ["null"], ['{"other": 1}'], [new Blob(["{}"])]])(
  "%s is no frame",
  (data) => {
    expect(parseFrame(data)).toBeNull();
  },
);
