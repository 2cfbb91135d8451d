import { beforeEach, describe, expect, test } from "vitest";
import { fact, THREAD } from "../../tests-support/logs";
import { fakeServer } from "../../tests-support/server";
import { type Chat, createChat } from "./chat";
import { OUTBOX_LIMIT } from "./transcript";

describe("the chat", () => {
  let server: ReturnType<typeof fakeServer>;
  let chat: Chat;
  let signedOut: number;
  let pictures: (() => void)[];

  const draw = () => {
    for (const work of pictures.splice(0)) work();
  };
  const outbox = () => chat.state().threads.get(THREAD)?.outbox ?? [];
  const items = () => chat.state().threads.get(THREAD)?.items ?? [];
  const sends = () => server.sent.filter(({ type }) => type === "send");
  const refuse = (code: string, ref: string | null, retry_after?: number) => {
    const more = retry_after === undefined ? {} : { retry_after };
    server.frame({ error: { code, message: "No.", correlation_id: "cor", ref, ...more } });
    draw();
  };

  beforeEach(() => {
    server = fakeServer("customer");
    signedOut = 0;
    pictures = [];
    const ids = Array.from({ length: 50 }, (_, n) => `m${n + 1}`);
    chat = createChat({
      url: "ws://loopback",
      token: "good",
      openSocket: server.openSocket,
      onSignedOut: () => {
        signedOut += 1;
      },
      nextFrame: (work) => pictures.push(work),
      now: () => 1_000_000,
      newId: () => ids.shift() ?? "",
    });
    chat.open();
  });

  const begin = () => {
    server.connect();
    chat.follow(THREAD);
    draw();
  };

  test("resumes each thread from the last seq that it has", () => {
    server.happen(fact.wrote("m0", "Hello"), fact.opened());
    begin();
    expect(server.sent).toEqual([{ type: "resume", thread_id: THREAD, last_seq: 0 }]);
    server.happen(fact.answered("r1", "Hi"));
    draw();

    server.drop(1_000);
    server.happen(fact.closed());
    server.connect();
    draw();

    expect(server.sent.at(-1)).toEqual({ type: "resume", thread_id: THREAD, last_seq: 3 });
    expect(chat.state().threads.get(THREAD)).toMatchObject({ lastSeq: 4, openRun: null });
  });

  test("reads a thread once, however often its page is opened", () => {
    begin();
    chat.follow(THREAD);

    expect(server.sent).toHaveLength(1);
  });

  test("applies all tokens of one picture together", () => {
    begin();
    let drawn = 0;
    chat.subscribe(() => {
      drawn += 1;
    });

    for (let offset = 0; offset < 50; offset += 1) server.happen({ live: "r1", offset, text: "x" });
    expect(drawn).toBe(0);
    draw();

    expect(drawn).toBe(1);
    expect(items()).toMatchObject([{ text: "x".repeat(50), state: "streaming" }]);
  });

  test("keeps what is written while offline, and sends it once in order when it is back", () => {
    begin();
    server.drop(1_000);

    chat.send(THREAD, "first");
    chat.send(THREAD, "second");
    expect(outbox().map(({ state }) => state)).toEqual(["sending", "sending"]);
    expect(sends()).toEqual([]);
    server.connect();
    draw();

    expect(sends()).toMatchObject([
      { message_id: "m1", text: "first" },
      { message_id: "m2", text: "second" },
    ]);
  });

  test("sends again under the same id what was not acknowledged, and only that", () => {
    begin();
    chat.send(THREAD, "first");
    chat.send(THREAD, "second");
    const ack = { thread_id: THREAD, message_id: "m1", turn_id: "t1", status: "open" as const };
    server.frame({ ack });
    draw();

    server.drop(1_000);
    server.connect();
    draw();

    expect(sends().map((frame) => "message_id" in frame && frame.message_id)).toEqual([
      "m1",
      "m2",
      "m2",
    ]);
  });

  test("takes a bounded number of messages while offline", () => {
    begin();
    server.drop(1_000);

    const taken = Array.from({ length: OUTBOX_LIMIT + 1 }, (_, n) => chat.send(THREAD, `${n}`));

    expect(taken.filter(Boolean)).toHaveLength(OUTBOX_LIMIT);
    expect(taken.at(-1)).toBe(false);
  });

  test("gives back what was refused for its speed, and says until when", () => {
    begin();
    chat.send(THREAD, "one");
    chat.send(THREAD, "two");

    refuse("RATE_LIMITED", "m1", 4.5);
    refuse("RATE_LIMITED", "m2", 2);

    expect(outbox()).toEqual([]);
    expect(chat.state().limitedUntil).toBe(1_004_500);
    expect(chat.state().returned.get(THREAD)).toBe("one\n\ntwo");
    chat.takeReturned(THREAD);
    expect(chat.state().returned.size).toBe(0);
  });

  test("sends what a busy server gave back under its id, unless it was stored or changed", () => {
    begin();
    chat.send(THREAD, "one");
    refuse("SYS_BUSY", "m1", 2);
    chat.send(THREAD, "one");
    expect(sends()).toMatchObject([{ message_id: "m1" }, { message_id: "m1" }]);

    refuse("SYS_BUSY", "m1", 2);
    chat.send(THREAD, "one, please");
    expect(sends().at(-1)).toMatchObject({ message_id: "m2", text: "one, please" });

    refuse("SYS_BUSY", "m2", 2);
    server.happen(fact.wrote("m2", "one, please"));
    draw();
    expect(chat.send(THREAD, "one, please")).toBe(true);
    expect(sends()).toHaveLength(3);
    expect(outbox()).toEqual([]);

    chat.send(THREAD, "one, please");
    expect(sends().at(-1)).toMatchObject({ message_id: "m3" });
  });

  test("keeps a message that was refused for another reason, to send or drop", () => {
    begin();
    chat.send(THREAD, "one");
    chat.send(THREAD, "two");
    refuse("DB_UNAVAILABLE", "m1");
    refuse("DB_UNAVAILABLE", "m2");
    expect(outbox().map(({ state }) => state)).toEqual(["refused", "refused"]);

    chat.resend(THREAD, "m1");
    chat.discard(THREAD, "m2");

    expect(outbox()).toMatchObject([{ id: "m1", state: "sending" }]);
    expect(sends()).toHaveLength(3);
  });

  test("answers an approval once, and says what went wrong with the answer", () => {
    server.happen(fact.opened(), fact.called(), fact.asked(), fact.parked());
    begin();

    chat.decide("a1", { decision: "approve" });
    expect(server.sent.at(-1)).toMatchObject({ type: "decide", decision: "approve" });
    expect(chat.state().deciding.has("a1")).toBe(true);
    refuse("CONV_APPROVAL_EXPIRED", "a1");
    expect(chat.state().deciding.size).toBe(0);
    expect(chat.state().decisionErrors.get("a1")).toBe("No.");

    chat.decide("a1", { decision: "reject" });
    expect(chat.state().decisionErrors.size).toBe(0);
    server.happen(fact.decided("rejected"));
    draw();
    expect(chat.state().deciding.size).toBe(0);
  });

  test("does not pretend to answer while it is offline", () => {
    server.happen(fact.called(), fact.asked());
    begin();
    server.drop(1_000);

    chat.decide("a1", { decision: "approve" });

    expect(chat.state().deciding.size).toBe(0);
  });

  test("shows an error that is about nothing in particular, until it is dismissed", () => {
    begin();
    refuse("DB_UNAVAILABLE", null);
    expect(chat.state().error).toMatchObject({ code: "DB_UNAVAILABLE", correlation_id: "cor" });

    chat.dismissError();

    expect(chat.state().error).toBeNull();
  });

  test("announces finished answers and questions, never the past and never tokens", () => {
    server.happen(fact.answered("r0", "Long ago"));
    begin();
    expect(chat.state().announcement).toBe("");

    server.happen({ live: "r1", offset: 0, text: "On its" });
    draw();
    expect(chat.state().announcement).toBe("");
    server.happen(fact.answered("r1", "On **its** [way](https://example.com)"));
    draw();
    expect(chat.state().announcement).toBe("Support: On its way");
    server.happen(fact.called(), fact.asked());
    draw();
    expect(chat.state().announcement).toBe("Your approval is needed: Refund order 1002");
    server.happen(fact.closed("failed"));
    draw();
    expect(chat.state().announcement).toBe("The order system is not available right now.");
  });

  test("signs out when the server does not know the token any more", () => {
    begin();
    server.refuse("no_chat");
    expect(signedOut).toBe(0);

    server.refuse("signed_out");

    expect(signedOut).toBe(1);
  });

  test("ignores frames about threads that it does not follow", () => {
    begin();
    const before = chat.state().threads;

    server.frame({ resumed: { thread_id: "another", last_seq: 9 } });
    draw();

    expect(chat.state().threads).toEqual(before);
  });

  test("says nothing to nobody after it is closed", () => {
    begin();
    chat.close();
    chat.cancel(THREAD);

    expect(server.sent.filter(({ type }) => type === "cancel")).toEqual([]);
  });
});
