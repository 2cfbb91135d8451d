import { describe, expect, test } from "vitest";
import { fact, logOf, randomTimeline, seeded, THREAD } from "../../tests-support/logs";
import { framesOf, type LivePiece, livePieces, speaker } from "../../tests-support/wire";
import type { Fact, ReplayEvent } from "../api/client";
import type { AgentEvent, EventFrame } from "../api/frames";
import {
  cut,
  emptyTranscript,
  post,
  receive,
  repost,
  type Transcript,
  type TranscriptFrame,
  withdraw,
} from "./transcript";

const read = (facts: readonly Fact[], from = emptyTranscript(THREAD)) =>
  logOf(facts)
    .flatMap((event) => framesOf(event, THREAD))
    .reduce(receive, from as Transcript);

const frame = (event: AgentEvent, more: Partial<EventFrame> = {}): EventFrame => ({
  thread_id: THREAD,
  seq: null,
  at: null,
  event,
  ...more,
});

const start = (id = "r1") =>
  frame({ type: "TEXT_MESSAGE_START", messageId: id, role: "assistant" });
const token = (delta: string, offset: number, id = "r1") =>
  frame({ type: "TEXT_MESSAGE_CONTENT", messageId: id, delta }, { offset });
const end = (seq: number, id = "r1") =>
  frame({ type: "TEXT_MESSAGE_END", messageId: id }, { seq, at: "2026-11-23T18:00:00Z" });

const given = (...frames: TranscriptFrame[]) => frames.reduce(receive, emptyTranscript(THREAD));
const textOf = (transcript: Transcript, id = "r1") =>
  transcript.items.flatMap((item) =>
    item.kind === "message" && item.id === id ? [item.text] : [],
  )[0];

describe("the order and the numbers", () => {
  test("remembers the largest seq, which only the last event of a fact carries", () => {
    const frames = framesOf({ seq: 4, at: "2026-11-23T18:00:00Z", fact: fact.called() }, THREAD);

    expect(given(...frames.slice(0, -1)).lastSeq).toBe(0);
    expect(given(...frames).lastSeq).toBe(4);
    expect(given(...frames, end(2)).lastSeq).toBe(4);
  });

  test("leaves frames about other threads alone", () => {
    const before = read([fact.wrote("m1", "Hello")]);

    expect(receive(before, { ...start(), thread_id: "another" })).toBe(before);
    expect(receive(before, { resumed: { thread_id: "another", last_seq: 9 } })).toBe(before);
    const ack = { thread_id: "another", message_id: "m1", turn_id: "t", status: "open" as const };
    expect(receive(before, { ack: { ...ack } })).toBe(before);
  });

  test("is live once the past has arrived, until the socket is cut", () => {
    const live = given({ resumed: { thread_id: THREAD, last_seq: 3 } });

    expect(live).toMatchObject({ live: true, lastSeq: 3 });
    expect(cut(live)).toMatchObject({ live: false, lastSeq: 3 });
  });

  test("knows how many come before the turn, until it is answered, ends or the socket is cut", () => {
    const waiting = (before: number, thread_id = THREAD) => ({
      waiting: { thread_id, run_id: "t1.1", before },
    });
    const waits = receive(read([fact.wrote("m1", "Hello")]), waiting(4));
    const then = (...facts: Parameters<typeof read>[0]) =>
      facts
        .flatMap((each, n) =>
          framesOf({ seq: 9 + n, at: "2026-11-23T18:00:00Z", fact: each }, THREAD),
        )
        .reduce(receive, waits);

    expect(waits.before).toBe(4);
    expect(receive(waits, waiting(2)).before).toBe(2);
    expect(receive(waits, waiting(2, "another"))).toBe(waits);
    expect(then(fact.opened()).before).toBeNull();
    expect(receive(then(fact.opened()), waiting(1)).before).toBeNull();
    expect(then(fact.closed("cancelled")).before).toBeNull();
    expect(cut(waits).before).toBeNull();
  });

  test("begins anew when the log does not have its place, and keeps what waits", () => {
    const before = post(read([fact.wrote("m1", "Hello")]), "m9", "Still there?");
    const after = receive(before, { reset: { thread_id: THREAD, reason: "unknown" } });

    expect(after).toMatchObject({ items: [], lastSeq: 0, live: false });
    expect(after.outbox).toEqual(before.outbox);
    expect(receive(before, { reset: { thread_id: "another", reason: "unknown" } })).toBe(before);
  });

  test("ignores events that it does not know", () => {
    const before = read([fact.wrote("m1", "Hello")]);
    const strange = { type: "STATE_DELTA", delta: [] } as unknown as AgentEvent;
    const custom = { type: "CUSTOM", name: "weather", value: 1 } as unknown as AgentEvent;

    expect(receive(before, frame(strange)).items).toBe(before.items);
    expect(receive(before, frame(custom)).items).toBe(before.items);
  });
});

describe("tokens", () => {
  test("grow the message", () => {
    expect(textOf(given(start(), token("On ", 0), token("its way", 3)))).toBe("On its way");
  });

  test("replace the text from their offset on", () => {
    expect(textOf(given(start(), token("On its way", 0), token("the road", 3)))).toBe(
      "On the road",
    );
  });

  test("count characters, not halves of them", () => {
    expect(textOf(given(start(), token("📦📦 ", 0), token("left", 3)))).toBe("📦📦 left");
    expect(textOf(given(start(), token("📦📦x", 0), token("y", 1)))).toBe("📦y");
    expect(textOf(given(start(), token("📦", 0), token("y", 2)))).toBe("📦");
  });

  test("after a gap are left out; the finished text mends it", () => {
    const gap = given(start(), token("On ", 0), token("way", 7));

    expect(textOf(gap)).toBe("On ");
    const mended = logOf([fact.answered("r1", "On its way")])
      .flatMap((event) => framesOf(event, THREAD))
      .reduce(receive, gap);
    expect(textOf(mended)).toBe("On its way");
  });

  test("that come late do not undo the finished text", () => {
    const finished = given(start(), token("On its way", 0), end(1));

    expect(textOf(receive(finished, token("???", 2)))).toBe("On its way");
  });

  test("of a message that never started change nothing", () => {
    expect(given(token("lost", 4)).items).toEqual([]);
  });

  test("a start of a known message starts it again from empty", () => {
    const again = given(start(), token("On its", 0), start(), token("Late", 0), end(1));

    expect(again.items).toHaveLength(1);
    expect(again.items[0]).toMatchObject({ text: "Late", state: "finished" });
  });

  test("the finished message stands after what happened while it was spoken", () => {
    const spoken = given(start(), token("On its way", 0));
    const meanwhile = logOf([fact.wrote("m2", "and 1002?")])
      .flatMap((event) => framesOf(event, THREAD))
      .reduce(receive, spoken);

    const ids = receive(meanwhile, end(2)).items.map(({ id }) => id);

    expect(ids).toEqual(["m2", "r1"]);
  });
});

describe("turns", () => {
  test("are open from their start to their end", () => {
    const open = read([fact.wrote("m1", "Hello"), fact.opened()]);

    expect(open.openRun).toBe("t1");
    expect(read([fact.closed()], open).openRun).toBeNull();
    expect(read([fact.parked()], open).openRun).toBeNull();
  });

  test("that fail say why and keep what was said so far", () => {
    const failed = read([fact.opened(), fact.closed("failed")], given(start(), token("Let me", 0)));

    expect(failed.items).toMatchObject([
      { kind: "message", text: "Let me", state: "stopped" },
      { kind: "notice", tone: "error", code: "UPSTREAM_UNAVAILABLE" },
    ]);
  });

  test("that are stopped say so, and stop the calls that had no result", () => {
    const { items } = read([fact.opened(), fact.called(), fact.closed("cancelled")]);

    expect(items).toMatchObject([
      { kind: "call", state: "stopped" },
      { kind: "notice", tone: "info" },
    ]);
  });

  test("that succeed drop words which did not become the answer", () => {
    const spoken = given(start("draft"), token("Hmm", 0, "draft"));

    const { items } = read([fact.answered("r1", "Yes."), fact.closed()], spoken);

    expect(items.map(({ id }) => id)).toEqual(["r1"]);
  });
});

describe("tool calls", () => {
  test.each([
    ["done", "done"],
    ["failed", "failed"],
    ["declined", "declined"],
    ["unknown", "unknown"],
  ] as const)("with the outcome %s are shown as %s", (outcome, state) => {
    const { items } = read([fact.called(), fact.attempt("c1", 1), fact.returned("c1", outcome)]);

    expect(items).toMatchObject([
      { kind: "call", title: "Look up an order", access: "read", state, attempts: 1 },
    ]);
  });

  test("count their attempts, however often these are told", () => {
    const twice = read([fact.called(), fact.refused("c1", 1), fact.attempt("c1", 2)]);

    expect(twice.items).toMatchObject([{ attempts: 2, state: "running" }]);
    expect(read([fact.refused("c1", 1)], twice).items).toMatchObject([{ attempts: 2 }]);
  });

  test("whose start is told again start again from empty", () => {
    const frames = logOf([fact.called()]).flatMap((event) => framesOf(event, THREAD));

    const twice = [...frames.slice(0, 2), ...frames].reduce(receive, emptyTranscript(THREAD));

    expect(twice.items).toHaveLength(1);
    const [call] = twice.items;
    expect(JSON.parse(call?.kind === "call" ? call.args : "")).toMatchObject({ order_id: "1001" });
  });

  test("with a result that is no JSON have an unknown outcome", () => {
    const result = { type: "TOOL_CALL_RESULT", toolCallId: "c1", messageId: "x" } as const;

    const odd = [frame({ ...result, content: "<html>" }), frame({ ...result, content: "null" })];

    for (const each of odd)
      expect(receive(read([fact.called()]), each).items).toMatchObject([{ state: "unknown" }]);
  });
});

describe("approvals", () => {
  test("show exactly what will be sent, and the call waits", () => {
    const { items } = read([fact.opened(), fact.called(), fact.asked(), fact.parked()]);

    expect(items).toMatchObject([
      { kind: "call", state: "waiting" },
      {
        kind: "approval",
        id: "a1",
        method: "POST",
        url: "http://127.0.0.1:9100/refunds",
        fields: [
          { name: "order_id", value: "1002" },
          { name: "amount", value: "49.90" },
        ],
        decision: null,
      },
    ]);
  });

  test("that are given let the call go on", () => {
    const { items } = read([fact.called(), fact.asked(), fact.decided("approved")]);

    expect(items).toMatchObject([{ state: "running" }, { decision: "approved", by: "cus_ada" }]);
  });

  test.each(["rejected", "expired"] as const)("that are %s leave the call where it was", (how) => {
    const { items } = read([fact.called(), fact.asked(), fact.decided(how)]);

    expect(items).toMatchObject([{ state: "waiting" }, { decision: how }]);
  });
});

describe("a person of the team", () => {
  test("joins, answers under their name, and leaves", () => {
    const facts = [fact.handoff("customer"), fact.tookOver(), fact.personSaid("d1", "Hello")];
    const there = read(facts);

    expect(there.status).toBe("handed_off");
    expect(there.items).toMatchObject([
      { kind: "notice", tone: "handoff" },
      { kind: "notice", tone: "handoff", text: expect.stringContaining("Kim Osei") },
      { kind: "message", role: "assistant", person: "Kim Osei", text: "Hello", state: "finished" },
    ]);
    const left = read([...facts, fact.gaveBack("a secret remark")]);
    expect(left.status).toBe("open");
    expect(left.items.at(-1)).toMatchObject({
      tone: "handoff",
      text: expect.stringMatching(/has left/),
    });
    expect(JSON.stringify(left)).not.toContain("secret");
  });

  test("is who a message waits for; nothing is being answered meanwhile", () => {
    const handed = post(read([fact.handoff("customer")]), "m1", "Hello?");
    const ack = {
      thread_id: THREAD,
      message_id: "m1",
      turn_id: "t2",
      status: "to_person" as const,
    };

    const acked = receive(handed, { ack });

    expect(acked).toMatchObject({ outbox: [{ state: "to_person" }], openRun: null });
    const told = read([fact.wrote("m1", "Hello?", "t2", true)], acked);
    expect(told).toMatchObject({ outbox: [], openRun: null, status: "handed_off" });
  });

  test("leaves the open turn alone when queued messages are left to them", () => {
    const open = read([fact.wrote("m1", "Hi"), fact.opened(), fact.called()]);
    const spoken = [start(), token("One mo", 0)].reduce(receive, open);

    const left = read([fact.handoff(), fact.closed("done", "q1")], spoken);

    expect(left.openRun).toBe("t1");
    expect(left.items).toMatchObject([
      { kind: "message" },
      { kind: "call", state: "running" },
      { kind: "message", text: "One mo", state: "streaming" },
      { kind: "notice" },
    ]);
  });
});

describe("the thread", () => {
  test("can be resolved, abandoned, handed off, and opened again by a message", () => {
    expect(read([fact.resolved()]).status).toBe("resolved");
    expect(read([fact.abandoned()]).status).toBe("abandoned");
    expect(read([fact.resolved(), fact.wrote("m1", "Wait")]).status).toBe("open");
    expect(read([fact.handoff(), fact.wrote("m1", "Wait")]).status).toBe("handed_off");
  });
});

describe("what the customer sends", () => {
  const posted = post(emptyTranscript(THREAD), "m1", "Hello");
  const ack = (status: "open" | "queued" | "duplicate"): TranscriptFrame => ({
    ack: { thread_id: THREAD, message_id: "m1", turn_id: "t1", status },
  });

  test("is shown as sending until the server has it", () => {
    expect(posted.outbox).toMatchObject([{ id: "m1", state: "sending" }]);
    expect(receive(posted, ack("open")).outbox).toMatchObject([{ state: "stored" }]);
    expect(receive(posted, ack("queued")).outbox).toMatchObject([{ state: "queued" }]);
    expect(receive(posted, ack("duplicate")).outbox).toMatchObject([{ state: "stored" }]);
  });

  test("moves into the conversation when the log shows it, once", () => {
    const seen = read([fact.wrote("m1", "Hello")], posted);

    expect(seen.outbox).toEqual([]);
    expect(seen.items).toMatchObject([{ id: "m1", role: "user", text: "Hello" }]);
    expect(receive(seen, ack("duplicate"))).toBe(seen);
  });

  test("that is refused keeps its text and the reason, and can be sent again or dropped", () => {
    const error = { code: "DB_UNAVAILABLE", message: "Later.", correlation_id: "x", ref: "m1" };

    const refused = receive(posted, { error });

    expect(refused.outbox).toMatchObject([
      { text: "Hello", state: "refused", error: { code: "DB_UNAVAILABLE", correlationId: "x" } },
    ]);
    expect(repost(refused, "m1").outbox).toMatchObject([{ state: "sending", error: null }]);
    expect(withdraw(refused, "m1").outbox).toEqual([]);
    expect(receive(posted, { error: { ...error, ref: null } })).toBe(posted);
  });
});

describe("laws, over what any server could have done", () => {
  const SEEDS = Array.from({ length: 150 }, (_, seed) => seed + 1);

  const isEvent = (item: ReplayEvent | LivePiece): item is ReplayEvent => "seq" in item;
  // Words that were cut off by the end of their turn are not in the log: only who heard them knows.
  const logged = ({ items }: Transcript) =>
    items.filter((item) => item.kind !== "message" || item.state !== "stopped");

  const replayed = (timeline: (ReplayEvent | LivePiece)[]) =>
    timeline
      .filter(isEvent)
      .flatMap((event) => framesOf(event, THREAD))
      .reduce(receive, emptyTranscript(THREAD));

  /** A client that loses its connection at any frame and comes back some events later. */
  function cutOften(timeline: (ReplayEvent | LivePiece)[], random: () => number): Transcript {
    let transcript = emptyTranscript(THREAD);
    let frames = null as ReturnType<typeof speaker> | null;
    const hear = (sent: EventFrame[], risk: number): boolean => {
      for (const each of sent) {
        if (random() < risk) {
          frames = null;
          transcript = cut(transcript);
          return false;
        }
        transcript = receive(transcript, each);
      }
      return true;
    };
    const resume = (happened: (ReplayEvent | LivePiece)[], risk: number) => {
      frames = speaker(THREAD);
      for (const event of happened.filter(isEvent))
        if (event.seq > transcript.lastSeq && !hear(frames(event), risk)) return;
      const lastSeq = happened.filter(isEvent).at(-1)?.seq ?? 0;
      transcript = receive(transcript, { resumed: { thread_id: THREAD, last_seq: lastSeq } });
      const last = happened.at(-1);
      if (last === undefined || isEvent(last)) return;
      const pieces = happened.filter((item) => !isEvent(item) && item.live === last.live);
      const text = pieces.map((piece) => (isEvent(piece) ? "" : piece.text)).join("");
      hear(frames({ live: last.live, offset: 0, text }), risk);
    };
    for (const [index, item] of timeline.entries()) {
      if (frames === null) {
        if (random() < 0.4) resume(timeline.slice(0, index + 1), 0.1);
      } else hear(frames(item), 0.12);
    }
    if (frames === null) resume(timeline, 0);
    return transcript;
  }

  test("any cut and any resume end with the same transcript", () => {
    for (const seed of SEEDS) {
      const random = seeded(seed);
      const timeline = randomTimeline(random);

      const survivor = cutOften(timeline, random);

      expect(logged(survivor), `seed ${seed}`).toEqual(replayed(timeline).items);
      expect(survivor.lastSeq).toBe(replayed(timeline).lastSeq);
    }
  });

  test("a fact that is told twice changes nothing", () => {
    for (const seed of SEEDS) {
      const events = randomTimeline(seeded(seed)).filter(isEvent);
      const whole = replayed(events);

      const last = events.at(-1) as ReplayEvent;
      const again = framesOf(last, THREAD).reduce(receive, whole);

      expect(again.items, `seed ${seed}`).toEqual(whole.items);
    }
  });

  test("live text, however it is cut into pieces, becomes the finished text", () => {
    for (const seed of SEEDS) {
      const size = 1 + Math.floor(seeded(seed)() * 12);
      const text = "Über 📦📦 – “ok” 👩‍👩‍👧 done";
      const frames = speaker(THREAD);
      const spoken = livePieces("r1", text, size)
        .flatMap(frames)
        .reduce(receive, emptyTranscript(THREAD));

      expect(textOf(spoken)).toBe(text);
    }
  });

  test("a finished item is the same object until it changes, so it is drawn once", () => {
    const past = read([fact.wrote("m1", "Hello"), fact.answered("r0", "Hi")]);

    const later = [start(), token("On", 0), token(" its", 2)].reduce(receive, past);

    expect(later.items[0]).toBe(past.items[0]);
    expect(later.items[1]).toBe(past.items[1]);
  });
});
